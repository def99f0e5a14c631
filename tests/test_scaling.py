# SPDX-License-Identifier: MIT
"""``uma-md scaling``: counts from geometry, and times by the equations of docs/scaling.md.

That counts are those of real runs is shown in ``test_traffic.py``.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io.lammpsdata import write_lammps_data
from click.testing import CliRunner
from rank_session import BIN
from structures import structure

from uma_md.cli import main
from uma_md.commands.scaling import counting
from uma_md.commands.scaling.bricks import brick_grid, brick_owners
from uma_md.commands.scaling.counting import Count, Reach, count
from uma_md.commands.scaling.prediction import Collectives, Rates, predict
from uma_md.commands.scaling.systems import Particle, Repeated, structure_of
from uma_md.ranks.decomposition import assign_owners
from uma_md.ranks.traffic import Load, RowShape, load_of
from uma_md.system import System

SHORT = Reach(3.0, 0.5)


def as_system(atoms) -> System:
    return System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)


@pytest.mark.parametrize("name", ["water", "slab", "nanoparticle", "interface"])
@pytest.mark.parametrize("natoms", [1e4, 1e6, 1e8])
def test_structures_have_about_as_many_atoms_as_asked_for(name, natoms):
    if name == "nanoparticle" and natoms > 1e6:
        natoms = 3e6  # all its lattice points are counted
    structure = structure_of(name, natoms)
    assert structure.natoms == pytest.approx(natoms, rel=0.05)
    if natoms == 1e4:
        system = structure.build()
        assert len(system.positions) == structure.natoms
        load = load_of(system, np.zeros(structure.natoms, dtype=np.int32), 0, 6.0, 0.0)
        assert {"water": 75, "interface": 65}.get(name, 55) < load.edges / load.atoms < 95


def test_atoms_are_apart_in_all_structures():
    for name in ("water", "slab", "nanoparticle", "interface"):
        system = structure_of(name, 3000).build()
        load = load_of(system, np.zeros(len(system.positions), dtype=np.int32), 0, 0.6, 0.0)
        assert load.edges == 0, name


def test_the_cell_of_a_file_repeats_along_its_periodic_directions(tmp_path):
    path = tmp_path / "slab.xyz"
    slab = structure("slab")
    slab.info.clear()
    slab.write(path)
    large = structure_of(str(path), 5000)
    assert isinstance(large, Repeated)
    assert large.replicas[2] == 1  # across it there is vacuum
    assert large.natoms == pytest.approx(5000, rel=0.2)
    assert len(large.build().positions) == large.natoms


def loads_by_rank(structure, ranks, decomposition, monkeypatch, fewest):
    monkeypatch.setattr(counting, "FEWEST_RANKS", fewest)
    monkeypatch.setattr(counting, "MOST_RANKS", 10**6)
    return count(structure, ranks, SHORT, decomposition)


def signature(load: Load) -> tuple[object, ...]:
    return (
        load.atoms,
        load.edges,
        load.inner_edges,
        *(tuple(sorted(rows.tolist())) for rows in (load.rows_from, load.rows_to)),
    )


@pytest.mark.parametrize("decomposition", ["bisection", "bricks"])
@pytest.mark.parametrize("name", ["water", "slab"])
def test_half_a_structure_on_half_of_the_ranks_has_what_the_whole_has(
    name, decomposition, monkeypatch
):
    """Rank by rank: atoms, edges and rows of every message."""
    monkeypatch.setattr("uma_md.commands.scaling.systems.LARGEST_CELL", 12_000)
    whole = structure_of(name, 44_000)
    assert isinstance(whole, Repeated)
    assert whole.replicas.prod() == 4
    direct = loads_by_rank(whole, 256, decomposition, monkeypatch, 256)
    halved = loads_by_rank(whole, 256, decomposition, monkeypatch, 64)
    assert (direct.built_ranks, halved.built_ranks) == (256, 64)
    assert halved.edges * 1.0 == direct.edges
    expected = sorted(4 * [signature(load) for load in halved.loads])
    assert sorted(signature(load) for load in direct.loads) == expected


def test_a_half_that_is_too_small_does_not_stand_for_the_whole(monkeypatch):
    """Where ranks see across the half, the next larger part is divided."""
    monkeypatch.setattr("uma_md.commands.scaling.systems.LARGEST_CELL", 1500)
    whole = structure_of("water", 12_000)
    found = loads_by_rank(whole, 64, "bisection", monkeypatch, 4)
    assert 8 < found.built_ranks <= 64
    direct = loads_by_rank(whole, 64, "bisection", monkeypatch, 64)
    times = 64 // found.built_ranks
    expected = sorted(times * [signature(load) for load in found.loads])
    assert sorted(signature(load) for load in direct.loads) == expected


@pytest.mark.parametrize("decomposition", ["bisection", "bricks"])
def test_looking_at_a_rank_among_its_surroundings_alone_changes_nothing(decomposition):
    """All atoms of far ranks left out, as for large structures: the same as with all of them."""
    for spec in ("water:32", "cutri:4", "slab", "far"):
        system = as_system(structure(spec))
        structure_once = Repeated(system, np.ones(3, dtype=np.int64))
        found = count(structure_once, 6, SHORT, decomposition)
        owners = (
            assign_owners(system, 6, SHORT.cutoff)
            if decomposition == "bisection"
            else brick_owners(system, brick_grid(structure_once.box(), 6))
        )
        for load in found.loads:
            assert signature(load) == signature(load_of(system, owners, load.rank, *SHORT))


@pytest.mark.parametrize(
    ("lengths", "ranks", "grid"),
    [
        ((10, 10, 10), 8, (2, 2, 2)),
        ((10, 10, 10), 4, (1, 2, 2)),
        ((40, 10, 10), 4, (4, 1, 1)),
        ((10, 10, 10), 7, (1, 1, 7)),
        ((30, 20, 10), 6, (3, 2, 1)),
    ],
)
def test_bricks_have_the_least_surface(lengths, ranks, grid):
    assert brick_grid(np.diag(np.array(lengths, dtype=float)), ranks) == grid


BRICKS = """
units metal
box tilt large
boundary {boundary}
read_data {data}
mass * 1.0
pair_style zero 4.0
pair_coeff * *
run 0
write_dump all custom {out} id proc modify sort id
"""


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize(("spec", "ranks"), [("water:32", 8), ("cutri:4", 6), ("slab", 4)])
def test_bricks_are_those_of_lammps(spec, ranks, tmp_path):
    """Grid, order of ranks and the brick of each atom, as LAMMPS itself has them."""
    atoms = structure(spec)
    atoms.wrap()
    data, out = tmp_path / "data", tmp_path / "out"
    write_lammps_data(data, atoms)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    script = tmp_path / "in"
    script.write_text(BRICKS.format(boundary=boundary, data=data, out=out))
    command = [BIN / "mpiexec", "-n", ranks, BIN / "lmp", "-log", "none", "-in", script]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    procs = np.loadtxt(out, skiprows=9, dtype=int)[:, 1]
    system = as_system(atoms)
    once = Repeated(system, np.ones(3, dtype=np.int64))
    owners = brick_owners(system, brick_grid(once.box(), ranks))
    assert len(np.unique(procs)) > 1  # of the slab, most bricks are empty
    assert (owners == procs).all()


def test_a_sample_of_ranks_gives_about_the_whole(monkeypatch):
    water = structure_of("water", 6000)
    monkeypatch.setattr(counting, "MOST_RANKS", 64)
    every = count(water, 64, SHORT, "bisection")
    monkeypatch.setattr(counting, "MOST_RANKS", 12)
    some = count(water, 64, SHORT, "bisection")
    assert len(some.loads) == 12 < len(every.loads)
    assert some.edges == pytest.approx(every.edges, rel=0.05)
    assert some.most_edges <= every.most_edges


def test_times_follow_the_equations():
    """Two ranks, by hand: 1 us an edge, 1 GB/s, 1 ms a message."""
    rank = np.array([1])
    loads = [
        Load(0, 50, 1000, 600, rank, np.array([100]), rank, np.array([80])),
        Load(1, 50, 900, 500, 1 - rank, np.array([80]), 1 - rank, np.array([100])),
    ]
    shape, rates = RowShape(2, 1000, 3), Rates(1e-6, 1e9, 1e-4)
    found = predict(Count(100, 2, loads, 100, 2, 1900.0), shape, rates, Collectives(5, False))
    one = 1e-4 + 100 * 1000 / 1e9
    forces = 1e-4 + 100 * 24 / 1e9
    assert found.ideal == pytest.approx(950e-6)
    assert found.arithmetic == pytest.approx(1000e-6)
    assert found.exchange == pytest.approx(4 * one + forces)
    assert found.collectives == pytest.approx(5e-4)
    assert found.step == pytest.approx(1000e-6 + 4 * one + forces + 5e-4)
    hidden = max(600e-6, 4 * one) + 400e-6
    assert found.overlapped == pytest.approx(hidden + forces + 5e-4)
    gathering = predict(Count(100, 2, loads, 100, 2, 1900.0), shape, rates, Collectives(5, True))
    assert gathering.step - found.step == pytest.approx(1e-4 + 100 * 32 / 1e9)


def run(*arguments: str):
    return CliRunner().invoke(main, ["scaling", *arguments])


GIVEN = ("--seconds-per-edge", "5e-7", "--bandwidth", "25e9", "--latency", "5e-6")


def test_the_command_prints_tables_and_draws(tmp_path):
    picture = tmp_path / "scaling.png"
    sizes = ("--ranks", "1,4", "--atoms-per-rank", "300", "--atoms", "1200")
    done = run("water", *sizes, *GIVEN, "--plot", str(picture))
    assert done.exit_code == 0, done.output
    assert "Decomposition: bricks, pairs within 6 + 2 angstrom" in done.output
    assert "Rates: 0.5 us per edge and step, 25 GB/s, 5 us" in done.output
    assert done.output.count(" of 4 ") == 2
    assert picture.read_bytes()[:4] == b"\x89PNG"
    lines = done.output.splitlines()
    strong = lines.index("Strong scaling, about 1200 atoms: predicted")
    assert lines[strong + 2].split()[0] == "1"
    assert lines[strong + 2].split()[-1] == "100.0%"


def test_a_rank_may_be_a_file_s_part(tmp_path):
    path = tmp_path / "copper.xyz"
    bulk("Cu", cubic=True).write(path)
    model = Path(__file__).parent / "data" / "tiny-1p2p1.pt"
    sizes = ("--ranks", "1,8", "--atoms-per-rank", "256", "--engine", "ase")
    done = run(str(path), *sizes, *GIVEN, "--model", str(model))
    assert done.exit_code == 0, done.output
    assert "Decomposition: bisection, pairs within 5 + 1 angstrom" in done.output
    assert "3 layers, 576 bytes a row, 3 balanced channels" in done.output
    assert "8 small sums, then results to all ranks" in done.output


@pytest.mark.usefixtures("prepared_programs")
@pytest.mark.mpi
@pytest.mark.slow
def test_rates_are_measured_where_they_are_not_given():
    done = run("water", "--ranks", "1", "--atoms-per-rank", "300")
    assert done.exit_code == 0, done.output
    words = done.output.partition("Rates: ")[2].split()
    assert 1e-3 < float(words[0]) < 1e3
    assert 1e-2 < float(words[6]) < 1e3
    assert 1e-2 < float(words[8]) < 1e5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("water", "--ranks", "0"), "--ranks must be numbers from 1 up, found [0]"),
        (("water", "--ranks", "2", "--atoms", "-5"), "--atoms must be a positive number"),
        (("water", "--look-at", "2"), "--look-at must be 3 ranks or more, found 2"),
        (("water", "--skin", "-1"), "--skin must be 0 to 100 angstrom, found -1.0"),
        (("water", "--ranks", "2", "--atoms", "1e7"), "at most 300000 atoms for its pairs"),
        (("nanoparticle", "--ranks", "100000", "--atoms", "1e10"), "half of the free memory"),
        (("missing.xyz",), "found missing.xyz: No such file"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence(arguments, sentence):
    done = run(*arguments, *GIVEN)
    assert done.exit_code == 1
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_a_particle_is_round():
    particle = Particle.of(5000)
    distances = np.linalg.norm(particle.build().positions, axis=1)
    assert distances.max() <= particle.radius < distances.max() + 1.0
