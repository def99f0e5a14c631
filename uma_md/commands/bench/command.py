# SPDX-License-Identifier: MIT
"""The command ``uma-md bench``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from uma_md.commands.options import device_option, task_option
from uma_md.files.arguments import OUTPUT


@click.command()
@click.argument("model")
@click.argument("structure", required=False, metavar="[STRUCTURE|NAME]")
@task_option(required=False)
@device_option
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="Force calls each."
)
@click.option(
    "--steps", type=click.IntRange(1), default=20, show_default=True, help="LAMMPS steps each."
)
@click.option("--json", "path", type=OUTPUT, help="Write the report there.")
def bench(
    model: str,
    structure: str | None,
    task: str | None,
    device: str,
    repeats: int,
    steps: int,
    path: Path | None,
) -> None:
    """Time MODEL here, and say which settings to use.

    Without a structure it takes water, copper or a slab, as suits the task. Force calls in Python
    with several settings (chunk, recompute, engine, precision), each in a process of its own, with
    their memory; then steps of LAMMPS by ranks and threads, or by ranks on each accelerator.

    \b
    Examples:
      uma-md bench uma-nano
      uma-md bench uma-s-1p2p1 slab.cif --task oc20 --json bench.json
    """
    from uma_md.commands.bench.report import as_text
    from uma_md.commands.bench.run import bench
    from uma_md.files.whole_file import written_whole

    report = bench(model, structure, task, device, repeats, steps)
    for line in as_text(report):
        click.echo(line)
    if path is not None:
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(report, indent=1) + "\n")
