# SPDX-License-Identifier: MIT
"""What any potential must obey: gradients, symmetries, extensivity, smoothness."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import make_supercell
from conftest import VARIANTS, checkpoint
from structures import structure

from uma_md import UMACalculator

STEP = 1e-4


def energy(atoms: Atoms, calculator) -> float:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy()


def forces(atoms: Atoms, calculator) -> np.ndarray:
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_forces()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("spec", ["water:8", "mol:CH3CH2OH@-1,2"])
def test_forces_are_the_gradient_of_the_energy(variant, spec, calculators):
    atoms, calculator = structure(spec), calculators(variant)
    analytic = forces(atoms, calculator)
    for atom, axis in ((0, 0), (1, 2), (len(atoms) - 1, 1)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * STEP
            ends.append(energy(moved, calculator))
        numeric = -(ends[0] - ends[1]) / (2 * STEP)
        assert numeric == pytest.approx(analytic[atom, axis], abs=1e-8 + 1e-5 * abs(numeric))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("spec", ["water:8", "shear"])
def test_stress_is_the_strain_derivative_of_the_energy(variant, spec, calculators):
    atoms, calculator = structure(spec), calculators(variant)
    atoms.calc = calculator
    stress = atoms.get_stress(voigt=False)
    assert np.abs(stress).max() > 1e-6
    for first, second in ((0, 0), (1, 2), (0, 2)):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[first, second] += sign * STEP / 2
            strain[second, first] += sign * STEP / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ strain, scale_atoms=True)
            ends.append(energy(strained, calculator))
        numeric = (ends[0] - ends[1]) / (2 * STEP) / atoms.get_volume()
        assert numeric == pytest.approx(stress[first, second], abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rotating_the_structure_rotates_its_forces(variant, calculators):
    atoms, calculator = structure("mol:CH3CH2OH@-1,2"), calculators(variant)
    rotated = atoms.copy()
    rotated.rotate(73.0, (1.0, -2.0, 0.5))
    rotation = np.linalg.lstsq(atoms.positions, rotated.positions, rcond=None)[0]
    assert energy(rotated, calculator) == pytest.approx(energy(atoms, calculator), abs=1e-10)
    assert forces(rotated, calculator) == pytest.approx(forces(atoms, calculator) @ rotation)


def test_energy_is_the_same_wherever_edges_point(calculators):
    """Edges along every axis, the poles of the edge frame among them, and its seam."""
    calculator = calculators("tiny-m")
    atoms = structure("mol:H2O@2,1")
    base = energy(atoms, calculator)
    bond = atoms.positions[1] - atoms.positions[0]
    for axis in ("x", "-x", "y", "-y", "z", "-z", (1, 1e-9, 0), (0, -1, 1e-9), (1, -1e-16, 1)):
        rotated = atoms.copy()
        rotated.rotate(bond, axis, center=rotated.positions[0])
        assert energy(rotated, calculator) == pytest.approx(base, abs=1e-10)
        assert np.isfinite(forces(rotated, calculator)).all()
        assert np.abs(forces(rotated, calculator).sum(axis=0)).max() < 1e-10


@pytest.mark.parametrize("variant", VARIANTS)
def test_translation_and_wrapping_change_nothing(variant, calculators):
    atoms, calculator = structure("water:8"), calculators(variant)
    moved = atoms.copy()
    moved.positions += (1.7, -20.3, 55.1)
    assert energy(moved, calculator) == pytest.approx(energy(atoms, calculator), abs=1e-9)
    assert forces(moved, calculator) == pytest.approx(forces(atoms, calculator), abs=1e-10)


def test_permuting_atoms_permutes_forces(calculators):
    atoms, calculator = structure("nacl:2"), calculators("tiny-1p2p1", "omat")
    order = np.random.default_rng(0).permutation(len(atoms))
    assert energy(atoms[order], calculator) == pytest.approx(energy(atoms, calculator), abs=1e-9)
    assert forces(atoms[order], calculator) == pytest.approx(forces(atoms, calculator)[order])


@pytest.mark.parametrize("variant", ["tiny-1p1", "tiny-1p2p1", "tiny-m"])
def test_energy_is_extensive(variant, calculators):
    """UMA-S-1.2 is not: its routing counts one atom too many (see the design)."""
    atoms, calculator = structure("shear"), calculators(variant, "omat")
    double = make_supercell(atoms, [[1, 0, 0], [0, 1, 1], [0, -1, 1]])
    assert energy(double, calculator) == pytest.approx(2 * energy(atoms, calculator), abs=1e-8)


def test_routing_of_uma_s_1p2_depends_on_the_number_of_atoms(calculators):
    atoms, calculator = structure("shear"), calculators("tiny-1p2", "omat")
    excess = energy(atoms * (2, 1, 1), calculator) - 2 * energy(atoms, calculator)
    assert abs(excess) > 1e-6


def test_energy_is_smooth_through_the_cutoff(calculators):
    """No jump in energy or force where an edge appears, down to the envelope's order."""
    calculator = calculators("tiny-1p2p1")
    cutoff = calculator.metadata.cutoff
    ends = []
    for distance in (cutoff - 1e-4, cutoff + 1e-4):
        atoms = Atoms("OHO", [[0, 0, 0], [0, 0, 1], [0, distance, 0]], info={"spin": 2})
        ends.append((energy(atoms, calculator), forces(atoms, calculator)))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=1e-11)
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-7)


def test_fragments_beyond_the_cutoff_feel_no_force_from_each_other(calculators):
    calculator = calculators("tiny-1p1")
    atoms = structure("far")
    shifted = atoms.copy()
    shifted.positions[5:9] += (3.0, 1.0, 0.0)
    assert energy(shifted, calculator) == pytest.approx(energy(atoms, calculator), abs=1e-10)
    assert forces(atoms, calculator)[-1] == pytest.approx(np.zeros(3))


def test_per_atom_energies_sum_to_the_energy(calculators):
    atoms = structure("slab")
    atoms.calc = calculators("tiny-1p2", "oc20")
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())


@pytest.mark.parametrize("chunk", [1, 7, 100000])
@pytest.mark.parametrize("recompute", ["on", "off"])
def test_chunks_and_recomputing_change_nothing(chunk, recompute, calculators):
    atoms = structure("mol:CH3CH2OH@-1,2")
    plain = calculators("tiny-1p2p1")
    other = UMACalculator(
        checkpoint("tiny-1p2p1"),
        "omol",
        dtype="float64",
        chunk=chunk,
        recompute=recompute,
        device="cpu",
    )
    assert energy(atoms, other) == pytest.approx(energy(atoms, plain), abs=1e-10)
    assert forces(atoms, other) == pytest.approx(forces(atoms, plain), abs=1e-10)


def test_two_evaluations_agree_to_the_last_bit(calculators):
    atoms = structure("water:8")
    values = []
    for seed in range(2):
        torch.manual_seed(seed)
        calculator = UMACalculator(checkpoint("tiny-m"), "omol", dtype="float64", device="cpu")
        values.append((energy(atoms, calculator), forces(atoms, calculator)))
    assert values[0][0] == values[1][0]
    assert (values[0][1] == values[1][1]).all()
