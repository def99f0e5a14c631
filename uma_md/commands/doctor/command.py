# SPDX-License-Identifier: MIT
"""The command ``uma-md doctor``."""

from __future__ import annotations

from pathlib import Path

import click

from uma_md.files.arguments import OUTPUT


@click.command()
@click.option("--json", "path", type=OUTPUT, help="Write the findings there.")
@click.pass_context
def doctor(context: click.Context, path: Path | None) -> None:
    """Look at the installation, and say what to mend, in order.

    Versions, devices, cores and threads, compiler, MPI and whether it reads device memory, LAMMPS,
    kernels and plugin, LAMMPS on two ranks, i-PI, login at the hub and models that are there.
    Exit code 1 if there is something to mend.

    \b
    Example:
      uma-md doctor
    """
    import json

    from uma_md.commands.doctor.examine import examine
    from uma_md.commands.doctor.finding import as_json, remedies
    from uma_md.files.whole_file import written_whole

    findings = examine()
    width = max(len(found.name) for found in findings)
    for found in findings:
        click.echo(f"{found.state:<5} {found.name:<{width}}  {found.text}")
        if found.state == "note" and found.remedy:
            click.echo(f"{'':<5} {'':<{width}}  {found.remedy}")
    if path is not None:
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(as_json(findings), indent=1) + "\n")
    mend = remedies(findings)
    click.echo("\nTo mend, in this order:" if mend else "\nNothing to mend.")
    for number, remedy in enumerate(mend, 1):
        click.echo(f"{number}. {remedy}")
    if mend:
        context.exit(1)
