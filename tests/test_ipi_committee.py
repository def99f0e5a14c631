# SPDX-License-Identifier: MIT
"""Several models behind i-PI: their mean, and how far they differ, for every bead."""

import json
import subprocess
from typing import Any

import numpy as np
import prepared
import pytest
from conftest import checkpoint

pytest.importorskip("ipi", reason="i-PI is not installed")
from click.testing import CliRunner
from ipi_runs import (
    ANGSTROM,
    BIN,
    ELECTRONVOLT,
    ENVIRONMENT,
    TIME_LIMIT,
    Address,
    Field,
    Server,
    drive,
    options,
)
from structures import structure

from ipi_driver import pes
from ipi_driver.cli import main
from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from uma_md import UMACalculator

pytestmark = [
    pytest.mark.ipi,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

VARIANT = "tiny-1p2p1"
WHERE: dict[str, Any] = {"task": "omol", "dtype": "float64", "device": "cpu"}
OUTPUT = """
  <trajectory stride='1' filename='{name}' extra_type='{name}'> extras </trajectory>
 </output>"""


@pytest.fixture(scope="module")
def files(fine_tunes):
    return [checkpoint(VARIANT), fine_tunes(VARIANT, 1), fine_tunes(VARIANT, 2)]


def serve(models, atoms, *extras):
    return UMAPotential(models, atoms, Options(**WHERE, extras=extras), lambda _: None)


def with_extras(server, *names):
    """An input that writes extras, each to files of its own."""
    path = server.folder / "input.xml"
    text = path.read_text()
    for name in names:
        text = text.replace("\n </output>", OUTPUT.format(name=name), 1)
    path.write_text(text)


def written(folder, name, bead):
    """Numbers of an extra that i-PI wrote for a bead, a row for each step."""
    text = (folder / f"sim.{name}_{bead}").read_text()
    frames = text.split("#EXTRAS")[1:]
    return np.array([np.array(frame.split("\n", 1)[1].split(), float).ravel() for frame in frames])


def test_beads_get_the_mean_of_members_and_their_deviations(files):
    atoms = structure("water:8")
    rng = np.random.default_rng(5)
    beads = [
        (atoms.cell.array, atoms.positions + rng.normal(scale=0.02, size=(24, 3))) for _ in range(3)
    ]
    calculator = UMACalculator(files, **WHERE)
    with Field(serve(files, atoms, "deviations", "committee"), batch=3) as field:
        found = field.evaluate(beads)
    for (cell, positions), (energy, forces, virial, extras) in zip(beads, found, strict=True):
        bead = atoms.copy()
        bead.set_cell(cell)
        bead.positions = positions
        bead.calc = calculator
        assert energy == pytest.approx(bead.get_potential_energy(), abs=1e-8)
        assert np.abs(forces - bead.get_forces()).max() < 1e-8
        stress = -np.trace(virial) / bead.get_volume()
        assert stress == pytest.approx(bead.get_stress()[:3].sum(), abs=1e-9)
        spread = calculator.results
        per_force = ELECTRONVOLT / ANGSTROM
        assert extras["energy_std"] / ELECTRONVOLT == pytest.approx(spread["energy_std"], abs=1e-9)
        assert np.array(extras["forces_std"]) / per_force == pytest.approx(
            spread["forces_std"], abs=1e-8
        )
        assert extras["largest_force_std"] == max(extras["forces_std"])
        assert np.mean(extras["committee_pot"]) / ELECTRONVOLT == pytest.approx(energy, abs=1e-8)
        members = np.array(extras["committee_force"]).reshape(3, 24, 3) / per_force
        assert members.mean(axis=0) == pytest.approx(forces, abs=1e-8)
        virials = np.array(extras["committee_virial"]).reshape(3, 3, 3) / ELECTRONVOLT
        assert virials.mean(axis=0) == pytest.approx(virial, abs=1e-7)


def test_equal_models_are_one_model_without_deviation(files):
    atoms = structure("mol:H2O@0,1")
    place = [(np.eye(3) * 20, atoms.positions)]
    with Field(serve(files[:1] * 3, atoms, "deviations")) as field:
        ((energy, forces, _, extras),) = field.evaluate(place)
    with Field(serve(files[0], atoms)) as field:
        ((wanted, wanted_forces, _, _),) = field.evaluate(place)
    assert energy == wanted
    assert (forces == wanted_forces).all()
    assert extras["energy_std"] == extras["largest_force_std"] == 0.0
    assert list(extras["forces_std"]) == [0.0] * 3


def test_i_pi_writes_deviations_of_every_bead(files, water, tmp_path):
    address = Address()
    server = Server(tmp_path, water, address.field(2), beads=2, steps=2)
    with_extras(server, "forces_std", "energy_std")
    with server:
        words = options(tmp_path / "init.extxyz", *address.options, "--extras", "deviations")
        done = CliRunner().invoke(main, [str(files[1]), str(files[2]), *words])
        assert done.exit_code == 0, done.output
        table = np.array([line.split() for line in server.finish().splitlines()], dtype=float)
    assert "committee of 3 models, whose mean is served" in done.output
    assert f"model {files[2].name}: " in done.output
    assert len(table) == 3
    for bead in "01":
        forces, energies = (written(tmp_path, name, bead) for name in ("forces_std", "energy_std"))
        assert forces.shape == (3, len(water))
        assert (forces > 0).all()
        assert (energies > 0).all()
    # All beads start at the template's positions.
    atoms = water.copy()
    atoms.calc = UMACalculator([files[1], files[2], files[0]], **WHERE)
    atoms.get_potential_energy()
    per_force = ELECTRONVOLT / ANGSTROM
    assert forces[0] == pytest.approx(atoms.calc.results["forces_std"] * per_force, rel=1e-5)
    assert energies[0, 0] == pytest.approx(
        atoms.calc.results["energy_std"] * ELECTRONVOLT, rel=1e-5
    )


def test_i_pi_reads_the_members_for_its_own_committees(files, water, tmp_path):
    """Its force field ``ffcommittee`` finds the uncertainty and writes uncertain structures."""
    address = Address()
    inner = address.field().replace("name='uma'", "name='members'")
    field = (
        f"<ffcommittee name='uma'> {inner} <parse_json> true </parse_json> "
        "<active_thresh units='electronvolt'> 1e-6 </active_thresh> "
        "<active_output> active </active_output> </ffcommittee>"
    )
    server = Server(tmp_path, water, field, beads=1, steps=1)
    with_extras(server, "committee_pot", "committee_uncertainty")
    with server:
        words = options(tmp_path / "init.extxyz", *address.options, "--extras", "committee")
        done = CliRunner().invoke(main, [str(files[1]), *words])
        assert done.exit_code == 0, done.output
        server.finish()
    energies = written(tmp_path, "committee_pot", "0")[0]
    uncertainty = written(tmp_path, "committee_uncertainty", "0")[0]
    alone = [
        UMACalculator(file, **WHERE).get_potential_energy(water.copy()) for file in files[1::-1]
    ]
    assert energies / ELECTRONVOLT == pytest.approx(alone, abs=1e-5)
    assert uncertainty == pytest.approx(np.std(energies, ddof=1), rel=1e-3)
    assert list(tmp_path.glob("*active*"))


def test_ffdirect_takes_several_models(files, water, tmp_path):
    names = " ".join(map(str, files[:2]))
    given = {"model": names, "template": "init.extxyz", **WHERE, "extras": "deviations"}
    parameters = ", ".join(f"{name}: {value}" for name, value in given.items())
    field = (
        f"<ffdirect name='uma'> <pes>custom</pes> <pes_path>{pes.__file__}</pes_path> "
        f"<parameters>{{ {parameters} }}</parameters> </ffdirect>"
    )
    with Server(tmp_path / "direct", water, field, beads=2, steps=2) as server:
        direct = server.finish()
    address = Address()
    with Server(tmp_path, water, address.field(2), beads=2, steps=2) as server:
        words = options(tmp_path / "init.extxyz", *address.options)
        done = CliRunner().invoke(main, [words[0], str(files[1]), *words[1:]])
        assert done.exit_code == 0, done.output
        assert server.finish() == direct


def test_the_fingerprint_is_that_of_all_members_in_their_order(files):
    atoms = structure("mol:H2O@0,1")
    found = [
        serve(models, atoms).fingerprint
        for models in (files[0], files[:1], files[:2], files[1::-1], files)
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_extras_of_committees_need_one(water, tmp_path):
    address = Address()
    with Server(tmp_path, water, address.field()):
        done = drive(tmp_path / "init.extxyz", *address.options, "--extras", "deviations")
    assert done.exit_code == 1
    assert "extras deviations must have a committee, found one model" in done.output


@pytest.mark.mpi
def test_ranks_give_the_members_of_one_process(files, tmp_path):
    program = tmp_path.joinpath("ranks.py")
    program.write_text(RANKS)
    models = json.dumps(list(map(str, files)))
    command = [BIN / "mpiexec", "-n", "4", prepared.python(), program, models]
    done = subprocess.run(
        list(map(str, command)),
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == 3 * (3 + 3)
    assert max(differences) < 1e-9


RANKS = """
import json
import sys

import numpy as np
from ase.build import bulk
from mpi4py import MPI

from ipi_driver.beads.ranked_engine import RankedEngine
from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.wire.protocol import Structures

models, comm = json.loads(sys.argv[1]), MPI.COMM_WORLD
atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
options = Options(
    task="omol", dtype="float64", device="cpu", extras=("deviations", "committee")
)
local = UMAPotential(models, atoms, options, lambda _: None)
rng = np.random.default_rng(0)
positions = atoms.positions + rng.normal(scale=0.05, size=(3, len(atoms), 3))
batch = Structures(np.array([atoms.cell.array] * 3) * 1.8897261, positions * 1.8897261)
differences = []
for way in (1, 2, 4):
    engine = RankedEngine(comm, models, atoms if comm.rank == 0 else None, options, way)
    if comm.rank:
        engine.follow()
        continue
    ranked = UMAPotential(models, atoms, options, lambda _: None, engine)
    one, many = local(batch), ranked(batch)
    differences += [np.abs(a - b).max() for a, b in zip(one[:3], many[:3])]
    for a, b in zip(map(json.loads, one.extras), map(json.loads, many.extras)):
        assert a.keys() == b.keys()
        differences.append(max(np.abs(np.subtract(a[name], b[name])).max() for name in a))
    engine.finish()
if comm.rank == 0:
    print(json.dumps(differences))
"""
