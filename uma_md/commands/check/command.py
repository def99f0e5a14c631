# SPDX-License-Identifier: MIT
"""The command ``uma-md check``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uma_md.commands.options import charge_and_spin, device_option, periodic_option, task_option
from uma_md.files.arguments import OUTPUT


@click.command()
@click.argument("subject", metavar="FOLDER|STRUCTURE|NAME")
@task_option(required=False)
@click.option("--model", help="As for setup, for a structure.  [default: uma-nano]")
@charge_and_spin
@periodic_option
@click.option("--timestep", type=float, help="Time step in fs.  [default: by the lightest atom]")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="For a structure.")
@device_option
@click.option(
    "--ranks",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 2),
    show_default=True,
    help="Numbers of MPI ranks to compare in LAMMPS.",
)
@click.option("--json", "path", type=OUTPUT, help="Write the report there.")
@click.pass_context
def check(
    context: click.Context,
    /,
    subject: str,
    device: str,
    ranks: tuple[int, ...],
    path: Path | None,
    **wishes: Any,
) -> None:
    """Compare engines, derivatives and settings before a long run.

    FOLDER is one that 'uma-md setup' wrote, also after you changed its files. A structure or a
    name is set up in passing. Elements must come back as they went, LAMMPS on 1 and 2 ranks must
    give ASE's energy, forces and pressure, finite differences must agree, five steps must stay
    finite, and the time step must suit the fastest vibration. Exit code 1 if something fails.

    \b
    Examples:
      uma-md check water
      uma-md check slab.cif --task oc20 --json report.json
    """
    from uma_md.commands.check import report as reports
    from uma_md.commands.check.run import check

    report, items, advice = check(subject, wishes, device, ranks)
    for line in reports.as_text(items, advice):
        click.echo(line)
    if path is not None:
        reports.write_json(report, path)
    if not report["passed"]:
        context.exit(1)
