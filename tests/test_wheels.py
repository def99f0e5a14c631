# SPDX-License-Identifier: MIT
"""Binary wheels: what is in one, and LAMMPS and ASE with what it brings, without a compiler."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from structures import water_box

from uma_md import UMACalculator
from uma_md.build import BuildError, find_tool

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[1]
TIME_LIMIT = 300
LIBRARIES = ("uma_kernels.so", "umaplugin.so", "uma_pair.so")


def has_tools() -> bool:
    try:
        find_tool("patchelf", "")
    except BuildError:
        return False
    return all(map(importlib.util.find_spec, ("auditwheel", "wheel")))


pytestmark = [
    pytest.mark.slow,
    pytest.mark.lammps,
    pytest.mark.mpi,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository"),
    pytest.mark.skipif(
        not (has_tools() or os.environ.get("CI")), reason="needs auditwheel and patchelf"
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    from binary_wheel import binary_wheel

    return binary_wheel(tmp_path_factory.mktemp("binary"))


class Place:
    """An environment in which the wheel is installed: its packages, programs and variables."""

    def __init__(self, folder, packages, programs, variables):
        self.folder, self.packages, self.programs = folder, packages, programs
        self.variables = {**variables, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def call(self, *words, code=0):
        """Run a program of the environment; its output and errors."""
        name, *others = map(str, words)
        done = subprocess.run(
            [str(self.programs / name), *others],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def record(self):
        (found,) = (self.packages / "uma_md" / "compiled").glob("*/build.json")
        return found

    def uma_md(self, *words, code=0):
        return self.call("python", "-m", "uma_md.cli", *words, code=code)


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """The tests' packages in a folder of their own, but uma-md from the wheel."""
    from binary_wheel import no_compilers

    folder = tmp_path_factory.mktemp("place")
    purelib = Path(sysconfig.get_path("purelib"))
    packages = folder / purelib.relative_to(sys.prefix)
    packages.mkdir(parents=True)
    for source, target in ((purelib, packages), (Path(sys.prefix, "lib"), folder / "lib")):
        for entry in source.iterdir():  # below lib is MPI's library, where lmp looks for it
            if "uma_md" not in entry.name and not (target / entry.name).exists():
                (target / entry.name).symlink_to(entry)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    variables = no_compilers(folder, BIN) | {"PYTHONPATH": str(packages)}
    return Place(folder, packages, BIN, variables)


def test_the_wheel_is_the_source_wheel_and_libraries(wheel):
    (source,) = (wheel.parents[1] / "source").glob("*.whl")
    with zipfile.ZipFile(wheel) as binary, zipfile.ZipFile(source) as plain:
        added = set(binary.namelist()) - set(plain.namelist())
        assert set(plain.namelist()) <= set(binary.namelist())
        (about,) = (name for name in binary.namelist() if name.endswith("dist-info/WHEEL"))
        text = binary.read(about).decode()
    (record,) = (name for name in added if name.endswith("build.json"))
    folder = record.removesuffix("build.json")
    assert re.fullmatch(r"uma_md/compiled/torch-2\.\d+\.\d+/", folder)
    files = {name for name in added if "dist-info" not in name and not name.endswith("/")}
    assert files == {folder + name for name in ("build.json", *LIBRARIES)}
    assert "Root-Is-Purelib: false" in text
    assert re.search(r"(?m)^Tag: py3-none-manylinux_2_\d\d_x86_64$", text)
    assert re.fullmatch(r"uma_md-[\d.]+-py3-none-manylinux_2_\d\d_x86_64\.whl", wheel.name)


