# SPDX-License-Identifier: MIT
"""The driver against i-PI's own server: the same trajectory over every way to reach it.

What is compared are all digits that i-PI prints of conserved quantity, potential and pressure.
It prints float64 sums with nine digits; ways that evaluate other batches together differ in
the last bits of a double, far below.
"""

import sys

import pytest
from conftest import checkpoint
from structures import structure, water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import BIN, Address, Server, drive, options, program

from ipi_driver import pes

pytestmark = pytest.mark.ipi

BATCHES = [(1, True), (1, False), (2, True), (4, True)]


@pytest.fixture(scope="module")
def water():
    return water_box(1)


@pytest.fixture(scope="module")
def reference(water, tmp_path_factory):
    """Properties by ffdirect, one structure at a time."""
    with Server(tmp_path_factory.mktemp("direct"), water, direct()) as server:
        return server.finish()


def direct(threaded: str = "false", batch: int = 1) -> str:
    return (
        f"<ffdirect name='uma' threaded='{threaded}'> <pes>custom</pes> "
        f"<pes_path>{pes.__file__}</pes_path> <parameters>{{ model: {checkpoint('tiny-1p2p1')}, "
        "template: init.extxyz, task: omol, dtype: float64, device: cpu }</parameters> "
        f"<batch_size>{batch}</batch_size> </ffdirect>"
    )


@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
@pytest.mark.parametrize(("batch", "consolidate"), BATCHES)
def test_every_socket_gives_the_same_trajectory(
    mode, batch, consolidate, water, reference, tmp_path
):
    address = Address(mode)
    with Server(tmp_path, water, address.field(batch, consolidate)) as server:
        done = drive(tmp_path / "init.extxyz", *address.options)
        assert done.exit_code == 0, done.output
        assert batch > 1 or "i-PI said EXIT: 24 structures computed" in done.output
        assert server.finish() == reference


@pytest.mark.parametrize(("threaded", "batch"), [("true", 1), ("true", 4), ("false", 3)])
def test_ffdirect_gives_the_same_trajectory(threaded, batch, water, reference, tmp_path):
    with Server(tmp_path, water, direct(threaded, batch)) as server:
        assert server.finish() == reference


@pytest.mark.mpi
@pytest.mark.parametrize("batch", [1, 4])
def test_ffmpi_gives_the_same_trajectory(batch, water, reference, tmp_path):
    field = f"<ffmpi name='uma' pbc='false'> <batch_size>{batch}</batch_size> </ffmpi>"
    words = options(tmp_path / "init.extxyz", "--mpi")
    beside = ["-n", "1", sys.executable, "-m", "ipi_driver.cli", *words]
    with Server(tmp_path, water, field, beside=beside) as server:
        assert server.finish() == reference
        assert "i-PI said EXIT: 24 structures computed" in server.log


def test_the_stock_driver_with_our_pes_file_gives_the_same_trajectory(water, reference, tmp_path):
    address = Address("shm")
    parameters = {
        "model": checkpoint("tiny-1p2p1"),
        "template": tmp_path / "init.extxyz",
        "task": "omol",
        "dtype": "float64",
        "device": "cpu",
    }
    words = ",".join(f"{key}={value}" for key, value in parameters.items())
    command = [BIN / "i-pi-py_driver", "--shm", "-a", address.name, "-m", "custom"]
    with Server(tmp_path, water, address.field(4)) as server:
        while not address.path.exists():
            assert server.process.poll() is None
        with program([*command, "-P", pes.__file__, "-o", words]) as stock:
            assert server.finish() == reference
            assert stock.wait(20) == 0, stock.stdout.read()


def test_parameters_of_the_input_reach_every_driver(tmp_path):
    """A charge that comes with INIT changes the result as one from the template does."""
    atoms = structure("mol:OH@-1,1")
    found = []
    for words, parameters in (
        ((), ""),
        (("--charge", 0), "<parameters> { charge: -1 } </parameters>"),
    ):
        address = Address()
        field = address.field().replace("<timeout>", f"{parameters} <timeout>")
        cell = "<cell mode='abc' units='angstrom'> [ 30, 30, 30 ] </cell>"
        folder = tmp_path / str(len(found))
        with Server(folder, atoms, field, 1, 1, cell) as server:
            done = drive(folder / "init.extxyz", *address.options, *words)
            assert done.exit_code == 0, done.output
            assert "task omol, charge -1, spin 1, float64 on cpu" in done.output
            found.append(server.finish())
    assert found[0] == found[1]
