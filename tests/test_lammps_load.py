# SPDX-License-Identifier: MIT
"""What ``compute pair uma`` says of ranks: edges of each, seconds, messages and bytes."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.cluster import Octahedron
from conftest import checkpoint
from lammps_runs import RANKS, Block, run
from structures import structure

from uma_md.commands.scaling.bricks import box_of, brick_grid, brick_owners
from uma_md.commands.scaling.rates import load, shape_of
from uma_md.ranks.traffic import RowShape, Traffic, load_of
from uma_md.system import System

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

SKIN = 2.0
NUMBERS = """
compute load all pair uma
thermo_style custom step pe c_load[*]
run 0
print "$(c_load[3]:%.16g) $(c_load[4]:%.16g) $(c_load[5]:%.16g) $(c_load[6]:%.16g) &
$(c_load[7]:%.16g) $(c_load[8]:%.16g) $(c_load[9]:%.16g) $(c_load[10]:%.16g)" file {name}
clear
"""


def numbers(blocks: list[Block], ranks: int, folder: Path) -> list[np.ndarray]:
    """The load of each structure: edges, seconds, messages and bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    script = "".join(
        block.setup(folder, index) + NUMBERS.format(name=folder / str(index))
        for index, block in enumerate(blocks)
    )
    run(script, ranks, folder)
    return [np.loadtxt(folder / str(index)) for index in range(len(blocks))]


def foretold(atoms: Atoms, ranks: int, shape: RowShape, cutoff: float) -> tuple[list[int], Traffic]:
    """Edges of each rank, and what all send for a step, by the geometry alone."""
    system = System(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers)
    owners = brick_owners(system, brick_grid(box_of(system), ranks))
    loads = [load_of(system, owners, rank, cutoff, SKIN) for rank in range(ranks)]
    whole = sum((each.traffic(shape, ranks) for each in loads), Traffic())
    forces = (
        sum(len(each.sources) for each in loads),
        24 * sum(each.rows_received for each in loads),
    )
    # LAMMPS returns forces by itself.
    whole.messages_sent -= forces[0]
    whole.bytes_sent -= forces[1]
    return [each.edges for each in loads], whole


@pytest.mark.parametrize("ranks", RANKS)
def test_counters_are_those_foretold_from_the_geometry(ranks, exported, tmp_path):
    """One message per neighbor and exchange, rows in the precision of the model."""
    for variant, dtype in (("tiny-1p1", "float64"), ("tiny-1p2p1", "float32")):
        potential = load(str(checkpoint(variant)), "omol")
        metadata = potential.metadata
        width = (metadata.lmax + 1) ** 2 * metadata.sphere_channels * np.dtype(dtype).itemsize
        shape = shape_of(potential)._replace(bytes_per_row=width)
        structures = [structure("water:32"), fcc111("Cu", (7, 7, 4), vacuum=9.0, periodic=True)]
        for atoms in structures:
            atoms.wrap()
        blocks = [Block(atoms, exported(variant, dtype=dtype)) for atoms in structures]
        found = numbers(blocks, ranks, tmp_path / variant)
        for atoms, counted in zip(structures, found, strict=True):
            edges, traffic = foretold(atoms, ranks, shape, metadata.cutoff)
            assert counted[:3] == pytest.approx([min(edges), np.mean(edges), max(edges)])
            assert counted[6:].tolist() == [traffic.messages_sent, traffic.bytes_sent]
            assert (traffic.bytes_sent > 0) == (ranks > 1)
            exchange, messages, rest = counted[3:6]
            assert messages > 0
            assert rest > 0
            assert exchange > 0 if ranks > 1 else exchange < messages


BALANCED = """
comm_style tiled
compute neighbors all coord/atom cutoff {cutoff}
variable edges atom c_neighbors+1
run 0
fix balance all balance 5 1.02 rcb weight var edges
fix nve all nve
neigh_modify delay 0 every 1 check yes
run 10
compute load all pair uma
thermo_style custom step pe c_load[*]
run 0
print "$(c_load[3]:%.16g) $(c_load[4]:%.16g) $(c_load[5]:%.16g)" file {name}
clear
"""


def vacuum() -> dict[str, Atoms]:
    """A slab whose box is mostly empty, and a particle off its box's middle."""
    slab = fcc111("Cu", (6, 6, 3), vacuum=12.0, periodic=True)
    slab.positions[:, 2] -= 7.0
    particle = Octahedron("Cu", 7, cutoff=2)
    particle.rattle(0.1, seed=1)  # as atoms move: a cut cannot divide a perfect layer
    particle.center(vacuum=8.0)
    particle.positions -= 5.0
    particle.pbc = True
    return {"slab": slab, "particle": particle}


@pytest.mark.parametrize("ranks", RANKS[1:])
def test_balanced_by_edges_ranks_have_even_work(ranks, exported, tmp_path):
    """The recipe of docs/scaling.md, for systems that leave boxes of equal size uneven."""
    model = exported("tiny-1p1")
    cutoff = load(str(checkpoint("tiny-1p1")), "omol").metadata.cutoff
    blocks = [Block(atoms, model) for atoms in vacuum().values()]
    before = numbers(blocks, ranks, tmp_path / "before")
    assert all(most > 1.2 * mean for _, mean, most, *_ in before)
    names = [tmp_path / str(index) for index in range(len(blocks))]
    script = "".join(
        block.setup(tmp_path, index) + BALANCED.format(cutoff=cutoff, name=name)
        for index, (block, name) in enumerate(zip(blocks, names, strict=True))
    )
    run(script, ranks, tmp_path)
    for name in names:
        _, mean, most = np.loadtxt(name)
        assert most <= 1.1 * mean, name
