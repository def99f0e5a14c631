# SPDX-License-Identifier: MIT
"""What a force call asks of a device: operators, waits for it, and the names of its parts."""

import json
import subprocess
from collections import Counter

import prepared
import pytest
import torch
from conftest import checkpoint
from lammps_runs import Block
from lammps_session import ONE_THREAD
from structures import structure
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from uma_md import UMACalculator
from uma_md.kernels import library
from uma_md.properties import virials

MARKS = {"embed", "messages", "update", "readout", "forces"}
# Operators of one force call with one chunk, one system and recompute off, by engine. What the
# kernels do themselves is not dispatched.
MOST_OPERATORS = {
    ("tiny-1p1", "portable"): 1850,
    ("tiny-1p2p1", "portable"): 2640,
    ("tiny-1p1", "kernels"): 200,
    ("tiny-1p2p1", "kernels"): 300,
}


class Operators(TorchDispatchMode):
    """Counts what is dispatched."""

    def __init__(self):
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.counts[operator.name().split(".")[0]] += 1
        return operator(*args, **(kwargs or {}))


def moving_water(variant: str, engine: str = "auto"):
    """Water whose pairs are known, about to be evaluated again."""
    atoms = structure("water:8")
    atoms.calc = UMACalculator(
        checkpoint(variant), "omol", device="cpu", engine=engine, recompute="off", chunk=10**6
    )
    atoms.get_forces()
    atoms.rattle(0.01)
    return atoms


@pytest.mark.parametrize(("variant", "engine"), MOST_OPERATORS)
def test_a_force_call_takes_no_more_operators(variant, engine):
    if engine == "kernels" and not library.load():
        pytest.skip("the kernels are not compiled")
    atoms = moving_water(variant, engine)
    with Operators() as found:
        atoms.get_forces()
    counts = found.counts
    assert sum(counts.values()) <= MOST_OPERATORS[variant, engine]
    # Slow backwards, and what waits for a device.
    for name in ("index", "index_put", "_index_put_impl_", "bincount", "embedding_dense_backward"):
        assert counts[f"aten::{name}"] == 0, name
    assert counts["aten::slice_backward"] <= 4  # before: 43 and 65


def test_the_parts_of_a_force_call_have_names():
    atoms = moving_water("tiny-1p2p1")
    with profile(activities=[ProfilerActivity.CPU]) as found:
        atoms.get_forces()
    counts = Counter(event.name for event in found.events())
    layers = atoms.calc.metadata.num_layers
    assert {name: counts[name] for name in MARKS} == {
        "embed": 2,
        "messages": 2 * layers,
        "update": 2 * layers,
        "readout": 1,
        "forces": 1,
    }


def test_virials_of_one_system_are_those_of_it_among_others(calculators):
    from uma_md.batching import build_graph

    system = structure("water:8")
    graph = build_graph(system.positions, system.cell.array, system.pbc, system.numbers, 4.0, 300)
    gradients = torch.randn(graph.vectors.shape, generator=torch.Generator().manual_seed(0))
    beside = graph._replace(natoms=torch.tensor([len(system), 0]))
    (alone,), (among, other) = virials(graph, gradients), virials(beside, gradients)
    assert alone.numpy() == pytest.approx(among.numpy(), abs=1e-10)
    assert not other.any()


SCRIPT = """
import json
from collections import Counter
from mpi4py import MPI
from torch.profiler import ProfilerActivity, profile
from lammps import lammps

instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
instance.file("in.lmp")
instance.command("run 0")
with profile(activities=[ProfilerActivity.CPU]) as found:
    instance.command("run 1 pre no")
print(json.dumps(Counter(event.name for event in found.events())))
"""


@pytest.mark.lammps
@pytest.mark.parametrize("variant", ["tiny-1p1", "tiny-1p2p1"])
def test_a_step_of_lammps_waits_for_the_device_for_results_alone(variant, exported, tmp_path):
    """On a CPU, where a loop selects the edges; a device is asked for their number as well."""
    block = Block(structure("water:8"), exported(variant))
    moves = "\nfix nve all nve\nneigh_modify delay 10 every 10\n"
    (tmp_path / "in.lmp").write_text(block.setup(tmp_path, 0) + moves)
    done = subprocess.run(
        [prepared.python(), "-c", SCRIPT],
        cwd=tmp_path,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        check=True,
    )
    counts = Counter(json.loads(done.stdout.splitlines()[0]))
    for name in (
        "aten::nonzero",
        "aten::bincount",
        "aten::equal",
        "aten::index",
        "aten::_index_put_impl_",
    ):
        assert counts[name] == 0, name
    # The sum of the energies, and whether forces are finite: of results on the host.
    assert counts["aten::_local_scalar_dense"] == 2
    assert counts["forces"] == 1
    assert all(counts[name] for name in MARKS)
    exchanges = 2 if variant == "tiny-1p1" else 4  # of a layer: rows, and sums of channels
    assert counts["exchange"] == exchanges * block_layers(variant)


def block_layers(variant: str) -> int:
    return UMACalculator(checkpoint(variant), "omol", device="cpu").metadata.num_layers
