# SPDX-License-Identifier: MIT
"""Names of files on a command line: refused before anything is loaded where they are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uma_md.files.whole_file import check_output


class FileName(click.ParamType[Path]):
    """The name of a file or a folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Give the path.

        Raises
        ------
        click.ClickException
            When the name is empty, as that of a shell's variable that is not set.
        """
        if isinstance(value, str) and not value.strip():
            what = param.make_metavar(ctx).removesuffix("...") if param and ctx else "file"
            if param and param.opts and param.opts[-1].startswith("-"):
                what = param.opts[-1]
            raise click.ClickException(f"{what} must be a name, found an empty one: give another")
        return Path(value)


class OutputName(FileName):
    """The name of a file to write whole."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Give the path.

        Raises
        ------
        click.ClickException
            When the name is empty, or that of a stream or a folder, or no file can be made there.
        """
        path = super().convert(value, param, ctx)
        if value == "-":
            raise click.ClickException(
                "output must be a file, found '-', which is a stream: give a name"
            )
        if isinstance(value, str) and value.endswith("/"):
            raise click.ClickException(
                f"output must be a file, found {value}, which is a folder: give a name in it"
            )
        try:
            check_output(path)
        except OSError as error:
            raise click.ClickException(str(error)) from error
        return path


FILE = FileName()
OUTPUT = OutputName()
