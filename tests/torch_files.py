# SPDX-License-Identifier: MIT
"""Whether files that one torch exported serve another, in Python and in LAMMPS.

In the environment of each torch in turn, then again in each (``make test-torch`` makes them):

    python tests/torch_files.py write FOLDER
    python tests/torch_files.py read FOLDER

The second prints a line per torch that wrote: the largest difference of forces in eV/angstrom
from what it computed itself, in Python and in LAMMPS on two ranks, or what was said instead.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase_results import Results
from conftest import VARIANTS, checkpoint
from lammps_runs import Block, static
from structures import structure

from uma_md import UMACalculator
from uma_md.export import export

FORMS: dict[str, dict[str, Any]] = {
    "float64": {},
    "float32": {"dtype": "float32"},
    "merged": {"merge_for": "(H2O)8"},
}


def write(folder: Path) -> None:
    """Export every fixture in every form, with the forces that this torch computes."""
    mine = folder / torch.__version__.split("+")[0]
    mine.mkdir(parents=True)
    for variant in VARIANTS:
        for form, options in FORMS.items():
            path = mine / f"{variant}-{form}.pt"
            export(checkpoint(variant), path, "omol", **{"dtype": "float64", **options})
            np.save(path.with_suffix(".npy"), forces(path))


def forces(path: Path) -> np.ndarray:
    """Forces on water from Python."""
    return Results(UMACalculator(path, device="cpu"))(structure("water:8"))["forces"]


def differences(path: Path) -> tuple[float, float]:
    """Largest differences from the writer's forces, in Python and in LAMMPS."""
    expected = np.load(path.with_suffix(".npy"))
    with tempfile.TemporaryDirectory() as name:
        (found,) = static([Block(structure("water:8"), path)], 2, Path(name))
    python, lammps = (np.abs(one - expected).max() for one in (forces(path), found.forces))
    return float(python), float(lammps)


def read(folder: Path) -> None:
    """Print what became of the files of every torch."""
    for writer in sorted(folder.iterdir()):
        worst = {"float64": 0.0, "float32": 0.0, "merged": 0.0}
        said = ""
        for path in sorted(writer.glob("*.pt")):
            form = path.stem.rsplit("-", 1)[1]
            try:
                worst[form] = max(worst[form], *differences(path))
            except (ValueError, AssertionError) as failure:
                said = str(failure)[-300:]
                break
        figures = "  ".join(f"{form} {value:.0e}" for form, value in worst.items())
        print(f"{writer.name} -> {torch.__version__}: {said or figures}", flush=True)


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]).resolve())
