# SPDX-License-Identifier: MIT
"""Second derivatives and vibrations: against autograd, ASE's own differences, and symmetry.

Isotopes, fixed atoms and charges of fragments, of which the model itself knows nothing.
"""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixCartesian
from ase.optimize import BFGS
from ase.vibrations import Vibrations
from conftest import checkpoint
from structures import structure

from uma_md import UMACalculator
from uma_md.batching import build_graph
from uma_md.evaluator import Evaluator
from uma_md.loading import UMASource, counts_tensor
from uma_md.system import count_elements

DEUTERIUM = 2.014101778


@pytest.fixture(scope="module")
def nano() -> UMACalculator:
    return UMACalculator("uma-nano", "omol", device="cpu", dtype="float64")


@pytest.fixture(scope="module")
def relaxed_water(nano) -> Atoms:
    atoms = molecule("H2O", calculator=nano)
    assert BFGS(atoms, logfile=None).run(fmax=1e-6, steps=100)
    return atoms


class Energy:
    """A structure's energy as a function of positions that autograd differentiates twice.

    Parameters
    ----------
    model, task
        As for ``UMACalculator``.
    atoms
    """

    def __init__(self, model, task, atoms):
        source = UMASource(model)
        self.model = source.build(source.task(task), torch.float64)
        self.model.merge(counts_tensor(count_elements(atoms.numbers), 100), 0, 1)
        config = source.config
        self.start = torch.tensor(atoms.positions)
        self.graph = build_graph(
            atoms.positions,
            atoms.cell.array,
            atoms.pbc,
            atoms.numbers,
            config.cutoff,
            config.max_neighbors,
        )

    def __call__(self, moved: torch.Tensor) -> torch.Tensor:
        graph, model = self.graph, self.model
        away = moved.view(-1, 3) - self.start
        vectors = graph.vectors + away[graph.senders] - away[graph.receivers]
        senders, receivers = (graph.atomic_numbers[end] for end in (graph.senders, graph.receivers))
        x = model.embed(graph.atomic_numbers)
        first = model.edge_embedding(vectors, senders, receivers)
        x = x + torch.zeros_like(x).index_add(0, graph.receivers, first)
        for layer in range(model.num_layers):
            h = model.normalize(layer, x)
            ends = h[graph.senders], h[graph.receivers]
            messages = model.messages(layer, *ends, vectors, senders, receivers)
            m = torch.zeros_like(x).index_add(0, graph.receivers, messages)
            x = model.update(layer, x, m)
            if model.num_balanced:
                sums = model.channel_sums(x, graph.systems, 1)
                x = model.balance(x, sums, graph.systems, graph.natoms)
        return model.readout(x, graph.atomic_numbers).sum()

    def hessian(self) -> np.ndarray:
        """All second derivatives at the structure, (3 atoms, 3 atoms), eV/angstrom^2."""
        return torch.autograd.functional.hessian(self, self.start.flatten()).numpy()


@pytest.mark.parametrize("name", ["H2O", "CH3OH"])
def test_it_is_that_of_autograd(name, nano):
    atoms = molecule(name)
    atoms.rattle(0.05, seed=1)
    energy = Energy("uma-nano", "omol", atoms)
    assert float(energy(energy.start)) == pytest.approx(nano.get_potential_energy(atoms), abs=1e-9)
    exact = energy.hessian()
    found = nano.get_hessian(atoms)
    assert np.abs(exact).max() > 10
    assert np.abs(found - exact).max() < 1e-6


def test_the_error_falls_with_the_square_of_the_step(calculators):
    atoms = structure("mol:CH3CH2OH@0,1")
    exact = Energy(checkpoint("tiny-1p2p1"), "omol", atoms).hessian()
    calculator = calculators("tiny-1p2p1")
    coarse, fine = (
        np.abs(calculator.get_hessian(atoms, step) - exact).max() for step in (1e-3, 1e-4)
    )
    assert fine < 1e-7 * np.abs(exact).max()
    assert coarse / fine == pytest.approx(100, rel=0.01)


def test_it_is_symmetric_and_translations_cost_nothing(nano):
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=2)
    hessian = nano.get_hessian(atoms)
    assert (hessian == hessian.T).all()
    translations = np.tile(np.eye(3), (len(atoms), 1))
    assert np.abs(hessian @ translations).max() < 1e-6


def test_frequencies_of_water_are_those_of_ases_own_differences(nano, relaxed_water, tmp_path):
    ours = nano.get_vibrations(relaxed_water).get_frequencies()
    vibrations = Vibrations(relaxed_water, name=str(tmp_path / "vibrations"), delta=1e-4)
    vibrations.run()
    theirs = vibrations.get_frequencies()
    assert ours[-3:].real == pytest.approx(theirs[-3:].real, abs=1e-3)
    assert ours[-3:].real.min() > 1000
    assert np.abs(ours[:3]).max() < 1  # translations, 1/cm


def test_in_float32_frequencies_are_within_a_wave_number(nano, relaxed_water):
    single = UMACalculator("uma-nano", "omol", device="cpu")
    found, exact = (
        calculator.get_vibrations(relaxed_water).get_frequencies()[-3:].real
        for calculator in (single, nano)
    )
    assert found == pytest.approx(exact, abs=1)


