# SPDX-License-Identifier: MIT
"""Pictures of parts and arrows (``graph TD`` of mermaid) as SVG, drawn when the site is built."""

import re
from html import escape
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

WIDTH, HEIGHT, ACROSS, DOWN = 104, 34, 124, 74


def layers(parts: list[str], arrows: list[tuple[str, str]]) -> list[list[str]]:
    """Parts by the longest way that leads to them, the lowest at the end.

    Parameters
    ----------
    parts
        All names.
    arrows
        Pairs of names, without a circle.
    """
    depth = dict.fromkeys(parts, 0)
    for _ in parts:
        for start, end in arrows:
            depth[end] = max(depth[end], depth[start] + 1)
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for part in parts:
        rows[depth[part]].append(part)
    for row, above in zip(rows[1:], rows, strict=False):
        row.sort(
            key=lambda name: _mean([above.index(s) for s, e in arrows if e == name and s in above])
        )
    return rows


def _mean(numbers: list[int]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def draw(text: str) -> str:
    """An SVG of the parts and arrows in the text of a mermaid graph."""
    parts = [name for name, _ in re.findall(r'(\w+)\["([^"]+)"\]', text)]
    arrows = re.findall(r"(\w+) --> (\w+)", text)
    rows = layers(parts, arrows)
    widest = max(map(len, rows))
    place = {
        name: ((widest - len(row)) / 2 * ACROSS + i * ACROSS + 10, j * DOWN + 10)
        for j, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines = [_arrow(place[start], place[end]) for start, end in arrows]
    boxes = [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + HEIGHT / 2 + 4}">{escape(name)}</text>'
        for name, (x, y) in place.items()
    ]
    size = f"0 0 {widest * ACROSS} {len(rows) * DOWN - DOWN + HEIGHT + 20}"
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
    )
    return f'<svg class="parts" viewBox="{size}" role="img">{tip}{"".join(lines + boxes)}</svg>'


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x1, y1 = start[0] + WIDTH / 2, start[1] + HEIGHT
    x2, y2 = end[0] + WIDTH / 2, end[1]
    bend = (y2 - y1) / 2
    return (
        f'<path class="arrow" marker-end="url(#tip)" '
        f'd="M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"/>'
    )


class Mermaid(Directive):  # type: ignore[misc]
    """A graph of mermaid."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        return [nodes.raw("", draw("\n".join(self.content)), format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive ``mermaid``."""
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
