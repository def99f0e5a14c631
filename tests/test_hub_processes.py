# SPDX-License-Identifier: MIT
"""Downloads by processes that compete, are killed, or find the disk full."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import prepared
import pytest
from conftest import checkpoint
from hub_server import Hub, leftovers

from uma_md.hub import download as hub

NAME = "uma-s-1p2p1"
FILE = f"checkpoints/{NAME}.pt"
DOWNLOAD = f"from uma_md.hub.download import *; print(download('{NAME}'))"


@pytest.fixture
def server():
    with Hub({FILE: checkpoint("tiny-1p2p1").read_bytes()}) as running:
        yield running


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hub"


def environment(server, cache, **more):
    """Environment variables that lead another process to the server."""
    return {
        **os.environ,
        "HF_ENDPOINT": server.url(),
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN": "hf_member",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "100",  # a server that waits is not asked again
        "HF_HUB_ETAG_TIMEOUT": "100",
        **more,
    }


def test_a_disk_that_fills_up_is_said_and_leaves_nothing(server, cache):
    """A limit on the size of files stands for the full disk: the same path through the client."""
    script = (
        "import resource, sys\n"
        "from uma_md.hub import download as hub\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: hub.download(sys.argv[1])\n"
        "except OSError as error: print(error)\n"
    )
    done = subprocess.run(
        [prepared.python(), "-c", script, NAME],
        env=environment(server, cache),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "the disk is full: uma-s-1p2p1 does not fit, make room" in done.stdout
    assert not leftovers(cache)


def test_two_processes_at_once_share_one_download(server, cache):
    server.gate = threading.Event()
    runs = [
        subprocess.Popen(
            [prepared.python(), "-c", DOWNLOAD],
            env=environment(server, cache),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    wait_until(lambda: server.count("hub", "HEAD") == 4)  # both want it, one has begun
    server.gate.set()
    results = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    paths = {Path(out.strip()) for out, _ in results}
    assert len(paths) == 1
    assert paths.pop().read_bytes() == server.files[FILE]
    assert server.count("storage", "GET") == 1
    assert sum("FAIR Chemistry License" in err for _, err in results) == 1
    assert not leftovers(cache)


def test_a_killed_download_is_never_taken_for_a_file(server, cache):
    server.gate = threading.Event()
    run = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD],
        env=environment(server, cache),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: server.count("storage", "GET") == 1)
    run.kill()
    run.wait(timeout=10)
    assert hub.cached(NAME, cache=cache) is None
    server.gate.set()
    again = subprocess.run(
        [prepared.python(), "-c", DOWNLOAD],
        env=environment(server, cache),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert Path(again.stdout.strip()).read_bytes() == server.files[FILE]


def wait_until(condition):
    for _ in range(1800):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("the other process did not come that far in 90 s")
