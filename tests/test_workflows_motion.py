# SPDX-License-Identifier: MIT
"""What LAMMPS does with moving atoms and boxes, every snapshot against ASE, on 1, 2 and 4 ranks."""

import numpy as np
import pytest
from lammps_runs import WORKFLOW_RUNS, Block, run
from lammps_snapshots import check, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

MOVE = """
velocity all create 900 4711 mom yes rot no loop geom
timestep 0.001
"""
NPT = "fix npt all npt temp 600 600 0.1"

# By name: the structure, what goes before the box's making, and the commands; the snapshots begin
# at WATCH where there is one.
WORKFLOWS = {
    "cg": ("nacl:1", "", "min_style cg\nminimize 0 1e-3 8 40"),
    "fire": ("nacl:1", "", "min_style fire\nminimize 0 1e-3 8 40"),
    "hftn": ("shear", "", "min_style hftn\nminimize 0 1e-3 2 20"),
    "relaxed-box": ("shear", "", "fix box all box/relax tri 1000.0\nminimize 0 1e-3 6 30"),
    "runs": (
        "nacl:1",
        "",
        'fix nve all nve\nrun 4\nrun 4 pre no\nrun 4 every 2 "print here"\nrun 4 post no',
    ),
    "skinless": ("nacl:2", "", "neighbor 0.0 bin\nfix nve all nve\nrun 5"),
    "seldom": (
        "nacl:2",
        "",
        "neighbor 2.0 bin\nneigh_modify every 4 delay 4 check yes\nfix nve all nve\nrun 8",
    ),
    "wide-ghosts": ("nacl:1", "", "comm_modify cutoff 9.0\nfix nve all nve\nrun 3"),
    "isotropic": ("nacl:1", "", f"{NPT} iso 0 0 0.1\nrun 8"),
    "anisotropic": ("nacl:1", "", f"{NPT} aniso 5e4 5e4 0.05\nrun 8"),
    "triclinic": ("cutri:3", "", f"{NPT} tri 5e4 5e4 0.05\nrun 6"),
    "deformed": (
        "cutri:3",
        "",
        "fix nve all nve\nfix box all deform 2 x erate 5 xy erate 5 remap x\nrun 8",
    ),
    "flipped": (
        "cutri:2",
        "",
        "fix nve all nve\nfix box all deform 2 xy erate 40 remap v flip yes\nrun 20",
    ),
    "shocked": ("nacl:1", "", "fix shock all msst x 50 q 1e4\nrun 5"),
    "thermostatted": ("water:8", "", "fix nvt all nvt temp 300 600 0.05\nrun 5"),
    "columns": ("water:8", "processors 1 1 *", "fix nve all nve\nrun 3"),
    "balanced": (
        "water:8",
        "",
        "balance 1.0 shift x 5 1.0\nfix nve all nve\n"
        "fix even all balance 2 1.0 shift xyz 5 1.0\nrun 6",
    ),
    "tiled": (
        "nacl:2",
        "",
        "comm_style tiled\nbalance 1.0 rcb\nfix nve all nve\nfix even all balance 3 1.0 rcb\nrun 6",
    ),
    "replicated": ("shear", "", "replicate 2 1 2\nfix nve all nve\nrun 3"),
    "changed-box": (
        "nacl:1",
        "",
        "change_box all triclinic\nchange_box all xy final 1.5 x scale 1.02 remap units box\n"
        "WATCH\nfix nve all nve\nrun 3",
    ),
    "displaced": (
        "nacl:2",
        "",
        "displace_atoms all random 0.1 0.1 0.1 3\nreset_atoms id\nset type 1 type/ratio 2 0.2 5\n"
        "fix nve all nve\nrun 3",
    ),
    "slab-in-vacuum": (
        "slab",
        "",
        "change_box all boundary p p f\nWATCH\nfix nve all nve\n"
        "fix wall all wall/reflect zlo EDGE\nrun 4",
    ),
    "shrink-wrapped": ("far", "", "fix nve all nve\nrun 4"),
}


def script_of(name: str, exported, folder) -> tuple[Block, str]:
    spec, before, commands = WORKFLOWS[name]
    task = "omol" if spec.split(":")[0] in ("water", "far") else "omat"
    block = Block(structure(spec), exported("tiny-1p2p1", task), before=before, open_boundary="s")
    before, _, after = commands.rpartition("WATCH\n")
    setup = block.setup(folder, list(WORKFLOWS).index(name))
    return block, f"{setup}\n{MOVE}\n{before}{watch(name)}{after}\nclear\n"


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "part"), WORKFLOW_RUNS)
def test_all_snapshots_are_those_of_ase(ranks, part, exported, results, tmp_path):
    blocks, script = {}, ""
    for name in list(WORKFLOWS)[part]:
        blocks[name], text = script_of(name, exported, tmp_path)
        script += text
    log = run(script, ranks, tmp_path)
    for name, block in blocks.items():
        task = "omol" if WORKFLOWS[name][0].split(":")[0] in ("water", "far") else "omat"
        # On the steps of a fix deform, what is written has the next step's box.
        skip = 2 if "fix box all deform 2" in WORKFLOWS[name][2] else 0
        ase = results("tiny-1p2p1", task)
        frames = check(log, tmp_path, name, block.elements, ase, skip=skip)
        if name == "flipped":
            assert np.ptp(np.sign(np.diff([frame.cell[1, 0] for frame in frames]))) == 2
