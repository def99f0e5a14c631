# SPDX-License-Identifier: MIT
"""Many structures at once: each gives what it gives alone, and none spoils the others."""

import signal
import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from assorted_structures import assorted
from conftest import checkpoint
from structures import structure

from uma_md import PredictionError, PredictionInterrupt, UMACalculator, predict
from uma_md.batch_evaluation import BatchEvaluator
from uma_md.memory import BatchLimit
from uma_md.mixed_batching import MixedBatcher
from uma_md.model import UMA
from uma_md.potential import Potential
from uma_md.properties import Properties
from uma_md.system import system_of


def check_same(predictions, structures, calculator, exact=1e-10):
    """Predictions are what the calculator gives for each structure alone."""
    assert len(predictions) == len(structures)
    for found, atoms in zip(predictions, structures, strict=True):
        alone = atoms.copy()
        alone.calc = calculator
        assert found.energy == pytest.approx(alone.get_potential_energy(), abs=exact, rel=exact)
        assert found.energies == pytest.approx(calculator.results["energies"], abs=exact, rel=exact)
        assert found.energies.sum() == pytest.approx(found.energy, rel=1e-14)
        forces = alone.get_forces()
        assert np.abs(found.forces - forces).max() < exact * max(1, np.abs(forces).max())
        assert (found.stress is None) == (alone.cell.rank < 3)
        if found.stress is not None:
            stress = alone.get_stress()
            assert np.abs(found.stress - stress).max() < exact * max(1, np.abs(stress).max())


@pytest.fixture
def graphs(monkeypatch):
    """Sizes of the graphs that are evaluated: the number of systems in each."""
    sizes = []
    original = MixedBatcher.graph

    def graph(self, members):
        sizes.append(len(members))
        return original(self, members)

    monkeypatch.setattr(MixedBatcher, "graph", graph)
    return sizes


@pytest.fixture
def merges(monkeypatch):
    """Compositions, charges and spins that experts are merged for."""
    done = []
    original = UMA.merge

    def merge(self, counts, charge, spin):
        done.append((tuple(counts.tolist()), charge, spin))
        original(self, counts, charge, spin)

    monkeypatch.setattr(UMA, "merge", merge)
    return done


@pytest.mark.parametrize(
    ("variant", "number"),
    [
        ("tiny-1p1", 70),
        ("tiny-1p2", 70),
        ("tiny-1p2p1", 200),
        pytest.param("tiny-1p1", 200, marks=pytest.mark.extended),
        pytest.param("tiny-1p2", 200, marks=pytest.mark.extended),
    ],
)
def test_many_mixed_structures_give_what_each_gives_alone(variant, number, calculators):
    calculator = calculators(variant)
    structures = assorted(number)
    assert len({str(atoms.symbols) for atoms in structures}) > 10
    assert len({tuple(atoms.pbc) for atoms in structures}) > 4
    check_same(calculator.predict(structures), structures, calculator)


def test_the_portable_engine_and_another_task_do_the_same():
    structures = assorted(18, seed=1)
    options: dict[str, Any] = {
        "task": "omat",
        "device": "cpu",
        "dtype": "float64",
        "engine": "portable",
    }
    found = predict(checkpoint("tiny-m"), structures, **options)
    check_same(found, structures, UMACalculator(checkpoint("tiny-m"), **options))


def test_in_float32_they_agree_as_far_as_it_goes():
    structures = [atoms for atoms in assorted(60) if set(atoms.symbols) <= set("HCNO")]
    calculator = UMACalculator("uma-nano", "omol", device="cpu")
    found = predict("uma-nano", structures, "omol", device="cpu")
    check_same(found, structures, calculator, exact=1e-5)


def test_experts_merge_once_for_what_they_depend_on(calculators, merges, graphs):
    two, far = structure("mol:OH@-1,1"), molecule("H2O")
    far.translate([20, 0, 0])
    structures = [
        molecule("H2O"),
        two,
        molecule("CH4"),
        molecule("H2O") + far,  # the same shares of elements
        molecule("CH4"),
        structure("mol:OH@0,2"),
        molecule("H2O"),
    ]
    for variant, fits in (("tiny-1p2p1", 4), ("tiny-1p2", 5)):  # 1.2 counts atoms
        calculator = calculators(variant)
        calculator.predict([structure("mol:O2@0,3")])
        merges.clear()
        graphs.clear()
        calculator.predict(structures)
        assert len(merges) == len(set(merges)) == len(graphs) == fits


