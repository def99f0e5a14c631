# SPDX-License-Identifier: MIT
"""One rank of a node reads a model and merges its experts, for all ranks of the node."""

import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import prepared
import pytest
from ase.io.lammpsdata import write_lammps_data
from lammps_session import BIN, ONE_THREAD, TIME_LIMIT
from structures import structure

from uma_md import UMACalculator
from uma_md.committee import members_of
from uma_md.files import exported as exported_files
from uma_md.networks import without_experts

PROGRAM = Path(__file__).with_name("startup_reads.py")
RANKS = 4
# What MPICH pretends: even and odd ranks each on a node of theirs, or each rank on its own.
NODES = {"two": {"MPIR_CVAR_ODD_EVEN_CLIQUES": "1"}, "four": {"MPIR_CVAR_NOLOCAL": "1"}, "one": {}}
WAYS = [
    pytest.param("lammps", marks=[pytest.mark.lammps, pytest.mark.mpi]),
    pytest.param("python", marks=pytest.mark.mpi),
]


@pytest.fixture(scope="module")
def ran(exported, tmp_path_factory):
    """Bytes that each rank read, and forces on each rank, by way and nodes; run once."""
    folder, made = tmp_path_factory.mktemp("startup"), {}
    model, data = exported("tiny-m"), folder / "water.data"
    write_lammps_data(data, structure("water:8"), specorder=["H", "O"], masses=True)

    def get(way: str, nodes: str) -> tuple[list[int], list[list[np.ndarray]]]:
        if (way, nodes) not in made:
            result = folder / f"{way}-{nodes}.pkl"
            command = [BIN / "mpiexec", "-n", RANKS, prepared.python(), PROGRAM]
            done = subprocess.run(
                list(map(str, [*command, way, model, data, result])),
                env=_environment(nodes),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            made[way, nodes] = pickle.loads(result.read_bytes())
        return made[way, nodes]

    return get


def _environment(nodes: str) -> dict[str, str]:
    from uma_md import plugin

    return {**os.environ, **ONE_THREAD, **NODES[nodes], "LAMMPS_PLUGIN_PATH": plugin.path()}


@pytest.mark.parametrize("way", WAYS)
def test_one_rank_of_each_node_reads_the_file(way, ran, exported):
    """A rank that has not read the experts cannot have merged them."""
    size = exported("tiny-m").stat().st_size
    for nodes, readers in (("one", {0}), ("two", {0, 1}), ("four", {0, 1, 2, 3})):
        has_read = {rank for rank, number in enumerate(ran(way, nodes)[0]) if number > size / 2}
        assert has_read == readers


@pytest.mark.parametrize("way", WAYS)
def test_forces_are_to_the_bit_those_of_ranks_that_all_read_and_merge(way, ran):
    """For the first composition, and for another one that is merged for in between."""
    everyone = ran(way, "four")[1]
    assert not np.array_equal(everyone[0][0][3:], everyone[0][1])
    for nodes in ("one", "two"):
        for mine, same in zip(ran(way, nodes)[1], everyone, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(mine, same, strict=True))


@pytest.mark.parametrize("is_exported", [False, True])
def test_a_network_without_experts_gets_them_back(is_exported, exported, calculators):
    """What is given to others is small, and merges of the first rank are what they were."""
    atoms = structure("water:8")
    made = calculators("tiny-m")
    calculator = UMACalculator(exported("tiny-m"), device="cpu") if is_exported else made
    network = members_of(calculator._potential)[0].network
    assert isinstance(network, exported_files.ScriptedModel) == is_exported
    experts = {n: p.clone() for n, p in network.named_parameters() if n.endswith(".experts")}
    whole = len(pickle.dumps(network))
    with without_experts(network):
        light = pickle.dumps(network)
    assert len(light) < whole - sum(p.nbytes for p in experts.values()) * 0.99
    assert all(np.array_equal(p, experts[n]) for n, p in network.named_parameters() if n in experts)
    assert np.isfinite(calculator.get_forces(atoms)).all()
    other = pickle.loads(light)
    shapes = [p.numel() for n, p in other.named_parameters() if n.endswith(".experts")]
    assert shapes
    assert not any(shapes)
