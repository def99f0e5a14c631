# SPDX-License-Identifier: MIT
"""When to ask i-PI for the next batch, so that it is whole."""

from __future__ import annotations

SHARE = 0.1  # of the time that a batch takes, at most
SHORTEST, LONGEST = 5e-4, 0.05  # seconds
PATIENCE = 20  # batches cut in two at the longest pause, before pausing is given up


class Pacing:
    """Learns how long to hold back READY after a batch.

    i-PI 3.3 queues the beads of a step one after the other, and sends those that it finds as
    soon as a driver is ready: often a few of them, with the others in a second batch. It does
    not look while it waits for READY. So the answer is held back as long as it takes to
    queue a whole batch, as two small batches in a row tell, and no longer than a small share of
    a batch's time. Where that does not help (single structures), it is given up.

    Parameters
    ----------
    batch_size
        Structures in a whole batch.
    """

    def __init__(self, batch_size: int) -> None:
        self.pause = 0.0
        self._batch_size = batch_size
        self._last = batch_size
        self._failures = 0

    def note(self, count: int, seconds: float) -> None:
        """Learn from a batch of ``count`` structures that took ``seconds``."""
        cut = self._last + count <= self._batch_size
        self._last = self._batch_size if cut else count
        if count == self._batch_size:
            self._failures = max(0, self._failures - 1)
        elif not cut:
            return
        elif self._failures < PATIENCE:
            longest = min(LONGEST, SHARE * seconds * self._batch_size / count)
            self._failures += self.pause >= longest
            self.pause = min(longest, max(SHORTEST, 2 * self.pause))
        else:
            self.pause = 0.0
