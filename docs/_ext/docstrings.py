# SPDX-License-Identifier: MIT
"""Docstrings as reStructuredText: a bar, as in ``|vector|``, is a norm and no substitution."""

import re
from typing import Any

from sphinx.application import Sphinx

BAR = re.compile(r"(``[^`]*``)|\|")


def _escape(app: Sphinx, what: str, name: str, it: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [BAR.sub(lambda found: found[1] or r"\|", line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Escape bars before docstrings are read."""
    app.connect("autodoc-process-docstring", _escape)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
