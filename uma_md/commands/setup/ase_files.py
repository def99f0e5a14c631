# SPDX-License-Identifier: MIT
"""A Python script of a run with ASE."""

from __future__ import annotations

from pathlib import Path

from uma_md.commands.setup.case import Case

SCRIPT = "run.py"
SEED = 4928


def write_ase(case: Case, folder: Path) -> list[str]:
    """Write the script; returns the shell commands that run it."""
    (folder / SCRIPT).write_text(script(case))
    if case.ranks > 1:
        return [f"mpiexec -n {case.ranks} python -m mpi4py {SCRIPT}"]
    return [f"python {SCRIPT}"]


def script(case: Case) -> str:
    """Dynamics with ASE, from ``structure.extxyz``."""
    comments = "\n".join(f"{c.what}: {c.value} ({c.why})" for c in case.choices)
    comm = ", comm=MPI.COMM_WORLD" if case.ranks > 1 else ""
    imports, dynamics = _dynamics(case)
    return f'''"""Molecular dynamics ({case.ensemble}) with UMA, task {case.task}.

{comments}
"""

import sys

import numpy as np
from ase import units
from ase.io import read
from ase.io.trajectory import Trajectory
{imports}
from ase.md.velocitydistribution import Stationary
{"from mpi4py import MPI" if comm else ""}
from uma_md import UMACalculator

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else {case.steps}
TIMESTEP = {case.timestep:g} * units.fs
TEMPERATURE = {case.temperature:g}  # K
PRESSURE = {case.pressure:g} * units.bar

random = np.random.default_rng({SEED})
atoms = read("structure.extxyz")  # its info has charge and spin
atoms.calc = UMACalculator("model.pt"{comm})
{_velocities(case)}
{dynamics}

{_reports(case)}
dynamics.run(STEPS)
'''


def _velocities(case: Case) -> str:
    """Lines that draw velocities of the temperature, without a drift of the whole."""
    if len(case.atoms) == 1:
        return ""
    return (
        "widths = np.sqrt(units.kB * TEMPERATURE * atoms.get_masses())  # of momenta\n"
        "atoms.set_momenta(widths[:, None] * random.standard_normal((len(atoms), 3)))\n"
        "Stationary(atoms)\n"
    )


def _reports(case: Case) -> str:
    """Lines that print energies and write the trajectory, on one rank."""
    first = "MPI.COMM_WORLD.rank == 0" if case.ranks > 1 else "True"
    return f'''
def report():
    """Print a line: step, energies in eV, temperature in K."""
    line = dynamics.nsteps, atoms.get_potential_energy(), atoms.get_total_energy()
    print("%8d %18.8f %18.8f %10.2f" % (*line, atoms.get_temperature()), flush=True)


if {first}:
    print("    step   potential energy       total energy  temperature")
    dynamics.attach(report, interval=max(1, min(10, STEPS)))
    trajectory = Trajectory("trajectory.traj", "w", atoms, properties=["energy", "forces"])
    dynamics.attach(trajectory, interval={max(1, case.steps // 100)})'''


def _dynamics(case: Case) -> tuple[str, str]:
    """Imports, and the line that makes the integrator."""
    if case.ensemble == "nve":
        name = "VelocityVerlet"
        return f"from ase.md.verlet import {name}", f"dynamics = {name}(atoms, TIMESTEP)"
    if case.ensemble == "nvt":
        return (
            "from ase.md.langevin import Langevin",
            "dynamics = Langevin(\n    atoms,\n    TIMESTEP,\n    temperature_K=TEMPERATURE,\n"
            f"    friction=1 / ({case.thermostat_time:g} * units.fs),\n    fixcm=False,\n"
            "    rng=random,\n)",
        )
    name = "IsotropicMTKNPT" if case.barostat == "iso" else "MTKNPT"
    return (
        f"from ase.md.nose_hoover_chain import {name}",
        f"dynamics = {name}(\n    atoms,\n    TIMESTEP,\n    temperature_K=TEMPERATURE,\n"
        f"    pressure_au=PRESSURE,\n    tdamp={case.thermostat_time:g} * units.fs,\n"
        f"    pdamp={case.barostat_time:g} * units.fs,\n)",
    )
