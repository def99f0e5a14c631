# SPDX-License-Identifier: MIT
"""What the published files call the weights of the network."""

from __future__ import annotations

import re

from uma_md.files.task_config import EnergyHead

# Our names of the weights, as patterns, and what the published files call them.
_PUBLISHED_NAMES = (
    (r"(charge|spin)_embedding\.weight", r"\1_embedding.{table}"),
    (r"task_embedding\.weight", "dataset_embedding.dataset_emb_dict.{task}.weight"),
    (r"system_mixing\.(\w+)", r"mix_csd.\1"),
    (r"routing\.0\.(\w+)", r"routing_mlp.0.\1"),
    (r"routing\.1\.(\w+)", r"routing_mlp.2.\1"),
    (r"routing\.2\.(\w+)", r"routing_mlp.4.\1"),
    (r"composition_embedding\.weight", "composition_embedding.weight"),
    (r"atom_embedding\.weight", "sphere_embedding.weight"),
    (r"geometry\.sender\.weight", "source_embedding.weight"),
    (r"geometry\.receiver\.weight", "target_embedding.weight"),
    (r"first_message\.radial\.(.+)", r"edge_degree_embedding.rad_func.\1"),
    (r"layers\.(\d+)\.message_norm\.(\w+)", r"blocks.\1.norm_1.affine_\2"),
    (r"layers\.(\d+)\.node_norm\.(\w+)", r"blocks.\1.norm_2.affine_\2"),
    (r"layers\.(\d+)\.messages\.radial\.(.+)", r"blocks.\1.edge_wise.so2_conv_1.rad_func.\2"),
    *(
        (rf"layers\.(\d+)\.messages\.{ours}", rf"blocks.\1.edge_wise.{theirs}")
        for which, n in (("first", 1), ("second", 2))
        for ours, theirs in (
            (rf"{which}\.zero\.experts", f"so2_conv_{n}.fc_m0.weights"),
            (rf"{which}\.zero\.weight", f"so2_conv_{n}.fc_m0.weight"),
            (rf"{which}\.zero\.bias", f"so2_conv_{n}.fc_m0.bias"),
            (
                rf"{which}\.orders\.(\d+)\.linear\.experts",
                rf"so2_conv_{n}.so2_m_conv.\2.fc.weights",
            ),
            (
                rf"{which}\.orders\.(\d+)\.linear\.weight",
                rf"so2_conv_{n}.so2_m_conv.\2.fc.weight",
            ),
        )
    ),
    (r"layers\.(\d+)\.node_update\.gates\.(\w+)", r"blocks.\1.atom_wise.scalar_mlp.0.\2"),
    (r"layers\.(\d+)\.node_update\.first\.(\w+)", r"blocks.\1.atom_wise.so3_linear_1.\2"),
    (r"layers\.(\d+)\.node_update\.second\.(\w+)", r"blocks.\1.atom_wise.so3_linear_2.\2"),
    (r"norm\.(\w+)", r"norm.affine_\1"),
)

# Tables that fairchem-core keeps among the weights and that this package computes.
COMPUTED = re.compile(r"backbone\.(Jd_\d+$|wigner_data\.|SO3_grid\.|mappingReduced\.)")
_OTHER_TASKS = re.compile(r"backbone\.dataset_embedding\.dataset_emb_dict\.")


def published_name(name: str, head: EnergyHead, embedding: str, *, waves: bool = False) -> str:
    """The published name of one of our weights.

    Parameters
    ----------
    name
        Ours.
    head
        The file's energy head.
    embedding
        Name of the task's embedding.
    waves
        Whether charge and spin are embedded by frequencies rather than by tables.
    """
    part = re.fullmatch(r"head\.(\d)\.(\w+)", name)
    if part:
        wrapper = "head." if head.wrapped else ""
        kind = "weights" if head.mixture and part[2] == "weight" else part[2]
        return f"output_heads.{head.name}.{wrapper}energy_block.{part[1]}.{kind}"
    for pattern, replacement in _PUBLISHED_NAMES:
        if re.fullmatch(pattern, name):
            table = "W" if waves else "rand_emb.weight"
            published = re.sub(pattern, replacement, name).format(task=embedding, table=table)
            return "backbone." + published
    raise AssertionError(f"no published name for {name}")


def is_unused(name: str, head: EnergyHead) -> bool:
    """Whether a published weight has no part in a task: a computed table, another task's or head's.

    Another head's only where it is one of those that ``head`` says may be ignored.
    """
    others = tuple(f"output_heads.{other}." for other in head.ignored)
    return bool(COMPUTED.match(name) or _OTHER_TASKS.match(name) or name.startswith(others))
