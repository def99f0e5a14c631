# SPDX-License-Identifier: MIT
"""Structure files that are broken: always one sentence with the file and the reason."""

import os
import random
import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner
from conftest import checkpoint

from ipi_driver.cli import main as uma_ipi
from uma_md.cli import main as uma_md
from uma_md.export import composition
from uma_md.files.structures import FORMATS, read_structure, read_structures

NAMES = {
    "aims": "geometry.in",
    "cfg": "a.cfg",
    "cif": "a.cif",
    "db": "a.db",
    "extxyz": "a.extxyz",
    "gen": "a.gen",
    "gromacs": "a.gro",
    "lammps-data": "a.data",
    "proteindatabank": "a.pdb",
    "sdf": "a.sdf",
    "traj": "a.traj",
    "turbomole": "coord",
    "vasp": "POSCAR",
    "xsf": "a.xsf",
    "xyz": "a.xyz",
}
CHANGES = 60  # of each format

pytestmark = pytest.mark.filterwarnings("ignore")  # ASE's, about its readers


def sentence(path) -> str:
    """What is said of a file that cannot be read; empty where it can."""
    try:
        read_structure(path)
    except ValueError as error:
        return str(error)
    return ""


def changed(data: bytes, rng: random.Random) -> bytes:
    """A file cut, with another byte, another element, or without a line."""
    place, kind = rng.randrange(len(data) + 1), rng.randrange(4)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
    if kind == 2:
        return data.replace(b"Na", b"D", 1)
    lines = data.split(b"\n")
    del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def test_every_format_is_tried():
    assert set(NAMES) == set(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_broken_files_are_refused_in_one_sentence(form, tmp_path):
    rng, path = random.Random(form), tmp_path / NAMES[form]
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    write(path, salt if form != "sdf" else Atoms("NaCl", [[0, 0, 0], [2, 0, 0]]), format=form)
    data, refused = path.read_bytes(), 0
    for _ in range(CHANGES):
        path.write_bytes(changed(data, rng))
        text = sentence(path)
        if not text:
            continue
        refused += 1
        reason = text.partition(", found ")[2]
        assert text.startswith((f"{path} must be a ", f"{path} must hold a "))
        assert len(reason.split()) > 2, text
        assert "\n" not in text
        assert "StopIteration" not in text
    assert refused > 5


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (
            "a.xyz",
            "1\n\nD 0 0 0\n",
            "'D', which is unknown: deuterium and tritium are H with a mass",
        ),
        ("a.xyz", "", "an error in it: Empty file"),
        ("a.xyz", "3\n", "found "),
        ("POSCAR", "\n", "found "),
        ("coord", "", "found "),
        ("a.xsf", "CRYSTAL\nPRIMVEC\n", "that it ends early or lacks lines"),
        ("a.cif", "data_x\nloop_\n", "found "),
        ("a.cif", "\x00\x93\x1f data_" * 300, "found bytes that are not text"),
        ("POSCAR", "Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n", "that it ends early or lacks lines"),
        ("POSCAR", "Si\n1.0\n0 2.7 2.7\n2.7 0 2.7\n2.7 2.7\n", "that it ends early or lacks"),
        ("a.xyz", "1\n\nH 0 zero 0\n", "'zero' where a number must be"),
    ],
)
def test_reasons_are_given(name, text, reason, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    assert reason in sentence(path)
    with pytest.raises(ValueError, match=re.escape(sentence(path))):
        next(read_structures(path))
    with pytest.raises(ValueError, match="--merge-for must be a formula or a structure file that"):
        composition(str(path))
    arguments = [checkpoint("tiny-1p1"), "--template", path, "--unix", "nobody", "--wait", 0]
    result = CliRunner().invoke(uma_ipi, list(map(str, arguments)))
    assert result.exit_code == 1
    assert result.output == f"Error: {sentence(path)}\n"
    words = ["predict", path, "--model", checkpoint("tiny-1p1"), "-o", tmp_path / "out.xyz"]
    result = CliRunner().invoke(uma_md, list(map(str, words)))
    assert result.output == f"Error: {sentence(path)}\n"


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.xyz")
    for name, kind in (("pipe.xyz", "a pipe or a socket"), (".", "a folder")):
        found = f"a structure must be a regular file, found {kind} at "
        assert sentence(tmp_path / name).startswith(found)
    for name in ("none.xyz", "\0"):
        assert sentence(tmp_path / name).startswith("a structure must be a readable file, found ")


@pytest.mark.parametrize(
    ("command", "words", "which"),
    [
        (uma_md, ["predict", "", "--model", "uma-nano", "-o", "out.xyz"], "FILE"),
        (uma_md, ["predict", "a.xyz", "--model", " ", "-o", "out.xyz"], "--model"),
        (uma_md, ["export", "", "--task", "omol", "-o", "out.pt"], "CHECKPOINT"),
        (uma_md, ["info", ""], "FILE"),
        (uma_ipi, ["uma-nano", "--template", "", "--unix", "a"], "--template"),
        (uma_ipi, ["", "--template", "a.xyz", "--unix", "a"], "MODEL"),
        (uma_ipi, ["uma-nano", "--template", "a.xyz", "--unix", "a", "--check", ""], "--check"),
    ],
)
def test_empty_names_are_refused(command, words, which):
    """As those of a shell's variables that are not set."""
    result = CliRunner().invoke(command, words)
    assert result.output == f"Error: {which} must be a name, found an empty one: give another\n"
    assert result.exit_code == 1
    with pytest.raises(ValueError, match="a structure must be a readable file, found an empty"):
        read_structure("")


def test_positions_that_are_no_numbers_are_refused_in_a_template(tmp_path):
    path = tmp_path / "a.xyz"
    write(path, Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]))
    arguments = [checkpoint("tiny-1p1"), "--template", path, "--unix", "nobody", "--wait", 0]
    result = CliRunner().invoke(uma_ipi, list(map(str, arguments)))
    assert result.output.startswith(f"Error: the template {path} must be valid: positions and")
