# SPDX-License-Identifier: MIT
"""Colors for inputs of LAMMPS."""

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups
from pygments.token import Comment, Keyword, Number, String, Text, Whitespace
from sphinx.application import Sphinx


class LammpsLexer(RegexLexer):  # type: ignore[misc]
    """Commands, numbers, strings and comments of a LAMMPS input."""

    name = "LAMMPS"
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"#.*", Comment),
            (r"^(\s*)(\w+)", bygroups(Whitespace, Keyword)),
            (r"\"[^\"]*\"|'[^']*'", String),
            (r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?\b", Number),
            (r"\s+", Whitespace),
            (r"[^\s#\"']+", Text),
            (r"[\"']", Text),
        ]
    }


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the language ``lammps``."""
    app.add_lexer("lammps", LammpsLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
