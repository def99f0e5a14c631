# SPDX-License-Identifier: MIT
"""Files of a run in LAMMPS: the atoms, the system, and what is done with it."""

from __future__ import annotations

from pathlib import Path

from uma_md.commands.setup.case import Case, is_triclinic

DATA, SYSTEM, RUN = "structure.data", "in.system", "in.run"
SEED = 4928


def write_lammps(case: Case, folder: Path) -> list[str]:
    """Write data file and scripts; returns the shell commands that run them."""
    (folder / DATA).write_text(data_file(case))
    (folder / SYSTEM).write_text(system_script(case))
    (folder / RUN).write_text(run_script(case))
    return [f"mpiexec -n {case.ranks} lmp -in {RUN}"]


def data_file(case: Case) -> str:
    """The atoms and their cell, whose rows are lower triangular, for ``atom_style atomic``."""
    cell = case.atoms.cell.array
    lines = [f"{case.atoms.symbols.formula}, written by uma-md setup", ""]
    lines += [f"{len(case.atoms)} atoms", f"{len(case.types)} atom types", ""]
    lines += [f"0 {cell[k, k]:.17g} {axis}lo {axis}hi" for k, axis in enumerate("xyz")]
    if is_triclinic(case.atoms):
        lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz"]
    lines += ["", "Masses", ""]
    lines += [f"{k} {kind.mass:.10g}  # {kind.symbol}" for k, kind in enumerate(case.types, 1)]
    lines += ["", "Atoms  # atomic", ""]
    for number, (kind, position) in enumerate(
        zip(case.type_of, case.atoms.positions, strict=True), 1
    ):
        x, y, z = (f"{coordinate:.17g}" for coordinate in position)
        lines.append(f"{number} {kind + 1} {x} {y} {z}")
    return "\n".join(lines) + "\n"


def system_script(case: Case) -> str:
    """Units, box, atoms and model: all that energies depend on."""
    boundary = " ".join("p" if repeats else "m" for repeats in case.atoms.pbc)
    names = " ".join(kind.symbol for kind in case.types)
    lines = [f"# {choice.what}: {choice.value} ({choice.why})" for choice in case.choices]
    lines += ["", "units           metal  # eV, angstrom, ps, bar, K"]
    lines += ["atom_style      atomic", "atom_modify     map array", f"boundary        {boundary}"]
    if is_triclinic(case.atoms):
        lines += ["box             tilt large"]
    lines += [
        f"read_data       {DATA}",
        f"pair_style      uma charge {case.charge} spin {case.spin}",
        f"pair_coeff      * * model.pt {names}  # one element for each atom type",
        "neighbor        1.0 bin",
    ]
    return "\n".join(lines) + "\n"


def run_script(case: Case) -> str:
    """Dynamics: time step, ensemble, and what is written."""
    names = " ".join(kind.symbol for kind in case.types)
    stride = max(1, case.steps // 100)
    lines = [f"# {case.ensemble} with uma-md: mpiexec -n {case.ranks} lmp -in {RUN}", ""]
    lines += [f"variable        steps index {case.steps}", "", f"include         {SYSTEM}", ""]
    lines += [f"timestep        {case.timestep / 1000:g}"]
    if len(case.atoms) > 1:
        words = f"{case.temperature:g} {SEED} mom yes rot no dist gaussian"
        lines += [f"velocity        all create {words}"]
    lines += _fixes(case)
    lines += [
        "",
        "thermo_style    custom step time temp pe etotal press vol",
        "thermo_modify   format float %.10g",
        "thermo          10",
        f"dump            1 all custom {stride} trajectory.lammpstrj id element x y z",
        f"dump_modify     1 element {names} sort id",
        "",
        "run             ${steps}",
        "write_data      final.data",
    ]
    return "\n".join(lines) + "\n"


def _fixes(case: Case) -> list[str]:
    heat = f"{case.temperature:g} {case.temperature:g}"
    damp = f"{case.thermostat_time / 1000:g}"
    if case.thermostat == "none":
        return ["fix             move all nve"]
    if case.thermostat == "langevin":
        bath = f"fix             bath all langevin {heat} {damp} {SEED} zero yes"
        return ["fix             move all nve", bath]
    if case.barostat == "none":
        return [f"fix             move all nvt temp {heat} {damp}"]
    press = f"{case.pressure:g} {case.pressure:g} {case.barostat_time / 1000:g}"
    barostats = {
        "iso": f"iso {press} pchain 0",  # with a chain, LAMMPS's conserved quantity drifts
        "aniso": f"aniso {press}",
        "tri": f"tri {press}",
        "plane": f"x {press} y {press} couple none",
    }
    return [f"fix             move all npt temp {heat} {damp} {barostats[case.barostat]}"]
