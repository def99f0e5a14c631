# SPDX-License-Identifier: MIT
"""What a driver costs i-PI apart from the model: ours and i-PI's own, with a model of no work.

Each candidate serves a real i-PI in turn, several times; medians are printed. Per step of
i-PI: processor time of the driver's process, wall time of the step (i-PI's own work, the
same for all, is in it), batches and evaluated structures. ``graph`` has our neighbor lists,
units and checks as well, at water's density, which the others lack.

    python benchmarks/driver_cost.py --case 32x200 --batch
    python benchmarks/driver_cost.py --case 32x200 --batch --work 0.003
"""

import argparse
import json
import os
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.io import write

if TYPE_CHECKING:
    from ipi_driver.potential import UMAPotential

BIN = Path(sys.executable).parent
CASES = {"1x8": 400, "32x8": 100, "32x200": 60, "1x10000": 60}  # beads x atoms: steps
CANDIDATES = ("stock", "ours", "graph")
INPUT = """
<simulation verbosity='quiet' safe_stride='100000'>
 <output prefix='sim'> <properties stride='100000' filename='out'> [ step ] </properties> </output>
 <total_steps> {steps} </total_steps>
 <prng> <seed> 1 </seed> </prng>
 <ffsocket name='driver' mode='{mode}' pbc='false'>
  <address> {address} </address> <port> {port} </port> <batch_size> {batch} </batch_size>
  <latency> {latency} </latency>
 </ffsocket>
 <system>
  <initialize nbeads='{beads}'>
   <file mode='ase' units='angstrom'> init.extxyz </file>
   <velocities mode='thermal' units='kelvin'> 3 </velocities>
  </initialize>
  <forces> <force forcefield='driver'/> </forces>
  <ensemble> <temperature units='kelvin'> 3 </temperature> </ensemble>
  <motion mode='dynamics'>
   <dynamics mode='nvt'>
    <thermostat mode='pile_l'> <tau units='femtosecond'> 100 </tau> </thermostat>
    <timestep units='femtosecond'> 0.1 </timestep>
   </dynamics>
  </motion>
 </system>
</simulation>
"""


class Clock:
    """Counts calls, and what passes between the first one and the last one."""

    def __init__(self, work: float) -> None:
        self._work = work
        self.moments: list[tuple[float, float]] = []
        self.structures = 0

    def tick(self, structures: int) -> None:
        """Note a call for some structures, and take the time of a model for them."""
        self.moments.append((time.process_time(), time.perf_counter()))
        self.structures += structures
        time.sleep(self._work * structures)

    def report(self, steps: int) -> str:
        """Milliseconds and counts per step."""
        (cpu, wall), (last_cpu, last_wall) = self.moments[0], self.moments[-1]
        return json.dumps(
            {
                "cpu": 1000 * (last_cpu - cpu) / steps,
                "wall": 1000 * (last_wall - wall) / steps,
                "batches": len(self.moments) / (steps + 1),
                "structures": self.structures / (steps + 1),
            }
        )


def grid(atoms: int) -> Atoms:
    """Oxygen on a jittered grid of water's density of atoms."""
    side = int(np.ceil(atoms ** (1 / 3)))
    length = (atoms / 0.1) ** (1 / 3)
    sites = np.array(list(np.ndindex(side, side, side)))[:atoms] * length / side
    sites += np.random.default_rng(1).normal(scale=0.05, size=sites.shape)
    return Atoms("O" * atoms, sites, cell=[length] * 3, pbc=True)


def serve_stock(arguments: argparse.Namespace, clock: Clock) -> None:
    """I-PI's own Python driver with its dummy potential."""
    from ipi.pes.dummy import Dummy_driver

    class Counted(Dummy_driver):  # type: ignore[misc]  # i-PI has no types
        def compute(self, cell: Any, pos: Any) -> Any:
            clock.tick(len(pos) if isinstance(cell, list) else 1)
            return super().compute(cell, pos)

    stock = runpy.run_path(str(BIN / "i-pi-py_driver"), run_name="stock")
    stock["run_driver"](
        unix=arguments.mode != "inet",
        address=arguments.address,
        port=arguments.port,
        driver=Counted(),
        shm=arguments.mode == "shm",
    )


def serve_ours(arguments: argparse.Namespace, clock: Clock) -> None:
    """Our driver with a potential of no work, or with all but the network."""
    from ipi_driver.wire.address import Address, serve
    from ipi_driver.wire.protocol import Results, Structures

    class Nothing:
        natoms = arguments.atoms

        def configure(self, parameters: dict[str, str]) -> None:
            pass

        def __call__(self, structures: Structures) -> Results:
            clock.tick(len(structures.positions))
            batch = len(structures.positions)
            zeros = np.zeros_like(structures.positions)
            return Results(np.zeros(batch), zeros, np.zeros((batch, 3, 3)), [""] * batch)

    ours = arguments.candidate == "ours"
    potential = Nothing() if ours else graph_potential(arguments, clock)
    if arguments.mode == "inet":
        address = Address(port=arguments.port)
    else:
        address = Address(unix=arguments.address, shm=arguments.mode == "shm")
    serve(potential, address, lambda _: None)


