# SPDX-License-Identifier: MIT
"""What each rank of ``test_mpi.py`` runs: ``python mpi_ranks.py FOLDER CHECK...``.

Each check is a collective function; what it returns on rank 0 goes to FOLDER/CHECK.pkl.
"""

import pickle
import sys
from pathlib import Path

import mpi_checks
import mpi_faults
import torch


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        check = getattr(mpi_checks, name, None) or getattr(mpi_faults, name)
        found = check(folder) if name == "exported_file" else check()
        if mpi_checks.WORLD.rank == 0:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
