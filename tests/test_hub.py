# SPDX-License-Identifier: MIT
"""Models by name: the real hub client against a server on loopback, and every way it can fail."""

import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
from click.testing import CliRunner
from conftest import checkpoint
from hub_server import COMMIT, REPOSITORY, TAGGED, Hub, leftovers
from huggingface_hub import constants

from uma_md import UMACalculator
from uma_md.cli import main
from uma_md.hub import download as hub
from uma_md.hub.catalog import DIRECT, KNOWN
from uma_md.info import describe

NAME = "uma-s-1p2p1"
FILE = f"checkpoints/{NAME}.pt"


@pytest.fixture
def server():
    content = checkpoint("tiny-1p2p1").read_bytes()
    with Hub({FILE: content, "checkpoints/uma-s-1p1.pt": b"another"}) as running:
        yield running


@pytest.fixture
def cache(server, tmp_path, monkeypatch):
    """The hub client of this process, led to the server: empty cache, a login with access."""
    url = server.url()
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "tokens"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_member")
    yield tmp_path / "hub"
    huggingface_hub.close_session()


@pytest.fixture
def quick_pauses(monkeypatch):
    """The client's pauses between tries take a hundredth of their time."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 100))


def test_a_download_is_whole_and_comes_from_the_cache_the_next_time(server, cache):
    said: list[str] = []
    path = hub.download(NAME, report=said.append)
    assert path.read_bytes() == server.files[FILE]
    assert path.name == f"{NAME}.pt"
    assert COMMIT in path.parts
    assert hub.download(NAME) == path
    assert server.count("storage", "GET") == 1
    assert not leftovers(cache)


def test_the_token_goes_to_the_hub_and_not_to_storage(server, cache):
    hub.download(NAME)
    assert {asked.token for asked in server.requests if asked.host == "hub"} == {"hf_member"}
    assert {asked.token for asked in server.requests if asked.host == "storage"} == {None}


def test_names_are_accepted_where_paths_are(server, cache, tmp_path):
    assert dict(describe(NAME))["model"] == "UMA-S-1.2.1"
    assert UMACalculator(NAME, "omol", device="cpu").metadata.source == f"{NAME}.pt"
    output = tmp_path / "water.pt"
    done = CliRunner().invoke(main, ["export", NAME, "--task", "omol", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert output.is_file()


def test_esen_models_come_from_repositories_of_their_own(server, cache):
    esen = {name: model for name, model in KNOWN.items() if name.startswith("esen-")}
    assert {model.repository for model in esen.values()} == {
        "facebook/OMol25",
        "facebook/OC25",
        "facebook/ODAC25",
    }
    content = checkpoint("esen-bare").read_bytes()
    said: list[str] = []
    for name, model in esen.items():
        server.files[model.file] = content
        path = hub.download(name, report=said.append)
        assert path.name == Path(model.file).name
        asked = [request.path for request in server.requests if request.host == "hub"]
        assert asked[-1] == f"/{model.repository}/resolve/main/{model.file}"
        assert f"models--{model.repository.replace('/', '--')}" in path.parts
    assert len(said) == 3  # the license, once for each repository
    assert "The weights of facebook/OC25" in said[1]
    assert dict(describe("esen-sm-conserving-all-omol"))["model"] == "eSEN"
    with pytest.raises(FileNotFoundError, match="give the name esen-sm-conserving-all-oc25"):
        hub.resolve("folder/esen_sm_conserve.pt")


@pytest.mark.parametrize("name", DIRECT)
def test_direct_force_models_are_refused_before_any_transfer(name, server, cache):
    message = f"{name} is a direct-force model, whose forces do not conserve energy: take esen-sm-"
    for ask in (hub.resolve, hub.download, describe):
        with pytest.raises(ValueError, match=message):
            ask(name)
    assert not server.requests
    assert DIRECT[name] in KNOWN


def test_a_cached_name_needs_no_network(server, cache, monkeypatch):
    path = hub.download(NAME)
    asked = len(server.requests)
    assert hub.resolve(NAME) == path
    assert hub.resolve(f"{NAME}@{COMMIT}") == path
    assert len(server.requests) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.download(NAME) == path


def test_an_existing_file_wins_over_a_name(server, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).write_bytes(b"mine")
    assert hub.resolve(NAME) == Path(NAME)
    assert not server.requests


def test_a_revision_can_be_chosen(server, cache):
    assert TAGGED in hub.download(NAME, "v1").parts
    assert TAGGED in hub.resolve(f"{NAME}@v1").parts
    assert COMMIT in hub.download(NAME, COMMIT).parts
    assert server.count("storage", "GET") == 1  # the same bytes, kept once


def test_the_license_is_mentioned_once_before_the_first_download(server, cache):
    said: list[str] = []
    hub.download(NAME, report=said.append)
    hub.download("uma-s-1p1", report=said.append)
    assert len(said) == 1
    assert f"FAIR Chemistry License: read it at https://huggingface.co/{REPOSITORY}" in said[0]


def test_the_command_prints_the_path_and_takes_a_cache_folder(server, cache, tmp_path):
    done = CliRunner().invoke(main, ["download", NAME, "--cache", str(tmp_path / "other")])
    assert done.exit_code == 0, done.output
    path = Path(done.stdout.strip())
    assert path.is_relative_to(tmp_path / "other")
    assert path.read_bytes() == server.files[FILE]
    assert "FAIR Chemistry License" in done.stderr
    assert not cache.exists()


def test_the_table_of_models_needs_no_network_and_knows_the_cache(server, cache, monkeypatch):
    hub.download(NAME)
    asked = len(server.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    lines = CliRunner().invoke(main, ["models"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["model", *KNOWN, "uma-nano"]
    rows = {line.split()[0]: line for line in lines}
    assert rows[NAME].endswith("FAIR Chemistry License  yes")
    assert rows["uma-m-1p1"].endswith("no")
    assert "about 11.2 GB" in rows["uma-m-1p1"]
    assert "oc20 omol omat odac omc oc22 oc25" in rows[NAME]
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "is gated, and no login was found: request access at https.* 'hf auth login'"),
        ("hf_stranger", "has no access to uma-s-1p2p1: request it at https://huggingface.co/"),
        ("hf_pending", "is not granted yet: wait for the mail"),
        ("hf_rejected", "was rejected: https"),
        ("hf_narrow", "may not read gated repositories.* allow it at https.*settings/tokens"),
        ("hf_expired", "does not accept the login .* run 'hf auth login' again"),
    ],
)
def test_gated_access_is_explained_with_the_next_step(token, message, server, cache, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(PermissionError, match=message):
        hub.download(NAME)
    assert not cache.exists()


def test_a_failed_command_prints_one_sentence(server, cache, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_pending")
    for words in (["download", NAME], ["info", NAME]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1
        assert "not granted yet" in done.stderr


def test_what_a_server_says_cannot_reach_the_terminal_raw(server, cache, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_banned")
    with pytest.raises(
        OSError, match=r"refuses .* status 403: You are .*\[31m not welcome"
    ) as found:
        hub.download(NAME)
    assert str(found.value).isprintable()


def test_insisting_on_a_login_says_when_there_is_none(server, cache, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PermissionError, match="no login was found"):
        hub.download(NAME, token_from_login=True)
    assert not server.requests
    (cache.parent / "token").write_text("hf_member")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with pytest.raises(PermissionError, match="no login was found"):
        hub.download(NAME)
    done = CliRunner().invoke(main, ["download", NAME, "--token-from-login"])
    assert done.exit_code == 0, done.output


def test_unknown_names_and_revisions_are_refused(server, cache):
    with pytest.raises(ValueError, match="model must be one of uma-s-1p1, .*; found 'uma-s-1'"):
        hub.download("uma-s-1")
    with pytest.raises(FileNotFoundError, match=r"an existing file or one of .* for uma-s-1$"):
        hub.resolve("uma-s-1")
    with pytest.raises(FileNotFoundError, match=r"give the name uma-s-1p1 instead"):
        hub.resolve("folder/uma-s-1p1.pt")
    with pytest.raises(ValueError, match="found none named 'v9'.*/commits/main lists them"):
        hub.download(NAME, "v9")
    for revision in ("../../x", "/etc", "", "a\nb", "-r"):
        with pytest.raises(ValueError, match="revision must be a branch, tag or commit"):
            hub.download(NAME, revision)
    with pytest.raises(FileNotFoundError, match="revision main of facebook/UMA has no uma-m-1p1"):
        hub.download("uma-m-1p1")


def test_offline_and_not_cached_says_where_to_download(server, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="not in the cache .* HF_HUB_OFFLINE is set: run"):
        hub.resolve(NAME)
    assert not server.requests


def test_no_network_is_said_at_once_and_a_cached_file_is_used(server, cache, monkeypatch):
    path = hub.download(NAME)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    said: list[str] = []
    assert hub.download(NAME, report=said.append) == path
    assert "using the file in the cache" in said[0]
    with pytest.raises(ConnectionError, match="cannot be fetched from http.*check the network"):
        hub.resolve("uma-s-1p1")
    assert pauses == []


def test_a_busy_hub_is_asked_again(server, cache, quick_pauses):
    server.busy = 3
    assert hub.download(NAME).read_bytes() == server.files[FILE]
    server.busy = 100
    with pytest.raises(ConnectionError, match="busy or down, it answered 503 .* try again later"):
        hub.download("uma-s-1p1")


def test_a_cut_connection_is_resumed_where_it_broke(server, cache, quick_pauses, monkeypatch):
    """The client keeps whole chunks only; its 10 MiB are more than this file has."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    server.cut = [300_000, 500_000]
    assert hub.download(NAME).read_bytes() == server.files[FILE]
    ranges = [asked.range for asked in server.requests if asked.host == "storage"]
    assert ranges == [None, "bytes=300000-", "bytes=800000-"]


