# SPDX-License-Identifier: MIT
"""C++ sources compiled once, for the torch and the compiler that are there, into a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path

import platformdirs

from uma_md.progress import Progress
from uma_md.signals import signals_as_exceptions

_BYTES_PER_JOB = 2 * 1024**3  # what the compiler takes for libtorch's headers, with room to spare
_LAST_LINES = 30
_STEP = re.compile(r"\[(\d+)/(\d+)\] ")  # what ninja has done, and of how many
_UNFINISHED = ".build-"
_STALE = 24 * 3600  # seconds: no build takes as long


class BuildError(RuntimeError):
    """Libraries could not be built; the text says what is missing or went wrong."""


@dataclass(frozen=True)
class Product:
    """Libraries that CMake makes of a folder of sources, and where they are stored.

    Attributes
    ----------
    name
        Folder within the cache.
    versions
        What the libraries are compiled for, for the name of their folder.
    sources
        The folder with CMakeLists.txt.
    files
        The sources, all of which the libraries depend on.
    libraries
        Names of the libraries.
    settings
        CMake's variables, which the libraries depend on as well.
    stamps
        Whatever else they depend on.
    """

    name: str
    versions: Mapping[str, str]
    sources: Path
    files: Sequence[Path]
    libraries: Sequence[str]
    settings: Mapping[str, str | Path] = field(default_factory=dict)
    stamps: Sequence[object] = ()

    @property
    def folder(self) -> Path:
        """Folder of the libraries for these versions, settings and sources."""
        digest = hashlib.sha256()
        for part in (*self.settings.values(), *self.stamps):
            digest.update(f"{part}\n".encode())
        _add_files(digest, self.files)
        versions = "-".join(f"{name.lower()}-{version}" for name, version in self.versions.items())
        name = re.sub(r"[^\w.+-]+", "-", versions)
        return cache() / self.name / f"{name}-{digest.hexdigest()[:12]}"

    def is_complete(self, folder: Path) -> bool:
        """Whether a folder holds all libraries."""
        return all((folder / name).is_file() for name in self.libraries)

    @property
    def is_built(self) -> bool:
        """Whether the libraries are in the cache."""
        return self.is_complete(self.folder)

    def build(self, verbose: bool, report: Callable[[str], None], duration: str) -> Path:
        """Compile the libraries, unless that was done already, and return their folder.

        Parameters
        ----------
        verbose
            Whether to show what the compiler prints.
        report
            Takes lines that say what is done.
        duration
            How long it takes, in words.

        Raises
        ------
        BuildError
            When cmake, ninja or a C++ compiler is missing, or compiling fails.
        SystemExit
            When SIGTERM or SIGHUP arrived; what was compiled until then is removed.
        """
        folder = self.folder
        if self.is_complete(folder):
            be = "are" if self.name.endswith("s") else "is"
            report(f"the {self.name} {be} built already")
            return folder
        report(f"C++ compiler: {compiler_version(find_compiler())}")
        report(f"compiling the {self.name}, which takes {duration}")
        _compile(self, folder, verbose)
        return folder


def cache() -> Path:
    """The user's cache of compiled libraries."""
    return platformdirs.user_cache_path("uma-md")


def source_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Files of a folder, pattern by pattern, sorted."""
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def digest_of(files: Iterable[Path]) -> str:
    """Digest of names and contents of sources."""
    digest = hashlib.sha256()
    _add_files(digest, files)
    return digest.hexdigest()


def _add_files(digest: hashlib._Hash, files: Iterable[Path]) -> None:
    for source in files:
        digest.update(source.name.encode() + source.read_bytes())


def find_package(name: str, hint: str) -> tuple[Path, str]:
    """Folder and version of an installed package, found without importing it.

    Raises
    ------
    BuildError
        With the hint, when there is none.
    """
    spec = util.find_spec(name)
    if spec is not None and spec.origin is not None:
        with suppress(metadata.PackageNotFoundError):
            return Path(spec.origin).resolve().parent, metadata.version(name)
    raise BuildError(f"the package {name} must be installed, found none: {hint}")


def find_tool(name: str, hint: str) -> Path:
    """Path of a program, in this Python's environment first."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise BuildError(f"the program {name} must be installed, found none: {hint}")
    return Path(found)


def find_compiler() -> list[str]:
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


def compiler_version(compiler: Sequence[str]) -> str:
    """What a compiler says of itself."""
    output = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False)
    return (output.stdout.splitlines() or [shlex.join(compiler)])[0]


def _compile(product: Product, folder: Path, verbose: bool) -> None:
    """Build beside the final folder and rename, so that another process never sees a part."""
    cmake = find_tool("cmake", "install it with 'pip install cmake'")
    ninja = find_tool("ninja", "install it with 'pip install ninja'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    with (
        signals_as_exceptions(),
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=_UNFINISHED) as name,
    ):
        tree, made = Path(name) / "build", Path(name) / "product"
        settings = {
            "CMAKE_BUILD_TYPE": "Release",
            "CMAKE_INSTALL_PREFIX": made,
            "CMAKE_MAKE_PROGRAM": ninja,
            **product.settings,
        }
        options = [f"-D{key}={value}" for key, value in settings.items()]
        _run([cmake, "-G", "Ninja", "-S", product.sources, "-B", tree, *options], verbose)
        _run([cmake, "--build", tree, "--target", "install", "-j", str(_jobs())], verbose)
        _put_in_place(product, made, folder)


def _remove_stale(cache: Path) -> None:
    """Remove what builds left that were killed without a chance to clear up."""
    for folder in cache.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _STALE:
                shutil.rmtree(folder, ignore_errors=True)


def _jobs() -> int:
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // _BYTES_PER_JOB))


def _put_in_place(product: Product, made: Path, folder: Path) -> None:
    if not product.is_complete(made):
        raise BuildError(
            f"the build must give {' and '.join(product.libraries)}, found one missing"
        )
    try:
        made.rename(folder)
    except OSError as failure:
        # Another process may have been first, with the same result.
        if not product.is_complete(folder):
            raise BuildError(f"the libraries must be stored in {folder}: {failure}") from failure


def _run(command: Sequence[str | Path], verbose: bool) -> None:
    """Run a step of the build with all that it starts, none of which outlives this function."""
    with subprocess.Popen(
        command,
        text=True,
        stdout=None if verbose else subprocess.PIPE,
        stderr=None if verbose else subprocess.STDOUT,
        env={**os.environ, "CXX": shlex.join(find_compiler())},
        start_new_session=True,
    ) as process:
        try:
            last = _watch(process.stdout) if process.stdout else ""
            process.wait()
        except BaseException:
            _kill_tree(process.pid)
            raise
    if process.returncode != 0:
        raise BuildError(f"compiling failed:\n{last}".rstrip("\n:"))


def _watch(output: Iterable[str]) -> str:
    """Show how far ninja is while it prints, and return its last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with ExitStack() as shown:
        progress = None
        for line in output:
            last.append(line)
            if step := _STEP.match(line):
                progress = progress or shown.enter_context(Progress(int(step[2])))
                progress.begin("compiling")
                progress.reach(int(step[1]))
    return "".join(last)


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
