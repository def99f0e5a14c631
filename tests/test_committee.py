# SPDX-License-Identifier: MIT
"""Committees in ASE: means, standard deviations, and who may be a member."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.io import read, write
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress
from conftest import checkpoint
from mpi_launch import launch
from structures import structure

from uma_md import UMACalculator, predict
from uma_md.export import export

VARIANT = "tiny-1p2p1"
WHERE: dict[str, Any] = {"task": "omol", "device": "cpu", "dtype": "float64"}


@pytest.fixture(scope="module")
def files(fine_tunes):
    return [checkpoint(VARIANT), fine_tunes(VARIANT, 1), fine_tunes(VARIANT, 2)]


@pytest.fixture(scope="module")
def alone(files):
    """Each member's own results for water."""
    found = []
    for file in files:
        atoms = structure("water:8")
        atoms.calc = UMACalculator(file, **WHERE)
        atoms.get_stress()
        found.append(atoms.calc.results)
    return found


def results_of(models, **options):
    atoms = structure("water:8")
    atoms.calc = UMACalculator(models, **WHERE, **options)
    atoms.get_stress()
    return atoms.calc.results


def test_equal_members_give_their_own_results_and_no_deviation(files, alone):
    for count in (1, 2, 3):
        found = results_of(count * files[:1])
        for name in ("energy", "free_energy", "energies", "forces", "stress"):
            assert np.all(found[name] == alone[0][name]), (count, name)
        assert found["energy_std"] == 0.0
        assert not found["forces_std"].any()
        assert not found["stress_std"].any()
        assert found["forces_std"].shape == (24,)


def test_of_two_members_deviations_are_half_of_the_difference(files, alone):
    found = results_of(files[:2])
    one, other = alone[:2]
    for name in ("energy", "energies", "forces", "stress"):
        assert found[name] == pytest.approx(0.5 * (one[name] + other[name]), abs=1e-9)
    energy = 0.5 * abs(one["energy"] - other["energy"]) / 24
    forces = 0.5 * np.linalg.norm(one["forces"] - other["forces"], axis=1)
    assert energy > 1e-4
    assert forces.min() > 1e-4
    assert found["energy_std"] == pytest.approx(energy, abs=1e-10)
    assert found["forces_std"] == pytest.approx(forces, abs=1e-10)
    stress = 0.5 * abs(one["stress"] - other["stress"])
    assert found["stress_std"] == pytest.approx(stress, abs=1e-12)


def test_deviations_of_three_are_those_of_the_population(files, alone):
    found = results_of(files)
    energies = np.array([one["energy"] for one in alone]) / 24
    forces = np.array([one["forces"] for one in alone])
    mean = forces.mean(axis=0)
    assert found["forces"] == pytest.approx(mean, abs=1e-10)
    assert found["energy_std"] == pytest.approx(energies.std(ddof=0), abs=1e-10)
    squares = ((forces - mean) ** 2).sum(axis=2).mean(axis=0)
    assert found["forces_std"] == pytest.approx(np.sqrt(squares), abs=1e-10)


def test_mean_forces_and_stress_are_gradients_of_the_mean_energy(files):
    atoms = structure("water:8")
    atoms.calc = UMACalculator(files, **WHERE)
    forces, stress = atoms.get_forces(), voigt_6_to_full_3x3_stress(atoms.get_stress())

    def energy(atom=0, axis=0, step=0.0, strain=0.0):
        moved = atoms.copy()
        moved.positions[atom, axis] += step
        moved.set_cell(moved.cell.array @ (np.eye(3) * (1 + strain)), scale_atoms=True)
        moved.calc = atoms.calc
        return moved.get_potential_energy()

    for atom, axis in ((0, 0), (7, 1), (20, 2)):
        slope = (energy(atom, axis, 1e-4) - energy(atom, axis, -1e-4)) / 2e-4
        assert -slope == pytest.approx(forces[atom, axis], abs=1e-6)
    slope = (energy(strain=1e-5) - energy(strain=-1e-5)) / 2e-5
    assert slope / atoms.get_volume() == pytest.approx(np.trace(stress), abs=1e-7)


def test_committees_are_copied_pickled_and_set_to_another_task(files):
    atoms = structure("water:8")
    calculator = atoms.calc = UMACalculator(files[:2], **WHERE)
    spread = calculator.get_property("forces_std", atoms)
    for other in (copy.copy(calculator), copy.deepcopy(calculator)):
        assert other._potential is calculator._potential
        assert (other.results["forces_std"] == spread).all()
    again = pickle.loads(pickle.dumps(calculator))
    again.reset()
    assert again.get_property("forces_std", atoms) == pytest.approx(spread, abs=1e-12)
    assert "forces_std" not in UMACalculator.implemented_properties
    calculator.task = "omat"
    assert calculator.task == "omat"
    assert calculator.get_property("forces_std", atoms) != pytest.approx(spread, abs=1e-6)


