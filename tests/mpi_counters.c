/* SPDX-License-Identifier: MIT
 *
 * Counts calls of MPI and the bytes that a rank gives to them, for test_lammps_traffic.py.
 * Loaded before MPI, it stands in front of it.
 */

#include <mpi.h>

enum { SENDS, RECEIVES, ALLREDUCES, ALLGATHERS, ALLTOALLS, OTHERS, KINDS };

static long calls[KINDS], bytes[KINDS];

static void count(int kind, int number, MPI_Datatype type)
{
  int size = 0;
  if (type != MPI_DATATYPE_NULL) PMPI_Type_size(type, &size);
  calls[kind]++;
  bytes[kind] += (long) number * size;
}

/* Calls of each kind, then bytes of each kind. */
void read_counters(long *found)
{
  for (int kind = 0; kind < KINDS; kind++) {
    found[kind] = calls[kind];
    found[KINDS + kind] = bytes[kind];
  }
}

int MPI_Send(const void *buffer, int number, MPI_Datatype type, int to, int tag, MPI_Comm comm)
{
  count(SENDS, number, type);
  return PMPI_Send(buffer, number, type, to, tag, comm);
}

int MPI_Isend(const void *buffer, int number, MPI_Datatype type, int to, int tag, MPI_Comm comm,
              MPI_Request *request)
{
  count(SENDS, number, type);
  return PMPI_Isend(buffer, number, type, to, tag, comm, request);
}

int MPI_Recv(void *buffer, int number, MPI_Datatype type, int from, int tag, MPI_Comm comm,
             MPI_Status *status)
{
  count(RECEIVES, number, type);
  return PMPI_Recv(buffer, number, type, from, tag, comm, status);
}

int MPI_Irecv(void *buffer, int number, MPI_Datatype type, int from, int tag, MPI_Comm comm,
              MPI_Request *request)
{
  count(RECEIVES, number, type);
  return PMPI_Irecv(buffer, number, type, from, tag, comm, request);
}

int MPI_Sendrecv(const void *out, int sent, MPI_Datatype of, int to, int tag, void *in, int most,
                 MPI_Datatype type, int from, int other, MPI_Comm comm, MPI_Status *status)
{
  count(SENDS, sent, of);
  count(RECEIVES, most, type);
  return PMPI_Sendrecv(out, sent, of, to, tag, in, most, type, from, other, comm, status);
}

int MPI_Allreduce(const void *out, void *in, int number, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
  count(ALLREDUCES, number, type);
  return PMPI_Allreduce(out, in, number, type, op, comm);
}

int MPI_Allgather(const void *out, int sent, MPI_Datatype of, void *in, int number,
                  MPI_Datatype type, MPI_Comm comm)
{
  count(ALLGATHERS, sent, of);
  return PMPI_Allgather(out, sent, of, in, number, type, comm);
}

int MPI_Allgatherv(const void *out, int sent, MPI_Datatype of, void *in, const int numbers[],
                   const int first[], MPI_Datatype type, MPI_Comm comm)
{
  count(OTHERS, sent, of);
  return PMPI_Allgatherv(out, sent, of, in, numbers, first, type, comm);
}

int MPI_Alltoall(const void *out, int sent, MPI_Datatype of, void *in, int number,
                 MPI_Datatype type, MPI_Comm comm)
{
  int ranks = 0;
  PMPI_Comm_size(comm, &ranks);
  count(ALLTOALLS, sent * ranks, of);
  return PMPI_Alltoall(out, sent, of, in, number, type, comm);
}

int MPI_Alltoallv(const void *out, const int sent[], const int at[], MPI_Datatype of, void *in,
                  const int numbers[], const int first[], MPI_Datatype type, MPI_Comm comm)
{
  count(OTHERS, 0, of);
  return PMPI_Alltoallv(out, sent, at, of, in, numbers, first, type, comm);
}

int MPI_Bcast(void *buffer, int number, MPI_Datatype type, int root, MPI_Comm comm)
{
  count(OTHERS, number, type);
  return PMPI_Bcast(buffer, number, type, root, comm);
}

int MPI_Reduce(const void *out, void *in, int number, MPI_Datatype type, MPI_Op op, int root,
               MPI_Comm comm)
{
  count(OTHERS, number, type);
  return PMPI_Reduce(out, in, number, type, op, root, comm);
}

int MPI_Reduce_scatter(const void *out, void *in, const int numbers[], MPI_Datatype type,
                       MPI_Op op, MPI_Comm comm)
{
  count(OTHERS, 0, type);
  return PMPI_Reduce_scatter(out, in, numbers, type, op, comm);
}

int MPI_Scan(const void *out, void *in, int number, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
  count(OTHERS, number, type);
  return PMPI_Scan(out, in, number, type, op, comm);
}

int MPI_Gather(const void *out, int sent, MPI_Datatype of, void *in, int number, MPI_Datatype type,
               int root, MPI_Comm comm)
{
  count(OTHERS, sent, of);
  return PMPI_Gather(out, sent, of, in, number, type, root, comm);
}

int MPI_Gatherv(const void *out, int sent, MPI_Datatype of, void *in, const int numbers[],
                const int first[], MPI_Datatype type, int root, MPI_Comm comm)
{
  count(OTHERS, sent, of);
  return PMPI_Gatherv(out, sent, of, in, numbers, first, type, root, comm);
}

int MPI_Scatter(const void *out, int sent, MPI_Datatype of, void *in, int number, MPI_Datatype type,
                int root, MPI_Comm comm)
{
  count(OTHERS, sent, of);
  return PMPI_Scatter(out, sent, of, in, number, type, root, comm);
}

int MPI_Barrier(MPI_Comm comm)
{
  count(OTHERS, 0, MPI_DATATYPE_NULL);
  return PMPI_Barrier(comm);
}

int MPI_Iallreduce(const void *out, void *in, int number, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request *request)
{
  count(OTHERS, number, type);
  return PMPI_Iallreduce(out, in, number, type, op, comm, request);
}
