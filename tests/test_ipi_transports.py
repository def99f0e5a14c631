# SPDX-License-Identifier: MIT
"""The driver against i-PI's own server: the same trajectory over every way to reach it.

What is compared are all digits that i-PI prints of conserved quantity, potential and pressure.
The potential is an analytic one with images in a triclinic cell; with UMA: ``test_ipi.py``.
"""

from pathlib import Path

import numpy as np
import prepared
import pytest
from ipi_analytic import Analytic
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import ANALYTIC, Address, Server, serve_analytic

from ipi_driver.wire.protocol import Structures

pytestmark = pytest.mark.ipi

FOLDER = Path(__file__).parent
BATCHES = [(1, True), (1, False), (2, True), (4, True)]


@pytest.fixture(scope="module")
def water():
    atoms = water_box(1)
    atoms.set_cell([[3.2, 0, 0], [0.6, 3.1, 0], [-0.4, 0.5, 3.3]])
    return atoms


@pytest.fixture(scope="module")
def reference(water, tmp_path_factory):
    """Properties with nothing of ours between i-PI and the potential."""
    with Server(tmp_path_factory.mktemp("direct"), water, direct("ipi_reference_pes")) as server:
        return server.finish()


def direct(file: str, threaded: str = "false", batch: int = 1) -> str:
    return (
        f"<ffdirect name='uma' threaded='{threaded}'> <pes>custom</pes> "
        f"<pes_path>{FOLDER / file}.py</pes_path> <batch_size>{batch}</batch_size> </ffdirect>"
    )


def test_the_analytic_potential_has_forces_and_virials_of_its_energy():
    rng, step = np.random.default_rng(0), 1e-4
    cell = np.array([[6, 0, 0], [1, 6.5, 0], [0.5, -0.7, 5.8]])
    positions = 2 * rng.normal(size=(6, 3))
    potential = Analytic(2)

    def slope(move, strain) -> float:
        """Derivative of the energy along a move of the atoms and a strain of all."""
        deforms = [np.eye(3) + size * strain.T for size in (step, -step)]
        moved = [(positions + size * move) for size in (step, -step)]
        ends = [(cell @ deform, one @ deform) for deform, one in zip(deforms, moved, strict=True)]
        up, down = potential(Structures(*map(np.array, zip(*ends, strict=True)))).energies
        return (up - down) / (2 * step)

    found = potential(Structures(cell[np.newaxis], positions[np.newaxis]))
    for _ in range(5):
        move, strain = rng.normal(size=(6, 3)), rng.normal(size=(3, 3))
        work = (found.forces[0] * move).sum() + (found.virials[0] * strain).sum()
        assert work == pytest.approx(-slope(move, strain), abs=1e-6)


@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
@pytest.mark.parametrize(("batch", "consolidate"), BATCHES)
def test_every_socket_gives_the_same_trajectory(
    mode, batch, consolidate, water, reference, tmp_path
):
    address = Address(mode)
    with Server(tmp_path, water, address.field(batch, consolidate)) as server:
        potential = serve_analytic(address)
        assert server.finish() == reference
    # the six beads of the first step are alike: copies within a batch are not computed
    assert potential.structures == 24 if batch == 1 else 18 < potential.structures < 24


@pytest.mark.parametrize(("threaded", "batch"), [("true", 1), ("true", 4), ("false", 3)])
def test_ffdirect_gives_the_same_trajectory(threaded, batch, water, reference, tmp_path):
    with Server(tmp_path, water, direct("ipi_analytic_pes", threaded, batch)) as server:
        assert server.finish() == reference


@pytest.mark.mpi
def test_ffmpi_gives_the_same_trajectory(water, reference, tmp_path):
    field = "<ffmpi name='uma' pbc='false'> <batch_size>1</batch_size> </ffmpi>"
    beside = ["-n", "1", prepared.python(), ANALYTIC, "--mpi"]
    with Server(tmp_path, water, field, beside=beside) as server:
        assert server.finish() == reference
        assert "i-PI said EXIT: 24 structures" in server.log
