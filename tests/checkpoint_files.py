# SPDX-License-Identifier: MIT
"""Checkpoint files in the published format, with changes, written without fairchem-core."""

import sys
from contextlib import contextmanager

import torch

from uma_md.files.checkpoint import read_checkpoint


def rewrite(source, target, change):
    """Write a checkpoint anew with its content changed by ``change(model_config, tasks, ema)``."""
    content = read_checkpoint(source)
    names = list(content.weights)
    ema = {"module." + name: tensor for name, tensor in content.read(names, torch.float32).items()}
    ema["n_averaged"] = torch.tensor(1)
    change(content.model_config, content.tasks_config, ema)
    save_as_published(content.model_config, content.tasks_config, ema, target)
    return target


def add_noise(weights, seed, size):
    """Change all weights by numbers of a seed, so large as a share of each tensor's spread."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.numel() > 1:
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            weights[name] = tensor + size * tensor.std() * noise


def save_as_published(model_config, tasks_config, ema, target):
    """Save with torch.save, without raw weights."""
    with published_class() as record:
        content = record()
        content.__dict__.update(
            model_config=model_config,
            model_state_dict={},
            ema_state_dict=ema,
            tasks_config=tasks_config,
        )
        torch.save(content, target)


@contextmanager
def published_class():
    """A stand-in for the class of the published files, which torch finds by its name meanwhile."""
    module = "fairchem.core.units.mlip_unit.api.inference"
    record = type("MLIPInferenceCheckpoint", (), {"__module__": module})
    parents = module.split(".")
    names = [".".join(parents[: n + 1]) for n in range(len(parents))]
    for name in names:
        sys.modules.setdefault(name, type(sys)(name))
    vars(sys.modules[module])["MLIPInferenceCheckpoint"] = record
    try:
        yield record
    finally:
        for name in names:
            del sys.modules[name]
