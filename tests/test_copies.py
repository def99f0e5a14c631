# SPDX-License-Identifier: MIT
"""Calculators copied, pickled, shared by threads and dropped."""

import copy
import ctypes
import gc
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import prepared
import psutil
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from conftest import checkpoint
from structures import structure

from ipi_driver.options import Options
from ipi_driver.potential import UMAPotential
from uma_md import UMACalculator
from uma_md.committee import members_of

ROUNDS = [20, pytest.param(50, marks=pytest.mark.extended)]
GROWTH = 0.2e6  # bytes for each of the rounds; weights have millions


@pytest.fixture(params=["checkpoint", "exported", "merged", "name"])
def made(request, exported) -> UMACalculator:
    """A calculator of each kind, with water's results."""
    if request.param == "checkpoint":
        calculator = UMACalculator(checkpoint("tiny-1p2p1"), "omol", dtype="float64", device="cpu")
    elif request.param == "name":
        calculator = UMACalculator("uma-nano", "omol", dtype="float64", device="cpu")
    else:
        options = {"merge_for": "H2O"} if request.param == "merged" else {}
        calculator = UMACalculator(exported("tiny-1p2p1", **options), device="cpu")
    calculator.get_potential_energy(water())
    return calculator


def water(seed: int = 0) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    return atoms


def results(calculator: UMACalculator, atoms: Atoms) -> tuple[float, np.ndarray]:
    return calculator.get_potential_energy(atoms), calculator.get_forces(atoms)


def same(one, other) -> bool:
    return one[0] == other[0] and (one[1] == other[1]).all()


def close(one, other) -> bool:
    """The same but for rounding: pairs that are kept for other structures come in another order."""
    return bool(abs(one[0] - other[0]) < 1e-10 and abs(one[1] - other[1]).max() < 1e-10)


def networks(calculator: UMACalculator) -> int:
    return id(members_of(calculator._potential)[0].network)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_keep_results_and_share_weights(made, copied):
    expected = results(made, water())
    other = copied(made)
    assert networks(other) == networks(made)
    assert not other.calculation_required(water(), ["energy"])
    other.results["energy"] = 0.0
    other.reset()
    assert same(results(other, water()), expected)
    assert not made.calculation_required(water(), ["energy"])
    assert same(results(made, water()), expected)


def test_copies_serve_systems_of_their_own():
    """What one merges for its atoms, charge, spin or task does not reach the other."""
    one = UMACalculator(checkpoint("tiny-1p2p1"), "omol", dtype="float64", device="cpu")
    other = copy.deepcopy(one)
    systems = [structure("mol:OH@-1,1"), structure("mol:OH@0,2"), structure("shear"), water()]
    expected = [
        results(
            UMACalculator(checkpoint("tiny-1p2p1"), "omol", dtype="float64", device="cpu"), atoms
        )
        for atoms in systems
    ]
    for first, second in ((0, 1), (2, 3), (3, 0), (1, 2)):
        one.reset()
        other.reset()
        one.get_potential_energy(systems[first])
        assert same(results(other, systems[second]), expected[second])
        one.reset()
        assert same(results(one, systems[first]), expected[first])
    other.task = "omat"
    assert (one.task, other.task) == ("omol", "omat")
    one.reset()
    assert same(results(one, water()), expected[3])


def test_atoms_with_their_calculator_are_copied():
    atoms = water()
    atoms.calc = UMACalculator(checkpoint("tiny-1p2p1"), "omol", dtype="float64", device="cpu")
    energy = atoms.get_potential_energy()
    other = copy.deepcopy(atoms)
    assert other.calc is not atoms.calc
    assert other.get_potential_energy() == energy


def test_pickles_are_small_and_keep_results(made, tmp_path, monkeypatch):
    expected = results(made, water())
    data = pickle.dumps(made)
    assert len(data) < 10_000
    monkeypatch.chdir(tmp_path)  # paths hold in any folder
    other = pickle.loads(data)
    assert not other.calculation_required(water(), ["energy"])
    other.reset()
    assert same(results(other, water()), expected)
    assert (other.task, other.metadata.dtype) == (made.task, made.metadata.dtype)


