# SPDX-License-Identifier: MIT
"""The picture of the README: order of liquid water, and forces over MPI ranks against ASE.

python docs/figures/ranks.py     # with uma-nano, four minutes on two cores
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase import Atoms
from ase.io import read, write

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md import UMACalculator
from uma_md.export import export

HERE = Path(__file__).parent
START = HERE.parents[1] / "examples" / "water" / "start.xyz"
BIN = Path(sys.executable).parent
SETUP = """
units metal
read_data water.data
pair_style uma device cpu
pair_coeff * * {model} H O
"""
FORCES = (
    SETUP
    + """
run 0
write_dump all custom {dump} id fx fy fz modify sort id format float %.17g
"""
)
ORDER = (
    SETUP
    + """
neighbor 1.0 bin
comm_modify cutoff 7.0
velocity all create 300 87287 mom yes rot no dist gaussian
timestep 0.0005
fix 1 all nvt temp 300 300 0.05
compute pairs all rdf 100 2 2 cutoff 6.0
fix average all ave/time 5 {samples} {steps} c_pairs[*] mode vector file rdf
run {steps}
"""
)


def lammps(script: str, ranks: int, folder: Path) -> None:
    """Run an input on a number of ranks."""
    (folder / "in.lmp").write_text(script)
    command: list[str | Path] = [
        BIN / "mpiexec",
        "-n",
        f"{ranks}",
        BIN / "lmp",
        "-in",
        "in.lmp",
        "-log",
        "none",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)


def differences(dtype: str, numbers: list[int], folder: Path) -> list[float]:
    """Largest difference of a force component from ASE in float64, eV/angstrom, by ranks."""
    water = read(START)
    write(folder / "water.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    water = read(folder / "water.data", format="lammps-data")  # with the digits that LAMMPS reads
    assert isinstance(water, Atoms)
    water.calc = UMACalculator("uma-nano", "omol", device="cpu", dtype="float64")
    export("uma-nano", folder / f"{dtype}.pt", "omol", dtype=dtype)
    found = []
    for ranks in numbers:
        lammps(FORCES.format(model=f"{dtype}.pt", dump="forces"), ranks, folder)
        forces = np.loadtxt(folder / "forces", skiprows=9)[:, 1:]
        found.append(float(np.abs(forces - water.get_forces()).max()))
    return found


def draw(order: np.ndarray, errors: dict[str, list[float]], numbers: list[int], file: Path) -> None:
    """Draw both panels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
    left.plot(order[:, 1], order[:, 2])
    left.set(xlabel="O-O distance (Å)", ylabel="$g_{OO}(r)$")
    left.set_title("water at 300 K, uma-nano", fontsize=10)
    for dtype, marker in (("float32", "o"), ("float64", "s")):
        right.semilogy(numbers, errors[dtype], marker, label=dtype)
    right.set(xlabel="MPI ranks", ylabel="eV/Å")
    right.set_title("largest difference of forces, LAMMPS and ASE", fontsize=10)
    right.set(ylim=(1e-16, 1e-2), xticks=numbers)
    right.legend()
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "ranks.png")
@click.option("--steps", default=800, show_default=True, help="Steps of dynamics, by tens.")
@click.option("--most-ranks", default=8, show_default=True)
def main(output: Path, steps: int, most_ranks: int) -> None:
    """Run LAMMPS and draw."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    numbers = [n for n in (1, 2, 3, 4, 6, 8) if n <= most_ranks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        errors = {dtype: differences(dtype, numbers, folder) for dtype in ("float32", "float64")}
        lammps(ORDER.format(model="float32.pt", steps=steps, samples=steps // 10), 2, folder)
        order = np.loadtxt(folder / "rdf", skiprows=4)
    for dtype, values in errors.items():
        print(f"{dtype}: {max(values):.1e} eV/angstrom at most on {numbers} ranks")
    draw(order, errors, numbers, output)


if __name__ == "__main__":
    main()
