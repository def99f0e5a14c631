# SPDX-License-Identifier: MIT
"""Options that several commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

model_option = click.option(
    "--model",
    default="uma-nano",
    show_default=True,
    help="A checkpoint, an exported file, or the name of a published model.",
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where the network runs: auto (an accelerator where there is one), cpu or cuda.",
)
periodic_option = click.option(
    "--periodic",
    metavar="abc|ab|...|none",
    help="Cell vectors that repeat.  [default: as the structure says]",
)


def task_option(required: bool) -> Callable[[Command], Command]:
    """The option ``--task``."""
    return click.option(
        "--task",
        required=required,
        metavar="TASK",
        help="Training data and level of theory: omol, omat, oc20, oc22, oc25, odac, omc.",
    )


def charge_and_spin(command: Command) -> Command:
    """Add ``--charge`` and ``--spin``."""
    text = "Spin multiplicity 2S+1.  [default: the structure's, or else 1 for omol]"
    command = click.option("--spin", type=int, help=text)(command)
    text = "Total charge in e.  [default: the structure's, or else 0]"
    return click.option("--charge", type=int, help=text)(command)
