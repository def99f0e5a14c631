# SPDX-License-Identifier: MIT
"""The pictures of docs/theory.md: stages with their exchanges, and frames of edges.

python docs/figures/theory.py
"""

from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

HERE = Path(__file__).parent
STAGES = ("embed", "normalize", "exchange", "messages", "update", "balance", "readout")
BETWEEN = {"exchange": "rows of\nremote atoms", "balance": "sums of\ncharge, spin"}
BLUE, ORANGE, GRAY = "#2a6fbb", "#d9822b", "#8a8a8a"


def box(axes: Any, x: float, y: float, text: str, color: str) -> None:
    """A named box around a point."""
    style = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": color}
    axes.text(x, y, text, ha="center", va="center", fontsize=9, bbox=style)


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], **look: Any) -> None:
    """An arrow between two points."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GRAY, **look})


def draw_stages(file: Path) -> None:
    """Two ranks side by side, from atoms to energies, and what travels between them."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for k, stage in enumerate(STAGES):
        color = ORANGE if stage in BETWEEN else BLUE
        for row in (0.0, 2.0):
            box(axes, k * 1.45, row, stage, color)
            if k + 1 < len(STAGES):
                arrow(axes, (k * 1.45 + 0.45, row + 0.07), (k * 1.45 + 0.98, row + 0.07))
                back = {"color": ORANGE, "linestyle": "dotted"}
                arrow(axes, (k * 1.45 + 0.98, row - 0.07), (k * 1.45 + 0.45, row - 0.07), **back)
        if stage in BETWEEN:
            arrow(axes, (k * 1.45, 0.3), (k * 1.45, 1.7), arrowstyle="<->", color=ORANGE)
            look: dict[str, Any] = {"fontsize": 8, "va": "center", "ha": "right", "color": ORANGE}
            axes.text(k * 1.45 - 0.08, 1.0, BETWEEN[stage], **look)
    frame = Rectangle((0.85, -0.55), 6.85, 3.1, fill=False, ec=GRAY, ls="--", lw=0.8)
    axes.add_patch(frame)
    axes.text(4.3, 2.75, "once for each layer", ha="center", fontsize=9, color=GRAY)
    for row, rank in ((0.0, "rank 1"), (2.0, "rank 0")):
        axes.text(-0.75, row, rank, ha="right", va="center", fontsize=10)
    axes.text(4.3, -0.95, "energies: left to right     gradients: dotted, right to left",
              ha="center", fontsize=9, color=GRAY)  # fmt: skip
    axes.set(xlim=(-1.7, 9.5), ylim=(-1.2, 3.1))
    axes.axis("off")
    figure.savefig(file, metadata={"Date": None})


def draw_frames(file: Path) -> None:
    """An edge between two atoms, in the laboratory's axes and in its own frame."""
    figure, panels = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
    edge = np.array([0.75, 0.62])
    turned = np.array([0.0, np.linalg.norm(edge)])
    titles = ("1. rotate the edge onto y", "2. convolve about the edge", "3. rotate back, sum")
    for axes, title, end in zip(panels, titles, (edge, turned, edge), strict=True):
        axes.plot(0, 0, "o", color=BLUE, ms=13)
        axes.plot(*end, "o", color=ORANGE, ms=13)
        arrow(axes, tuple(end), (0.0, 0.0), color="black", shrinkA=7, shrinkB=7)
        arrow(axes, (-0.55, -0.45), (-0.15, -0.45))
        arrow(axes, (-0.55, -0.45), (-0.55, -0.05))
        axes.text(-0.1, -0.47, "x", fontsize=8, color=GRAY)
        axes.text(-0.57, 0.0, "y", fontsize=8, color=GRAY)
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(-0.7, 1.15), ylim=(-0.6, 1.25), aspect="equal")
        axes.axis("off")
    panels[0].annotate("", (0.08, 0.95), (0.68, 0.72), arrowprops=_bend(0.3))
    panels[2].annotate("", (0.68, 0.72), (0.08, 0.95), arrowprops=_bend(-0.3))
    height, angle = 0.5, np.linspace(0.3, 2 * np.pi - 0.3, 60)
    panels[1].plot(0.28 * np.sin(angle), height + 0.09 * np.cos(angle), color=BLUE, lw=1)
    panels[1].text(0.36, height, "degrees of the same\norder m mix", fontsize=8, va="center")
    panels[0].text(-0.02, -0.2, "receiver i", fontsize=8)
    panels[0].text(0.62, 0.4, "sender j", fontsize=8)
    figure.savefig(file, metadata={"Date": None})


def _bend(curve: float) -> dict[str, Any]:
    return {"arrowstyle": "->", "color": ORANGE, "connectionstyle": f"arc3,rad={curve}"}


@click.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=HERE)
def main(output: Path) -> None:
    """Draw both pictures."""
    plt.rcParams["svg.hashsalt"] = "uma-md"
    draw_stages(output / "stages.svg")
    draw_frames(output / "frames.svg")


if __name__ == "__main__":
    main()
