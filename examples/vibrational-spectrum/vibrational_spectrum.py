# SPDX-License-Identifier: MIT
"""Vibrational density of states of liquid water, from velocities of LAMMPS."""

import tempfile
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
from ase.io import iread, read, write

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.commands.launch import run_long
from uma_md.export import export

HERE = Path(__file__).resolve().parent
START = HERE.parent / "water" / "start.xyz"
INTERVAL = 1.0  # fs between frames
LIGHT = 2.99792458e-5  # cm/fs
WIDTH = 60.0  # 1/cm, of the broadening


def simulate(model: str, ranks: int, steps: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run the liquid; returns velocities (frames, atoms, 3) and masses (atoms,)."""
    export(model, folder / "water.pt", "omol")
    water = read(START)
    write(folder / "water.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    run_long(HERE / "in.velocities", folder, ranks, {"steps": steps}, steps)
    file = folder / "velocities.dump"
    frames = list(iread(file, format="lammps-dump-text", specorder=["H", "O"], units="metal"))
    return np.array([frame.get_velocities() for frame in frames]), frames[0].get_masses()


def density_of_states(velocities: np.ndarray, masses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wavenumbers (1/cm) and density of states, with area 1.

    The power spectrum of velocities weighted by masses, which is the Fourier transform of their
    autocorrelation (Wiener and Khinchin), smoothed by a Gaussian.
    """
    padded = 4 * len(velocities)
    spectrum = np.abs(np.fft.rfft(velocities, n=padded, axis=0)) ** 2
    power = np.einsum("fac,a->f", spectrum, masses)
    wavenumbers = np.fft.rfftfreq(padded, INTERVAL) / LIGHT
    apart = (wavenumbers[:, None] - wavenumbers) / WIDTH
    smooth = np.exp(-0.5 * apart**2) @ power
    return wavenumbers, smooth / np.trapezoid(smooth, wavenumbers)


def draw(wavenumbers: np.ndarray, states: np.ndarray, file: Path) -> None:
    """Draw the density of states."""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(wavenumbers, 1000 * states)
    axes.set(xlim=(0, 4500), ylim=(0, None), xlabel="wavenumber (1/cm)")
    axes.set_ylabel("density of states (1000 cm)")
    figure.savefig(file, dpi=100)


@click.command()
@click.option("--model", default="uma-nano", show_default=True, help="A checkpoint or its name.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--steps", default=800, show_default=True, help="Of 0.5 fs.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=HERE / "vibrational-spectrum.png"
)
def main(model: str, ranks: int, steps: int, output: Path) -> None:
    """Run, print where the bands are and draw them."""
    with tempfile.TemporaryDirectory() as folder:
        velocities, masses = simulate(model, ranks, steps, Path(folder))
    wavenumbers, states = density_of_states(velocities, masses)
    for name, low, high in (("bend", 1200, 2200), ("stretch", 2700, 4200)):
        band = (wavenumbers > low) & (wavenumbers < high)
        print(f"{name:<8} {wavenumbers[band][states[band].argmax()]:.0f} 1/cm")
    draw(wavenumbers, states, output)


if __name__ == "__main__":
    main()
