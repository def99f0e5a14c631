# SPDX-License-Identifier: MIT
"""The command ``uma-md scaling``: its arguments."""

from __future__ import annotations

from typing import Any

import click

from uma_md.files.arguments import OUTPUT


class Numbers(click.ParamType[list[int]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give a list of them."""
        if isinstance(value, list):
            return value
        try:
            return [int(part) for part in value.split(",")]
        except ValueError:
            return self.fail(f"must be whole numbers with commas between them, found {value!r}")


@click.command()
@click.argument("structure")
@click.option("--ranks", type=Numbers(), default="1,8,64,512,4096", show_default=True)
@click.option("--atoms", "natoms", type=float, help="Strong scaling: about so many atoms in all.")
@click.option(
    "--atoms-per-rank",
    type=float,
    help="Weak scaling: about so many atoms a rank.  [default: 4000, without --atoms]",
)
@click.option(
    "--engine",
    type=click.Choice(["lammps", "ase"]),
    default="lammps",
    show_default=True,
    help="Whose decomposition, skin and collectives.",
)
@click.option(
    "--decomposition",
    type=click.Choice(["bisection", "bricks"]),
    help="Bisection by edges, as in ASE, or LAMMPS's bricks, instead of the engine's own.",
)
@click.option("--skin", type=float, help="In angstrom, instead of the engine's own.")
@click.option("--model", help="File or name: whose rows are sent, instead of UMA-S's.")
@click.option("--task", help="Of the model.  [default: omol]")
@click.option("--seconds-per-edge", type=float, help="Of a step; measured here if not given.")
@click.option("--bandwidth", type=float, help="Bytes per second; measured here if not given.")
@click.option("--latency", type=float, help="Seconds a message; measured here if not given.")
@click.option("--plot", "picture", type=OUTPUT, help="Draw efficiencies into this file.")
@click.option(
    "--look-at", type=int, default=32, show_default=True, help="Ranks counted, if there are more."
)
def scaling(**options: Any) -> None:
    """Count what ranks of STRUCTURE would exchange, and predict how it scales.

    STRUCTURE is a file, or one of water, slab, nanoparticle and interface.

    \b
    Example:
      uma-md scaling water --ranks 1,8,64,512
    """
    from uma_md.commands.scaling.request import Request, run

    run(Request(**options), click.echo)
