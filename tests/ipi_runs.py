# SPDX-License-Identifier: MIT
"""Running the real i-PI with drivers from tests, each with a time limit.

Drivers are ``uma-ipi`` itself, or serve the analytic potential by the same code.
"""

import gc
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import prepared
from ase import Atoms
from ase.io import write
from click.testing import CliRunner, Result
from conftest import checkpoint
from forks import Forked
from ipi.engine.atoms import Atoms as IPIAtoms
from ipi.engine.cell import Cell
from ipi.engine.forcefields import FFSocket
from ipi.interfaces.sockets import InterfaceSocket
from ipi.utils.units import unit_to_internal
from ipi_analytic import Analytic
from ipi_process import IPI, Process
from ipi_program import run, run_and_sleep

from ipi_driver.cli import main
from ipi_driver.wire.address import Address as DriverAddress
from ipi_driver.wire.address import serve
from ipi_driver.wire.driver import Driver
from ipi_driver.wire.sockets import connect_unix

BIN = Path(sys.executable).parent
TIME_LIMIT = 100
SECONDS = 20  # that an end may take on a busy machine; a hang takes for ever
ANGSTROM = unit_to_internal("length", "angstrom", 1.0)
ELECTRONVOLT = unit_to_internal("energy", "electronvolt", 1.0)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

INPUT = """
<simulation verbosity='low' safe_stride='1000'>
 <output prefix='sim'>
  <properties stride='1' filename='out'> [ step, conserved, potential, pressure_md ] </properties>
 </output>
 <total_steps> {steps} </total_steps>
 <prng> <seed> 31415 </seed> </prng>
 {field}
 <system>
  <initialize nbeads='{beads}'>
   <file mode='ase' units='angstrom'> init.extxyz </file>
   {cell}
   <velocities mode='thermal' units='kelvin'> 300 </velocities>
  </initialize>
  <forces> <force forcefield='uma'/> </forces>
  <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  <motion mode='dynamics'>
   <dynamics mode='nvt'>
    <thermostat mode='pile_l'> <tau units='femtosecond'> 100 </tau> </thermostat>
    <timestep units='femtosecond'> 0.25 </timestep>
   </dynamics>
  </motion>
 </system>
</simulation>
"""


