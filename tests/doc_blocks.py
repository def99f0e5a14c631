# SPDX-License-Identifier: MIT
"""Code blocks of the README and of the pages in ``docs/``, and how they are run.

A block is run unless a comment before it says that it is only shown, and why:

    <!-- shown: reason -->      only its syntax is checked
    <!-- file: NAME -->         written to a file, which a later block of the page uses
    <!-- within: FRAME -->      a part of an input: the rest is one of ``FRAMES``

Blocks of a page run in order, in one folder. The words ``text`` and ``mermaid``, and directives in
braces, mark what is no code.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
LANGUAGES = ("bash", "python", "lammps", "xml")
NO_CODE = ("text", "mermaid")
MARKS = ("shown", "file", "within")

COPPER = """
units metal
lattice fcc 3.6
region all block 0 2 0 2 0 2
create_box 1 all
create_atoms 1 box
mass 1 63.546
"""
SALT = """
units metal
lattice custom 5.64 a1 1 0 0 a2 0 1 0 a3 0 0 1 basis 0 0 0 basis 0.5 0.5 0 basis 0.5 0 0.5 &
  basis 0 0.5 0.5 basis 0.5 0 0 basis 0 0.5 0 basis 0 0 0.5 basis 0.5 0.5 0.5
region all block 0 1 0 1 0 1
create_box 2 all
create_atoms 1 box basis 5 2 basis 6 2 basis 7 2 basis 8 2
mass 1 22.99
mass 2 35.45
"""
MODEL = "pair_style uma\npair_coeff * * copper.pt Cu\n"
# Inputs of LAMMPS around a block: what comes before, and after.
FRAMES = {
    "start": ("", COPPER + MODEL + "run 0\n"),
    "copper": (COPPER, "run 0\n"),
    "hybrid": (COPPER, "run 0\n"),
    "copper-run": (COPPER + MODEL + "fix move all nve\n", "run 100\n"),
    "restarted": ("", "fix move all nve\nrun 2\n"),
    "water": (
        "units metal\nread_data water.data\npair_style uma\npair_coeff * * water.pt H O\n",
        "run 0\n",
    ),
    "salt": (SALT, "run 0\n"),
    "committee": (
        "units metal\natom_modify map array\nread_data water.data\n",
        "fix move all nve\nrun 3\n",
    ),
}
# An input of i-PI around a force field.
IPI = """
<simulation verbosity='low'>
 <output prefix='run'> <properties filename='out'> [ step, potential ] </properties> </output>
 <total_steps> 2 </total_steps>
 <prng> <seed> 1 </seed> </prng>
 {field}
 <system>
  <initialize nbeads='8'>
   <file mode='ase'> init.xyz </file>
   <velocities mode='thermal' units='kelvin'> 300 </velocities>
  </initialize>
  <forces> <force forcefield='uma'/> </forces>
  <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
  <motion mode='dynamics'>
   <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
  </motion>
 </system>
</simulation>
"""
FIELD = """
<ffsocket name='uma' mode='unix' pbc='false'>
 <address> water </address> <batch_size> 8 </batch_size> <latency> 1e-2 </latency>
 <timeout> 60 </timeout>
</ffsocket>
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, text, and the marks before it."""

    where: str
    language: str
    text: str
    marks: dict[str, str]


FENCE = re.compile(r"^(?P<ticks>`{3,}|:{3,})(?P<language>\S*)(\s+\S+)?\s*$")
MARK = re.compile(r"^<!-- (\w+): (.*) -->$")


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page."""
    lines = (ROOT / page).read_text().splitlines()
    found, k = [], 0
    marks: dict[str, str] = {}
    while k < len(lines):
        fence, mark = FENCE.match(lines[k]), MARK.match(lines[k])
        if fence:
            end = lines.index(fence["ticks"], k + 1)
            text = "\n".join(lines[k + 1 : end]) + "\n"
            found.append(Block(f"{page}:{k + 1}", fence["language"], text, marks))
            k = end
        marks = {**marks, mark[1]: mark[2]} if mark else {}
        k += 1
    return found


def code(page: str) -> list[Block]:
    """Blocks of a page that hold code."""
    return [
        block
        for block in blocks(page)
        if not block.language.startswith("{") and block.language not in NO_CODE
    ]
