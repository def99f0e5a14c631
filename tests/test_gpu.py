# SPDX-License-Identifier: MIT
"""An accelerator gives what the CPU gives, and is used with care.

Run on a machine that has one: ``pytest -m gpu``. On any other, ``pytest -m gpu --gpu-rehearsal``
goes through the same tests with the CPU in its place, but for those that need two devices.
"""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from assorted_structures import assorted
from conftest import DATA, ESEN, VARIANTS, checkpoint
from lammps_runs import STATIC, Block, in_a_box, launch, read_prediction
from structures import structure
from test_failures import _ranks_of, _wait_for, running
from test_gpu_kernels import wide_model
from test_kernels import cluster, evaluate_portably
from torch.utils._python_dispatch import TorchDispatchMode

from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from ipi_driver.wire.protocol import Structures
from uma_md import UMACalculator
from uma_md.evaluator import Evaluator
from uma_md.exchange import LocalExchange
from uma_md.graph import Graph
from uma_md.kernel_stages import KernelStages
from uma_md.kernels import library
from uma_md.memory import Keep, Plan
from uma_md.options import PRECISIONS
from uma_md.precision import products

pytestmark = [
    pytest.mark.gpu,
    # torch says so when it is first told to notice waits
    pytest.mark.filterwarnings("ignore:.*ynchronization debug mode"),
]

# energy eV/atom, forces eV/angstrom, stress eV/angstrom^3
TOLERANCES = {"float64": (1e-9, 1e-9, 1e-9), "float32": (1e-6, 1e-4, 1e-6)}
OF_TASKS = {"omol": ("water:8", "mol:CH3CH2OH@-1,2", "mol:O2@0,3", "far")}
OF_OTHERS = ("shear", "cutri:3")
BOHR = 0.529177210903
MERGED_FOR = "(H2O)8"
OUT_OF_MEMORY = 2 * 60  # seconds, a bound on hanging


@pytest.fixture(scope="module")
def device(request) -> torch.device:
    """The accelerator, or the CPU in a rehearsal."""
    if request.config.getoption("--gpu-rehearsal"):
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None:
        pytest.skip("needs an accelerator that torch sees (--gpu-rehearsal takes the CPU instead)")
    return torch.device(found.type, 0)


def tasks_of(variant: str) -> list[str]:
    """Tasks that fairchem-core's values are there for."""
    return sorted({key.split("/")[0] for key in np.load(DATA / f"{variant}.npz").files})


def compare(specs, calculator, expected, dtype) -> None:
    """Energies, forces and stresses of structures must be those of the CPU in float64."""
    energy_error, force_error, stress_error = TOLERANCES[dtype]
    for spec in specs:
        atoms, other = structure(spec), structure(spec)
        atoms.calc, other.calc = calculator, expected
        energies = atoms.get_potential_energies() - other.get_potential_energies()
        energy = atoms.get_potential_energy() - other.get_potential_energy()
        assert abs(energy) < energy_error * len(atoms), spec
        assert np.abs(energies).max() < energy_error * len(atoms), spec
        assert np.abs(atoms.get_forces() - other.get_forces()).max() < force_error, spec
        if atoms.cell.rank == 3:
            assert np.abs(atoms.get_stress() - other.get_stress()).max() < stress_error, spec


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("variant", [*VARIANTS, *ESEN])
def test_checkpoints_give_the_numbers_of_the_cpu(variant, dtype, device, calculators):
    for task in tasks_of(variant):
        calculator = UMACalculator(checkpoint(variant), task, str(device), dtype)
        assert calculator.device == device
        expected = calculators(variant, task)
        compare(OF_TASKS.get(task, OF_OTHERS), calculator, expected, dtype)


