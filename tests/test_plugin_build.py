# SPDX-License-Identifier: MIT
"""The plugin's build, and plugins that meet another LAMMPS or torch than their own."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import psutil
import pytest
import torch
from lammps_runs import Block, launch
from lammps_session import ONE_THREAD
from structures import structure

from uma_md import build as builder
from uma_md import plugin

pytestmark = pytest.mark.lammps

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
KERNELS = ROOT / "uma_md" / "kernels"


def installed(name: str) -> Path:
    """Folder of an installed package."""
    return Path(str(distribution(name).locate_file(name)))


def build_entry(folder: Path, **settings: str | Path) -> Path:
    """Compile the plugin's small entry alone, with CMake variables changed."""
    values = {"LAMMPS_DIR": installed("lammps"), "TORCH_DIR": installed("torch"), **settings}
    command: list[str | Path] = [
        BIN / "cmake",
        "-G",
        "Ninja",
        "-S",
        ROOT / "lammps_plugin",
        "-B",
        folder,
    ]
    command += [f"-DCMAKE_MAKE_PROGRAM={BIN / 'ninja'}", f"-DMPI_CXX_COMPILER={BIN / 'mpicxx'}"]
    command.append("-ULAMMPS_VERSION")  # which an earlier build of the folder may have had
    command += [f"-D{name}={value}" for name, value in values.items()]
    builder._run(command, verbose=False)
    builder._run([BIN / "cmake", "--build", folder, "--target", "umaplugin"], verbose=False)
    return folder / "umaplugin.so"


def load_and_use(library: Path, folder: Path) -> str:
    script = f"plugin clear\nplugin load {library}\npair_style uma\n"
    result = launch(script, 1, folder)
    assert result.returncode > 0
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture(scope="module")
def build_folder(tmp_path_factory):
    """Where what CMake finds out of the compiler is known to the next build."""
    return tmp_path_factory.mktemp("build")


def test_a_plugin_for_another_lammps_says_so(build_folder, tmp_path):
    library = build_entry(build_folder, LAMMPS_VERSION="20240829")
    text = load_and_use(library, tmp_path)
    assert "must run in LAMMPS version 20240829, for which it was built, but this is" in text
    assert "uma-md plugin build" in text


def test_a_plugin_for_another_torch_says_so(build_folder, tmp_path):
    """The entry is compiled with headers that call themselves torch 2.7.1."""
    header = "include/torch/headeronly/version.h"
    other = tmp_path / "torch"
    (other / header).parent.mkdir(parents=True)
    for name in ("script.h", "library.h"):
        (other / "include/torch" / name).touch()
    (other / "lib").symlink_to(installed("torch") / "lib")
    text = (installed("torch") / header).read_text()
    for part, value in (("MAJOR", 2), ("MINOR", 7), ("PATCH", 1)):
        text = re.sub(rf"(#define TORCH_VERSION_{part}) \d+", rf"\1 {value}", text)
    (other / header).write_text(text.replace(torch.__version__.split("+")[0], "2.7.1"))
    library = build_entry(build_folder, TORCH_DIR=other)
    message = load_and_use(library, tmp_path)
    assert "must run with torch 2.7.1" in message
    assert f"but found torch {torch.__version__.split('+')[0]}" in message


