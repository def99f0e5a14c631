# SPDX-License-Identifier: MIT
"""What ranks of ``test_mpi.py`` and ``test_traffic.py`` run: ``mpi_ranks.py FOLDER CHECK...``.

Each check is a collective function; what it returns on rank 0 goes to FOLDER/CHECK.pkl.
"""

import pickle
import sys
from pathlib import Path

import mpi_checks
import mpi_faults
import mpi_traffic
import torch


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for name in sys.argv[2:]:
        modules = mpi_checks, mpi_faults, mpi_traffic
        check = next(getattr(module, name) for module in modules if hasattr(module, name))
        found = check(folder) if name == "exported_file" else check()
        if mpi_checks.WORLD.rank == 0:
            (folder / f"{name}.pkl").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
