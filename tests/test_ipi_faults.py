# SPDX-License-Identifier: MIT
"""What goes wrong between i-PI and a driver: a run goes on, or all ends in seconds.

The potential is an analytic one, so that a driver is there at once; what `uma-ipi` itself says
and does: ``test_ipi_command.py``.
"""

import time

import pytest
from structures import water_box

pytest.importorskip("ipi", reason="i-PI is not installed")
from ipi_runs import (
    SECONDS,
    Address,
    Server,
    analytic_driver,
    serve_analytic,
    short_run,
    sleeping_analytic_driver,
    wait_until_ready,
)

pytestmark = pytest.mark.ipi


@pytest.fixture(scope="module")
def undisturbed(water, tmp_path_factory):
    address = Address()
    with short_run(tmp_path_factory.mktemp("undisturbed"), water, address.field(2)) as server:
        serve_analytic(address)
        return server.finish()


@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
def test_a_run_goes_on_with_a_second_driver_after_kill(mode, water, undisturbed, tmp_path):
    address = Address(mode)
    server = short_run(tmp_path, water, address.field(2))
    with (
        sleeping_analytic_driver(tmp_path / "sleeps", *address.options) as victim,
        analytic_driver(*address.options) as other,
    ):
        wait_until_ready(victim)
        wait_until_ready(other)
        with server:
            victim.sleeps()
            assert len(server.segments()) == (12 if mode == "shm" else 0)
            victim.kill()
            assert server.finish() == undisturbed
            assert other.wait(SECONDS) == 0
            assert server.log.count("Handshaking was successful") == 2
            assert server.segments() == []


@pytest.mark.parametrize("consolidate", [True, False])
def test_a_run_goes_on_with_a_late_driver_after_kill(consolidate, water, undisturbed, tmp_path):
    address = Address()
    field = address.field(2 if consolidate else 1, consolidate)
    with short_run(tmp_path, water, field) as server:
        with sleeping_analytic_driver(tmp_path / "sleeps", *address.options) as victim:
            victim.sleeps()
            victim.kill()
            victim.wait(SECONDS)
        serve_analytic(address)
        assert server.finish() == undisturbed


def test_exit_ends_a_driver_while_it_computes(water, undisturbed, tmp_path):
    """i-PI says EXIT to a driver that takes longer than its timeout."""
    address = Address()
    with (
        short_run(tmp_path, water, address.field(2, timeout=3)) as server,
        sleeping_analytic_driver(tmp_path / "sleeps", *address.options) as slow,
    ):
        slow.sleeps()
        with analytic_driver(*address.options) as other:
            assert slow.wait(3 + SECONDS) == 0
            assert "i-PI said EXIT: " in slow.stdout.read()
            assert server.finish() == undisturbed
            assert other.wait(SECONDS) == 0


@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
def test_a_driver_ends_when_i_pi_is_gone(mode, water, tmp_path):
    address = Address(mode)
    with (
        short_run(tmp_path, water, address.field(2)) as server,
        sleeping_analytic_driver(tmp_path / "sleeps", *address.options) as driver,
    ):
        driver.sleeps()
        server.process.kill()
        assert driver.wait(SECONDS) == 1
        said = driver.stdout.read()
        assert "Disconnected: i-PI must say EXIT before it closes the connection" in said


def test_a_driver_waits_for_i_pi(water, undisturbed, tmp_path):
    address = Address()
    with analytic_driver(*address.options) as driver:
        wait_until_ready(driver)
        time.sleep(0.5)
        assert driver.poll() is None
        with short_run(tmp_path, water, address.field(2)) as server:
            assert server.finish() == undisturbed
            assert driver.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("batch", "sentence"),
    [
        (1, "and --shm only where i-PI's input says mode='shm'"),
        (2, "found no name of shared memory: write mode='shm' in i-PI's input"),
    ],
)
def test_a_driver_with_shared_memory_refuses_an_i_pi_without(batch, sentence, water, tmp_path):
    address = Address("unix")
    with short_run(tmp_path, water, address.field(batch)) as server:
        address.mode = "shm"
        with pytest.raises(ValueError, match=sentence):
            serve_analytic(address)
        assert ends(server)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_driver_without_shared_memory_refuses_an_i_pi_with_it(batch, water, tmp_path):
    address = Address("shm")
    with short_run(tmp_path, water, address.field(batch)) as server:
        address.mode = "unix"
        sentence = "found mode='shm' in i-PI's input: start uma-ipi with --shm"
        with pytest.raises(ValueError, match=sentence):
            serve_analytic(address)
        assert ends(server)


@pytest.mark.parametrize("mode", ["unix", "shm"])
@pytest.mark.parametrize("batch", [1, 2])
def test_other_atoms_than_the_drivers_are_refused(mode, batch, tmp_path):
    address = Address(mode)
    with short_run(tmp_path, water_box(2), address.field(batch)) as server:
        with pytest.raises(ValueError, match="found 6 atoms in i-PI and 3 in the template"):
            serve_analytic(address)
        assert ends(server)


def ends(server: Server) -> bool:
    """Whether i-PI can be ended, and does not hang."""
    server.process.terminate()
    return server.process.wait(SECONDS) == 0
