# SPDX-License-Identifier: MIT
"""What a model file holds, in words."""

from __future__ import annotations

from pathlib import Path

from uma_md.files import exported
from uma_md.files.metadata import Metadata, name_elements
from uma_md.hub.download import resolve
from uma_md.loading import UMASource
from uma_md.system import formula


def describe(path: str | Path) -> list[tuple[str, str]]:
    """Rows of label and value for a checkpoint, by path or by name, or an exported file.

    Raises
    ------
    OSError, ValueError
        When the file is neither, or not available.
    """
    path = resolve(path)
    if path.is_file() and exported.is_exported(path):
        return _describe_exported(path)
    return _describe_checkpoint(path)


def _describe_checkpoint(path: Path) -> list[tuple[str, str]]:
    source = UMASource(path)
    metadata = source.metadata(source.task(source.tasks[0]), "float32", 0, 0)
    c = source.config
    return [
        ("file", f"{path}, {'UMA' if c.num_experts else 'eSEN'} checkpoint"),
        ("model", metadata.model_id),
        ("tasks", ", ".join(source.tasks)),
        *_describe_elements(source),
        *_describe_network(metadata),
        ("experts", f"{c.num_experts} per layer" if c.num_experts else "none"),
        ("charge channels", _channels(c.charge_channels)),
        ("spin channels", _channels(c.spin_channels)),
        *_describe_heads(source.ignored_heads),
        *_describe_parameters(metadata),
    ]


def _describe_heads(ignored: dict[str, str]) -> list[tuple[str, str]]:
    if not ignored:
        return []
    return [("ignored heads", ", ".join(f"{name} ({kind})" for name, kind in ignored.items()))]


def _describe_exported(path: Path) -> list[tuple[str, str]]:
    metadata = exported.read_metadata(path)
    merged = metadata.composition
    return [
        ("file", f"{path}, exported model"),
        ("model", metadata.model_id),
        ("task", metadata.task),
        ("charge, spin", f"{metadata.charge}, {metadata.spin}"),
        ("elements", _list(metadata.elements)),
        *_describe_network(metadata),
        ("dtype", metadata.dtype),
        ("composition", "any" if merged is None else f"merged for {formula(merged)}"),
        *_describe_parameters(metadata),
        ("torch", metadata.torch_version),
        ("source", f"{metadata.source}, sha256 {metadata.source_sha256}"),
    ]


def _describe_elements(source: UMASource) -> list[tuple[str, str]]:
    """Elements of each task, in one row where all tasks know the same."""
    elements = {name: _list(source.elements(source.task(name))) for name in source.tasks}
    if len(set(elements.values())) == 1:
        label = "elements" if len(elements) == 1 else "elements, all tasks"
        return [(label, next(iter(elements.values())))]
    return [(f"elements, {name}", text) for name, text in elements.items()]


def _list(elements: tuple[str, ...]) -> str:
    return f"{name_elements(elements)} ({sum(map(bool, elements))})"


def _describe_network(metadata: Metadata) -> list[tuple[str, str]]:
    return [
        ("cutoff", f"{metadata.cutoff} angstrom, at most {metadata.max_neighbors} neighbors"),
        ("layers", str(metadata.num_layers)),
        ("degrees", f"lmax {metadata.lmax}, mmax {metadata.mmax}"),
        ("channels", str(metadata.sphere_channels)),
    ]


def _describe_parameters(metadata: Metadata) -> list[tuple[str, str]]:
    return [
        ("parameters", f"{metadata.parameters_total:,} in all"),
        ("", f"{metadata.parameters_active:,} active for one system"),
    ]


def _channels(bounds: tuple[int, int]) -> str:
    return "none" if bounds[0] == bounds[1] else f"{bounds[0]} to {bounds[1] - 1}"