def test_relative_paths_are_found_from_other_folders(exported, tmp_path, monkeypatch):
    shutil.copy(exported("tiny-1p2p1"), tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(UMACalculator("model.pt"))
    monkeypatch.chdir("/")
    assert pickle.loads(data).task == "omol"


def test_what_is_pickled_together_shares_weights_again(made):
    images = [copy.deepcopy(made) for _ in range(3)]
    images = pickle.loads(pickle.dumps(images))
    assert len({networks(image) for image in images}) == 1


def test_a_pickle_whose_file_is_gone_or_another_one_is_refused(exported, tmp_path):
    path = tmp_path / "model.pt"
    shutil.copy(exported("tiny-1p2p1"), path)
    data = pickle.dumps(UMACalculator(path, device="cpu"))
    shutil.copy(exported("tiny-1p2p1", "omat"), path)
    with pytest.raises(ValueError, match="for task omat, found task 'omol'"):
        pickle.loads(data)
    shutil.copy(exported("tiny-1p1"), path)
    with pytest.raises(ValueError, match="must hold the model that was pickled, found another"):
        pickle.loads(data)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        pickle.loads(data)


@pytest.fixture(scope="module")
def spawned():
    """A process that shares nothing with this one."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.mark.slow
def test_spawned_processes_compute_with_a_pickled_calculator(made, spawned):
    atoms = [water(seed) for seed in range(2)]
    found = spawned.starmap(results, [(made, one) for one in atoms])
    for one, there in zip(atoms, found, strict=True):
        made.reset()
        here = results(made, one)
        assert there[0] == pytest.approx(here[0], abs=1e-10)
        assert there[1] == pytest.approx(here[1], abs=1e-10)


def test_forked_processes_compute():
    """After the parent has computed on two threads, and while one of its threads does."""
    code = """
import multiprocessing, threading
import torch
from ase.build import molecule
from uma_md import UMACalculator
torch.set_num_threads(2)
calculator = UMACalculator("uma-nano", "omol", dtype="float64", device="cpu")
water = molecule("H2O")
energy = calculator.get_potential_energy(water)
torch.rand(10**6).exp()  # surely on both threads

def compute(seed):
    calculator.reset()
    found = calculator.get_potential_energy(water)
    listed = calculator.predict([water] * 2)
    return found, listed[1].energy, torch.get_num_threads()

taken = threading.Event()
def hold():
    with calculator._potential.lock:
        taken.set()
        done.wait()

done = threading.Event()
holder = threading.Thread(target=hold)
holder.start()
taken.wait()
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(compute, range(2))
done.set()
holder.join()
for one, other, threads in found:
    assert abs(one - energy) < 1e-9 and abs(other - energy) < 1e-9 and threads == 1
assert torch.get_num_threads() == 2
print("computed")
"""
    environment = {key: text for key, text in os.environ.items() if key != "OMP_NUM_THREADS"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment,
    )
    assert result.stdout == "computed\n", result.stderr[-2000:]


@pytest.mark.mpi
@pytest.mark.skipif(find_spec("mpi4py") is None, reason="needs mpi4py")
def test_calculators_of_ranks_are_copied_but_not_pickled():
    code = """
import copy, pickle
from ase.build import molecule
from mpi4py import MPI
from uma_md import UMACalculator
calculator = UMACalculator("uma-nano", "omol", device="cpu", comm=MPI.COMM_WORLD)
energy = calculator.get_potential_energy(molecule("H2O"))
other = copy.deepcopy(calculator)
other.reset()
assert other.get_potential_energy(molecule("H2O")) == energy
try:
    pickle.dumps(calculator)
except TypeError as error:
    print(error)
"""
    result = subprocess.run(
        [Path(sys.executable).parent / "mpiexec", "-n", "2", prepared.python(), "-c", code],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    sentence = "a calculator with comm cannot be pickled, since its ranks compute together"
    assert result.stdout.count(sentence) == 2


def test_threads_that_share_a_calculator_get_their_own_results():
    """Also those that share weights only, each with another system."""
    calculator = UMACalculator(checkpoint("tiny-1p2p1"), "omol", dtype="float64", device="cpu")
    systems = [water(), structure("mol:OH@-1,1"), structure("mol:OH@0,2"), water(1)]
    expected = []
    for atoms in systems:
        calculator.reset()
        expected.append(results(calculator, atoms))
    barrier = threading.Barrier(4)

    def work(number: int) -> list[tuple[float, np.ndarray]]:
        own = copy.deepcopy(calculator) if number % 2 else calculator
        barrier.wait()
        found = []
        for _ in range(5):
            found.append((own.get_potential_energy(systems[number]), expected[number][1]))
            found.append((expected[number][0], own.get_forces(systems[number])))
        return found

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(work, range(4))):
            assert all(close(one, expected[number]) for one in found), number


def tensors() -> int:
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is looked at may be deprecated
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def resident() -> int:
    """Bytes of memory, without what the allocator has free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


@pytest.mark.slow
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("kind", ["checkpoint", "exported", "engine", "copy", "pickle"])
def test_nothing_stays_of_what_is_dropped(kind, rounds, exported):
    path = exported("tiny-1p2p1")
    kept = UMACalculator("uma-nano", "omol", device="cpu")

    def use() -> None:
        if kind == "engine":
            options = Options(task="omol", device="cpu")
            UMAPotential("uma-nano", water(), options, lambda _: None).warm_up()
            return
        calculator = {
            "checkpoint": lambda: UMACalculator("uma-nano", "omol", device="cpu"),
            "exported": lambda: UMACalculator(path, device="cpu"),
            "copy": lambda: copy.deepcopy(kept),
            "pickle": lambda: pickle.loads(pickle.dumps(kept)),
        }[kind]()
        calculator.get_potential_energy(water())

    for _ in range(5):
        use()
    before, memory = tensors(), resident()
    for _ in range(rounds):
        use()
    assert tensors() == before
    assert resident() - memory < rounds * GROWTH


def test_weights_go_with_their_calculator_at_once():
    """Not only when Python looks for circles, which it does by numbers of objects, not by size."""
    made = UMACalculator("uma-nano", "omol", device="cpu")
    made.get_potential_energy(water())
    potential = weakref.ref(made._potential)
    other = copy.copy(made)
    gc.disable()
    try:
        del made
        assert potential() is not None
        del other
        assert potential() is None
    finally:
        gc.enable()


LAMMPS = """
import sys
import psutil
from lammps import lammps
script, rounds, used = sys.argv[1], int(sys.argv[2]), []
for _ in range(rounds + 10):
    instance = lammps(cmdargs=["-screen", "none", "-log", "none"])
    instance.file(script)
    instance.close()
    used.append(psutil.Process().memory_info().rss)
print(used[-1] - used[9])
"""


@pytest.mark.lammps
@pytest.mark.slow
@pytest.mark.parametrize("rounds", ROUNDS)
def test_nothing_stays_of_instances_of_lammps(rounds, exported, tmp_path):
    pytest.importorskip("lammps")
    script = tmp_path / "in.lmp"
    script.write_text(
        "units metal\natom_modify map array\nregion box block 0 20 0 20 0 20\n"
        "create_box 2 box\nmass 1 1\nmass 2 16\n"
        "create_atoms 2 single 5 5 5\ncreate_atoms 1 single 6 5 5\ncreate_atoms 1 single 5 6 5\n"
        f"pair_style uma device cpu\npair_coeff * * {exported('tiny-1p2p1')} H O\nrun 1\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", LAMMPS, script, str(rounds)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) < rounds * GROWTH
