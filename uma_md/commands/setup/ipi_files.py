# SPDX-License-Identifier: MIT
"""Files of a run behind i-PI: its input, and how driver and i-PI are started."""

from __future__ import annotations

import re
from pathlib import Path

from uma_md.commands.setup.case import Case

INPUT = "input.xml"
SEED = 4928


def write_ipi(case: Case, folder: Path, name: str) -> list[str]:
    """Write i-PI's input; returns the shell commands that run it.

    Parameters
    ----------
    case, folder
    name
        Of the folder to be, from which the socket has its name.
    """
    address = socket_name(name)
    (folder / INPUT).write_text(input_file(case, address))
    driver = f"uma-ipi model.pt --template structure.extxyz --unix {address}"
    if case.ranks > 1:
        driver = f"mpiexec -n {case.ranks} {driver}"
    return [
        f"i-pi {INPUT} > i-pi.log 2>&1 &",
        "ipi=$!",
        f"{driver} || {{ kill $ipi; exit 1; }}",
        "wait $ipi",
    ]


def socket_name(name: str) -> str:
    """A name that a UNIX socket and XML take."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "uma"


def input_file(case: Case, address: str) -> str:
    """i-PI's input, with units in every place where it would take atomic ones."""
    batch = f" <batch_size> {case.beads} </batch_size>" if case.beads > 1 else ""
    stride = max(1, case.steps // 100)
    comments = "\n".join(f"  {c.what}: {c.value} ({c.why})" for c in case.choices)
    free = "\n   <fixcom> False </fixcom>" if len(case.atoms) == 1 else ""
    return f"""<!--
{comments.replace("--", "- -")}
-->
<simulation verbosity='medium' safe_stride='100'>
 <output prefix='run'>
  <properties filename='out' stride='{min(10, stride)}'>
   [ step, time{{picosecond}}, conserved{{electronvolt}}, temperature{{kelvin}},
     potential{{electronvolt}}, volume{{angstrom3}}, pressure_md{{megapascal}} ]
  </properties>
  <trajectory filename='positions' stride='{stride}'> positions{{angstrom}} </trajectory>
  <checkpoint filename='checkpoint' stride='{max(100, stride)}' overwrite='true'/>
 </output>
 <total_steps> {case.steps} </total_steps>
 <prng> <seed> {SEED} </seed> </prng>
 <ffsocket name='uma' mode='unix' pbc='false'>
  <address> {address} </address>{batch}
  <latency> 1e-2 </latency> <timeout> 600 </timeout>
 </ffsocket>
 <system>
  <initialize nbeads='{case.beads}'>
   <file mode='ase' units='angstrom'> structure.extxyz </file>
   <velocities mode='thermal' units='kelvin'> {case.temperature:g} </velocities>
  </initialize>
  <forces> <force forcefield='uma'/> </forces>
  <ensemble> {_ensemble(case)} </ensemble>
  <motion mode='dynamics'>{free}
   <dynamics mode='{case.ensemble}'>
{_dynamics(case)}
    <timestep units='femtosecond'> {case.timestep:g} </timestep>
   </dynamics>
  </motion>
 </system>
</simulation>
"""


def _ensemble(case: Case) -> str:
    text = f"<temperature units='kelvin'> {case.temperature:g} </temperature>"
    if case.ensemble == "npt":
        text += f" <pressure units='bar'> {case.pressure:g} </pressure>"
    return text


def _dynamics(case: Case) -> str:
    """Thermostat and barostat."""
    tau = f"<tau units='femtosecond'> {case.thermostat_time:g} </tau>"
    mode = "pile_l" if case.beads > 1 else "langevin"
    lines = []
    if case.ensemble == "npt":
        kind = "isotropic" if case.barostat == "iso" else "flexible"
        slow = f"<tau units='femtosecond'> {case.barostat_time:g} </tau>"
        lines += [f"    <barostat mode='{kind}'>", f"     {slow}"]
        lines += [f"     <thermostat mode='langevin'> {tau} </thermostat>", "    </barostat>"]
    if case.ensemble != "nve":
        lines += [f"    <thermostat mode='{mode}'> {tau} </thermostat>"]
    return "\n".join(lines)