def graph_potential(arguments: argparse.Namespace, clock: Clock) -> "UMAPotential":
    """All that we do for a model with a cutoff of 6 angstrom, but for its network."""
    import torch

    from ipi_driver.options import Options
    from ipi_driver.potential import UMAPotential
    from uma_md.batching import Batcher
    from uma_md.neighbors import PairStore, Reach
    from uma_md.properties import Properties

    torch.set_num_threads(1)
    atoms = grid(arguments.atoms)
    cpu = torch.device("cpu")
    store = PairStore(atoms.pbc, Reach(6.0, 1.0), cpu)
    batcher = Batcher(atoms.numbers, store, 6.0, 300, cpu)

    def evaluate(cells: np.ndarray, positions: np.ndarray) -> Properties:
        clock.tick(len(positions))
        batcher.graph(cells, positions)
        batch, natoms = positions.shape[:2]
        forces = 0 * positions.reshape(-1, 3)
        return Properties(np.zeros(batch * natoms), forces, np.zeros((batch, 3, 3)))

    about = SimpleNamespace(
        model_id="",
        task="",
        charge=0,
        spin=0,
        dtype="",
        cutoff=6.0,
        source_sha256="none",
    )
    engine = SimpleNamespace(
        metadata=about,
        records=[about],
        hardware="",
        engine="",
        precision="",
        built=0,
        load=lambda _: None,
        merge=lambda *_: None,
        evaluate=evaluate,
    )
    return UMAPotential("", atoms, Options(), lambda _: None, engine)


def measure(candidate: str, case: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Run i-PI with one candidate."""
    beads, atoms = map(int, case.split("x"))
    values = {
        "steps": CASES[case],
        "mode": arguments.mode,
        "address": f"bench_{os.getpid()}",
        "port": arguments.port,
        "batch": beads if arguments.batch else 1,
        "latency": arguments.latency,
        "beads": beads,
    }
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "init.extxyz", grid(atoms))
        (Path(folder) / "input.xml").write_text(INPUT.format(**values))
        command = [sys.executable, __file__, "--candidate", candidate, "--case", case]
        command += ["--mode", arguments.mode, "--address", values["address"]]
        command += ["--port", str(arguments.port), "--work", str(arguments.work)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        server = subprocess.Popen(
            [BIN / "i-pi", "input.xml"], cwd=folder, env=environment, stdout=subprocess.DEVNULL
        )
        try:
            wait_for(server, values)
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=600, check=True
            )
            server.wait(60)
        finally:
            server.kill()
    return json.loads(done.stdout.splitlines()[-1])


def wait_for(server: "subprocess.Popen[bytes]", values: dict[str, Any]) -> None:
    """Wait until i-PI listens: its own driver does not."""
    socket = Path(f"/tmp/ipi_{values['address']}")
    end = time.monotonic() + 60
    while values["mode"] != "inet" and not socket.exists() and time.monotonic() < end:
        assert server.poll() is None
        time.sleep(0.05)
    time.sleep(5 if values["mode"] == "inet" else 0.1)


def compare(case: str, arguments: argparse.Namespace) -> None:
    """Print the medians of all candidates."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
    for _ in range(arguments.repeats):
        for name in CANDIDATES:
            found[name].append(measure(name, case, arguments))
    for name, runs in found.items():
        keys = ("cpu", "wall", "batches", "structures")
        cpu, wall, batches, structures = (statistics.median(r[key] for r in runs) for key in keys)
        label = f"{case} {arguments.mode}{' batched' if arguments.batch else ''}"
        print(
            f"{label:22s} {name:6s} {cpu:8.3f} ms cpu/step {wall:8.2f} ms/step "
            f"{batches:6.2f} batches/step {structures:6.2f} structures/step",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--mode", choices=("unix", "inet", "shm"), default="unix")
    parser.add_argument("--batch", action="store_true", help="all beads in one batch")
    parser.add_argument("--latency", type=float, default=1e-4, help="of i-PI's input, seconds")
    parser.add_argument("--work", type=float, default=0, help="seconds of a model per structure")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=31427)
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.case or list(CASES)
    if arguments.candidate is None:
        for case in cases:
            compare(case, arguments)
        return
    arguments.atoms = int(cases[0].split("x")[1])
    clock = Clock(arguments.work)
    (serve_stock if arguments.candidate == "stock" else serve_ours)(arguments, clock)
    print(clock.report(CASES[cases[0]]))


if __name__ == "__main__":
    main()
