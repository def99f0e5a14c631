# SPDX-License-Identifier: MIT
"""One driver of several MPI ranks: what i-PI gets does not depend on their number."""

import subprocess
from pathlib import Path

import numpy as np
import prepared
import pytest
from conftest import checkpoint
from structures import structure, water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
pytest.importorskip("mpi4py", reason="mpi4py is not installed")
from ipi_runs import BIN, ENVIRONMENT, TIME_LIMIT, Address, Server, drive, options, program

pytestmark = [pytest.mark.ipi, pytest.mark.mpi]

MPIEXEC = [BIN / "mpiexec", "-n"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    address = Address()
    folder = tmp_path_factory.mktemp("one-rank")
    with Server(folder, water_box(1), address.field(4), beads=4) as server:
        assert drive(folder / "init.extxyz", *address.options).exit_code == 0
        return server.finish()


def test_beads_and_atoms_over_ranks_give_what_one_rank_gives(tmp_path):
    program = Path(__file__).with_name("ipi_ranks.py")
    command = [
        *MPIEXEC,
        "4",
        prepared.python(),
        program,
        checkpoint("tiny-1p2p1"),
        tmp_path / "a.npz",
    ]
    subprocess.run(list(map(str, command)), env=ENVIRONMENT, timeout=TIME_LIMIT, check=True)
    found = dict(np.load(tmp_path / "a.npz"))
    counts = {"water:8": 4, "far": 4, "shear": 2}  # ranks per bead that were tried
    batches, results = 3, 3
    assert {name: len(each) for name, each in found.items()} == {
        name: batches * results * ways for name, ways in counts.items()
    }
    for name, differences in found.items():
        assert differences.max() < 1e-9 * 1e3, name  # of energies around a thousand eV


@pytest.mark.parametrize(("ranks", "per_bead"), [(2, 0), (4, 2)])
def test_a_run_with_ranks_is_that_of_one(ranks, per_bead, undisturbed, tmp_path):
    address = Address()
    with Server(tmp_path, water_box(1), address.field(4), beads=4) as server:
        words = options(tmp_path / "init.extxyz", *address.options, "--ranks-per-bead", per_bead)
        with program([*MPIEXEC, ranks, prepared.folder() / "uma-ipi", *words]) as job:
            assert server.finish() == undisturbed
            assert job.wait(TIME_LIMIT) == 0
            said = job.stdout.read()
    assert f"float64 on {ranks} ranks with cpu" in said
    assert said.count("i-PI said EXIT") == 1


def test_ffmpi_takes_ranks_as_one_driver(undisturbed, tmp_path):
    field = "<ffmpi name='uma' pbc='false'> <batch_size>4</batch_size> </ffmpi>"
    beside = ["-n", "2", prepared.folder() / "uma-ipi", *options(tmp_path / "init.extxyz", "--mpi")]
    with Server(tmp_path, water_box(1), field, beads=4, beside=beside) as server:
        assert server.finish() == undisturbed
        assert "float64 on 2 ranks with cpu" in server.log


def test_all_ranks_end_with_the_sentence_of_one(tmp_path):
    template = tmp_path / "init.extxyz"
    structure("mol:OH@0,2").write(template)
    for words, sentence in (
        (("--unix", "nobody", "--wait", 0), "Error: i-PI must listen at the UNIX socket"),
        (("--unix", "nobody", "--task", "none"), "Error: task must be one of"),
        (("--unix", "nobody", "--ranks-per-bead", 3), "Error: ranks per bead must divide"),
        (("--unix", "nobody", "--template", tmp_path / "none"), "none: No such file"),
    ):
        with program(
            [*MPIEXEC, 2, prepared.folder() / "uma-ipi", *options(template, *words)]
        ) as job:
            assert job.wait(TIME_LIMIT) != 0
            assert job.stdout.read().count(sentence) == 1
