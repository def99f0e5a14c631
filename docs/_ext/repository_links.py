# SPDX-License-Identifier: MIT
"""Links of the repository's files, as they are on the site.

Pages link to each other and to files of the repository by relative paths, which work where the
repository is browsed. Files that the site shows become links to their page, others their path.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
HERE = ROOT / "docs"
# Files outside of docs/ that a page includes.
SHOWN = {
    "training/uma_nano/README.md": "uma-nano.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
    "examples/ipi/quantum-water/README.md": "gallery.md",
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")


def rewrite(text: str, folder: Path) -> str:
    """The text with links that the site can follow.

    Parameters
    ----------
    text
        Markdown.
    folder
        Where its relative links start from.
    """

    def replace(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = Path(os.path.normpath(folder / target))
        if path.is_relative_to(HERE):
            return f"[{words}](/{path.relative_to(ROOT / 'docs')}{anchor})"
        name = path.relative_to(ROOT).as_posix()
        if name in SHOWN:
            return f"[{words}](/{SHOWN[name]}{anchor})"
        return f"{words} (`{name}`)" if words.strip("`") != name else f"`{name}`"

    return LINK.sub(replace, text)


def _read(app: Sphinx, name: str, content: list[str]) -> None:
    lines = content[0].splitlines()
    kept = [line for line in lines if not re.fullmatch(r"[\w-]+\*", line) or any(HERE.glob(line))]
    content[0] = rewrite("\n".join(kept), HERE)  # without patterns of pages that do not exist


def _include(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    content[0] = rewrite(content[0], (Path(app.srcdir) / path).resolve().parent)


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrite pages as they are read, and files as they are included."""
    app.connect("source-read", _read)
    app.connect("include-read", _include)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
