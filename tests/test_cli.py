# SPDX-License-Identifier: MIT
"""The command line, as a user types it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from conftest import checkpoint

from uma_md import plugin
from uma_md.cli import main

UMA_MD = Path(sys.executable).parent / "uma-md"


def uma_md(*words, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(UMA_MD), *map(str, words)]
    environment = os.environ | variables
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def in_this_process(*words) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def test_info_and_export_work_from_the_shell(tmp_path):
    output = tmp_path / "water.pt"
    words = ("--task", "omol", "--merge-for", "H2O", "-o", output)
    done = uma_md("export", checkpoint("tiny-1p2p1"), *words, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    imported = re.findall(r"\| +(\S+)$", done.stderr, re.MULTILINE)
    assert "torch" in imported
    assert not {"ase.io", "scipy"} & set(imported)  # which reading a structure would take
    described = uma_md("info", output).stdout
    assert "UMA-S-1.2.1" in described
    assert "merged for H2O1" in described


def test_errors_are_one_sentence_and_exit_code_1(tmp_path):
    missing = ("info", tmp_path / "none.pt")
    message = "checkpoint must be an existing file, found none at"
    shell, here = uma_md(*missing), in_this_process(*missing)
    words = ("export", checkpoint("tiny-1p1"), "--task", "water", "-o", tmp_path / "x.pt")
    other = in_this_process(*words)
    for code, said, sentence in (
        (shell.returncode, shell.stderr, message),
        (here.exit_code, here.stderr, message),
        (other.exit_code, other.stderr, "found 'water'"),
    ):
        assert code == 1
        assert sentence in said
        assert len(said.strip().splitlines()) == 1


@pytest.mark.lammps
def test_plain_lmp_finds_the_style_by_itself(tmp_path):
    """Through the entry-point group, without LAMMPS_PLUGIN_PATH."""
    assert uma_md("plugin", "path").stdout.strip() == plugin.path()
    (tmp_path / "in.lmp").write_text("info styles pair\n")
    lmp = Path(sys.executable).parent / "lmp"
    command = [str(lmp), "-in", "in.lmp", "-log", "none"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert " uma " in done.stdout


@pytest.mark.lammps
def test_building_again_is_quick_and_says_what_it_found(capsys):
    folder = plugin.build()
    assert str(folder) == plugin.path()
    printed = capsys.readouterr().out
    for word in ("torch 2.", "LAMMPS 2025", "MPI", "built already"):
        assert word in printed


def test_a_lammps_folder_without_headers_is_refused(tmp_path):
    done = in_this_process("plugin", "build", "--lammps", tmp_path)
    assert done.exit_code == 1
    assert str(tmp_path) in done.stderr


def test_elements_are_listed_for_each_task():
    described = in_this_process("info", "uma-nano").output
    for task, elements in (
        ("omol", "H, C, N, O (4)"),
        ("omat", "Al, Ni, Cu, Pt (4)"),
        ("oc20", "H, C, O, Al, Ni, Cu, Pt (7)"),
    ):
        assert re.search(rf"^elements, {task} +{re.escape(elements)}$", described, re.MULTILINE)
    described = in_this_process("info", checkpoint("tiny-1p2")).output
    assert re.search(r"^elements, all tasks +H to Es \(99\)$", described, re.MULTILINE)


def commands(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands of a group, and of the groups in it."""
    for name, command in group.commands.items():
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))


@pytest.mark.parametrize("names", [(), *commands(main)], ids=" ".join)
def test_help_has_an_example_of_the_command(names):
    text = CliRunner().invoke(main, [*names, "--help"]).output
    assert re.search(rf"(Examples?|To begin):\n(.*\n)* +.*uma-md {' '.join(names)}", text), text


def test_help_does_not_wait_for_torch():
    script = (
        "import sys; from click.testing import CliRunner; from uma_md.cli import main\n"
        "for words in (['setup'], ['check'], ['bench'], ['doctor'], ['export']):\n"
        "    assert CliRunner().invoke(main, [*words, '--help']).exit_code == 0\n"
        "assert not {'torch', 'ase', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
