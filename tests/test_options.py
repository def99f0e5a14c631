# SPDX-License-Identifier: MIT
"""Options of a run: the same in the calculator, in uma-ipi and in what they refuse."""

import re
from dataclasses import fields
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import checkpoint
from structures import structure

from ipi_driver.cli import main
from ipi_driver.options import Options
from uma_md import UMACalculator
from uma_md.config import CHARGE_RANGE, SPIN_RANGE, num_integers
from uma_md.options import RunOptions

INVALID = [
    ({"dtype": "half"}, ValueError, "dtype must be one of float32, float64; found 'half'"),
    ({"recompute": "never"}, ValueError, "recompute must be auto, on or off, found 'never'"),
    ({"graphs": "yes"}, ValueError, "graphs must be off, auto or on, found 'yes'"),
    (
        {"precision": "half"},
        ValueError,
        "precision must be one of float32, tf32, fp16x3, bf16x3, bf16x6; found 'half'",
    ),
    ({"chunk": 0}, ValueError, "chunk must be 1 or more edges, found 0"),
    ({"charge": 101}, ValueError, "charge must be -100 to 100, found 101"),
    ({"spin": -1}, ValueError, "spin must be 0 to 100, found -1"),
    ({"spin": 1.5}, TypeError, "spin must be an integer, found 1.5"),
]


@pytest.mark.parametrize(("options", "kind", "sentence"), INVALID)
def test_invalid_options_are_refused_wherever_they_are_given(options, kind, sentence):
    for taken in (
        RunOptions,
        Options,
        lambda **given: UMACalculator(checkpoint("tiny-1p1"), "omol", **given),
    ):
        with pytest.raises(kind, match=re.escape(sentence)):
            taken(**options)


def test_every_option_is_a_flag_of_uma_ipi_with_the_same_default():
    flags = {parameter.name: parameter for parameter in main.params}
    for entry in fields(RunOptions):
        assert flags[entry.name].default == entry.default, entry.name
    assert {entry.name for entry in fields(Options)} <= set(flags)


def test_every_option_is_a_keyword_of_the_calculator(calculators):
    given: dict[str, Any] = {
        "chunk": 7,
        "recompute": "on",
        "engine": "portable",
        "precision": "float32",
        "graphs": "on",
        "charge": -1,
        "spin": 2,
        "trust_code": False,
    }
    assert {*given, "device", "dtype"} == set(RunOptions.names())
    calculator = UMACalculator(
        checkpoint("tiny-1p2p1"), "omol", device="cpu", dtype="float64", **given
    )
    atoms, same = structure("mol:OH@0,2"), structure("mol:OH@0,2")
    same.info.update(charge=-1, spin=2)
    expected = calculators("tiny-1p2p1").get_potential_energy(same)
    assert calculator.get_potential_energy(atoms) == pytest.approx(expected, abs=1e-10)
    assert calculators("tiny-1p2p1").get_potential_energy(atoms) != pytest.approx(expected)


def test_unknown_keywords_are_refused():
    """ASE's Calculator would keep them as parameters and say nothing."""
    with pytest.raises(TypeError, match=r"must be atoms, charge, chunk, .*; found 'chnuk'"):
        UMACalculator(checkpoint("tiny-1p1"), "omol", chnuk=7)
    assert UMACalculator(checkpoint("tiny-1p1"), "omol", label="water").label == "water"


@pytest.mark.ipi
def test_chunk_and_recompute_of_uma_ipi_change_nothing(tmp_path):
    pytest.importorskip("ipi", reason="i-PI is not installed")
    template = tmp_path / "water.extxyz"
    structure("water:8").write(template)
    (tmp_path / "input.xml").write_text(
        "<simulation> <ffsocket mode='unix'> <address>a</address> <timeout>60</timeout> "
        "</ffsocket> </simulation>"
    )
    said = []
    for words in ((), ("--chunk", "13", "--recompute", "on")):
        fixed = ["--template", template, "--task", "omol", "--dtype", "float64", "--unix", "a"]
        command = [checkpoint("tiny-1p2p1"), *fixed, "--check", tmp_path / "input.xml", *words]
        done = CliRunner().invoke(main, list(map(str, command)))
        assert done.exit_code == 0, done.output
        said.append(re.findall(r"energy (\S+) eV, largest force (\S+) eV", done.output))
    assert len(said[0]) == 1
    assert said[0] == said[1]


def test_tables_of_charge_and_spin_have_a_row_for_every_value(calculators):
    network = calculators("tiny-1p1")._potential.network
    assert len(network.charge_embedding.weight) == num_integers(CHARGE_RANGE) == 201
    assert len(network.spin_embedding.weight) == num_integers(SPIN_RANGE) == 101
