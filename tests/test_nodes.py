# SPDX-License-Identifier: MIT
"""Ranks on two nodes that share no memory: where they compute, and rows that cross a network."""

import os
import pickle
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import checkpoint
from lammps_runs import Block, read_prediction, static_script
from lammps_session import BIN
from mpi_cases import atoms_of, node_cases, properties
from mpi_launch import SCRIPT
from structures import structure
from test_lammps import expect
from test_mpi import same_as_alone
from two_nodes import launch, why_not

from uma_md.commands.scaling.bricks import box_of, brick_grid, brick_owners
from uma_md.commands.scaling.rates import load, shape_of
from uma_md.ranks.traffic import load_of
from uma_md.system import System

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.extended,  # a start on 1 + 3 ranks once hung, on a machine with a load of 30
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]

CORES = len(os.sched_getaffinity(0))
LAYOUTS = [(2, 2), (1, 3)]  # ranks of the first node and of the second
STEPS = 10
SKIN = 2.0
# With UCX, its other way, MPICH may wait for ever in LAMMPS's own messages: docs/clusters.md.
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))},
    "MPIR_CVAR_CH4_NETMOD": "ofi",
}


def threads(ranks_on_node: int) -> int:
    """Of a rank, where every node may use all cores of this machine."""
    return max(1, CORES // ranks_on_node)


@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_python_ranks_know_their_node_and_give_the_numbers_of_one_process(
    layout, calculators, tmp_path
):
    """Names, numbers and memory as the nodes are, and threads as each node has cores."""
    checks = ("hosts", "placements", "node_results")
    done = launch(layout, tmp_path, [sys.executable, SCRIPT, tmp_path, *checks], ENVIRONMENT)
    assert done.code == 0, done.output[-3000:]
    hosts, placements, results = (
        pickle.loads((tmp_path / f"{check}.pkl").read_bytes()) for check in checks
    )
    assert hosts == [
        (host, ranks, rank)
        for host, ranks in zip(("first", "second"), layout, strict=True)
        for rank in range(ranks)
    ]
    for (where, number), (_, ranks, rank) in zip(placements, hosts, strict=True):
        assert (where.ranks_on_node, where.node_rank) == (ranks, rank)
        assert number == threads(ranks)

    def alone(variant: str, dtype: str, spec: str) -> dict[str, np.ndarray]:
        atoms = atoms_of(spec)
        atoms.calc = calculators(variant, "omol", dtype)
        return properties(atoms)

    assert set(results[0]) == set(node_cases())
    same_as_alone(results, alone)


@pytest.mark.lammps
@pytest.mark.parametrize("layout", LAYOUTS)
def test_lammps_ranks_know_their_node_and_give_the_numbers_of_ase(
    layout, exported, results, tmp_path
):
    specs = ("water:32", "slab", "shear", "far")
    blocks = [Block(structure(spec), exported("tiny-1p2p1")) for spec in specs]
    (tmp_path / "in.lmp").write_text(static_script(blocks, tmp_path))
    command = [BIN / "lmp", "-in", tmp_path / "in.lmp", "-log", "none"]
    done = launch(layout, tmp_path, command, ENVIRONMENT)
    assert done.code == 0, done.output[-3000:]
    fewest, most = sorted(map(threads, layout))
    number = str(most) if fewest == most else f"{fewest} to {most}"
    assert set(re.findall(r"devices: 4 MPI ranks with (.+?) threads?", done.output)) == {number}
    for index, block in enumerate(blocks):
        expect(read_prediction(block, tmp_path / str(index)), block.atoms, results("tiny-1p2p1"))


@pytest.mark.lammps
def test_rows_between_nodes_cross_the_network_and_those_within_do_not(exported, tmp_path):
    """More bytes leave the first node than its rows, and fewer than if all rows left it."""
    atoms = structure("water:32")
    atoms.wrap()
    block = Block(atoms, exported("tiny-1p1"))
    script = block.setup(tmp_path, 0) + f"\nfix 1 all nve\ntimestep 0.0001\nrun {STEPS}\n"
    (tmp_path / "in.lmp").write_text(script)
    command = [BIN / "lmp", "-in", tmp_path / "in.lmp", "-log", "none"]
    done = launch((2, 2), tmp_path, command, ENVIRONMENT)
    assert done.code == 0, done.output[-3000:]
    across, within = rows_of_first_node(atoms)
    assert across > 10**6
    for counted in (done.sent, done.received):
        assert across < counted < across + within


def rows_of_first_node(atoms) -> tuple[int, int]:
    """Bytes of rows that ranks 0 and 1 of 4 send to others, and to each other, in a run."""
    potential = load(str(checkpoint("tiny-1p1")), "omol")
    shape, cutoff = shape_of(potential), potential.metadata.cutoff
    width = (potential.metadata.lmax + 1) ** 2 * potential.metadata.sphere_channels * 8
    system = System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
    owners = brick_owners(system, brick_grid(box_of(system), 4))
    rows = {True: 0, False: 0}
    for rank in (0, 1):
        found = load_of(system, owners, rank, cutoff, SKIN)
        for peers, counts in ((found.targets, found.rows_to), (found.sources, found.rows_from)):
            for peer, count in zip(peers.tolist(), counts.tolist(), strict=True):
                rows[peer > 1] += count
    each = (STEPS + 1) * shape.layers * width
    return rows[True] * each, rows[False] * each
