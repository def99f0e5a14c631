"""The LAMMPS plugin: compiled once for the torch, LAMMPS and MPI that are installed.

``path`` runs whenever ``lmp`` starts, so it reads versions from package metadata and imports
nothing heavy.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

LIBRARIES = ("umaplugin.so", "uma_pair.so")
_SOURCES = ("CMakeLists.txt", "*.cpp", "*.h")


class BuildError(RuntimeError):
    """The plugin could not be built; the text says what is missing."""


@dataclass(frozen=True)
class Toolchain:
    """What the plugin is compiled with and for.

    Attributes
    ----------
    torch, lammps
        Folders that hold the headers.
    torch_version, lammps_version
        As their packages or headers state them.
    mpi
        MPI's compiler wrapper, and what it wraps.
    """

    torch: Path
    torch_version: str
    lammps: Path
    lammps_version: str
    mpi: Path
    mpi_version: str

    @property
    def key(self) -> str:
        """Name of the folder that holds the plugin for these versions and these sources."""
        text = "\n".join(map(str, (self.torch, self.lammps, self.mpi, _source_hash())))
        places = hashlib.sha256(text.encode()).hexdigest()[:12]
        versions = f"torch-{self.torch_version}_lammps-{self.lammps_version}_{self.mpi_version}"
        return re.sub(r"[^\w.+-]", "-", f"{versions}_{places}")