def test_predictions_and_hessians_are_those_of_the_cpu(device, calculators):
    calculator = UMACalculator(checkpoint("tiny-1p2p1"), "omol", str(device), "float64")
    expected = calculators("tiny-1p2p1")
    structures = assorted(30)
    pairs = zip(calculator.predict(structures), expected.predict(structures), strict=True)
    for found, exact in pairs:
        assert found.energy == pytest.approx(exact.energy, abs=1e-8)
        assert found.forces == pytest.approx(exact.forces, abs=1e-9)
        if exact.stress is not None:
            assert found.stress == pytest.approx(exact.stress, abs=1e-9)
    atoms = structure("mol:CH3CH2OH@0,1")
    assert calculator.get_hessian(atoms) == pytest.approx(expected.get_hessian(atoms), abs=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_run_gives_the_same_bits(variant, device):
    """No sum is left to chance, which takes the kernels."""
    if not library.load():
        pytest.skip("the kernels are not compiled")
    for precision in PRECISIONS if device.type == "cuda" else ("float32",):
        calculator = UMACalculator(
            checkpoint(variant), tasks_of(variant)[0], str(device), "float32", precision=precision
        )
        atoms, found = structure("cutri:3"), []
        atoms.calc = calculator
        for _ in range(3):
            calculator.reset()
            found.append((atoms.get_potential_energy(), *atoms.get_forces().flatten()))
        assert found[0] == found[1] == found[2], precision


@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_work_gives_the_numbers_of_work_that_is_not(variant, device):
    """While atoms move, edges come and go, and another structure has its turn."""
    if not library.load():
        pytest.skip("the kernels are not compiled")
    task = tasks_of(variant)[0]
    atoms, other = structure("cutri:3"), structure("cu:2")
    made = [
        UMACalculator(checkpoint(variant), task, str(device), "float64", graphs=graphs)
        for graphs in ("off", "on")
    ]
    for step in range(6):
        atoms.rattle(0.05, seed=step)
        for moved in (atoms, other) if step == 3 else (atoms,):
            found = []
            for calculator in made:
                moved.calc = calculator
                energy = moved.get_potential_energy()
                found.append(np.array([energy, *moved.get_forces().flatten()]))
            assert np.abs(found[0] - found[1]).max() < 1e-9, step


MOVING = """
thermo 1
thermo_style custom step pe etotal press
thermo_modify format float %.12g
velocity all create 600 1
timestep 0.002
fix 1 all nve
run 30
"""


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [1, 2])
def test_recorded_steps_of_lammps_are_those_that_are_not(ranks, device, exported, tmp_path):
    model, found = exported("tiny-1p2p1", "omat"), []
    for graphs in ("off", "on"):
        style = f"device {named(device)} graphs {graphs}"
        block = Block(in_a_box(structure("cutri:3")), model, style)
        said = lammps(block.setup(tmp_path, 0) + MOVING, ranks, tmp_path)
        rows = re.findall(r"^ +\d+ +\S+ +\S+ +\S+ *$", said, re.M)
        found.append(np.array([row.split() for row in rows], dtype=float))
        assert len(found[-1]) >= 31
    np.testing.assert_allclose(found[0], found[1], rtol=1e-7)


def test_precisions_give_what_they_promise(device):
    """Those of float32 also where a program has switched TF32 on for itself."""
    if device.type != "cuda" or not library.load():
        pytest.skip("needs CUDA and the kernels")
    model, graph = wide_model(), cluster(12, torch.float32)
    exact = evaluate_portably(
        deepcopy(model).double(), graph._replace(vectors=graph.vectors.double())
    )
    model.to(device)
    on_device = {
        name: part.to(device) for name, part in graph._asdict().items() if name != "num_inner"
    }
    graph = Graph(**on_device)
    errors: dict[str, float] = {}
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        for precision in PRECISIONS:
            edges = KernelStages(model, precision=precision)
            with products("float32"):
                edges.merge()
            with products(precision):
                found = Evaluator(model, edges)(graph, LocalExchange(), Plan(Keep.ALL, 10**6))
            errors[precision] = float((found.gradients.cpu() - exact.gradients).abs().max())
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
    size = float(exact.gradients.abs().max())
    assert errors["float32"] < 1e-5 * size
    assert errors["fp16x3"] < 3 * errors["float32"]
    assert 10 * errors["float32"] < errors["tf32"] < 0.1 * size


