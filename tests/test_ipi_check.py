# SPDX-License-Identifier: MIT
"""What `uma-ipi --check` says of an input of i-PI before a run."""

import re

import numpy as np
import pytest
from ase import Atoms, units
from click.testing import CliRunner
from conftest import checkpoint
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_driver.cli import main
from ipi_driver.input.ipi_input import read_input

pytestmark = pytest.mark.ipi

GOOD = (
    "<ffsocket name='uma' mode='unix'> <address>uma-check</address> <batch_size>4</batch_size>"
    "<latency>1e-2</latency> <timeout>600</timeout> </ffsocket>"
)


@pytest.fixture
def check(tmp_path):
    """Output and exit code of a check of an input with this force field."""

    def run(field=GOOD, words=("--unix", "uma-check"), template=None, text=None, barostat=""):
        water = water_box(1)
        water.write(tmp_path / "init.extxyz")
        (template or water).write(tmp_path / "template.extxyz")
        path = tmp_path / "input.xml"
        path.write_text(
            text
            or f"<simulation> {field} <system> <initialize nbeads='4'> <file mode='ase'> "
            f"init.extxyz </file> </initialize> <motion> {barostat} </motion> </system> "
            "</simulation>"
        )
        fixed = ["--template", tmp_path / "template.extxyz", "--task", "omol", "--device", "cpu"]
        command = [checkpoint("tiny-1p2p1"), *fixed, "--check", path, *words]
        done = CliRunner().invoke(main, [str(word) for word in command])
        return done.output, done.exit_code

    return run


def test_a_good_input_is_free_of_remarks_and_gives_one_point(check, calculators):
    output, code = check()
    assert code == 0, output
    assert "nothing to remark on" in output
    assert not any(word in output for word in ("error", "warning"))
    point = (
        r"template: energy (\S+) eV, largest force (\S+) eV/angstrom, "
        r"virial part of the pressure (\S+) GPa, \d+\.\d\d s\n"
    )
    found = re.search(point, output)
    assert found, output
    energy, force, pressure = map(float, found.groups())
    water = water_box(1)
    water.calc = calculators("tiny-1p2p1", dtype="float32")
    assert energy == pytest.approx(water.get_potential_energy(), abs=1e-5)
    assert force == pytest.approx(np.linalg.norm(water.get_forces(), axis=1).max(), abs=1e-4)
    assert pressure == pytest.approx(-water.get_stress()[:3].mean() / units.GPa, abs=1e-3)


def remarks(output: str, kind: str, sentence: str) -> int:
    """How many errors or warnings have a sentence in them."""
    lines = output.splitlines()
    return sum(line.startswith(f"uma-ipi: {kind}: ") and sentence in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<timeout>600</timeout>", "", "no <timeout>: a driver that hangs makes i-PI hang"),
        ("<latency>1e-2</latency>", "", "default <latency> with batches"),
        (">4</batch", ">1</batch", "<batch_size>4</batch_size> evaluates them together"),
        (">4</batch", ">3</batch", "4 beads are no multiple of batch_size 3"),
    ],
)
def test_what_makes_a_run_slow_or_fragile_is_a_warning(check, old, new, sentence):
    output, code = check(GOOD.replace(old, new))
    assert code == 0, output
    assert remarks(output, "warning", sentence) == 1
    assert "error: " not in output


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("'unix'", "'shm'", "mode is 'shm': --shm goes with mode='shm' only"),
        (">uma-check<", ">other<", "uma-ipi must be started with --unix other"),
        ("</latency>", "</latency><consolidate_messages>false</consolidate_messages>", "must be 1"),
        (GOOD, "<ffmpi name='uma'/>", "uma-ipi must be started with --mpi"),
        (GOOD, GOOD.replace("uma-check", "a") + GOOD.replace("uma-check", "b"), "found uma, uma"),
        (
            GOOD,
            "<ffdirect name='uma'> <pes_path>a.py</pes_path> <batch_size>3</batch_size></ffdirect>",
            "i-PI would hang with ffdirect, unless threaded='true'",
        ),
    ],
)
def test_what_makes_a_run_fail_is_an_error(check, old, new, sentence):
    output, code = check(GOOD.replace(old, new))
    assert code == 1, output
    assert remarks(output, "error", sentence) == 1


def test_the_template_is_compared_with_what_i_pi_starts_from(check):
    water = water_box(1)
    output, code = check(template=water_box(2))
    assert code == 1
    assert remarks(output, "error", "init.extxyz must have the template's 6 atoms, found 3") == 1
    output, code = check(template=Atoms("HOH", water.positions, cell=water.cell, pbc=True))
    assert code == 0
    sentence = "atom 1 is O in init.extxyz and H in the template: the template decides"
    assert remarks(output, "warning", sentence) == 1
    output, code = check(template=Atoms("OHH", water.positions), barostat="<barostat/>")
    assert code == 1
    for sentence in (
        "init.extxyz is periodic along a, b, c, the template along -",
        "a barostat needs a template that is periodic in three directions",
    ):
        assert remarks(output, "error", sentence) == 1


def test_the_fingerprint_is_given_and_compared(check):
    output, code = check()
    line = re.search(r"is refused with <parameters> \{ fingerprint: (\S+) \} </parameters>", output)
    assert line, output
    field = GOOD.replace("</timeout>", "</timeout> <parameters> { fingerprint: X } </parameters>")
    output, code = check(field.replace("X", line[1]))
    assert code == 0, output
    assert "nothing to remark on" in output
    output, code = check(field.replace("X }", f"{line[1]}, charge: -1.0 }}"))
    assert code == 1
    right = line[1].replace("charge+0", "charge-1")
    sentence = f"must be {line[1]}, which i-PI's input gives; found {right}: start all drivers"
    assert f"Error: this driver's fingerprint {sentence}" in output


@pytest.mark.parametrize("given", ["0.5", "abc", "nan", "1e400", ""])
@pytest.mark.parametrize("name", ["charge", "spin"])
def test_parameters_that_are_no_whole_numbers_are_refused(check, name, given):
    field = GOOD.replace("</timeout>", f"</timeout> <parameters> {{{name}: {given}}} </parameters>")
    output, code = check(field)
    assert code == 1
    assert f"Error: {name} must be an integer, found {given!r}\n" in output


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '<!DOCTYPE simulation [<!ENTITY x SYSTEM "file:///etc/passwd">]> <simulation>&x;'
            "</simulation>",
            "i-PI's input must have no document type",
        ),
        ("<simulation>", "i-PI's input must be XML"),
        ("<other/>", "i-PI's input must begin with <simulation>, found <other>"),
        (
            "<simulation> <ffsocket> <port> x </port> </ffsocket> </simulation>",
            "i-PI's input must have valid values",
        ),
    ],
)
def test_a_file_that_is_no_input_is_refused(check, text, sentence):
    output, code = check(text=text)
    assert code == 1
    assert output.startswith(f"Error: {sentence}")


def test_a_huge_input_is_refused(tmp_path):
    path = tmp_path / "input.xml"
    with path.open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(ValueError, match="must have at most 16777216 bytes"):
        read_input(path)
