# SPDX-License-Identifier: MIT
"""The command ``uma-md setup``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uma_md.commands.options import charge_and_spin, model_option, periodic_option, task_option
from uma_md.files.arguments import FILE


@click.command()
@click.argument("structure", metavar="STRUCTURE|NAME")
@task_option(required=True)
@model_option
@click.option(
    "--engine",
    type=click.Choice(["lammps", "ipi", "ase"]),
    default="lammps",
    show_default=True,
    help="What moves the atoms.",
)
@click.option(
    "--ensemble",
    type=click.Choice(["nve", "nvt", "npt"]),
    default="nvt",
    show_default=True,
    help="What is kept: energy, temperature, or temperature and pressure.",
)
@click.option("--temperature", default=300.0, show_default=True, help="Temperature in K.")
@click.option("--pressure", default=1.0, show_default=True, help="Pressure in bar, for npt.")
@click.option("--timestep", type=float, help="Time step in fs.  [default: by the lightest atom]")
@click.option("--steps", default=1000, show_default=True, help="Number of time steps.")
@charge_and_spin
@click.option("--beads", default=1, show_default=True, help="Beads of a path integral, for ipi.")
@click.option("--ranks", type=int, help="MPI ranks.  [default: by cores and atoms, for lammps]")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True
)
@periodic_option
@click.option(
    "--repeat",
    type=(int, int, int),
    default=(1, 1, 1),
    metavar="N N N",
    help="Repeat the structure along its cell vectors.",
)
@click.option(
    "--relax", is_flag=True, help="Relax the atoms with the model before, in the cell as it is."
)
@click.option(
    "--all-experts", is_flag=True, help="A larger model file that serves any composition."
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="The folder to write.  [default: NAME-TASK-ENGINE]",
)
def setup(structure: str, output: Path | None, **wishes: Any) -> None:
    """Write a folder that runs STRUCTURE with everything lined up.

    STRUCTURE is a file (CIF, POSCAR, extended XYZ, PDB and others), one of water, cu and slab, or
    a molecule of ASE such as CH3CH2OH. The folder has what LAMMPS, i-PI or ASE needs, with units,
    masses, order of elements, time step, task, charge and spin set, and 'sh FOLDER/run.sh' starts
    it. What was chosen is said, with the reason.

    \b
    Example:
      uma-md setup water --task omol -o water
      sh water/run.sh
    """
    from uma_md.commands.setup.case import Wishes
    from uma_md.commands.setup.prepare import setup

    asked = Wishes(**wishes)
    folder = output or Path(f"{Path(structure).stem}-{asked.task}-{asked.engine}")
    setup(structure, asked, folder, click.echo)
    click.echo(f"{folder}: check it with 'uma-md check {folder}', run it with 'sh {folder}/run.sh'")