@pytest.mark.parametrize("merge", [None, MERGED_FOR])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_exported_files_give_the_numbers_of_the_cpu(
    variant, dtype, merge, device, exported, calculators
):
    calculator = UMACalculator(exported(variant, dtype=dtype, merge_for=merge), device=str(device))
    specs = ("water:8",) if merge else OF_TASKS["omol"]
    compare(specs, calculator, calculators(variant), dtype)


@pytest.mark.parametrize("recompute", ["on", "off"])
@pytest.mark.parametrize("chunk", [64, 100_000])
def test_chunk_and_recompute_change_nothing(chunk, recompute, device, calculators):
    calculator = UMACalculator(
        checkpoint("tiny-1p2p1"),
        "omat",
        str(device),
        "float64",
        chunk=chunk,
        recompute=recompute,
    )
    compare(("nacl:2",), calculator, calculators("tiny-1p2p1", "omat"), "float64")


@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_are_the_gradient_of_the_energy(variant, device):
    calculator = UMACalculator(checkpoint(variant), "omol", str(device), "float64")
    atoms = structure("water:8")
    atoms.calc = calculator
    forces, step = atoms.get_forces(), 1e-3
    rng = np.random.default_rng(3)
    for _ in range(3):
        direction = rng.normal(size=forces.shape)
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions += sign * step * direction
            moved.calc = calculator
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * step)
        assert slope == pytest.approx(-(forces * direction).sum(), rel=1e-4, abs=1e-4)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize("exchange", ["host", "device"])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_lammps_gives_the_numbers_of_the_cpu(ranks, exchange, device, exported, results, tmp_path):
    """All ranks on one device."""
    style = f"device {named(device)}"
    models = {"omol": exported("tiny-1p2p1"), "omat": exported("tiny-1p2p1", "omat")}
    block = Block(in_a_box(structure("water:8")), models["omol"], style)
    said = lammps(block.setup(tmp_path, 0) + "run 0\n", ranks, tmp_path)
    if device.type != "cpu" and exchange == "device" and "from device memory" not in said:
        pytest.skip("MPI does not read device memory here")
    for task, spec in (("omol", "water:8"), ("omol", "far"), ("omat", "shear"), ("omat", "slab")):
        block = Block(in_a_box(structure(spec)), models[task], f"{style} exchange {exchange}")
        said = lammps(
            block.setup(tmp_path, 0) + STATIC.format(name=tmp_path / "0"), ranks, tmp_path
        )
        if device.type != "cpu":
            memory = {"host": "through host memory", "device": "from device memory"}[exchange]
            assert f"messages {memory}" in said
        found = read_prediction(block, tmp_path / "0")
        expected = results("tiny-1p2p1", task)(block.atoms)
        assert found.energy == pytest.approx(expected["energy"], abs=1e-8)
        assert np.abs(found.forces - expected["forces"]).max() < 1e-8
        scale = np.abs(expected["virial"]).max()
        assert np.abs(found.virial - expected["virial"]).max() < 1e-6 * scale + 1e-9


def named(device: torch.device) -> str:
    """How LAMMPS is told to take the device's kind."""
    return device.type


