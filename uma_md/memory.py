# SPDX-License-Identifier: MIT
"""How much memory evaluations need, how much there is, and what follows for them."""

from __future__ import annotations

from typing import Any

import psutil
import torch


def available_memory(device: torch.device) -> int:
    """Bytes free for use on a device."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return int(torch.accelerator.get_memory_info(device)[0])


def default_chunk(device: torch.device) -> int:
    """Edges handled at a time: enough to keep the device busy, and to fit beside the rest."""
    return 1024 if device.type == "cpu" else 16384


def keeps_messages(recompute: str, bytes_needed: int, device: torch.device, sharers: int) -> bool:
    """Whether the graph of all messages is kept for the reverse sweep.

    Parameters
    ----------
    recompute
        ``on`` recomputes them, ``off`` keeps them, ``auto`` keeps them where that takes no more
        than half of the available memory.
    bytes_needed
        What keeping them takes.
    device
    sharers
        Ranks that share the device's memory, this one included.
    """
    if recompute == "auto":
        return bytes_needed <= available_memory(device) / (2 * sharers)
    return recompute == "off"


def measure_bytes_per_edge(model: Any, dtype: torch.dtype) -> int:
    """Bytes that autograd keeps for one edge of one layer, measured; it merges the model."""
    edges, coefficients = 64, (model.lmax + 1) ** 2
    shape = (edges, coefficients, model.sphere_channels)
    senders = torch.ones(shape, dtype=dtype).requires_grad_()
    receivers = torch.ones(shape, dtype=dtype).requires_grad_()
    vectors = torch.ones(edges, 3, dtype=dtype).requires_grad_()
    numbers = torch.ones(edges, dtype=torch.int64)
    model.merge(torch.ones(model.max_num_elements, dtype=torch.int64), 0, 0)
    constants = (*model.parameters(), *model.buffers())
    known = {tensor.untyped_storage().data_ptr() for tensor in constants}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # what leads back to its own graph would never be freed

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = model.messages(0, senders, receivers, vectors, numbers, numbers)
    del out
    return sum(kept.values()) // edges
