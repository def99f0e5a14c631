# SPDX-License-Identifier: MIT
"""A stream beside torch's default one, on which work of a GPU can be recorded.

``uma_md/kernels/side_stream.h`` is the same for LAMMPS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    """A stream for blocks of work.

    Parameters
    ----------
    device
    wanted
        Whether there is to be one; without it, and on devices that do not record work, blocks
        change nothing.
    """

    def __init__(self, device: torch.device, wanted: bool) -> None:
        self._stream = torch.cuda.Stream(device) if wanted and device.type == "cuda" else None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Give a block of which it is the current stream, begun after all that was started before.

        What is started after the block waits for it.
        """
        if self._stream is None:
            yield
            return
        outer = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)
