# SPDX-License-Identifier: MIT
"""Progress of long work: a bar on a terminal, nothing in a pipe or a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Progress:
    """A bar on the standard error, which says what is being done.

    Parameters
    ----------
    total
        Number of steps.
    """

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        shape = "{desc} |{bar}| {n_fmt}/{total_fmt} [{elapsed}]"
        # None: nothing where the standard error is no terminal
        self._bar: Any = tqdm(total=total, disable=None, file=sys.stderr, bar_format=shape)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def begin(self, text: str) -> None:
        """Say what begins."""
        self._bar.set_description_str(f"{text[:40]:<40}", refresh=True)

    def advance(self) -> None:
        """Count a step as done."""
        self._bar.update()

    def reach(self, count: int) -> None:
        """Say how many steps are done."""
        self._bar.update(count - self._bar.n)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """A step: said when it begins, counted when it ends well."""
        self.begin(text)
        yield
        self.advance()


class Silence(Progress):
    """Progress that nobody watches."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._bar = tqdm(disable=True)
