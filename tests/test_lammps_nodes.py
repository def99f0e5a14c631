# SPDX-License-Identifier: MIT
"""Ranks of several nodes and partitions, which MPICH pretends to have, and a link that breaks."""

import os
import re
import subprocess
import sys

import pytest
from lammps_runs import Block, launch
from lammps_session import BIN, ONE_THREAD, TIME_LIMIT
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

CORES = len(os.sched_getaffinity(0))
NODES = {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1"}  # ranks of even and of odd numbers share memory


@pytest.fixture
def water(exported):
    return Block(structure("water:8"), exported("tiny-1p2p1"))


def threads(block: Block, folder, ranks: int, *options: str, loops: str = "") -> list[int]:
    """Threads of a rank in each partition's log."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    script = block.setup(folder, 0) + "\nrun 0\n" + loops
    options = (*options, "-pscreen", "screen", "-plog", "none")
    result = launch(script, ranks, folder, *options, environment=environment | NODES)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    logs = [path.read_text() for path in sorted(folder.glob("screen.*"))] or [result.stdout]
    found = [re.findall(r"devices: \d+ MPI ranks? with (\d+) threads?", log) for log in logs]
    return [int(numbers[0]) for numbers in found]


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_ranks_are_counted_by_shared_memory_also_over_partitions(water, tmp_path):
    """Two partitions of one rank, each on a node of its own: each has all cores of it."""
    assert threads(water, tmp_path, 2, "-partition", "1", "1") == [CORES, CORES]


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_partitions_on_one_node_share_its_cores(water, tmp_path):
    """Ranks 0 and 2 of four share a node, and so do 1 and 3, as partitions of two ranks each."""
    assert threads(water, tmp_path, 4, "-partition", "2", "2") == [max(1, CORES // 2)] * 2


def test_a_partition_may_start_over_while_others_do_not(water, tmp_path):
    """'clear' loads the plugin again in one partition alone, which still knows of the other."""
    (tmp_path / "again.lmp").write_text(water.setup(tmp_path, 1) + "\nrun 0\n")
    loops = (
        'variable part world first second\nif "${part} == first" then clear "include again.lmp"\n'
    )
    threads(water, tmp_path, 2, "-partition", "1", "1", loops=loops)
    logs = [(tmp_path / f"screen.{k}").read_text() for k in (0, 1)]
    found = [re.findall(r"devices: 1 MPI rank with (\d+) thread", log) for log in logs]
    assert found == [[str(CORES)] * 2, [str(CORES)]]


FAULTS = {
    "Message truncated": """
#include <mpi.h>

// After some messages of the plugin's rows one rank expects fewer than are sent to it.
int MPI_Irecv(void *buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
              MPI_Request *request)
{
  static int seen = 0;
  int rank, combiner, a, b, c;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  PMPI_Type_get_envelope(type, &a, &b, &c, &combiner);
  if (rank == 1 && combiner == MPI_COMBINER_CONTIGUOUS && ++seen == 4) count--;
  return PMPI_Irecv(buffer, count, type, source, tag, comm, request);
}
""",
    "Invalid count": """
#include <mpi.h>

// One rank does not take part where the plugin counts the atoms of all.
int MPI_Allreduce(const void *mine, void *all, int count, MPI_Datatype type, MPI_Op op,
                  MPI_Comm comm)
{
  int rank;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 1 && type == MPI_INT64_T) return MPI_ERR_COUNT;
  return PMPI_Allreduce(mine, all, count, type, op, comm);
}
""",
}

LIBRARY = """
from mpi4py import MPI
from lammps import lammps

assert MPI.COMM_WORLD.Get_errhandler() == MPI.ERRORS_RETURN
instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
try:
    instance.file("in.lmp")
finally:
    print("went on", flush=True)
"""


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_failed_communication_ends_the_run_on_all_ranks(fault, python, exported, tmp_path):
    """Of one rank of two. LAMMPS has MPI end that rank, mpi4py has it return errors."""
    (tmp_path / "fault.c").write_text(FAULTS[fault])
    library = tmp_path / "fault.so"
    command = [BIN / "mpicc", "-shared", "-fPIC", "-o", library, tmp_path / "fault.c"]
    subprocess.run(list(map(str, command)), check=True)
    block = Block(structure("water:32"), exported("tiny-1p1"))
    (tmp_path / "in.lmp").write_text(block.setup(tmp_path, 0) + "\nrun 5\n")
    (tmp_path / "run.py").write_text(LIBRARY)
    program = [sys.executable, "run.py"] if python else [BIN / "lmp", "-in", "in.lmp"]
    done = subprocess.run(
        list(map(str, [BIN / "mpiexec", "-n", "2", "-env", "LD_PRELOAD", library, *program])),
        cwd=tmp_path,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode != 0
    assert "went on" not in done.stdout
    assert "Loop time" not in done.stdout
    assert f"communication between MPI ranks failed: {fault}" in done.stderr
