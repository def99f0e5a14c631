# SPDX-License-Identifier: MIT
"""UMA behind i-PI's own server: the same trajectory over every way to reach it.

What is compared are all digits that i-PI prints of conserved quantity, potential and pressure.
It prints float64 sums with nine digits; ways that evaluate other batches together differ in
the last bits of a double, far below. All sizes of batches: ``test_ipi_transports.py``.
"""

import re

import prepared
import pytest
from conftest import checkpoint
from structures import structure

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import BIN, TIME_LIMIT, Address, Server, drive, options, program

from ipi_driver import pes
from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential

pytestmark = pytest.mark.ipi

PARAMETERS = {
    "model": checkpoint("tiny-1p2p1"),
    "template": "init.extxyz",
    "task": "omol",
    "dtype": "float64",
    "device": "cpu",
}


@pytest.fixture(scope="module")
def reference(water, tmp_path_factory):
    """Properties by ffdirect, one structure at a time."""
    parameters = ", ".join(f"{name}: {value}" for name, value in PARAMETERS.items())
    field = (
        f"<ffdirect name='uma'> <pes>custom</pes> <pes_path>{pes.__file__}</pes_path> "
        f"<parameters>{{ {parameters} }}</parameters> </ffdirect>"
    )
    with Server(tmp_path_factory.mktemp("direct"), water, field) as server:
        return server.finish()


@pytest.mark.parametrize(("mode", "batch"), [("unix", 1), ("inet", 4), ("shm", 2)])
def test_every_socket_gives_the_trajectory_of_ffdirect(mode, batch, water, reference, tmp_path):
    address = Address(mode)
    with Server(tmp_path, water, address.field(batch)) as server:
        done = drive(tmp_path / "init.extxyz", *address.options)
        assert done.exit_code == 0, done.output
        assert server.finish() == reference
    said = r"i-PI said EXIT: (\d+) structures computed in (\d+) batches, 1 neighbor lists built"
    found = re.search(said, done.output)
    assert found, done.output
    structures, batches = map(int, found.groups())
    if batch == 1:
        assert structures == batches == 24
    else:  # the six beads of the first step are alike: copies within a batch are not computed
        assert 18 < structures < 24
        assert structures / batch <= batches <= structures


@pytest.mark.mpi
def test_ffmpi_gives_the_trajectory_of_ffdirect(water, reference, tmp_path):
    field = "<ffmpi name='uma' pbc='false'> <batch_size>4</batch_size> </ffmpi>"
    words = options(tmp_path / "init.extxyz", "--mpi")
    beside = ["-n", "1", prepared.folder() / "uma-ipi", *words]
    with Server(tmp_path, water, field, beside=beside) as server:
        assert server.finish() == reference
        assert "i-PI said EXIT: 24 structures computed" in server.log


def test_the_stock_driver_with_our_pes_file_gives_the_same_trajectory(water, reference, tmp_path):
    address = Address("shm")
    parameters = PARAMETERS | {"template": tmp_path / "init.extxyz"}
    words = ",".join(f"{name}={value}" for name, value in parameters.items())
    command = [
        prepared.python(),
        BIN / "i-pi-py_driver",
        "--shm",
        "-a",
        address.name,
        "-m",
        "custom",
    ]
    with Server(tmp_path, water, address.field(4)) as server:
        while not address.path.exists():
            assert server.process.wait(0.02) is None
        with program([*command, "-P", pes.__file__, "-o", words]) as stock:
            assert server.finish() == reference
            assert stock.wait(TIME_LIMIT) == 0, stock.stdout.read()


def test_parameters_of_the_input_reach_every_driver(tmp_path):
    """A charge that comes with INIT changes the result as one from the template does."""
    atoms = structure("mol:OH@-1,1")
    found: list[str] = []
    for words, parameters in (
        ((), ""),
        (("--charge", 0), "<parameters> { charge: -1 } </parameters>"),
        (("--charge", 0), "<parameters> { charge: -1.0 } </parameters>"),
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
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("charge", [0.0, -1.0])
def test_ffdirect_compares_the_fingerprint(charge, water, tmp_path):
    chosen = Options(task="omol", dtype="float64", device="cpu")
    word = UMAPotential(checkpoint("tiny-1p2p1"), water, chosen, lambda _: None).fingerprint
    given = PARAMETERS | {"charge": charge, "fingerprint": word}
    parameters = ", ".join(f"{name}: {value}" for name, value in given.items())
    field = (
        f"<ffdirect name='uma'> <pes>custom</pes> <pes_path>{pes.__file__}</pes_path> "
        f"<parameters>{{ {parameters} }}</parameters> </ffdirect>"
    )
    with Server(tmp_path, water, field, steps=1) as server:
        if charge == 0:
            server.finish()
        else:
            assert server.process.wait(TIME_LIMIT) == 1
            assert f"this driver's fingerprint must be {word}, " in server.log
