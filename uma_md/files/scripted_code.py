# SPDX-License-Identifier: MIT
"""What the code in an exported file may do: arithmetic on tensors, and nothing else.

TorchScript is code, and some of its operators read or write files. So the code is looked at
before it runs. Loading a file compiles its code and runs none of it, but for ``__setstate__``
methods and the classes that torch brings along; a file that mentions either is not loaded.
After that, every operator of every method must be one that the network needs.
``lammps_plugin/scripted_code.cpp`` does the same in LAMMPS.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Bytes that the compressed code of a file may have; the largest model has a hundredth of it.
MOST_CODE = 1 << 25

_RUN_BY_LOADING = (b"__setstate__", b"classes")

_OPERATORS = """
    Int __derive_index __getitem__ __isnot__ __range_length _set_item add append bmm cat chunk
    contiguous copy_ div embedding eq exp flatten floordiv full_like ge gt index index_add
    index_copy index_select layer_norm len linear list lt matmul mean mul narrow neg ones_like pad
    pow reciprocal reshape rsqrt select sigmoid silu silu_ size slice softmax split sqrt square
    squeeze stack sub sum tensor to transpose unbind unsqueeze view where zeros zeros_like
"""
_STRUCTURE = """
    Constant GetAttr If ListConstruct ListUnpack Loop RaiseException SetAttr TupleConstruct
    TupleUnpack device dtype min unchecked_cast
"""
ALLOWED = frozenset(
    f"{space}::{name}"
    for space, names in (("aten", _OPERATORS), ("prim", _STRUCTURE))
    for name in names.split()
)

_ADVICE = (
    "export the checkpoint with this uma-md; trust_code=True (in LAMMPS 'trust yes', with uma-ipi "
    "--trust-code) runs the code all the same, with your rights"
)


def check_words(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a file whose loading would run code.

    Raises
    ------
    ValueError
        When the code or the pickles of the archive mention what runs while loading.
    """
    for info in archive.infolist():
        if info.filename.endswith((".py", ".pkl")):
            content = archive.read(info)
            for word in _RUN_BY_LOADING:
                if word in content:
                    raise ValueError(
                        f"{path} must be a model written by uma-md export, found code that runs "
                        f"while it is loaded ({word.decode()}): {_ADVICE}"
                    )


def check_operators(module: Any, what: str | Path) -> None:
    """Refuse a loaded module whose methods do more than arithmetic; runs none of them.

    Raises
    ------
    ValueError
        Naming an operator that uma-md's network does not have.
    """
    strange = sorted(set(_kinds(module)) - ALLOWED)
    if strange:
        raise ValueError(
            f"{what} must be a model written by uma-md export, found the operator {strange[0]} in "
            f"its code: {_ADVICE}"
        )


def _kinds(module: Any) -> Iterator[str]:
    """The kinds of all nodes in all methods, with what they call written out."""
    for part in module.modules():
        for name in part._c._method_names():
            yield from _kinds_of_block(part._c._get_method(name).inlined_graph)


def _kinds_of_block(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds_of_block(inner)