def test_without_experts_all_compositions_are_evaluated_together(calculators, graphs):
    calculator = calculators("esen-tiny")
    structures = [atoms for atoms in assorted(60, seed=4) if "charge" not in atoms.info]
    found = calculator.predict(structures)
    assert sum(graphs) == len(structures)
    assert max(graphs) > 10
    check_same(found, structures, calculator)
    graphs.clear()
    small = [molecule(name) for name in ("H2O", "CH4", "NH3", "C6H6")]
    calculator.predict(small)
    assert graphs == [4]


def test_order_does_not_matter_and_any_iterable_is_taken(calculators):
    calculator = calculators("tiny-1p2p1")
    structures = assorted(30, seed=2)
    there = calculator.predict(atoms for atoms in structures)
    back = calculator.predict(structures[::-1])[::-1]
    for one, other in zip(there, back, strict=True):
        assert one.energy == pytest.approx(other.energy, rel=1e-12)
    assert calculator.predict([]) == []


def test_charge_and_spin_are_those_of_options_then_structures_then_the_task():
    water, charged = molecule("H2O"), molecule("H2O")
    charged.info.update(charge=2, spin=3)
    options: dict[str, Any] = {"task": "omol", "device": "cpu", "dtype": "float64"}
    file = checkpoint("tiny-1p2p1")
    plain, told = predict(file, [water, charged], **options)
    assert plain.energy != told.energy
    for found in predict(file, [water, charged], charge=2, spin=3, **options):
        assert found.energy == pytest.approx(told.energy, rel=1e-13)


def test_what_fails_is_named_and_the_others_are_kept(calculators):
    calculator = calculators("tiny-1p1")
    bad_charge, unknown = molecule("H2O"), Atoms("Lr", [[0, 0, 0]], cell=[4, 4, 4], pbc=True)
    bad_charge.info["charge"] = 0.5
    unknown.numbers[:] = 119
    good = assorted(20, seed=3)
    bad = {
        0: (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "found two at the same position: atom"),
        3: (bad_charge, "charge must be an integer, found 0.5"),
        4: (unknown, "atomic number 119"),
        9: (Atoms("OH", [[0, 0, 0], [0, 0, np.nan]]), "must be finite"),
        10: (Atoms(), "must have atoms, found none"),
        11: ("H2O", "must be an ase.Atoms, found str"),
        12: (Atoms("Ar"), "does not describe a single isolated atom"),
        21: (bulk("Cu", a=1.2) * 3, "an atom must have at most 300 neighbors"),
        24: (Atoms("CO", [[0, 0, 0], [0, 0, 1]], pbc=[0, 0, 1]), "found none along c"),
    }
    rest = iter(good)
    structures = [bad[n][0] if n in bad else next(rest) for n in range(len(good) + len(bad))]
    with pytest.raises(PredictionError, match=r"structure 0 of 0 to 28: .* 9 failed") as caught:
        calculator.predict(structures)
    error = caught.value
    assert sorted(error.failures) == sorted(bad)
    for number, (_, text) in bad.items():
        assert error.predictions[number] is None
        assert text in str(error.failures[number])
    computed = [found for found in error.predictions if found is not None]
    check_same(computed, good, calculator)


