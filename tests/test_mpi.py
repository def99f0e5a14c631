# SPDX-License-Identifier: MIT
"""Atoms spread over real MPI ranks with mpi4py: the same results, the same errors.

``mpi_ranks.py`` is what the ranks run; one launch serves nearly all tests.
"""

import os
import re
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from conftest import checkpoint
from mpi_cases import TINY, atoms_of, bead_atoms, cases, few_cases, properties, run_md
from mpi_launch import Checks, launch

from uma_md import UMACalculator

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py"),
]

ALL = (1, 2, 3, 4, pytest.param(5, marks=pytest.mark.extended))
RANKS = 4  # of the checks that one number of ranks is enough for


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a check found on some ranks."""
    with Checks(RANKS, tmp_path_factory.mktemp("found")) as checks:

        def get(check: str, ranks: int = RANKS):
            return checks.found(check, ranks)

        yield get


@pytest.fixture(scope="module")
def alone(calculators):
    """What one process without MPI gives."""
    made = {}

    def get(variant: str, dtype: str, spec: str):
        if (variant, dtype, spec) not in made:
            atoms = atoms_of(spec)
            atoms.calc = calculators(variant, "omol", dtype)
            made[variant, dtype, spec] = properties(atoms)
        return made[variant, dtype, spec]

    return get


@pytest.mark.parametrize("ranks", ALL)
def test_results_do_not_depend_on_the_number_of_ranks(ranks, found, alone):
    """All models with all structures on one number of ranks; on others, each with some."""
    check = "results" if ranks == RANKS else "few_results"
    assert set(found(check, ranks)[0]) == set(cases() if ranks == RANKS else few_cases())
    same_as_alone(found(check, ranks), alone)


@pytest.mark.extended
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_no_result_depends_on_the_number_of_ranks(ranks, found, alone):
    assert set(found("results", ranks)[0]) == set(cases())
    same_as_alone(found("results", ranks), alone)


def same_as_alone(found, alone) -> None:
    """Results of ranks are those of one process, the same bits on all of them."""
    results, same_bits_everywhere = found
    assert same_bits_everywhere
    for case, values in results.items():
        expected = alone(*case)
        assert values.keys() == expected.keys()
        for name, value in values.items():
            tolerance = 1e-9 if case[1] == "float64" else 1e-4
            error = np.abs(value - expected[name]).max()
            assert error <= tolerance * max(1, np.abs(expected[name]).max()), (case, name)


def test_forces_that_are_compared_are_large_enough(alone):
    for variant in TINY:
        assert np.abs(alone(variant, "float64", "water:8")["forces"]).max() > 1e-3


def test_forces_and_stress_are_derivatives_of_the_energy(found):
    pairs = found("differences")
    assert len(pairs) == 6
    for analytic, numeric in pairs:
        assert numeric == pytest.approx(analytic, abs=1e-8 + 1e-5 * abs(numeric))
        assert abs(analytic) > 1e-6


def test_a_trajectory_is_that_of_one_rank(found, calculators):
    path, same_bits_everywhere = found("dynamics")
    atoms = atoms_of("water:8")
    atoms.calc = calculators("tiny-1p1")
    expected = run_md(atoms)
    assert same_bits_everywhere
    assert len(path) == 21
    assert path == pytest.approx(expected, abs=1e-9)
    assert np.abs(path[-1] - path[0]).max() > 0.01


def test_communicators_of_some_ranks_are_independent(found, alone):
    """A group's failure is its own: the other group computes on."""
    for color, failure, values in found("subgroups"):
        expected = alone(
            *(("tiny-1p1", "float64", "water:8"), ("tiny-m", "float64", "shear"))[color]
        )
        for name, value in values.items():
            assert value == pytest.approx(expected[name], abs=1e-9)
        if color == 0:
            assert failure == (
                "ValueError",
                "atoms must be apart, found two at the same position: atom 0",
            )


def test_systems_side_by_side_are_each_as_if_alone(found, calculators):
    calculator = calculators("tiny-1p2p1")
    for moved, values in zip((False, True), found("beads"), strict=True):
        for index, atoms in enumerate(bead_atoms(moved)):
            atoms.calc = calculator
            rows = slice(24 * index, 24 * index + 24)
            virial = values.virials[index]
            stress = -0.5 * (virial + virial.T) / atoms.get_volume()
            assert values.energies[rows].sum() == pytest.approx(
                atoms.get_potential_energy(), abs=1e-9
            )
            assert values.forces[rows] == pytest.approx(atoms.get_forces(), abs=1e-9)
            assert stress == pytest.approx(atoms.get_stress(voigt=False), abs=1e-9)