def fake_torch(folder: Path) -> Path:
    """Libraries with the names of torch's, and nothing in them; returns their folder."""
    folder.mkdir()
    source = folder / "empty.cpp"
    source.write_text('extern "C" int nothing() { return 0; }\n')
    for name in ("libc10.so", "libtorch.so", "libtorch_cpu.so"):
        command = ["g++", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o"]
        subprocess.run([*command, str(folder / name), str(source)], check=True)
    return folder


def test_another_torch_on_the_library_path_changes_nothing(exported, tmp_path):
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    fake = fake_torch(tmp_path / "torch")
    environment = {**ONE_THREAD, "LD_LIBRARY_PATH": str(fake)}
    script = block.setup(tmp_path, 0) + "\nrun 0\n"
    result = launch(script, 2, tmp_path, environment=environment)
    assert result.returncode == 0, result.stdout + result.stderr


def test_another_torch_in_the_process_is_named_with_its_folder(exported, tmp_path):
    fake = fake_torch(tmp_path / "torch")
    environment = {**ONE_THREAD, "LD_PRELOAD": str(fake / "libtorch_cpu.so")}
    result = launch("pair_style uma\n", 1, tmp_path, environment=environment)
    assert result.returncode != 0
    text = " ".join((result.stdout + result.stderr).split())
    assert f"found one of another version; that in {fake} is loaded before the one in" in text
    assert "take the first folder out of LD_LIBRARY_PATH and LD_PRELOAD" in text


def test_a_part_of_another_torch_in_the_process_is_named_with_its_folder(tmp_path):
    """One that torch's other libraries cannot be loaded with."""
    fake = fake_torch(tmp_path / "torch")
    environment = {**ONE_THREAD, "LD_PRELOAD": str(fake / "libc10.so")}
    result = launch("pair_style uma\n", 1, tmp_path, environment=environment)
    assert result.returncode != 0
    text = " ".join((result.stdout + result.stderr).split())
    assert "pair_style uma must find libtorch_cpu.so of the build for torch" in text
    assert f"); that in {fake} is loaded before the one in" in text
    assert "take the first folder out of LD_LIBRARY_PATH and LD_PRELOAD" in text


@pytest.mark.parametrize(
    "words",
    [
        ("uma-md", "info", "uma-nano"),
        ("uma-md", "predict", "a.xyz", "--model", "uma-nano", "-o", "b.xyz"),
        ("uma-ipi", "uma-nano", "--template", "a.xyz", "--unix", "nobody"),
    ],
)
@pytest.mark.parametrize("variable", ["LD_LIBRARY_PATH", "LD_PRELOAD"])
def test_another_torch_before_that_of_python_is_named_by_the_commands(variable, words, tmp_path):
    fake = fake_torch(tmp_path / "torch")
    first = fake if variable == "LD_LIBRARY_PATH" else fake / "libc10.so"
    (tmp_path / "a.xyz").write_text("2\n\nH 0 0 0\nH 0 0 1\n")
    result = subprocess.run(
        [BIN / words[0], *words[1:]],
        cwd=tmp_path,
        env={**ONE_THREAD, variable: str(first)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 1, result.stderr[-2000:]
    assert result.stderr.startswith("Error: torch must find its libraries in ")
    assert result.stderr.endswith(
        f"found others before them in {fake}: take that folder out of LD_LIBRARY_PATH and "
        "LD_PRELOAD\n"
    )
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.extended),
        pytest.param(signal.SIGINT, marks=pytest.mark.extended),
    ],
)
def test_a_build_that_is_ended_leaves_nothing(number, tmp_path):
    """Neither folders nor compilers that go on."""
    cache = tmp_path / "uma-md" / "kernels"  # compiled first
    with started_build(number, tmp_path) as build:
        end = time.monotonic() + 300
        started: list[psutil.Process] = []
        while not any(map(_compiles, started)):
            assert build.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
            started = psutil.Process(build.pid).children(recursive=True)
        assert list(cache.glob(".build-*/build/CMakeFiles/*.dir"))
        build.send_signal(number)
        build.wait(30)
    assert build.returncode != 0
    assert list(cache.iterdir()) == []
    end = time.monotonic() + 15
    while any(map(_runs, started)):
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def started_build(number: int, cache: Path):
    """A build with a cache of its own that takes a signal; ended, if it is not by then."""
    with subprocess.Popen(
        [BIN / "uma-md", "plugin", "build"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # what a shell starts in the background ignores SIGINT, and so does what it starts in turn
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as build:
        try:
            yield build
        finally:
            build.terminate()


def _compiles(process: psutil.Process) -> bool:
    """Whether it is a compiler at work on one of the sources, not on what CMake tries."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "-c" in words and any(word.startswith(str(KERNELS)) for word in words)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_what_killed_builds_left_is_removed_a_day_later(monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "cache", lambda: tmp_path)
    for name, age in ((".build-old", 2 * 24 * 3600), (".build-new", 60)):
        (tmp_path / name / "build").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    builder._remove_stale(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".build-new"]


@pytest.mark.parametrize("compiler", ["/nonexistent", "no-such-compiler -O1", "'g++"])
def test_a_compiler_that_is_not_there_is_an_error(compiler, monkeypatch, tmp_path):
    monkeypatch.setattr(builder, "cache", lambda: tmp_path)
    monkeypatch.setenv("CXX", compiler)
    message = f"CXX must name a C++ compiler that is installed, found {compiler!r}"
    with pytest.raises(builder.BuildError, match=re.escape(message)):
        plugin.build(report=lambda line: None)
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_may_have_arguments(monkeypatch, tmp_path):
    """As in CXX="ccache g++", here with another program in front, in a folder with a space."""
    wrapper = tmp_path / "with space" / "traced"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> \'{tmp_path}/calls\'\nexec "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{wrapper}' g++")
    assert "g++" in builder.compiler_version(builder.find_compiler())
    build_entry(tmp_path / "build")
    assert "uma_plugin.cpp" in (tmp_path / "calls").read_text()


def test_the_path_without_a_plugin_does_no_harm(monkeypatch, tmp_path):
    """Every ``lmp`` of the environment asks for it, with or without our plugin."""
    monkeypatch.setattr(builder, "cache", lambda: tmp_path)
    assert not plugin.is_built()
    assert not list(Path(plugin.path()).glob("*plugin.so"))