def test_a_connection_that_stays_cut_leaves_nothing_behind(server, cache, quick_pauses):
    server.cut = [1000] + [0] * 100
    with pytest.raises(ConnectionError, match="cannot be fetched from"):
        hub.download(NAME)
    assert hub.cached(NAME) is None
    assert not leftovers(cache)


@pytest.mark.parametrize("links", [True, False])
def test_a_wrong_checksum_removes_the_file(links, server, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    server.damage = True
    with pytest.raises(OSError, match=r"must have the sha256 .* removed: download it again"):
        hub.download(NAME)
    assert not any(path.stat().st_size > 1000 for path in cache.rglob("*") if path.is_file())
    server.damage = False
    assert hub.download(NAME).read_bytes() == server.files[FILE]


def test_a_file_larger_than_the_disk_is_refused_before_the_transfer(server, cache):
    server.changes["X-Linked-Size"] = str(10**16)
    with pytest.raises(OSError, match=r"needs 10000000\.0 GB of disk, .* make room"):
        hub.download(NAME)
    assert not server.count("storage", "GET")


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Repo-Commit": None},
        {"X-Repo-Commit": "../../../escape"},
        {"X-Linked-Etag": '"../../escape"'},
        {"X-Linked-Etag": None},
    ],
)
def test_a_server_that_is_no_hub_is_refused_and_writes_nothing(changes, server, cache):
    server.changes.update(changes)
    with pytest.raises(ConnectionError, match="must answer as the Hugging Face hub does"):
        hub.download(NAME)
    assert not cache.exists()