def test_trajectories_and_files_hold_mean_and_deviations(files, tmp_path):
    atoms = molecule("H2O")
    atoms.calc = UMACalculator(files[:2], **WHERE)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs, trajectory=str(tmp_path / "md.traj"))
    dynamics.run(2)
    last: Any = read(tmp_path / "md.traj")
    assert last.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert last.get_forces() == pytest.approx(atoms.get_forces())
    atoms.info["energy_std"] = atoms.calc.results["energy_std"]
    atoms.arrays["forces_std"] = atoms.calc.results["forces_std"]
    write(tmp_path / "last.xyz", atoms)
    again: Any = read(tmp_path / "last.xyz")
    assert again.info["energy_std"] == pytest.approx(atoms.calc.results["energy_std"], abs=1e-7)
    assert again.arrays["forces_std"] == pytest.approx(atoms.calc.results["forces_std"], abs=1e-7)


def test_predictions_and_hessians_of_committees_are_means(files):
    structures = [molecule("H2O"), structure("water:8"), molecule("CH4")]
    found = predict(files[:2], structures, **WHERE)
    single = [predict(file, structures, **WHERE) for file in files[:2]]
    for mean, one, other in zip(found, *single, strict=True):
        assert one.energy_std is None
        assert mean.energy == pytest.approx(0.5 * (one.energy + other.energy), abs=1e-9)
        distance = 0.5 * np.linalg.norm(one.forces - other.forces, axis=1)
        assert mean.forces_std == pytest.approx(distance, abs=1e-9)
        natoms = len(one.forces)
        assert mean.energy_std == pytest.approx(0.5 * abs(one.energy - other.energy) / natoms)
    assert found[0].stress_std is None
    assert found[1].stress_std is not None
    assert found[1].stress_std.shape == (6,)
    water = molecule("H2O")
    hessians = [
        UMACalculator(model, **WHERE).get_hessian(water) for model in (files[:2], *files[:2])
    ]
    assert hessians[0] == pytest.approx(0.5 * (hessians[1] + hessians[2]), abs=1e-6)


def test_members_may_have_different_networks(files):
    """These differ in layers, degrees, experts and balanced channels."""
    models = [checkpoint("tiny-1p1"), checkpoint("tiny-m"), checkpoint("tiny-1p2")]
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=4)
    where = WHERE | {"task": "omat"}
    atoms.calc = UMACalculator(models, **where)
    found = atoms.get_forces()
    forces = [UMACalculator(model, **where).get_forces(atoms) for model in models]
    assert found == pytest.approx(np.mean(forces, axis=0), abs=1e-10)
    squares = (np.std(forces, axis=0) ** 2).sum(axis=1)
    assert atoms.calc.results["forces_std"] == pytest.approx(np.sqrt(squares), abs=1e-10)


def test_members_must_be_alike(files, tmp_path, changed):
    def refused(models, message, **options):
        where = {"device": "cpu", **options}
        with pytest.raises(ValueError, match=message):
            UMACalculator(models, **where)

    for name, task, dtype in (
        ("omol", "omol", "float64"),
        ("omat", "omat", "float64"),
        ("float32", "omol", "float32"),
    ):
        export(files[0], tmp_path / f"{name}.pt", task, dtype=dtype)
    for name, entry, values in (
        ("omat", "task", "omol in .* and omat in"),
        ("float32", "dtype", "float64 in .* and float32 in"),
    ):
        models = [tmp_path / "omol.pt", tmp_path / f"{name}.pt"]
        refused(models, f"members of a committee must have the same {entry}, found {values}")
    merged = tmp_path / "merged.pt"
    export(files[0], merged, "omol", dtype="float64", merge_for="H2O")
    refused([tmp_path / "omol.pt", merged], "must have the same composition")

    def shorter(config, *_):
        config["backbone"]["cutoff"] = 4.0

    refused(
        [files[0], changed(VARIANT, shorter)],
        r"must have the same cutoff, found 5\.0 in .* and 4\.0 in",
        task="omol",
    )
    refused(["uma-nano", files[0]], "must have the same cutoff, found 4.5", task="omol")
    refused([], "a committee must have at least one model, found none")
    with pytest.raises(TypeError, match="models of a committee must be paths or names, found int"):
        UMACalculator([files[0], 3], task="omol")  # type: ignore[list-item]


def test_a_charge_given_to_the_calculator_is_that_of_all_members(files, tmp_path):
    other = tmp_path / "charged.pt"
    export(files[1], other, "omol", dtype="float64", charge=1, spin=2)
    plain = tmp_path / "plain.pt"
    export(files[0], plain, "omol", dtype="float64")
    with pytest.raises(ValueError, match="must have the same charge, found 0 in .* and 1 in"):
        UMACalculator([plain, other], device="cpu")
    calculator = UMACalculator([plain, other], device="cpu", charge=-1, spin=1)
    alone = [UMACalculator(one, device="cpu", charge=-1, spin=1) for one in (plain, other)]
    atoms = molecule("OH")
    energies = [one.get_potential_energy(atoms) for one in alone]
    assert calculator.get_potential_energy(atoms) == pytest.approx(np.mean(energies), abs=1e-9)


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.extended)])
def test_ranks_give_the_members_of_one_process_and_fail_together(ranks, tmp_path):
    done = launch(tmp_path, ranks, "committee")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    found, faults, energy = pickle.loads((tmp_path / "committee.pkl").read_bytes())
    for spread, alone in found:
        assert spread.keys() == alone.keys()
        assert "forces_std" in spread
        for name, value in alone.items():
            assert spread[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    for outcomes in faults:
        assert len(outcomes) == ranks
        assert all("the network broke" in str(one) for one in outcomes), outcomes
    assert energy == pytest.approx(found[0][0]["energy"], rel=1e-12)