def lammps(script: str, ranks: int, folder: Path) -> str:
    """Run ``lmp``, which must end well; returns what it wrote."""
    done = launch(script, ranks, folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.ipi
def test_batches_of_ipi_give_the_numbers_of_the_cpu(device):
    """Structures that move, side by side in one batch, with a skin."""
    atoms, rng = structure("water:8"), np.random.default_rng(2)
    served = [
        UMAPotential(
            checkpoint("tiny-1p2p1"),
            atoms,
            Options(task="omol", dtype="float64", device=str(where)),
            lambda _: None,
        )
        for where in (device, "cpu")
    ]
    for _ in range(4):
        positions = atoms.positions + rng.normal(scale=0.05, size=(6, *atoms.positions.shape))
        batch = Structures(np.array([atoms.cell.array] * 6) / BOHR, positions / BOHR)
        found, expected = (potential(batch) for potential in served)
        for name in ("energies", "forces", "virials"):
            difference = getattr(found, name) - getattr(expected, name)
            assert np.abs(difference).max() < 1e-9, name


FILL = """
import sys, torch
device = torch.device(sys.argv[1])
size = 10**8
if device.type != "cpu":
    size = int(0.7 * torch.accelerator.get_memory_info(device)[0])
block = torch.ones(size, dtype=torch.uint8, device=device)
print("full", flush=True)
sys.stdin.read()
"""


@contextmanager
def second_process(device: torch.device) -> Iterator[None]:
    """Another process that takes most of what is free on the device."""
    with subprocess.Popen(
        [sys.executable, "-c", FILL, str(device)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "full\n"
        try:
            yield
        finally:
            process.kill()


def test_recompute_auto_keeps_its_choice(device, monkeypatch):
    """Over ten calls, half of them beside a second process on the same device."""
    plans: list[Any] = []
    evaluate = Evaluator.__call__

    def noting(self, graph, exchange, plan):
        plans.append(plan)
        return evaluate(self, graph, exchange, plan)

    monkeypatch.setattr(Evaluator, "__call__", noting)
    atoms = structure("water:32")
    atoms.calc = UMACalculator(checkpoint("tiny-1p2p1"), "omol", str(device))
    with ExitStack() as stack:
        for call in range(10):
            if call == 5:
                stack.enter_context(second_process(device))
            atoms.rattle(1e-3, seed=call)
            atoms.get_forces()
    assert len(plans) == 10
    assert len(set(plans)) == 1


class _NothingRead(TorchDispatchMode):
    """A CPU's stand-in for ``set_sync_debug_mode``: operators whose result the host waits for."""

    WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "bincount",
        "_unique2",
        "repeat_interleave.Tensor",
        "equal",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.").removesuffix(".default")
        assert name not in self.WAITING, f"the host waits for {name}"
        return func(*args, **(kwargs or {}))


@contextmanager
def no_synchronization(device: torch.device) -> Iterator[None]:
    """A block in which the host must not wait for the device."""
    if device.type != "cuda":
        with _NothingRead():
            yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("recompute", ["on", "off"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_stages_do_not_wait_for_the_device(variant, recompute, device, monkeypatch):
    """Forward and reverse, with the chunks between them."""
    evaluate = Evaluator.__call__

    def unwatched(self, *arguments):
        with no_synchronization(device):
            return evaluate(self, *arguments)

    atoms = structure("water:8")
    options = {"chunk": 500, "recompute": recompute}
    atoms.calc = UMACalculator(checkpoint(variant), "omol", str(device), **options)
    atoms.get_forces()  # what is set up once may wait
    monkeypatch.setattr(Evaluator, "__call__", unwatched)
    atoms.rattle(1e-3, seed=1)
    assert np.isfinite(atoms.get_forces()).all()


def test_a_wait_is_noticed(device):
    with pytest.raises((AssertionError, RuntimeError)), no_synchronization(device):
        torch.ones(3, device=device).sum().item()


def used(device: torch.device) -> int:
    """Bytes that torch has on the device, or that this process has on the host."""
    if device.type == "cpu":
        return psutil.Process().memory_info().rss
    torch.accelerator.synchronize()
    return torch.accelerator.memory_allocated(device)


def test_memory_is_back_at_its_level_after_100_steps(device):
    atoms = structure("water:8")
    atoms.calc = UMACalculator(checkpoint("tiny-1p2p1"), "omol", str(device))
    levels = []
    for step in range(110):
        atoms.rattle(1e-3, seed=step)
        atoms.get_forces()
        levels.append(used(device))
    grown = max(levels[-10:]) - max(levels[:10])
    assert grown <= (2**25 if device.type == "cpu" else 2**20)


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.slow
def test_out_of_memory_ends_all_ranks_in_a_sentence(device, exported, tmp_path):
    """What is free when the model has run is taken before the box grows."""
    style = f"device {named(device)} recompute off chunk 100000"
    block = Block(structure("water:8"), exported("tiny-1p2p1"), style)
    script = block.setup(tmp_path, 0) + "\nrun 0\nshell touch loaded\n"
    script += "shell 'while [ ! -e limited ]; do sleep 0.1; done'\nreplicate 4 4 4\nrun 3\n"
    with running(script, 2, tmp_path) as process:
        _wait_for((tmp_path / "loaded").exists)
        taken = take_memory(device, _ranks_of(process.pid))
        (tmp_path / "limited").touch()
        output, _ = process.communicate(timeout=OUT_OF_MEMORY)
    del taken
    if device.type != "cpu":
        torch.accelerator.empty_cache()
    assert process.returncode != 0
    advice = "use more ranks or devices, 'recompute on' or a smaller 'chunk'"
    assert re.search(f"pair_style uma failed: .*; {advice}", " ".join(output.split())), output[
        -2000:
    ]
    assert output.count("Loop time") == 1


def take_memory(device: torch.device, ranks: list[int]) -> list[torch.Tensor]:
    """Leave 64 MB of the device, or 300 MB of addresses to a rank on the host."""
    if device.type == "cpu":
        status = Path(f"/proc/{ranks[0]}/status").read_text()
        (size,) = (int(line.split()[1]) for line in status.splitlines() if line[:7] == "VmSize:")
        most = size * 1024 + 3 * 10**8
        resource.prlimit(ranks[0], resource.RLIMIT_AS, (most, most))
        return []
    taken = []
    for leave in (2**28, 2**26):
        free, _ = torch.accelerator.get_memory_info(device)
        if free > leave:
            taken.append(torch.empty(free - leave, dtype=torch.uint8, device=device))
    return taken


@pytest.fixture
def two(device) -> torch.device:
    """A device with an index above 0."""
    count = torch.accelerator.device_count()
    if device.type == "cpu" or count < 2:
        pytest.skip(f"needs two accelerators, found {0 if device.type == 'cpu' else count}")
    return torch.device(device.type, 1)


def test_a_device_with_an_index_above_0(two, device, calculators):
    before = torch.accelerator.memory_allocated(device)
    calculator = UMACalculator(checkpoint("tiny-1p2p1"), "omol", str(two), "float64")
    compare(("water:8",), calculator, calculators("tiny-1p2p1"), "float64")
    assert calculator.device == two
    assert torch.accelerator.memory_allocated(device) == before


@pytest.mark.lammps
@pytest.mark.mpi
def test_each_rank_has_a_context_on_one_device(two, exported, tmp_path):
    """As the driver lists them, where it does: each process once, on devices that differ."""
    block = Block(structure("water:8"), exported("tiny-1p2p1"), f"device {named(two)}")
    script = block.setup(tmp_path, 0) + "\nrun 0\nshell touch loaded\n"
    script += "shell 'while [ ! -e seen ]; do sleep 0.1; done'\n"
    query = ["nvidia-smi", "--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader"]
    with running(script, 2, tmp_path) as process:
        _wait_for((tmp_path / "loaded").exists)
        ranks = _ranks_of(process.pid)
        try:
            listed = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            listed = ""
        (tmp_path / "seen").touch()
        output, _ = process.communicate(timeout=OUT_OF_MEMORY)
    assert re.search(r"of each rank: 0 1\b", output), output[-2000:]
    rows = [line.split(", ") for line in listed.splitlines()]
    ours = [(int(pid), uuid) for pid, uuid in rows if int(pid) in ranks]
    if not ours:
        pytest.skip("the driver does not list the processes here")
    assert sorted(pid for pid, _ in ours) == sorted(ranks)
    assert len({uuid for _, uuid in ours}) == 2
