# SPDX-License-Identifier: MIT
"""What LAMMPS says of a task, and its warnings where a system is outside of it."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, molecule
from lammps_runs import Block, run
from structures import water_box

from uma_md.commands.setup.advice import PURPOSES, RULES, Situation, advise
from uma_md.commands.setup.anatomy import _NONMETALS, Anatomy
from uma_md.system import default_spin

SOURCE = (Path(__file__).parents[1] / "lammps_plugin" / "advice.cpp").read_text()
TASKS = tuple(PURPOSES)
RUN = "run 0\n"
MOVE = "timestep {}\nfix move all nve\nrun 1\n"


class Case(NamedTuple):
    """A system, how it is run, and the rules that LAMMPS must name, no others."""

    atoms: Atoms
    task: str
    rules: set[str]
    style: str = ""
    commands: str = RUN


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def magnesia() -> Atoms:
    return bulk("MgO", "rocksalt", a=4.21, cubic=True)


def slab(adsorbate: str | None = "CO") -> Atoms:
    surface = fcc100("Cu", (3, 3, 3), vacuum=6.0)
    if adsorbate:
        add_adsorbate(surface, molecule(adsorbate), 2.0, "hollow")
    return surface


def wet_slab() -> Atoms:
    surface = fcc100("Cu", (3, 3, 3), vacuum=8.0)
    top = surface.positions[:, 2].max()
    for k in range(9):
        water = molecule("H2O")
        water.translate([2.55 * (k % 3), 2.55 * (k // 3), top + 3.0])
        surface += water
    return surface


def droplet(kind: str = "H2O", **info: int) -> Atoms:
    atoms = molecule(kind)
    atoms.rattle(0.01, seed=1)
    atoms.info.update(info)
    return atoms


CASES = {
    "water": Case(water_box(8), "omol", set()),
    "salt in omol": Case(salt(), "omol", {"omol-solid"}),
    "metal in omol": Case(bulk("Cu", cubic=True), "omol", {"omol-solid"}),
    "slab in omol": Case(slab("CH3OH"), "omol", {"omol-solid"}, "spin 2"),
    "oxide in omc": Case(magnesia(), "omc", {"omc-solid"}),
    "molecules in omc": Case(water_box(8), "omc", set()),
    "oxide in oc20": Case(magnesia(), "oc20", {"oc20-oxide"}),
    "adsorbate in oc20": Case(slab(), "oc20", set()),
    "oxide in oc22": Case(magnesia(), "oc22", set()),
    "wet slab in oc20": Case(wet_slab(), "oc20", {"oc20-solvent"}),
    "wet slab in oc25": Case(wet_slab(), "oc25", set()),
    "metal in omat": Case(bulk("Cu", cubic=True), "omat", set()),
    "water in omat": Case(water_box(8), "omat", {"omat-dispersion"}),
    "cluster in omat": Case(droplet("SiO"), "omat", {"molecule-without-box"}),
    "cluster in odac": Case(droplet(), "odac", {"molecule-without-box"}),
    "charge in omat": Case(salt(), "omat", {"charge"}, "charge 1"),
    "spin in oc20": Case(slab(), "oc20", {"spin"}, "spin 2"),
    "radical": Case(droplet("OH"), "omol", {"parity"}),
    "radical with its spin": Case(droplet("OH", spin=2), "omol", set(), "spin 2"),
    "ion": Case(droplet("OH", charge=-1), "omol", set(), "charge -1"),
    "ion in a box": Case(water_box(8), "omol", {"charged-box"}, "charge 2"),
    "long step": Case(water_box(8), "omol", {"time-step"}, commands=MOVE.format(0.002)),
    "short step": Case(water_box(8), "omol", set(), commands=MOVE.format(0.0005)),
    "long step of metal": Case(
        bulk("Cu", cubic=True), "omat", set(), commands=MOVE.format(0.004)
    ),
    "long step at rest": Case(water_box(8), "omol", set(), commands="timestep 0.002\nrun 0\n"),
    "deuterium": Case(
        water_box(8), "omol", set(), commands="mass 1 2.014\n" + MOVE.format(0.0013)
    ),
    "constraints": Case(
        water_box(8),
        "omol",
        set(),
        commands="timestep 0.002\nfix move all rigid group 1 all\nrun 1\n",
    ),
    "minimization": Case(
        water_box(8), "omol", set(), commands="timestep 0.002\nminimize 0 0 1 1\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(exported, tmp_path_factory) -> dict[str, str]:
    """What LAMMPS prints for each case, on two ranks."""
    folder = tmp_path_factory.mktemp("advice")
    script = ""
    for index, (name, case) in enumerate(CASES.items()):
        block = Block(case.atoms, exported("tiny-1p2p1", case.task), case.style)
        script += f'print "case {name}"\n{block.setup(folder, index)}\n{case.commands}clear\n'
    parts = re.split(r"^case (.*)$", run(script, 2, folder), flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def pattern_of(sentence: str) -> str:
    """A sentence of the table as a pattern."""
    return "".join(
        ".*?" if part.startswith("{") else re.escape(part)
        for part in re.split(r"(\{[^}]*\})", sentence)
    )


def rules_in(text: str) -> list[str]:
    """Rules whose sentences a text has."""
    return [
        rule.name
        for rule in RULES
        for _ in re.finditer(f"WARNING: pair_style uma: {pattern_of(rule.sentence)}", text)
    ]


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("name", list(CASES))
def test_warnings_are_those_of_the_case_and_come_once(said, name):
    assert sorted(rules_in(said[name])) == sorted(CASES[name].rules), said[name][-2000:]
    assert said[name].count("WARNING: pair_style uma") == len(CASES[name].rules)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("name", list(CASES))
def test_the_log_says_what_the_task_is_for(said, name):
    task = CASES[name].task
    assert f" {task}: {PURPOSES[task]} composition:" in said[name]


@pytest.mark.lammps
@pytest.mark.mpi
def test_values_of_the_sentences(said):
    assert "layers and solids such as this one: export the model for omat" in said["salt in omol"]
    assert "a charge of +1 e has no meaning" in said["charge in omat"]
    assert "odd number of electrons (9) has an even multiplicity, found 1" in said["radical"]
    assert "2 fs is too long for H, whose bonds vibrate faster: take 1 fs" in said["long step"]


@pytest.mark.lammps
@pytest.mark.mpi
def test_a_step_that_becomes_too_long_is_warned_of_once(exported, tmp_path):
    block = Block(water_box(8), exported("tiny-1p2p1", "omol"))
    runs = "run 0\ntimestep 0.0005\nfix move all nve\nrun 1\ntimestep 0.002\nrun 1\nrun 1\n"
    log = " ".join(run(block.setup(tmp_path, 0) + "\n" + runs, 2, tmp_path).split())
    assert rules_in(log) == ["time-step"]
    real = runs.replace("0.0005", "0.5").replace("0.002", "2.0")
    script = block.setup(tmp_path, 0).replace("units metal", "units real")
    assert rules_in(" ".join(run(script + "\n" + real, 2, tmp_path).split())) == ["time-step"]


@pytest.mark.lammps
@pytest.mark.mpi
def test_dispersion_that_is_there_is_not_missed(exported, tmp_path):
    block = Block(water_box(8), exported("tiny-1p2p1", "omat"))
    script = block.setup(tmp_path, 0)
    style, coefficients = (
        next(line for line in script.splitlines() if line.startswith(word))
        for word in ("pair_style", "pair_coeff")
    )
    both = style.replace("pair_style uma", "pair_style hybrid/overlay uma")
    script = script.replace(style, f"{both} dispersion/d3 bj pbe 8.0 8.0").replace(
        coefficients,
        coefficients.replace("* * ", "* * uma ") + "\npair_coeff * * dispersion/d3 H O",
    )
    assert rules_in(" ".join(run(f"{script}\n{RUN}", 2, tmp_path).split())) == []


def literals(text: str) -> str:
    """Neighboring literals of C++ as one text."""
    return "".join(re.findall(r'"([^"]*)"', text))


def test_sentences_are_those_of_setup():
    table = SOURCE.split("const Rule RULES[] = {")[1].split("};")[0]
    rows = re.findall(r'\{"([a-z0-9-]+)", \w+, "[^"]*",((?:\s*"[^"]*")+)\}', table)
    assert len(rows) == table.count("    {") >= 11
    known = {rule.name: rule for rule in RULES}
    for name, sentence in rows:
        assert known[name].sentence == literals(sentence)
        assert known[name].kind == "warning"


def test_every_warning_is_on_the_page_of_the_pair_style():
    page = (Path(__file__).parents[1] / "docs" / "pair_style_uma.md").read_text()
    section = page.split("## Warnings")[1].split("##")[0]
    first = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    table = SOURCE.split("const Rule RULES[] = {")[1].split("};")[0]
    assert re.findall(r"`([\w-]+)`", " ".join(first)) == re.findall(r'\{"([\w-]+)", ', table)


def test_tasks_and_metals_are_those_of_setup():
    table = SOURCE.split("PURPOSES[] = {")[1].split("};")[0]
    assert dict(re.findall(r'\{"(\w+)", "([^"]*)"\}', table)) == PURPOSES
    numbers = SOURCE.split("NONMETALS = {")[1].split("};")[0]
    assert set(map(int, re.findall(r"\d+", numbers))) == _NONMETALS


@pytest.mark.parametrize("name", list(CASES))
def test_setup_which_sees_bonds_says_no_less(name):
    case = CASES[name]
    options = dict(re.findall(r"(charge|spin) (-?\d+)", case.style))
    step = re.search(r"timestep (\S+)\nfix move all nve", case.commands)
    masses = re.search(r"mass 1 (\S+)", case.commands)
    if masses:
        case.atoms.set_masses([float(masses[1]) if z == 1 else None for z in case.atoms.numbers])
    situation = Situation(
        case.atoms,
        Anatomy(case.atoms),
        "UMA-1.2",
        case.task,
        TASKS,
        int(options.get("charge", 0)),
        int(options.get("spin", default_spin(case.task))),
        6.0,
        1000 * float(step[1]) if step else None,
    )
    assert case.rules <= {advice.rule for advice in advise(situation)}