def test_an_exported_file_serves_ranks_with_and_without_atoms(found, alone):
    for spec, values in found("exported_file").items():
        expected = alone("tiny-1p2p1", "float64", spec)
        for name, value in values.items():
            assert value == pytest.approx(expected[name], abs=1e-9)


def test_communicators_do_not_run_out_and_others_are_refused(found):
    for kind, text in found("communicators"):
        assert kind == "TypeError"
        assert text.startswith("comm must be an intracommunicator of mpi4py, found ")


def all_raised(outcomes: list[tuple[str, str]], kind: str, text: str) -> None:
    assert outcomes == [(kind, text)] * RANKS


@pytest.mark.parametrize("rank", [0, RANKS - 1])
def test_what_one_rank_cannot_load_no_rank_loads(rank, found):
    errors = {
        name: outcomes
        for (name, where), outcomes in found("loading_errors").items()
        if where == rank
    }
    tasks = "oc20, omol, omat, odac, omc"
    all_raised(errors["unknown task"], "ValueError", f"task must be one of {tasks}; found 'ocean'")
    all_raised(errors["device"], "ValueError", "device must be auto, cpu or cuda, found 'gpu'")
    all_raised(errors["chunk"], "ValueError", "chunk must be 1 or more edges, found 0")
    kind, text = errors["file"][0]
    assert kind == "FileNotFoundError"
    assert "missing.pt" in text
    all_raised(errors["file"], kind, text)
    odd = rank or 1  # rank 0 is what the others are compared with
    for name in ("other model", "other task"):
        all_raised(
            errors[name],
            "ValueError",
            f"all ranks must have the same model, found other model or task on rank {odd} than "
            "on rank 0: give every rank the same file and task",
        )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("positions", "positions"),
        ("cell", "cell"),
        ("atoms", "atomic numbers"),
        ("pbc", "periodic directions"),
        ("charge", "charge or spin"),
    ],
)
def test_ranks_with_different_structures_are_told_what_differs(name, part, found):
    all_raised(
        found("structure_errors")[0][name],
        "ValueError",
        f"all ranks must have the same structure, found other {part} on rank 1 than on rank 0: "
        "let all ranks read the same file and use the same random seed",
    )


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("half charge", "TypeError", "charge must be an integer, found 0.5"),
        ("no number", "ValueError", "positions and cell must be finite, found NaN or infinity"),
        ("flat cell", "ValueError", "cell vectors of periodic directions must be independent"),
        (
            "same position",
            "ValueError",
            "atoms must be apart, found two at the same position: atom",
        ),
        ("crowd", "ValueError", "an atom must have at most 300 neighbors within 6.0 angstrom"),
        ("no atoms", "ValueError", "the structure must have atoms, found none"),
        ("lone", "ValueError", "UMA-1.1 does not describe a single isolated atom"),
    ],
)
def test_structures_are_refused_on_all_ranks_alike(name, kind, text, found):
    outcomes, _ = found("structure_errors")
    assert outcomes[name][0][0] == kind
    assert outcomes[name][0][1].startswith(text)
    all_raised(outcomes[name], *outcomes[name][0])


