# SPDX-License-Identifier: MIT
"""The options of a run as flags of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import click

from uma_md.options import RunOptions


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of ``uma_md.options.RunOptions`` to a command."""
    for entry in reversed(fields(RunOptions)):
        flag, help_text = f"--{entry.name.replace('_', '-')}", entry.metadata["meaning"]
        kind, choices = entry.metadata["kind"], entry.metadata["choices"]
        option = click.option(
            flag,
            type=click.Choice(choices) if choices else kind,
            is_flag=kind is bool,
            default=entry.default,
            show_default=kind is not bool,
            help=help_text,
        )
        command = option(command)
    return command