def test_libraries_look_for_torch_beside_them_and_for_no_accelerator(place):
    patchelf = find_tool("patchelf", "")
    for name in LIBRARIES:
        library = place.record.parent / name
        ask = [str(patchelf), "--print-rpath", "--print-needed", str(library)]
        path, *needed = subprocess.run(
            ask, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert path.removeprefix("$ORIGIN:") == "$ORIGIN/../../../torch/lib"
        assert not any(re.search("cuda|hip|xpu|mpi|lammps", one) for one in needed)


def compare_lammps_with_ase(place):
    """Energy and forces of LAMMPS on 2 ranks of an environment, and of ASE in this one."""
    atoms = water_box(8)
    atoms.info.update(charge=0, spin=1)
    write(place.folder / "water.data", atoms, "lammps-data", specorder=["H", "O"], masses=True)
    words = "export uma-nano --task omol --dtype float64 -o water.pt"
    place.uma_md(*words.split())
    (place.folder / "in.water").write_text(
        "units metal\nread_data water.data\npair_style uma device cpu\n"
        "pair_coeff * * water.pt H O\nrun 0\nvariable e equal pe\n"
        'print "energy $(v_e:%.12f)"\n'
        "write_dump all custom forces id fx fy fz modify sort id format float %.12g\n"
    )
    log = place.call("mpiexec", "-n", 2, place.programs / "lmp", "-in", "in.water", "-log", "none")
    assert re.search(r"(2 by 1 by 1|1 by 2 by 1|1 by 1 by 2) MPI processor grid", log)
    energy = float(re.findall(r"(?m)^energy (\S+)$", log)[-1])
    atoms.calc = UMACalculator("uma-nano", task="omol", dtype="float64", device="cpu")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    forces = np.loadtxt(place.folder / "forces", skiprows=9)[:, 1:]
    np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-8)
    assert np.abs(forces).max() > 0.1


def test_lammps_on_two_ranks_gives_the_energy_of_ase(place):
    assert place.uma_md("plugin", "path").strip() == str(place.record.parent)
    compare_lammps_with_ase(place)


def test_ase_takes_the_kernels_of_the_wheel(place):
    code = "from uma_md.kernels import library; print(library.load(), library.home())"
    assert place.call("python", "-c", code).strip() == f"True {place.record.parent}"


def test_there_is_nothing_to_compile(place):
    for command in (("build",), ("plugin", "build")):
        said = place.uma_md(*command)
        assert "uma-md came with the plugin compiled" in said
        assert said.strip().splitlines()[-1] == str(place.record.parent)
    assert not (place.folder / "cache" / "uma-md").exists()
    said = place.uma_md("plugin", "build", "--from-source", code=1)
    assert "a C++20 compiler must be installed, found no c++" in said


@pytest.mark.parametrize(("name", "other"), [("torch", "2.13.9"), ("LAMMPS", "2024.8.29.1.0")])
def test_a_wheel_for_other_versions_says_so_and_names_the_build(place, name, other):
    original = place.record.read_text()
    record = json.loads(original)
    found = record["versions"][name]
    record["versions"][name] = other
    try:
        place.record.write_text(json.dumps(record))
        said = place.uma_md("plugin", "path", code=1)
        assert re.search(rf"this wheel's libraries must have .*{name} {re.escape(other)}", said)
        assert re.search(
            rf"found .*{name} {re.escape(found)}\S*.*: run 'uma-md plugin build'", said
        )
        (place.folder / "in.styles").write_text("info styles pair\n")
        assert " uma " not in place.call("lmp", "-in", "in.styles", "-log", "none")
    finally:
        place.record.write_text(original)
    assert " uma " in place.call("lmp", "-in", "in.styles", "-log", "none")


@pytest.mark.extended
def test_installed_by_pip_into_an_empty_environment(wheel, tmp_path):
    """Everything comes from the package index, as for a user."""
    from binary_wheel import no_compilers

    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    variables = no_compilers(tmp_path, programs)
    pip = [programs / "python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    limits = ["--constraint", ROOT / "requirements" / "constraints.txt", "--only-binary=:all:"]
    needs = [*pip, *limits, f"{wheel}[lammps]"]
    subprocess.run(list(map(str, needs)), check=True, env=variables, timeout=1500)
    for name in ("cmake", "ninja"):
        (programs / name).unlink()
    assert shutil.which("c++", path=variables["PATH"]) is None
    (packages,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    place = Place(tmp_path, packages, programs, variables)
    compare_lammps_with_ase(place)
    assert "Nothing to mend." in place.uma_md("doctor")


def test_a_library_that_names_a_folder_of_the_build_is_refused(tmp_path):
    from binary_wheel import refuse_folders_of_here

    wheel = tmp_path / "a.whl"
    for text, ends in (("/elsewhere", False), (f"x{tmp_path}/torch", True)):
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("uma_md/compiled/torch-2.13.0/umaplugin.so", text)
        if ends:
            with pytest.raises(SystemExit, match="must name no folder of the build, found uma_md"):
                refuse_folders_of_here(wheel, tmp_path)
        else:
            refuse_folders_of_here(wheel, tmp_path)
        assert wheel.exists() != ends