def test_a_crystal_has_acoustic_modes_and_one_list_of_pairs(calculators):
    atoms = bulk("Cu", cubic=True)
    calculator = calculators("tiny-1p1", "omat")
    hessian = calculator.get_hessian(atoms, step=1e-5)
    translations = np.tile(np.eye(3), (len(atoms), 1))
    assert np.abs(hessian @ translations).max() < 1e-4 * np.abs(hessian).max()


def test_charge_and_spin_are_the_structures(calculators):
    atoms = structure("mol:OH@-1,1")
    calculator = calculators("tiny-1p2p1")
    charged = calculator.get_hessian(atoms)
    atoms.info["charge"] = 0
    assert np.abs(calculator.get_hessian(atoms) - charged).max() > 1e-3


def test_fixed_atoms_are_left_out_and_indices_choose(nano):
    atoms = molecule("CH3OH")
    whole = nano.get_hessian(atoms)
    atoms.set_constraint([FixAtoms([1, 2]), FixCartesian(4)])
    free = [0, 3, 5]
    rows = np.repeat(3 * np.array(free), 3) + np.tile(range(3), len(free))
    assert nano.get_hessian(atoms) == pytest.approx(whole[np.ix_(rows, rows)], abs=1e-9)
    vibrations = nano.get_vibrations(atoms)
    assert vibrations.get_indices().tolist() == free
    assert len(vibrations.get_frequencies()) == 9
    chosen = nano.get_hessian(atoms, indices=[5, 1])
    rows = [15, 16, 17, 3, 4, 5]
    assert chosen == pytest.approx(whole[np.ix_(rows, rows)], abs=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"step": 0.0}, "step must be above 0 and at most 0.1 angstrom, found 0.0"),
        ({"step": 1.0}, "step must be above 0 and at most 0.1 angstrom, found 1.0"),
        ({"indices": [0, 0]}, "indices must be different numbers of atoms"),
        ({"indices": []}, "indices must be different numbers of atoms"),
        ({"indices": [0.5]}, "indices must be different numbers of atoms"),
        ({"indices": [3]}, "indices must be 0 to 2, found"),
    ],
)
def test_steps_and_indices_are_checked(options, text, nano):
    with pytest.raises(ValueError, match=text):
        nano.get_hessian(molecule("H2O"), **options)


def test_structures_that_cannot_be_evaluated_are_refused(nano):
    with pytest.raises(ValueError, match="knows the elements"):
        nano.get_hessian(bulk("Cu"))
    with pytest.raises(ValueError, match="single isolated atom"):
        nano.get_hessian(Atoms("O"))
    fixed = molecule("H2O")
    fixed.set_constraint(FixAtoms([0, 1, 2]))
    with pytest.raises(ValueError, match="at least one"):
        nano.get_hessian(fixed)


def test_displacements_are_evaluated_in_batches(nano, monkeypatch):
    graphs = []
    original = Evaluator.__call__

    def call(self, graph, *arguments):
        graphs.append(len(graph.natoms))
        return original(self, graph, *arguments)

    monkeypatch.setattr(Evaluator, "__call__", call)
    nano.get_hessian(molecule("CH3OH"))
    assert graphs == [36]


def test_isotopes_differ_by_mass_alone(nano):
    light = molecule("H2", calculator=nano)
    assert BFGS(light, logfile=None).run(fmax=1e-6, steps=100)
    heavy = light.copy()
    heavy.set_masses([DEUTERIUM, DEUTERIUM])
    heavy.calc = nano
    assert heavy.get_potential_energy() == light.get_potential_energy()
    stretch = [nano.get_vibrations(atoms).get_frequencies()[-1].real for atoms in (light, heavy)]
    ratio = np.sqrt(DEUTERIUM / light.get_masses()[0])
    assert stretch[0] / stretch[1] == pytest.approx(ratio, rel=1e-9)


def test_fixed_atoms_stay_and_the_others_feel_them(calculators):
    slab = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    slab.rattle(0.02, seed=1)
    slab.calc = calculators("tiny-1p2p1", "omat")
    free = slab.get_forces()
    fixed = slab.get_tags() == 3
    slab.set_constraint(FixAtoms(mask=fixed))
    assert (slab.get_forces()[fixed] == 0).all()
    assert (slab.get_forces()[~fixed] == free[~fixed]).all()
    (found,) = slab.calc.predict([slab])
    assert found.forces == pytest.approx(free, abs=1e-9)
    before = slab.positions.copy()
    BFGS(slab, logfile=None).run(fmax=1e-9, steps=2)
    assert (slab.positions[fixed] == before[fixed]).all()
    assert (slab.positions[~fixed] != before[~fixed]).any()


def test_a_fragments_charge_cannot_be_given_only_the_total(calculators):
    calculator = calculators("tiny-1p2p1")
    hydroxide, hydronium = molecule("OH"), molecule("H2O") + Atoms("H", [[0, 0, 1.1]])
    hydronium.translate([3, 0, 0])
    atoms = hydroxide + hydronium
    atoms.set_initial_magnetic_moments(None)
    atoms.info.update(charge=0, spin=1)
    energies = []
    for charges in ([-1, 0, 1, 0, 0, 0], [0] * 6, [1, 0, -1, 0, 0, 0]):
        atoms.set_initial_charges(charges)
        energies.append(calculator.get_potential_energy(atoms))
        (found,) = calculator.predict([atoms])
        assert found.energy == pytest.approx(energies[0], abs=1e-9)
    assert len(set(energies)) == 1
    atoms.info["charge"] = 1
    assert calculator.get_potential_energy(atoms) != energies[0]
