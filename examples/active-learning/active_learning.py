# SPDX-License-Identifier: MIT
"""Copper in LAMMPS with a committee that ends the run where its members disagree, task omat."""

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
import torch
from ase import Atoms
from ase.io import write

mpl.use("Agg")
from matplotlib import pyplot as plt

from uma_md.export import export
from uma_md.files.checkpoint import read_checkpoint
from uma_md.files.safetensors_checkpoint import write_checkpoint
from uma_md.hub.download import resolve

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
MEMBERS = 3
STEP, LARGEST, MEAN = 0, 4, 6  # columns of the file of deviations


def stand_in(source: Path, target: Path, seed: int, size: float) -> Path:
    """A checkpoint whose weights differ by noise: in place of a fine-tune from another seed."""
    content = read_checkpoint(source)
    weights = content.read(list(content.weights), torch.float32)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.numel() > 1:
            noise = torch.randn(tensor.shape, generator=generator)
            weights[name] = tensor + size * tensor.std() * noise
    write_checkpoint(target, content.model_config, content.tasks_config, weights)
    return target


def members(models: Sequence[str], noise: float, folder: Path) -> list[str | Path]:
    """The checkpoints that are given, or of one some that differ from it by noise."""
    if len(models) > 1:
        return list(models)
    source = resolve(models[0])
    names = [folder / f"member-{seed}.safetensors" for seed in range(MEMBERS)]
    return [stand_in(source, name, seed, noise) for seed, name in enumerate(names)]


def simulate(ranks: int, settings: dict[str, float], folder: Path) -> None:
    """Run the input in a folder that holds the members."""
    command: list[str | Path] = [BIN / "mpiexec", "-n", f"{ranks}", BIN / "lmp"]
    command += ["-in", HERE / "in.active-learning", "-log", "none"]
    for name, value in settings.items():
        command += ["-var", name, f"{value:g}"]
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, cwd=folder, env=environment, check=True)


def read_way(file: Path) -> list[Atoms]:
    """Structures of the dump, each with the deviations of forces as an array."""
    frames = []
    for text in file.read_text().split("ITEM: TIMESTEP\n")[1:]:
        lines = text.splitlines()
        bounds = np.loadtxt(lines[4:7])
        table = np.loadtxt(io.StringIO("\n".join(lines[8:])), usecols=(2, 3, 4, 5))
        lengths = bounds[:, 1] - bounds[:, 0]
        atoms = Atoms(f"Cu{len(table)}", table[:, :3] - bounds[:, 0], cell=lengths, pbc=True)
        atoms.arrays["forces_std"] = table[:, 3]
        atoms.info["step"] = int(lines[0])
        frames.append(atoms)
    return frames


def choose(frames: Sequence[Atoms], trusted: float) -> list[Atoms]:
    """Structures worth a reference calculation: those with a deviation beyond what is trusted."""
    return [atoms for atoms in frames if atoms.arrays["forces_std"].max() > trusted]


def draw(table: np.ndarray, limit: float, trusted: float, file: Path) -> None:
    """Draw the largest and the mean deviation over the steps."""
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(table[:, STEP], table[:, LARGEST], label="largest")
    axes.plot(table[:, STEP], table[:, MEAN], label="mean")
    axes.axhline(limit, color="0.3", ls="--", lw=1, label="the run ends")
    axes.axhline(trusted, color="0.6", ls=":", lw=1, label="structures are kept")
    axes.set(xlabel="step", ylabel="deviation of forces (eV/Å)", ylim=0)
    axes.legend()
    figure.savefig(file, dpi=100)


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["uma-nano"],
    help="A checkpoint or its name; three times for members of your own.  [default: uma-nano]",
)
@click.option("--noise", default=0.01, show_default=True, help="By which stand-ins differ.")
@click.option("--ranks", default=2, show_default=True, help="MPI ranks.")
@click.option("--cells", default=3, show_default=True, help="Cubic cells along each axis.")
@click.option("--steps", default=300, show_default=True, help="Of 2 fs, at most.")
@click.option("--limit", default=0.05, show_default=True, help="Ends the run, eV/angstrom.")
@click.option("--keep", default=0.025, show_default=True, help="Structures beyond are kept.")
@click.option("--structures", type=click.Path(path_type=Path), help="Where to write these.")
@click.option("--output", type=click.Path(path_type=Path), default=HERE / "active-learning.png")
def main(
    models: tuple[str, ...],
    noise: float,
    ranks: int,
    cells: int,
    steps: int,
    limit: float,
    keep: float,
    structures: Path | None,
    output: Path,
) -> None:
    """Heat copper until a committee disagrees; keep what a reference calculation should see."""
    settings = {"cells": cells, "steps": steps, "limit": limit}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = members(models, noise, folder)
        if len(chosen) != MEMBERS:
            raise click.UsageError(f"there must be 1 or {MEMBERS} models, found {len(chosen)}")
        for number, member in enumerate(chosen):
            export(member, folder / f"member-{number}.pt", "omat")
        simulate(ranks, settings, folder)
        table = np.loadtxt(folder / "deviations.txt", ndmin=2)
        kept = choose(read_way(folder / "way.dump"), keep)
    print(f"ended at step {table[-1, STEP]:.0f}, largest deviation {table[-1, LARGEST]:.3f} eV/A")
    print(f"kept {len(kept)} structures")
    if structures is not None and kept:
        write(structures, kept)
    draw(table, limit, keep, output)


if __name__ == "__main__":
    main()