@dataclass
class Address:
    """Where a test's i-PI listens: a name or a port of its own."""

    mode: str = "unix"

    def __post_init__(self):
        self.port = free_port() if self.mode == "inet" else 0
        self.name = f"test_{os.getpid()}_{time.monotonic_ns()}"

    @property
    def options(self) -> list[str]:
        if self.mode == "inet":
            return ["--port", str(self.port)]
        return ["--unix", self.name] + ["--shm"] * (self.mode == "shm")

    @property
    def of_driver(self) -> DriverAddress:
        """What a driver in this process is told."""
        if self.mode == "inet":
            return DriverAddress(port=self.port)
        return DriverAddress(unix=self.name, shm=self.mode == "shm")

    @property
    def path(self) -> Path:
        return Path(f"/tmp/ipi_{self.name}")

    def field(self, batch: int = 1, consolidate: bool = True, timeout: float = 0) -> str:
        """The force field of i-PI's input."""
        address = self.name if self.mode != "inet" else f"localhost</address><port>{self.port}"
        end = "address" if self.mode != "inet" else "port"
        return (
            f"<ffsocket name='uma' mode='{self.mode}' pbc='false'> <address>{address}</{end}> "
            f"<batch_size>{batch}</batch_size> <timeout>{timeout}</timeout> "
            f"<consolidate_messages>{str(consolidate).lower()}</consolidate_messages> </ffsocket>"
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


class Server:
    """An i-PI process with the given force field, killed when its time is over.

    Parameters
    ----------
    beside
        Programs of one MPI job, whose first rank i-PI is.
    """

    def __init__(
        self, folder: Path, atoms: Atoms, field: str, beads=6, steps=3, cell="", beside=()
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.field = field
        # MPICH's launcher now and then ends programs too early, unless told not to
        launcher = [BIN / "mpiexec", "-disable-auto-cleanup", "-n", "1", *IPI, ":"]
        self._job = [str(word) for word in (*launcher, *beside)] if beside else []
        write(folder / "init.extxyz", atoms)
        text = INPUT.format(field=field, beads=beads, steps=steps, cell=cell)
        (folder / "input.xml").write_text(text)

    def __enter__(self):
        self.process = Process(self.folder, self._job)
        self._timer = threading.Timer(TIME_LIMIT, self.process.kill)
        self._timer.start()
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        self.process.kill()
        self.process.wait(TIME_LIMIT)
        # which i-PI leaves when killed
        names = re.findall(r"<address>\s*(\S+?)\s*</address>", self.field)
        for path in (*(Path(f"/tmp/ipi_{name}") for name in names), *self.segments()):
            path.unlink(missing_ok=True)

    def segments(self) -> list[Path]:
        """Shared memory that i-PI has made."""
        return list(Path("/dev/shm").glob(f"ipi_shm_{self.process.pid}_*"))

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def finish(self) -> str:
        """Wait for the end; returns the table of properties as printed, after its header."""
        assert self.process.wait(TIME_LIMIT) == 0, self.log[-3000:]
        lines = (self.folder / "sim.out").read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("#"))


def short_run(folder: Path, atoms: Atoms, field: str) -> Server:
    """i-PI for ten steps of four beads."""
    return Server(folder, atoms, field, beads=4, steps=10)


def options(template: Path, *words, model: str = "tiny-1p2p1") -> list[str]:
    """Arguments of ``uma-ipi`` for a small model in float64."""
    fixed = ["--template", template, "--task", "omol", "--dtype", "float64", "--device", "cpu"]
    return [str(word) for word in (checkpoint(model), *fixed, "--wait", TIME_LIMIT / 2, *words)]


def drive(template: Path, *words, model: str = "tiny-1p2p1") -> Result:
    """Run ``uma-ipi`` in this process until it ends."""
    return CliRunner().invoke(main, options(template, *words, model=model))


def program(command: Sequence[object]):
    """A program whose output is kept, killed when its time is over."""
    process = subprocess.Popen(
        [str(word) for word in command],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return limited(process)


@contextmanager
def limited(process):
    """A process, killed when its time is over."""
    timer = threading.Timer(TIME_LIMIT, process.kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


def driver(template: Path, *words):
    """``uma-ipi`` in a process of its own."""
    return limited(Forked(run, options(template, *words)))


@contextmanager
def sleeping(driver, marker: Path):
    """A driver in a process of its own that leaves a marker, and sleeps in the middle of a batch.

    ``process.sleeps()`` waits until it does.
    """
    with driver as process:

        def sleeps():
            end = time.monotonic() + TIME_LIMIT
            while not marker.exists():
                assert process.poll() is None, process.stdout.read()
                assert time.monotonic() < end
                time.sleep(0.02)

        process.sleeps = sleeps
        yield process


def sleeping_driver(marker: Path, template: Path, *words):
    """``uma-ipi`` that sleeps in the middle of its third batch."""
    return sleeping(limited(Forked(run_and_sleep, marker, options(template, *words))), marker)


ANALYTIC = Path(__file__).with_name("ipi_analytic.py")


def analytic_driver(*words):
    """A driver with the analytic potential in a process of its own."""
    return program([prepared.python(), ANALYTIC, *words])


def sleeping_analytic_driver(marker: Path, *words):
    """A driver with the analytic potential that sleeps in the middle of its third batch."""
    return sleeping(program([prepared.python(), ANALYTIC, "--sleep", marker, *words]), marker)


def wait_until_ready(process) -> str:
    """Wait until a driver in a process of its own looks for i-PI; returns what it has said."""
    lines = ["-"]
    while lines[-1] and "ready" not in lines[-1]:
        lines.append(process.stdout.readline())
    assert lines[-1], "".join(lines)
    return "".join(lines)


def serve_analytic(address: Address) -> Analytic:
    """Serve the analytic potential in this process until i-PI says EXIT."""
    potential = Analytic()
    serve(potential, address.of_driver, lambda _: None)
    return potential


class Field:
    """i-PI's force field in this process, answered by a driver in a thread.

    Parameters
    ----------
    served
        A potential; it decides what the driver says.
    batch
    parameters
        As in ``<parameters>`` of i-PI's input.
    """

    def __init__(self, served, batch: int = 1, parameters: dict[str, object] | None = None):
        address = Address()
        self.interface = InterfaceSocket(
            address=address.name, mode="unix", batch_size=batch, timeout=0
        )
        self.field = FFSocket(pars=parameters or {}, dopbc=False, interface=self.interface)
        self.served, self.path = served, address.name
        self.thread = threading.Thread(target=self._drive)

    def _drive(self):
        with connect_unix(self.path, TIME_LIMIT) as stream:
            Driver(stream, self.served, lambda _: None).serve()

    def __enter__(self):
        self.field.start()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.field.stop()
        self.thread.join(TIME_LIMIT)
        assert not self.thread.is_alive()
        del self.field, self.interface
        gc.collect()  # i-PI leaves sockets open: their warnings belong to this test

    def evaluate(self, structures):
        """Energy, forces, virial and extras of (cell, positions), eV and angstrom."""
        requests = [
            self._queue(cell, positions, number)
            for number, (cell, positions) in enumerate(structures)
        ]
        end = time.monotonic() + TIME_LIMIT
        while not all(request["status"] == "Done" for request in requests):
            assert self.thread.is_alive()
            assert time.monotonic() < end
            time.sleep(0.001)
        return [_in_electronvolt(*request["result"]) for request in requests]

    def _queue(self, cell, positions, number):
        atoms = IPIAtoms(len(positions))
        atoms.q[:] = positions.ravel() * ANGSTROM
        return self.field.queue(atoms, Cell(cell.T * ANGSTROM), reqid=number)


def _in_electronvolt(energy, forces, virial, extras):
    return (
        energy / ELECTRONVOLT,
        np.reshape(forces, (-1, 3)) / ELECTRONVOLT * ANGSTROM,
        np.reshape(virial, (3, 3)) / ELECTRONVOLT,
        extras,
    )
