# SPDX-License-Identifier: MIT
"""The command `uma-ipi` when something goes wrong: its exit codes and its sentences."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import (
    SECONDS,
    Address,
    Server,
    drive,
    driver,
    short_run,
    sleeping_driver,
    wait_until_ready,
)

from uma_md.properties import atomic_forces

pytestmark = pytest.mark.ipi


@pytest.fixture(scope="module")
def undisturbed(water, tmp_path_factory):
    address = Address()
    folder = tmp_path_factory.mktemp("undisturbed")
    with short_run(folder, water, address.field(2)) as server:
        assert drive(folder / "init.extxyz", *address.options).exit_code == 0
        return server.finish()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_and_not_the_run(number, code, water, undisturbed, tmp_path):
    address = Address()
    with short_run(tmp_path, water, address.field(2)) as server:
        template = tmp_path / "init.extxyz"
        with sleeping_driver(tmp_path / "sleeps", template, *address.options) as process:
            process.sleeps()
            process.send_signal(number)
            assert process.wait(SECONDS) == code
            name = signal.Signals(number).name
            assert process.stdout.read().endswith(f"uma-ipi: ended by {name}\n")
        done = drive(template, *address.options)
        assert done.exit_code == 0, done.output
        assert server.finish() == undisturbed


def test_it_ends_in_order_when_i_pi_says_exit_while_it_computes(water, undisturbed, tmp_path):
    address = Address()
    with short_run(tmp_path, water, address.field(2, timeout=3)) as server:
        template = tmp_path / "init.extxyz"
        with sleeping_driver(tmp_path / "sleeps", template, *address.options) as process:
            process.sleeps()
            assert process.wait(3 + SECONDS) == 0
            assert "i-PI said EXIT: 2 structures computed in 2 batches" in process.stdout.read()
        done = drive(template, *address.options)
        assert done.exit_code == 0, done.output
        assert server.finish() == undisturbed


def test_it_says_that_i_pi_is_gone(water, tmp_path):
    address = Address()
    with short_run(tmp_path, water, address.field(2)) as server:
        template = tmp_path / "init.extxyz"
        with sleeping_driver(tmp_path / "sleeps", template, *address.options) as process:
            process.sleeps()
            server.process.kill()
            assert process.wait(SECONDS) == 1
            said = process.stdout.read()
            assert "\nError: i-PI must say EXIT before it closes the connection" in said
            assert "Traceback" not in said


def test_it_waits_for_i_pi(water, undisturbed, tmp_path):
    address = Address()
    server = short_run(tmp_path, water, address.field(2))
    with driver(tmp_path / "init.extxyz", *address.options) as process:
        wait_until_ready(process)
        time.sleep(0.5)
        assert process.poll() is None
        with server:
            assert process.wait(60) == 0
            assert server.finish() == undisturbed


def test_it_does_not_wait_for_ever(water, tmp_path):
    template = template_of(water, tmp_path)
    address = Address()
    done = drive(template, *address.options, "--wait", 0.3)
    assert done.exit_code == 1
    assert "found no such file for 0.3 s: start i-PI" in done.output
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(address.path))
    done = drive(template, *address.options, "--wait", 0.3)
    assert done.exit_code == 1
    assert "a socket file may be left over from an earlier i-PI" in done.output
    assert address.path.exists()  # it is not ours to remove
    address.path.unlink()


def template_of(atoms: Atoms, folder: Path) -> Path:
    path = folder / "init.extxyz"
    atoms.write(path)
    return path


def refused(atoms: Atoms, folder: Path, sentence: str, template=None, batch=1):
    """A driver with this template ends with this sentence, and i-PI can be ended afterwards."""
    address = Address()
    with Server(folder, atoms, address.field(batch), beads=2) as server:
        done = drive(template or folder / "init.extxyz", *address.options)
        assert done.exit_code == 1
        assert f"\nError: {sentence}" in done.output
        server.process.terminate()
        assert server.process.wait(SECONDS) == 0


def test_other_atoms_than_the_templates_are_refused(water, tmp_path):
    (tmp_path / "other").mkdir()
    other = template_of(water_box(2), tmp_path / "other")
    sentence = (
        "i-PI and the template must have the same atoms, found 3 atoms in i-PI and 6 in the "
        "template: give the template of this run"
    )
    refused(water, tmp_path / "run", sentence, template=other, batch=2)


def test_a_template_without_cell_is_refused_in_a_periodic_run(water, tmp_path):
    (tmp_path / "other").mkdir()
    cluster = Atoms(water.symbols, water.positions)
    other = template_of(cluster, tmp_path / "other")
    sentence = "the template is not periodic along a, so i-PI's cell must leave the cutoff"
    refused(water, tmp_path / "run", sentence, template=other)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (("--charge", 1), "tiny-1p2p1"),
        (("--dtype", "float32"), "tiny-1p2p1"),
        (("--task", "omat"), "tiny-1p2p1"),
        ((), "tiny-1p2"),
    ],
)
def test_a_driver_that_would_give_other_energies_is_refused(words, model, water, tmp_path):
    address, template = Address(), template_of(water, tmp_path)
    field = address.field(2).replace("</address>", "</address> <parameters> {X} </parameters>")
    with driver(template, *address.options) as right:
        (word,) = re.findall(r"fingerprint: (\S+)", wait_until_ready(right))
        field = field.replace("X", f"fingerprint: {word}")
        with Server(tmp_path, water, field, beads=4, steps=100000) as server:
            wait_until(lambda: len(table(tmp_path)) > 2)
            wrong = drive(template, *address.options, *words, model=model)
            assert wrong.exit_code == 1
            assert f"\nError: this driver's fingerprint must be {word}, " in wrong.output
            before = len(table(tmp_path))
            wait_until(lambda: len(table(tmp_path)) > before)
            assert right.poll() is None
            server.process.terminate()
            assert server.process.wait(SECONDS) == 0


def table(folder: Path) -> list[str]:
    """What i-PI has printed of its steps."""
    path = folder / "sim.out"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(holds) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_not_a_number_is_refused(water, tmp_path, monkeypatch):
    def spoil(graph, gradients):
        forces = atomic_forces(graph, gradients)
        forces[-1, 0] = np.nan if len(graph.natoms) > 1 else 0  # not when it warms up
        return forces

    monkeypatch.setattr("uma_md.potential.atomic_forces", spoil)
    sentence = "energy and forces must be finite, the model gave NaN"
    refused(water, tmp_path, sentence, batch=2)


def test_what_cannot_be_served_is_refused_at_start(water, tmp_path):
    template = template_of(water, tmp_path)
    for words, sentence in (
        ((), "one of --unix NAME, --port PORT and --mpi must be given"),
        (("--unix", "a", "--port", 1), "one of --unix NAME, --port PORT and --mpi must be given"),
        (("--port", 1, "--shm"), "--shm needs the address of i-PI's input as --unix NAME"),
        (("--unix", "a" * 200), "the address of i-PI must be one to connect to"),
        (("--unix", "a", "--skin", 11), "skin must be 0 to 10 angstrom, found 11"),
        (("--unix", "a", "--charge", 101), "charge must be -100 to 100, found 101"),
        (("--unix", "a", "--task", "x"), "task must be one of"),
        (("--unix", "a", "--template", tmp_path / "none"), "found .*none: No such file"),
    ):
        done = drive(template, *words, "--wait", 0)
        assert done.exit_code == 1
        assert re.search(sentence, done.output), done.output


def test_sockets_are_on_this_machine_unless_told_otherwise(water, tmp_path, monkeypatch):
    found = []

    def refuse(address, timeout):
        found.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)
    drive(template_of(water, tmp_path), "--port", 31415, "--wait", 0)
    assert found == [("localhost", 31415)]
    assert os.environ.get("PMI_SIZE") is None  # no rank of an MPI job
