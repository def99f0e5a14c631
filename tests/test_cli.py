# SPDX-License-Identifier: MIT
"""The command line, as a user types it."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import checkpoint

from uma_md import plugin

UMA_MD = Path(sys.executable).parent / "uma-md"


def uma_md(*words) -> subprocess.CompletedProcess[str]:
    command = [str(UMA_MD), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_info_and_export_work_from_the_shell(tmp_path):
    output = tmp_path / "water.pt"
    done = uma_md(
        "export", checkpoint("tiny-1p2p1"), "--task", "omol", "--merge-for", "H2O", "-o", output
    )
    assert done.returncode == 0, done.stderr
    described = uma_md("info", output).stdout
    assert "UMA-S-1.2.1" in described
    assert "merged for H2O1" in described


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("info", "none.pt"), "checkpoint must be an existing file, found none at none.pt"),
        (("export", checkpoint("tiny-1p1"), "--task", "water", "-o", "x.pt"), "found 'water'"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_1(words, message, tmp_path):
    done = uma_md(*words)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


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
    done = uma_md("plugin", "build", "--lammps", tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