@pytest.mark.parametrize(
    ("name", "kinds", "text"),
    [
        ("NaN", ["ValueError"] * 4, "energy and forces must be finite, the model gave NaN"),
        ("product", ["RuntimeError"] * 4, "mat1 and mat2 must have the same dtype"),
        ("memory", ["MemoryError"] * 4, "a rank ran out of memory: use more ranks or devices"),
        (
            "interrupt",
            ["RuntimeError", "KeyboardInterrupt", "RuntimeError", "RuntimeError"],
            "a rank was stopped by KeyboardInterrupt",
        ),
    ],
)
def test_a_rank_that_breaks_between_exchanges_takes_the_others_with_it(name, kinds, text, found):
    outcomes, _ = found("faults_in_the_sweeps")
    assert [kind for kind, _ in outcomes[name]] == kinds
    assert len({said for kind, said in outcomes[name] if kind != "KeyboardInterrupt"}) == 1
    assert outcomes[name][0][1].startswith(text)


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("copy", "MemoryError", "a rank ran out of memory"),
        ("checks", "ValueError", "broken"),
        ("merge", "RuntimeError", "broken"),
        ("before", "ValueError", "broken"),
        ("division", "RuntimeError", "broken"),
        ("halo", "MemoryError", "a rank ran out of memory"),
        ("results", "TypeError", "broken"),
        ("stress", "RuntimeError", "'broken'"),
        ("keyword", "TypeError", "options of UMACalculator must be .*; found 'chunks'"),
        ("path", "TypeError", ""),
        ("task", "ValueError", "all ranks must have the same task, found other task on rank 1"),
    ],
)
def test_what_fails_on_one_rank_alone_fails_on_all(name, kind, text, found):
    """Wherever it fails, and wherever the others are by then."""
    outcomes, _ = found("faults_around_the_sweeps")
    broken = 0 if name == "division" else 1
    for rank, (raised, said) in enumerate(outcomes[name]):
        assert rank == broken or raised == kind
        assert re.match(text, said)


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("copy again", "MemoryError"),
        ("checks again", "ValueError"),
        ("merge again", "RuntimeError"),
        ("before again", "ValueError"),
        ("graph", "MemoryError"),
        ("rows travel", "RuntimeError"),
        ("gather", "RuntimeError"),
        ("results again", "TypeError"),
    ],
)
def test_what_fails_with_a_kept_division_fails_on_all(name, kind, broken, found):
    """Where ranks have not agreed since they began, and others wait for rows already."""
    outcomes, _ = found("faults_around_the_sweeps")
    for rank, (raised, said) in enumerate(outcomes[name, broken]):
        assert rank == broken or raised == kind
        assert said == "broken" or said.startswith("a rank ran out of memory")


def test_an_interrupt_that_finds_a_rank_waiting_ends_the_others_too(found):
    outcomes, _ = found("faults_around_the_sweeps")
    kinds = [kind for kind, _ in outcomes["waiting"]]
    assert kinds == ["RuntimeError", "KeyboardInterrupt", "RuntimeError", "RuntimeError"]


def test_a_calculator_goes_on_after_errors(found, alone):
    _, energy = found("structure_errors")
    assert energy == pytest.approx(alone("tiny-1p1", "float64", "water:8")["energy"], abs=1e-9)
    _, energy = found("faults_around_the_sweeps")
    assert energy == pytest.approx(alone("tiny-1p1", "float64", "water:8")["energy"], abs=1e-9)
    _, energy = found("faults_in_the_sweeps")
    assert energy == pytest.approx(alone("tiny-1p1", "float64", "water:32")["energy"], abs=1e-9)


def test_ranks_of_a_node_share_its_cores_and_memory(found):
    cores = len(os.sched_getaffinity(0))
    placements = found("placements")
    assert [where.node_rank for where, _ in placements] == list(range(RANKS))
    for where, threads in placements:
        assert where.ranks_on_node == RANKS
        assert threads == max(1, cores // RANKS)
        if where.device.type == "cpu":
            assert where.sharers == RANKS


def test_exchanges_copy_nothing_where_there_is_nothing_to_do(found):
    assert all(found("quiet_exchanges")), found("quiet_exchanges")


@pytest.mark.parametrize("failure", ["breakdown", "broken_exchange"])
def test_broken_communication_ends_the_run(failure, tmp_path):
    result = launch(tmp_path, 2, failure)
    assert result.returncode != 0
    assert "communication between MPI ranks failed: " in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_flat_cell_and_infinite_positions_are_refused_without_ranks_too():
    calculator = UMACalculator(checkpoint("tiny-1p1"), "omol", device="cpu")
    with pytest.raises(ValueError, match="must be finite, found NaN or infinity"):
        calculator.get_potential_energy(Atoms("H2", [[0, 0, 0], [0, 0, np.inf]]))
    flat = Atoms("H", cell=[[9, 0, 0], [0, 9, 0], [9, 9, 0]], pbc=True)
    with pytest.raises(ValueError, match="periodic directions must be independent"):
        calculator.get_potential_energy(flat)
