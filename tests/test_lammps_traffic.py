# SPDX-License-Identifier: MIT
"""What the pair style asks of MPI in a step, counted in front of MPI itself in real runs.

Steps of ``pair_style uma`` less those of ``pair_style zero`` with the same ghosts, in which LAMMPS
does all that it does for itself. Atoms rest, so that all steps are alike.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from conftest import checkpoint
from lammps_runs import Block
from lammps_session import BIN, ONE_THREAD, TIME_LIMIT
from structures import structure

from uma_md.commands.scaling.bricks import box_of, brick_grid, brick_owners
from uma_md.commands.scaling.rates import load, shape_of
from uma_md.ranks.traffic import RowShape, load_of
from uma_md.system import System

pytestmark = [pytest.mark.lammps, pytest.mark.mpi, pytest.mark.slow]

TESTS = Path(__file__).parent
RANKS = [1, 2, 4, pytest.param(8, marks=pytest.mark.extended)]
MODELS = {"tiny-1p1": "float64", "tiny-1p2p1": "float32"}
SKIN = 2.0
SENDS, RECEIVES, ALLREDUCES, ALLGATHERS, ALLTOALLS, OTHERS = range(6)
KEPT = "neigh_modify delay 0 every 100 check no\n"
REMADE = "neigh_modify delay 0 every 1 check no\n"
NUMBERS = 80  # bytes of compute pair uma, which LAMMPS sums
WATCHED = "compute load all pair uma\nfix load all ave/time 1 1 1 c_load[3]\n"


def structures() -> dict[str, Atoms]:
    found = {
        "water": structure("water:32"),
        "slab": fcc111("Cu", (7, 7, 4), vacuum=9.0, periodic=True),
    }
    for atoms in found.values():
        atoms.rattle(0.02, seed=1)  # no atom between two ranks, no pair at the end of the skin
        atoms.wrap()
    return found


@pytest.fixture(scope="module")
def counters(tmp_path_factory):
    """The library that counts."""
    library = tmp_path_factory.mktemp("counters") / "counters.so"
    command = [BIN / "mpicc", "-shared", "-fPIC", "-o", library, TESTS / "mpi_counters.c"]
    subprocess.run(list(map(str, command)), check=True)
    return library


@pytest.fixture(scope="module")
def models():
    """Of each variant its cutoff, what it exchanges, and how many elements it knows."""
    made = {}
    for variant, dtype in MODELS.items():
        potential = load(str(checkpoint(variant)), "omol")
        record = potential.metadata
        width = (record.lmax + 1) ** 2 * record.sphere_channels * np.dtype(dtype).itemsize
        shape = shape_of(potential)._replace(bytes_per_row=width)
        made[variant] = record.cutoff, shape, len(record.elements)
    return made


def scripts(models, exported, folder: Path) -> dict[str, str]:
    """Runs by name: variant, structure, and what is different in them."""
    made, index = {}, 0
    for variant, dtype in MODELS.items():
        for name, atoms in structures().items():
            block = Block(atoms, exported(variant, dtype=dtype))
            uma = block.setup(folder, index) + "\nthermo 100\n"
            head = uma.partition("pair_style")[0]
            zero = f"{head}pair_style zero {models[variant][0]}\npair_coeff * *\nthermo 100\n"
            made[f"{variant} {name} uma kept"] = uma + KEPT
            made[f"{variant} {name} zero kept"] = zero + KEPT
            if name == "water":
                made[f"{variant} uma remade"] = uma + REMADE
                made[f"{variant} zero remade"] = zero + REMADE
                made[f"{variant} watched kept"] = uma + KEPT + WATCHED
            index += 1
    return made


@pytest.fixture(scope="module", params=RANKS)
def found(request, counters, models, exported, tmp_path_factory):
    """Number of ranks, and calls and bytes of a step, (ranks, 2, kinds), for each run."""
    folder, ranks = tmp_path_factory.mktemp("traffic"), request.param
    (folder / "scripts.json").write_text(json.dumps(scripts(models, exported, folder)))
    program = [sys.executable, TESTS / "lammps_traffic.py", "scripts.json", "found.json"]
    command = [BIN / "mpiexec", "-n", ranks, "-env", "LD_PRELOAD", counters, *program]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    steps = json.loads((folder / "found.json").read_text())
    return ranks, {name: np.array(each).reshape(ranks, 2, -1) for name, each in steps.items()}


def test_each_step_sends_the_rows_that_the_geometry_foretells_and_no_more(found, models):
    """One message for each neighbor and exchange, on each rank, received as foretold, too."""
    ranks, steps = found
    for variant, (cutoff, shape, _) in models.items():
        for name, atoms in structures().items():
            run = f"{variant} {name}"
            asked = steps[f"{run} uma kept"] - steps[f"{run} zero kept"]
            system = System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
            owners = brick_owners(system, brick_grid(box_of(system), ranks))
            for rank in range(ranks):
                expected = messages(load_of(system, owners, rank, cutoff, SKIN), shape)
                assert asked[rank, :, :ALLREDUCES].tolist() == expected, (run, rank)


def messages(load, shape: RowShape) -> list[list[int]]:
    """Messages sent and received by a rank in both sweeps, and their bytes."""
    neighbors = len(load.sources) + len(load.targets)
    size = shape.layers * shape.bytes_per_row * (load.rows_sent + load.rows_received)
    return [[shape.layers * neighbors] * 2, [size] * 2]


def test_each_step_has_one_agreement_and_two_small_sums_in_a_layer(found, models):
    """Nothing else is global: the sums only where the model balances channels."""
    ranks, steps = found
    for variant, (_, shape, _) in models.items():
        assert (shape.balanced > 0) == (variant == "tiny-1p2p1")
        sums = 2 * shape.layers if shape.balanced and ranks > 1 else 0
        for name in structures():
            run = f"{variant} {name}"
            asked = steps[f"{run} uma kept"] - steps[f"{run} zero kept"]
            calls, size = asked[:, 0, ALLREDUCES:], asked[:, 1, ALLREDUCES:]
            assert (calls == [1, sums, 0, 0]).all(), (run, calls)
            assert (size == [4, sums * 8 * shape.balanced, 0, 0]).all(), (run, size)
        watched = steps[f"{variant} watched kept"] - steps[f"{variant} water uma kept"]
        assert (watched[:, 0] == [0, 0, 2, 0, 0, 0]).all(), (variant, watched)
        assert (watched[:, 1] == [0, 0, 16 + NUMBERS, 0, 0, 0]).all(), (variant, watched)


def test_a_new_neighbor_list_adds_three_small_calls_and_one_request_for_each_neighbor(
    found, models
):
    """Composition, agreement, numbers of rows; LAMMPS tells ghosts their owners as positions."""
    ranks, steps = found
    atoms = structures()["water"]
    system = System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
    owners = brick_owners(system, brick_grid(box_of(system), ranks))
    for variant, (cutoff, _, elements) in models.items():
        remade = steps[f"{variant} uma remade"] - steps[f"{variant} zero remade"]
        kept = steps[f"{variant} water uma kept"] - steps[f"{variant} water zero kept"]
        added = remade - kept
        assert (added[:, 0, ALLREDUCES:] == [2, 0, 1, 0]).all(), (variant, added)
        size = [8 * (elements + 1) + 4, 0, 4 * ranks, 0]
        assert (added[:, 1, ALLREDUCES:] == size).all(), (variant, added)
        # Of the messages of LAMMPS's own step half bring positions to ghosts, half return forces.
        to_ghosts = steps[f"{variant} water zero kept"][:, 0, SENDS].sum() // 2
        loads = [load_of(system, owners, rank, cutoff, SKIN) for rank in range(ranks)]
        requests = sum(len(each.sources) for each in loads)
        assert added[:, 0, SENDS].sum() == to_ghosts + requests, variant
