# SPDX-License-Identifier: MIT
"""The examples of the gallery, shortened: what they print, and their pictures."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import prepared
import pytest
from ase.io import read
from click.testing import CliRunner
from lammps_session import ONE_THREAD
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
BIN = Path(sys.executable).parent
GALLERY = (
    "water-npt",
    "proton-hopping",
    "vibrational-spectrum",
    "melting",
    "elastic",
    "vacancy",
    "phonons",
    "surface-neb",
    "ammonia-inversion",
    "gcmc",
    "d3-overlay",
    "screening",
    "lammps-python",
    "active-learning",
)
pytestmark = pytest.mark.slow


def script_of(name: str) -> Path:
    """Where the script of an example is."""
    return EXAMPLES / name / f"{name.replace('-', '_')}.py"


def is_picture(path: Path) -> bool:
    """Whether a file shows more than one color."""
    with Image.open(path) as picture:
        return bool(np.ptp(np.asarray(picture.convert("L"))) > 100)


def printed(name: str, options: str, picture: Path) -> str:
    """What an example prints; it draws into ``picture``."""
    main = runpy.run_path(str(script_of(name)))["main"]
    words = [*options.split(), "--output", str(picture)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert is_picture(picture)
    return done.output


def numbers(text: str, pattern: str) -> list[float]:
    """Numbers that the groups of a pattern find in a text, which must hold it once."""
    (found,) = re.findall(pattern, text)
    return [float(word) for word in ([found] if isinstance(found, str) else found)]


@pytest.mark.parametrize("name", GALLERY)
def test_each_example_has_one_command_and_its_picture(name):
    text = (EXAMPLES / name / "README.md").read_text()
    (command,) = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    script = next(word for word in shlex.split(command) if word.endswith(".py"))
    assert script == str(script_of(name).relative_to(ROOT))
    assert is_picture(EXAMPLES / name / f"{name}.png")
    assert f"]({name}.png)" in text
    assert len(text.splitlines()) <= 16
    assert f"../examples/{name}/README.md" in (ROOT / "docs" / "gallery.md").read_text()


def test_elastic_constants_are_those_of_the_curve(tmp_path):
    out = printed("elastic", "--points 5", tmp_path / "a.png")
    assert numbers(out, r"constant +(\S+)")[0] == pytest.approx(3.588, abs=0.005)
    (modulus,) = numbers(out, r"modulus +(\S+)")
    c11, c12, c44 = numbers(out, r"C44 +(\S+), (\S+), (\S+)")
    assert (c11 + 2 * c12) / 3 == pytest.approx(modulus, abs=5)
    assert c11 > c12 > 0 < c44  # stable
    assert modulus == pytest.approx(133, abs=5)


def test_a_vacancy_costs_energy_and_relaxes(tmp_path):
    out = printed("vacancy", "--metals Cu --repeats 2", tmp_path / "a.png")
    end, start = numbers(out, r"Cu +(\S+) eV \((\S+) before")
    assert 0.9 < end < start < 1.6  # with 107 atoms 1.20


def test_phonons_are_stable_and_vanish_for_long_waves(tmp_path):
    out = printed("phonons", "--repeats 3", tmp_path / "a.png")
    transverse, _, longitudinal = numbers(out, r"at X +(\S+) (\S+) (\S+) THz")
    assert 3.5 < transverse < longitudinal < 10  # copper: 5.1 and 7.2 THz
    assert abs(numbers(out, r"lowest +(\S+)")[0]) < 0.5


def test_oxygen_diffuses_over_a_bridge(tmp_path):
    out = printed("surface-neb", "--images 1 --fmax 0.15", tmp_path / "a.png")
    (bridge,) = numbers(out, r"bridge +(\S+) eV")
    (barrier,) = numbers(out, r"barrier +(\S+) eV")
    assert 0.05 < bridge < 0.2
    assert barrier == pytest.approx(bridge, abs=0.03)


def test_carbon_monoxide_stands_on_its_carbon():
    slab = runpy.run_path(str(script_of("surface-neb")))["adsorbed"]("CO", "hollow")
    assert slab.symbols[-2:].get_chemical_formula() == "CO"
    assert slab.symbols[-1] == "C"
    assert slab.positions[-2, 2] - slab.positions[-1, 2] == pytest.approx(1.15, abs=0.2)


def test_flat_ammonia_is_a_saddle_point(tmp_path):
    out = printed("ammonia-inversion", "--images 3 --steps 60", tmp_path / "a.png")
    assert 150 < numbers(out, r"barrier +(\S+) meV")[0] < 350
    lists = dict(re.findall(r"(pyramid|flat) +(.*) 1/cm", out))
    counts = {name: sum(float(w) < 0 for w in text.split()) for name, text in lists.items()}
    assert counts == {"pyramid": 0, "flat": 1}
    assert len(lists["pyramid"].split()) == 6


@pytest.mark.lammps
@pytest.mark.mpi
def test_water_keeps_its_density_until_pressure_acts(tmp_path):
    out = printed("water-npt", "--steps 20 --pressure 400000", tmp_path / "a.png")
    assert numbers(out, r"volume +\S+ K, (\S+)")[0] == pytest.approx(0.997, abs=0.001)
    density, steps = numbers(out, r"pressure +\S+ K, (\S+) g/cm3, (\S+) steps")
    assert 1.05 < density < 1.5
    assert steps == 40


@pytest.mark.lammps
@pytest.mark.mpi
def test_one_molecule_has_the_third_proton(tmp_path):
    out = printed("proton-hopping", "--steps 60", tmp_path / "a.png")
    frames, hops, molecules = numbers(out, r"(\d+) frames, (\d+) hops, (\d+) molecules")
    assert frames == 7
    assert 1 <= molecules <= 1 + hops


def test_protons_are_counted_for_the_nearest_oxygen():
    script = runpy.run_path(str(script_of("proton-hopping")))
    atoms = script["droplet"]()
    moved = atoms.positions.copy()
    second = 3 + np.argmin(atoms.get_distances(0, range(3, 9, 3)))
    second -= second % 3
    moved[-1] = moved[second] + [0.0, 0.0, 0.9]
    found = script["carriers"]([atoms.positions, moved], list(atoms.symbols))
    assert found == [0, second // 3]


@pytest.mark.lammps
@pytest.mark.mpi
def test_bands_of_water_are_where_its_bonds_vibrate(tmp_path):
    out = printed("vibrational-spectrum", "--steps 120", tmp_path / "a.png")
    assert 1300 < numbers(out, r"bend +(\S+)")[0] < 2000
    assert 3000 < numbers(out, r"stretch +(\S+)")[0] < 4100


def test_the_spectrum_of_one_vibration_is_one_band():
    script = runpy.run_path(str(script_of("vibrational-spectrum")))
    times = np.arange(1000) * script["INTERVAL"]
    wave = np.sin(2 * np.pi * 1500 * script["LIGHT"] * times)
    found, states = script["density_of_states"](wave[:, None, None] * [1.0, 0.5, 0.0], np.ones(1))
    assert found[states.argmax()] == pytest.approx(1500, abs=20)
    assert np.trapezoid(states, found) == pytest.approx(1)


@pytest.mark.lammps
@pytest.mark.mpi
def test_the_melt_has_less_order_than_the_crystal(tmp_path):
    out = printed("melting", "--cells 6 --steps 60 --temperature 600", tmp_path / "a.png")
    (crystal,), (melt,) = numbers(out, r"crystal +(\S+)"), numbers(out, r"melt +(\S+)")
    assert 0 < 2 * crystal < melt


@pytest.mark.lammps
@pytest.mark.mpi
def test_more_oxygen_comes_at_a_higher_chemical_potential(tmp_path):
    out = printed("gcmc", "--steps 8 --potential -3 --potential 1", tmp_path / "a.png")
    low, high = (float(word) for word in re.findall(r"coverage (\S+)", out))
    assert low == 0
    assert 0.05 < high <= 1


@pytest.mark.lammps
@pytest.mark.mpi
def test_dispersion_reaches_farther_than_the_model(tmp_path):
    out = printed("d3-overlay", "--gaps 14 --cutoff 10", tmp_path / "a.png")
    (near, dispersion), (far, left) = (
        numbers(out, rf"{place} +model (\S+), D3 (\S+) J/m2") for place in ("touching", "apart")
    )
    assert near > dispersion > left > 0.01
    assert far == pytest.approx(0, abs=1e-6)


def test_isomers_come_from_one_call(tmp_path):
    out = printed("screening", "--copies 0", tmp_path / "a.png")
    assert numbers(out, r"^(\d+) structures")[0] == 61
    assert re.search(r"C2H6O +CH3CH2OH 0.00, CH3OCH3 [01]\.\d\d eV", out)


@pytest.mark.lammps
@pytest.mark.mpi
def test_a_committee_ends_the_run_where_it_disagrees(tmp_path):
    words = f"--cells 2 --steps 100 --limit 0.02 --keep 0.01 --structures {tmp_path / 'new.xyz'}"
    out = printed("active-learning", words, tmp_path / "a.png")
    step, largest = numbers(out, r"ended at step (\d+), largest deviation (\S+) eV")
    assert 0 < step < 100
    assert largest > 0.02
    kept: Any = read(tmp_path / "new.xyz", ":")
    assert len(kept) == numbers(out, r"kept (\d+) structures")[0]
    assert all(atoms.arrays["forces_std"].max() > 0.01 for atoms in kept)
    assert kept[-1].info["step"] == step
    assert kept[-1].arrays["forces_std"].max() == pytest.approx(largest, abs=1e-3)


@pytest.mark.lammps
@pytest.mark.mpi
def test_lammps_follows_python_on_two_ranks(tmp_path):
    command: list[str | Path] = [BIN / "mpiexec", "-n", "2", prepared.python(), "-m", "mpi4py"]
    options = ["--steps", "10", "--step", "1500", "--highest", "2100"]
    script = [script_of("lammps-python"), *options, "--output", tmp_path / "a.png"]
    done = subprocess.run(
        [*command, *script], env=ONE_THREAD, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = np.array([line.split()[::2] for line in done.stdout.splitlines()], dtype=float)
    assert len(rows) == 2
    assert (np.diff(rows, axis=0) > 0).all()
    assert is_picture(tmp_path / "a.png")
    assert not (tmp_path / "a.pt").exists()
