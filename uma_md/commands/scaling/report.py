# SPDX-License-Identifier: MIT
"""Tables and a plot of what was counted and predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uma_md.commands.scaling.counting import Count, Kept, Reach, count
from uma_md.commands.scaling.prediction import Collectives, Prediction, Rates, predict
from uma_md.commands.scaling.systems import structure_of
from uma_md.files.whole_file import written_whole
from uma_md.ranks.traffic import RowShape

# Weak: 4,000 atoms a GPU, fairchem-core's documentation. Strong: 13,718 atoms, mace issue 1708.
PUBLISHED_WEAK = {
    "fairchem-core, H200, all-to-all": {8: 1.0, 64: 133 / 152, 256: 133 / 200},
    "fairchem-core, H200, gather": {256: 133 / 351},
}
PUBLISHED_STRONG = {
    "symmetrix (MACE), GH200": {1: 1.0, 2: 2.35 / 2 / 1.28, 4: 4.10 / 4 / 1.28, 8: 6.40 / 8 / 1.28},
    "MACE ML-IAP, GH200": {1: 1.0, 2: 2.15 / 2 / 2.38, 4: 2.58 / 4 / 2.38, 8: 2.41 / 8 / 2.38},
}


class Row(NamedTuple):
    """One number of ranks: what was counted, and predicted from it."""

    counted: Count
    prediction: Prediction


class Study(NamedTuple):
    """What a table is about.

    Attributes
    ----------
    structure
        Its name or path.
    reach
    decomposition
    shape
    rates
    collectives
    kept
        What was counted so far.
    most_ranks
        That are looked at of each number of ranks.
    """

    structure: str
    reach: Reach
    decomposition: str
    shape: RowShape
    rates: Rates
    collectives: Collectives
    kept: Kept
    most_ranks: int

    def row(self, natoms: float, ranks: int) -> Row:
        """Count and predict for about so many atoms on so many ranks.

        Raises
        ------
        OSError, ValueError
            As ``structure_of`` and ``count`` say.
        """
        structure = structure_of(self.structure, natoms)
        counted = count(
            structure, ranks, self.reach, self.decomposition, self.kept, self.most_ranks
        )
        return Row(counted, predict(counted, self.shape, self.rates, self.collectives))


COUNTED = (
    "ranks",
    "atoms",
    "looked at",
    "edges",
    "off even",
    "neighbors",
    "rows",
    "MB",
    "messages",
)
PREDICTED = (
    "ranks",
    "atoms",
    "edges ms",
    "rows ms",
    "sums ms",
    "step ms",
    "efficiency",
    "overlap",
)


def counted_table(rows: Iterable[Row], shape: RowShape) -> list[str]:
    """Lines: edges of the fullest rank, and rows, megabytes and messages of the busiest one.

    Rows and megabytes are those that a rank receives in one forward exchange, messages those
    that it sends in a step.
    """
    table: list[tuple[str, ...]] = [COUNTED]
    for counted, _ in rows:
        loads = counted.loads
        received = max(load.rows_received for load in loads)
        traffic = [load.traffic(shape, counted.ranks) for load in loads]
        table.append(
            (
                f"{counted.ranks}",
                f"{counted.natoms}",
                f"{len(loads)} of {counted.built_ranks}",
                f"{counted.most_edges}",
                f"{counted.imbalance - 1:.1%}",
                f"{max(len(load.sources) for load in loads)}",
                f"{received}",
                f"{received * shape.bytes_per_row / 1e6:.2f}",
                f"{max(one.messages_sent for one in traffic)}",
            )
        )
    return _aligned(table)


def predicted_table(rows: Iterable[Row]) -> list[str]:
    """Lines: times of a step, and its efficiency without and with overlap."""
    table: list[tuple[str, ...]] = [PREDICTED]
    for counted, found in rows:
        times = found.arithmetic, found.exchange, found.collectives, found.step
        table.append(
            (
                f"{counted.ranks}",
                f"{counted.natoms}",
                *(f"{1e3 * seconds:.3g}" for seconds in times),
                f"{found.efficiency:.1%}",
                f"{found.overlapped_efficiency:.1%}",
            )
        )
    return _aligned(table)


def plot(path: Path, weak: Sequence[Row], strong: Sequence[Row], title: str) -> None:
    """Draw efficiencies over numbers of ranks, beside published ones, into a file.

    Raises
    ------
    ValueError
        When the file's ending is not one of a picture.
    OSError
        As ``uma_md.files.whole_file.written_whole`` says.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = [("weak scaling", weak, PUBLISHED_WEAK), ("strong scaling", strong, PUBLISHED_STRONG)]
    parts = [part for part in parts if part[1]]
    figure = Figure(figsize=(5.5 * len(parts), 4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize="medium")
    for axes, (name, rows, published) in zip(
        np.atleast_1d(figure.subplots(1, len(parts))), parts, strict=True
    ):
        ranks = [row.counted.ranks for row in rows]
        axes.plot(ranks, [row.prediction.efficiency for row in rows], "o-", label="predicted")
        overlapped = [row.prediction.overlapped_efficiency for row in rows]
        axes.plot(ranks, overlapped, "s--", label="predicted, with overlap")
        for label, points in published.items():
            axes.plot(*zip(*points.items(), strict=True), ".:", label=label)
        axes.set(xlabel="ranks", ylabel="efficiency", title=name, ylim=(0, 1.05))
        axes.set_xscale("log", base=2)
        axes.legend(fontsize="small", loc="best")
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format=path.suffix.lstrip(".") or None)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Columns of a table, flush right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=True))
        for row in table
    ]
