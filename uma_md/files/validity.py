# SPDX-License-Identifier: MIT
"""Whether a checkpoint's configs can be those of its weights: checked before anything is built.

A config is data of unknown origin. What it says must have the right types, and its sizes must be
those of the weights, so that a file of a few bytes cannot ask for all the memory there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from uma_md.config import LONGEST_CUTOFF, ModelConfig
from uma_md.files.checkpoint import Checkpoint

# Where among the weights a size can be read: name and axis.
_AXES = (
    ("max_num_elements", "sphere_embedding.weight", 0),
    ("channels", "sphere_embedding.weight", 1),
    ("edge_channels", "source_embedding.weight", 1),
    ("num_distance_basis", "edge_degree_embedding.rad_func.net.0.weight", 1),
    ("hidden_channels", "blocks.0.atom_wise.so3_linear_1.weight", 1),
)
_EXPERTS = "backbone.routing_mlp.4.bias"
_WRONG_TYPES = (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


@contextmanager
def valid_config(checkpoint: Checkpoint) -> Iterator[None]:
    """Say in one sentence that a config lacks something, or has something of another type."""
    try:
        yield
    except _WRONG_TYPES as error:
        raise ValueError(
            f"{checkpoint.path} must have the configs of a UMA checkpoint, they are damaged: "
            f"{type(error).__name__} {str(error)[:100]}"
        ) from error


def check_cutoff(cutoff: float) -> None:
    """Refuse what cannot be the reach of an edge."""
    if not 0 < cutoff <= LONGEST_CUTOFF:
        raise ValueError(
            f"the cutoff must be within {LONGEST_CUTOFF:g} angstrom, the checkpoint has {cutoff}"
        )


def check_finite(what: str, values: Sequence[float]) -> None:
    """Refuse NaN and infinity."""
    invalid = [value for value in values if not math.isfinite(value)]
    if invalid:
        raise ValueError(f"{what} must be finite numbers, the checkpoint has {invalid[0]}")


def check_sizes(checkpoint: Checkpoint, config: ModelConfig) -> None:
    """Refuse a config whose sizes are not those of the weights.

    Raises
    ------
    ValueError
        When the number of layers, of elements or of experts, or a width, is another one.
    """
    shapes = {name: tensor.shape for name, tensor in checkpoint.weights.items()}
    blocks = {found[1] for name in shapes if (found := re.match(r"backbone\.blocks\.(\d+)", name))}
    _compare("num_layers", config.num_layers, len(blocks))
    for what, name, axis in _AXES:
        if len(shapes.get(f"backbone.{name}", ())) <= axis:
            raise ValueError(f"the checkpoint lacks the weight backbone.{name}, or axes of it")
        size = shapes[f"backbone.{name}"][axis]
        if what == "num_distance_basis":
            size -= 2 * config.edge_channels
        _compare(what, getattr(config, what), size)
    experts = shapes.get(_EXPERTS, (0,))
    _compare("num_experts", config.num_experts, experts[0] if experts else 0, least=0)


def _compare(what: str, size: int, stored: int, least: int = 1) -> None:
    if size != stored or size < least:
        raise ValueError(f"{what} must be that of the checkpoint's weights, {stored}; found {size}")
