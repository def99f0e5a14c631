# SPDX-License-Identifier: MIT
"""The page of the commands: all that it shows runs, and its tables are those of the code."""

import json
import re
from pathlib import Path

import prepared
import pytest
from command_runs import ENVIRONMENT, hydroxide_extxyz, run
from test_architecture import rows

from uma_md.commands.bench.force_calls import Outcome
from uma_md.commands.bench.layouts import Layout
from uma_md.commands.check.report import Item
from uma_md.commands.doctor.finding import Finding
from uma_md.commands.setup.advice import RULES, Advice
from uma_md.commands.setup.case import AtomType, Choice
from uma_md.commands.setup.record import FIELDS
from uma_md.commands.setup.systems import load_system

PAGE = (Path(__file__).parents[1] / "docs" / "commands.md").read_text()


def table() -> dict[str, list[str]]:
    """Rows of the page's tables by their first cell."""
    return {row[0]: row[1:] for row in rows("commands.md")}


def names(cell: str) -> list[str]:
    """Names of fields in a cell, without what is said of them in brackets."""
    return [name.strip() for name in re.sub(r"\([^)]*\)", "", cell).split(",")]


def test_every_rule_of_advice_is_on_the_page():
    begin, end = PAGE.index("## Advice"), PAGE.index("## uma-md check")
    listed = re.findall(r"^\| `([\w-]+)` \|", PAGE[begin:end], re.MULTILINE)
    assert listed == [rule.name for rule in RULES]


def test_the_layout_of_reports_is_that_of_the_page():
    listed = table()
    assert ["format", "format_version", *names(listed["setup.json"][1])] == list(FIELDS)
    for name, fields in (
        ("types", AtomType._fields),
        ("choices", Choice._fields),
        ("advice", Advice._fields),
        ("items", Item._fields),
        ("findings", Finding._fields),
        ("force_calls", Outcome.__dataclass_fields__),
        ("lammps", Layout.__dataclass_fields__),
    ):
        expected = sorted(fields)
        assert sorted(names(listed[name][0])) == expected, name


def shown() -> list[str]:
    """Commands of the page, in their order."""
    return [line.partition("#")[0].strip() for line in re.findall(r"^    (\S.*)$", PAGE, re.M)]


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.ipi
@pytest.mark.extended
def test_every_command_of_the_page_runs(tmp_path):
    """In the page's order; runs have fewer steps, and benchmarks of larger systems fewer trials."""
    pytest.importorskip("ipi", reason="i-PI is not installed")
    load_system("slab")[0].write(tmp_path / "slab.cif")
    hydroxide_extxyz(tmp_path)
    environment = ENVIRONMENT | {"PATH": prepared.path()}
    commands = shown()
    assert len(commands) == 13
    for command in commands:
        if command.startswith("uma-md bench") and "--repeats" not in command:
            command += " --repeats 1 --steps 2"
        if command.startswith("sh "):
            script = tmp_path / command.split()[1]
            script.write_text(script.read_text().replace("-in in.run", "-in in.run -var steps 3"))
        ended = run(["bash", "-c", command], tmp_path, environment)
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    listed = table()
    for name, words in (
        ("report", "check --json"),
        ("bench", "bench --json"),
        ("doctor", "doctor --json"),
    ):
        report = json.loads((tmp_path / f"{name}.json").read_text())
        expected = ["format", "format_version", *names(listed[words][1])]
        assert list(report) == expected, name
    assert (tmp_path / "water" / "final.data").is_file()