@pytest.fixture
def interruptible():
    """A process that a shell started in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_keeps_what_was_computed(calculators, monkeypatch):
    """Ctrl-C arrives in the third batch: of three compositions, two are there."""
    calculator = calculators("tiny-1p2p1")
    structures = [molecule(name) for name in ("H2O", "CH4", "H2O", "NH3", "CH4")]
    original, batches = MixedBatcher.graph, []

    def graph(self, members):
        batches.append(len(members))
        if len(batches) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(self, members)

    monkeypatch.setattr(MixedBatcher, "graph", graph)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 4 of 5 structures") as caught:
        calculator.predict([*structures[:4], molecule("CH4")])
    assert isinstance(caught.value, PredictionInterrupt)
    predictions = caught.value.predictions
    assert predictions[3] is None
    assert caught.value.failures == {}
    monkeypatch.undo()
    others = [0, 1, 2, 4]
    check_same([predictions[n] for n in others], [structures[n] for n in others], calculator)


def test_what_makes_the_model_give_nan_spoils_no_neighbor_in_its_batch(calculators, monkeypatch):
    calculator = calculators("tiny-1p2p1")
    structures = [molecule("H2O") for _ in range(9)]
    for number, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=number)
    target = structures[5].positions[0, 0]
    original = MixedBatcher.graph

    def graph(self, members):
        made = original(self, members)
        spoiled = [number for number, m in enumerate(members) if m.positions[0, 0] == target]
        for number in spoiled:
            made.vectors[made.systems[made.receivers] == number] = np.nan
        return made

    monkeypatch.setattr(MixedBatcher, "graph", graph)
    with pytest.raises(PredictionError, match=r"structure 5 of 0 to 8: .*gave NaN") as caught:
        calculator.predict(structures)
    monkeypatch.undo()
    assert list(caught.value.failures) == [5]
    others = [found for found in caught.value.predictions if found is not None]
    check_same(others, structures[:5] + structures[6:], calculator)


def test_the_end_of_memory_makes_batches_smaller(calculators, monkeypatch, graphs):
    calculator = calculators("tiny-1p2p1")
    structures = [molecule("CH3CH2OH") for _ in range(12)]
    for number, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=number)
    original = Potential.properties

    def properties(self, graph):
        if len(graph.natoms) > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, graph)

    monkeypatch.setattr(Potential, "properties", properties)
    found = calculator.predict(structures)
    assert max(graphs) == 12
    monkeypatch.undo()
    check_same(found, structures, calculator)


def test_a_structure_beyond_the_memory_fails_alone(calculators, monkeypatch):
    original = Potential.properties

    def properties(self, graph):
        if graph.natoms.max() > 20:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return original(self, graph)

    monkeypatch.setattr(Potential, "properties", properties)
    structures = [molecule("H2O"), structure("water:8"), molecule("H2O")]
    with pytest.raises(PredictionError, match=r"structure 1 .* must fit into memory"):
        calculators("tiny-1p2p1").predict(structures)


def test_errors_of_the_program_are_not_taken_for_a_structures(calculators, monkeypatch):
    def properties(self, graph):
        raise RuntimeError("expected scalar type Float but found Double")

    monkeypatch.setattr(Potential, "properties", properties)
    with pytest.raises(RuntimeError, match="scalar type"):
        calculators("tiny-1p2p1").predict([molecule("H2O")])


def test_batches_keep_to_the_memory_at_hand(calculators, monkeypatch, graphs):
    calculator = calculators("tiny-1p2p1")
    structures = [molecule("CH3CH2OH") for _ in range(40)]
    calculator.predict(structures)
    assert graphs == [40]
    graphs.clear()
    monkeypatch.setattr("uma_md.memory.available_memory", lambda *_: 0.0)
    limit = calculator._potential.batch_limit()
    held = limit.available  # by the kernels, for what comes next
    enough = 7.5 * (72 * limit.per_edge + 9 * limit.per_atom)
    monkeypatch.setattr("uma_md.memory.available_memory", lambda *_: enough - held)
    calculator.predict(structures)
    assert graphs == [7, 7, 7, 7, 7, 5]
    graphs.clear()
    monkeypatch.setattr("uma_md.memory.available_memory", lambda *_: -held)
    calculator.predict(structures[:3])
    assert graphs == [1, 1, 1]


def test_a_limit_holds_by_edges_and_by_bytes():
    limit = BatchLimit(edges=100, available=1000.0, per_edge=5, per_atom=50)
    assert limit.holds(100, 10)
    assert not limit.holds(101, 0)
    assert not limit.holds(100, 11)


def test_exported_files_predict_and_merged_ones_their_own_composition(exported):
    water, double = molecule("H2O"), molecule("H2O") + molecule("H2O")
    double.positions[3:] += 3
    structures = [water, double, molecule("H2O")]
    check_same(
        predict(exported("tiny-1p2p1"), structures, device="cpu"),
        structures,
        UMACalculator(exported("tiny-1p2p1"), device="cpu"),
    )
    merged = exported("tiny-1p2p1", merge_for="H2O")
    calculator = UMACalculator(merged, device="cpu")
    check_same(predict(merged, structures, device="cpu"), structures, calculator)
    with pytest.raises(PredictionError, match=r"structure 1 .*merged for H2O1.*found C1H4"):
        calculator.predict([water, molecule("CH4")])


def test_a_merged_file_takes_all_shares_in_one_graph(exported, graphs):
    double = molecule("H2O") + molecule("H2O")
    double.positions[3:] += 3
    predict(exported("tiny-1p2p1", merge_for="H2O"), [molecule("H2O"), double], device="cpu")
    assert graphs == [2]


def test_one_structure_without_a_list_is_refused(calculators):
    with pytest.raises(TypeError, match=r"structures must be a list of ase\.Atoms, found one"):
        calculators("tiny-1p1").predict(molecule("H2O"))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match=r"options of predict must be .*found 'devise'"):
        predict(checkpoint("tiny-1p1"), [molecule("H2O")], "omol", devise="cpu")


def test_moments_that_are_not_read_are_warned_of_once(calculators):
    structures = [molecule("O2"), molecule("OH"), molecule("CH4")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calculators("tiny-1p2p1").predict(structures)
    (warning,) = caught
    assert "initial magnetic moments of atoms are not read" in str(warning.message)


def test_a_bar_is_shown_only_where_asked_or_on_a_terminal(calculators, capsys):
    calculator = calculators("tiny-1p2p1")
    calculator.predict([molecule("H2O")])
    assert capsys.readouterr() == ("", "")
    calculator.predict([molecule("H2O")], progress=True)
    assert "structures" in capsys.readouterr().err


def test_predicting_between_steps_does_not_disturb_them(calculators):
    calculator = calculators("tiny-1p2p1")
    atoms = structure("water:8")
    atoms.calc = calculator
    before = atoms.get_forces()
    calculator.predict(assorted(10))
    assert (atoms.get_forces() == before).all()
    atoms.rattle(1e-3, seed=4)
    other = atoms.copy()
    other.calc = UMACalculator(checkpoint("tiny-1p2p1"), "omol", device="cpu", dtype="float64")
    assert atoms.get_forces() == pytest.approx(other.get_forces(), abs=1e-10)


def test_results_hold_no_memory_of_their_batch(calculators):
    structures = [molecule("H2O") for _ in range(5)]
    for found in calculators("tiny-1p2p1").predict(structures):
        assert found.forces.base is None
        assert found.energies.base is None


def test_pairs_of_a_trajectory_are_found_once(calculators, monkeypatch):
    calculator = calculators("tiny-1p2p1")
    frames = [structure("water:16") for _ in range(6)]
    for number, atoms in enumerate(frames):
        atoms.rattle(0.01, seed=number)
    evaluate = BatchEvaluator(calculator._potential)
    found = list(evaluate(map(system_of, frames), 0, 1))
    assert evaluate._batcher._store.built == 1
    for properties, atoms in zip(found, frames, strict=True):
        atoms.calc = calculator
        assert isinstance(properties, Properties)
        assert properties.forces == pytest.approx(atoms.get_forces(), abs=1e-9)


@pytest.mark.mpi
def test_with_ranks_it_is_refused():
    mpi = pytest.importorskip("mpi4py.MPI")
    calculator = UMACalculator(checkpoint("tiny-1p1"), "omol", device="cpu", comm=mpi.COMM_SELF)
    for call in (lambda: calculator.predict([]), lambda: calculator.get_hessian(molecule("H2O"))):
        with pytest.raises(TypeError, match="must be called without comm"):
            call()
