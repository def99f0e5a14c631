# SPDX-License-Identifier: MIT
"""The library of the kernels: compiled for the installed torch, and loaded by Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from uma_md import shipped
from uma_md.build import BuildError, Product, digest_of, find_package, source_files

LIBRARY = "uma_kernels.so"
_SOURCES = ("CMakeLists.txt", "*.cpp", "*.h", "*.cu")


def product() -> Product:
    """The library for the installed torch.

    Raises
    ------
    BuildError
        When there is no torch.
    """
    torch, version = find_package("torch", "install it with 'pip install torch'")
    sources = Path(__file__).resolve().parent
    return Product(
        name="kernels",
        versions={"torch": version},
        sources=sources,
        files=source_files(sources, _SOURCES),
        libraries=(LIBRARY,),
        settings={"TORCH_DIR": torch},
    )


def home() -> Path | None:
    """Folder of the library: compiled here, or brought by the wheel; None where it is neither.

    Raises
    ------
    BuildError
        When there is no torch.
    """
    kernels = product()
    if kernels.is_built:
        return kernels.folder
    torch = Path(kernels.settings["TORCH_DIR"])
    return shipped.find(kernels.versions, torch, kernels.libraries, digest_of(kernels.files))


def build(
    verbose: bool = False, report: Callable[[str], None] = print, from_source: bool = True
) -> Path:
    """Compile the library, unless that was done already for the same torch.

    Parameters
    ----------
    verbose
        Whether to show what the compiler prints.
    report
        Takes lines that say what is done.
    from_source
        Whether to compile also where the wheel brought the library.

    Returns
    -------
    Path
        The library's folder.

    Raises
    ------
    BuildError
        When torch, cmake, ninja or a C++ compiler is missing, or compiling fails.
    """
    brought = None if from_source else home()
    if brought is not None:
        report("the kernels are built already")
        return brought
    return product().build(verbose, report, "one to two minutes")


@cache
def load() -> bool:
    """Load the library into torch, where it is built; whether that succeeded."""
    with suppress(BuildError):
        folder = home()
        if folder is not None:
            import torch

            torch.ops.load_library(str(folder / LIBRARY))
            return True
    return False
