# SPDX-License-Identifier: MIT
"""Atoms that come, go and change kind: every snapshot against ASE, on 1, 2 and 4 ranks."""

import pytest
from lammps_runs import WORKFLOW_RUNS, Block, run
from lammps_snapshots import check, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

MOVE = """
velocity all create 900 4711 mom yes rot no loop geom
timestep 0.001
group chlorine type 1
fix nve all nve
"""

# By name: the structure and the commands; the model is of the task omat and keeps its experts,
# which are merged anew for every composition.
WORKFLOWS = {
    "deposit": (
        "nacl:2",
        "change_box all z final -2 18 boundary p p f units box\n"
        "region top block EDGE EDGE EDGE EDGE 13 15 units box\n"
        "WATCH\nfix rain all deposit 3 2 2 123 region top near 1.5\nrun 7",
    ),
    "evaporate": (
        "nacl:2",
        "region half block EDGE EDGE EDGE EDGE 0 4 units box\n"
        "WATCH\nfix dry all evaporate 2 3 half 789\nrun 6",
    ),
    "delete": (
        "nacl:2",
        "WATCH\nrun 2\ndelete_atoms random count 9 yes all NULL 482\nrun 2\n"
        "delete_atoms group chlorine\nrun 2",
    ),
    "create": ("nacl:1", "WATCH\nrun 2\ncreate_atoms 2 random 2 771 NULL overlap 1.2\nrun 2"),
    "swap": (
        "nacl:1",
        "WATCH\nfix mc all atom/swap 1 3 4711 9000 ke no types 1 2\nrun 5",
    ),
    "gcmc": (
        "nacl:1",
        "neigh_modify every 1 delay 0\n"
        "WATCH\nfix mc chlorine gcmc 1 4 2 1 29494 9000 -4.0 0.2 full_energy group chlorine "
        "overlap_cutoff 0.5\nrun 6",
    ),
    "replicas": ("nacl:1", "replicate 1 2 1\nreset_atoms id sort yes\nWATCH\nrun 2"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "part"), WORKFLOW_RUNS)
def test_snapshots_are_those_of_ase_whatever_the_atoms(ranks, part, exported, results, tmp_path):
    blocks, script = {}, ""
    for index, (name, (spec, commands)) in enumerate(list(WORKFLOWS.items())[part]):
        blocks[name] = block = Block(structure(spec), exported("tiny-1p2p1", "omat"))
        before, _, after = commands.rpartition("WATCH\n")
        script += f"{block.setup(tmp_path, index)}\n{MOVE}\n{before}{watch(name)}{after}\nclear\n"
    log = run(script, ranks, tmp_path)
    for name, block in blocks.items():
        ase = results("tiny-1p2p1", "omat")
        frames = check(log, tmp_path, name, block.elements, ase)
        systems = {tuple(frame.get_chemical_symbols()) for frame in frames}
        assert len(systems) >= {"delete": 3, "replicas": 1}.get(name, 2), name
