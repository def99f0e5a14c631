# SPDX-License-Identifier: MIT
"""What ranks of the tests of MPI in Python run.

Each check is a collective function; what it returns on rank 0 goes to FOLDER/CHECK.pkl.
``mpi_ranks.py ADDRESS`` is given checks by ``mpi_launch.Checks``, on all ranks or the first few;
``mpi_ranks.py FOLDER CHECK`` does one and ends, as it may have to.
"""

import pickle
import sys
import traceback
from pathlib import Path

import torch
from mpi4py import MPI
from served_ranks import WORLD, serve


def do(work: tuple[str, list[str]], comm: MPI.Intracomm) -> None:
    """Do checks on the ranks of a communicator."""
    import mpi_checks
    import mpi_committee
    import mpi_faults
    import mpi_overlap
    import mpi_traffic

    modules = mpi_checks, mpi_committee, mpi_faults, mpi_traffic, mpi_overlap
    for module in modules:
        vars(module)["WORLD"] = comm
    folder, names = Path(work[0]), work[1]
    for name in names:
        torch.set_num_threads(1)
        check = next(getattr(module, name) for module in modules if hasattr(module, name))
        found = check(folder) if name == "exported_file" else check()
        if comm.rank == 0:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(found))


def do_or_end_all(work: tuple[str, list[str]], comm: MPI.Intracomm) -> None:
    """Ranks that have no error of their own would wait for ever for those that have."""
    try:
        do(work, comm)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        WORLD.Abort(1)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        do((sys.argv[1], sys.argv[2:]), WORLD)
    else:
        serve(sys.argv[1], do_or_end_all)
