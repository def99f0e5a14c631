# SPDX-License-Identifier: MIT
"""Published checkpoints by name: in the hub's cache, or downloaded through its client.

The client (``huggingface_hub``) brings its cache, login, environment variables, progress bar,
locks between processes and resumed transfers. What is added here is which files there are, that
their checksum is right, and one sentence with the next step for everything that can go wrong.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError

from uma_md.files.checksum import sha256
from uma_md.hub.answers import BUSY, explained
from uma_md.hub.catalog import DIRECT, KNOWN, LICENSE, Published

BUNDLED = Path(__file__).parents[1] / "data" / "uma-nano.safetensors"


@dataclass(frozen=True)
class _Remote:
    """What the hub says of a file before sending it."""

    commit: str
    sha256: str
    size: int | None


def resolve(name_or_path: str | Path) -> Path:
    """The file of a model: an existing path, or a known name in the hub's cache or downloaded.

    Parameters
    ----------
    name_or_path
        A path, a name such as ``uma-s-1p2p1``, a name and a revision,
        ``uma-s-1p2p1@REVISION``, or ``uma-nano`` for the model inside this package.

    Returns
    -------
    Path
        The file. A path to no file comes back as it is where it cannot be a name.

    Raises
    ------
    FileNotFoundError
        When there is neither such a file nor such a model.
    OSError, ValueError
        As ``download`` says.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if str(name_or_path) == BUNDLED.stem:
        return _bundled()
    name, _, revision = str(name_or_path).partition("@")
    if name in (*KNOWN, *DIRECT):
        chosen = _checked_revision(revision or None)
        return cached(name, chosen) or download(name, chosen)
    of_files = {Path(model.file).name: known for known, model in KNOWN.items()}
    if path.name in of_files:
        raise FileNotFoundError(
            f"checkpoint must be an existing file, found none at {path}: give the name "
            f"{of_files[path.name]} instead to take it from the hub"
        )
    if path.suffix == "" and path.name == str(name_or_path) and not path.exists():
        raise FileNotFoundError(
            f"checkpoint must be an existing file or one of {', '.join((*KNOWN, BUNDLED.stem))}; "
            f"found neither for {path}"
        )
    return path


def _bundled() -> Path:
    if not BUNDLED.is_file():
        raise FileNotFoundError(
            f"this installation of uma-md has no {BUNDLED.name}: install a version that has it"
        )
    return BUNDLED


def cached(name: str, revision: str | None = None, cache: str | Path | None = None) -> Path | None:
    """The file of a known model in the hub's cache, or None; needs no network."""
    model = _published(name)
    found = try_to_load_from_cache(
        model.repository, model.file, _folder(cache), _checked_revision(revision)
    )
    return Path(found) if isinstance(found, str) else None


def download(
    name: str,
    revision: str | None = None,
    cache: str | Path | None = None,
    *,
    token_from_login: bool = False,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Bring a known model's file into the hub's cache, unless it is there already.

    Parameters
    ----------
    name
        One of ``KNOWN``.
    revision
        Branch, tag or commit of the repository; its branch ``main`` when not given.
    cache
        Folder of the cache; the hub client's own when not given.
    token_from_login
        Insist on the login of ``hf auth login`` (or ``HF_TOKEN``), even where
        ``HF_HUB_DISABLE_IMPLICIT_TOKEN`` is set. Without it the hub client decides.
    report
        Is told what the user should know; writes to stderr when not given.

    Returns
    -------
    Path
        The file, whole and with the hub's checksum.

    Raises
    ------
    ValueError
        When the name or the revision is unknown.
    PermissionError, FileNotFoundError, ConnectionError, OSError
        When the file is not available; in one sentence, why and what to do.
    """
    report = report or _tell
    revision, folder = _checked_revision(revision), _folder(cache)
    kept = cached(name, revision, folder)
    if constants.is_offline_mode():
        if kept is None:
            _refuse_offline(name, revision, folder)
        return kept
    try:
        with explained(name, revision):
            remote = _ask(name, revision, token_from_login)
    except ConnectionError as error:
        if kept is None:
            raise
        report(f"{error}; using the file in the cache")
        return kept
    kept = cached(name, remote.commit, folder)
    if kept is None:
        _mention_license(KNOWN[name], folder, report)
        _check_space(name, remote, folder)
    with explained(name, revision):
        path = Path(
            hf_hub_download(
                KNOWN[name].repository,
                KNOWN[name].file,
                revision=revision,
                cache_dir=folder,
                token=token_from_login or None,
            )
        )
    if kept is None:
        _verify(name, path, remote.sha256)
    return path


def rows() -> list[tuple[str, ...]]:
    """The known models as a table: a heading, then name, size, tasks, license, cached or not."""
    table: list[tuple[str, ...]] = [("model", "size", "tasks", "license", "in the cache")]
    for name, model in KNOWN.items():
        path = cached(name)
        if path is not None:
            size = f"{path.stat().st_size / 1e9:.1f} GB"
        else:
            size = "-" if model.gigabytes is None else f"about {model.gigabytes} GB"
        tasks = " ".join(model.tasks) or "as its file says"
        table.append((name, size, tasks, LICENSE, "no" if path is None else "yes"))
    table.append(
        (
            BUNDLED.stem,
            f"{BUNDLED.stat().st_size / 1e9:.3f} GB",
            "omol omat oc20",
            "MIT",
            "in the package",
        )
    )
    return table


def _published(name: str) -> Published:
    if name == BUNDLED.stem:
        raise ValueError(f"{name} needs no download: it comes with uma-md")
    if name in DIRECT:
        raise ValueError(
            f"the forces must be the gradient of the energy, {name} is a direct-force model, whose "
            f"forces do not conserve energy: take {DIRECT[name]}"
        )
    if name not in KNOWN:
        raise ValueError(f"model must be one of {', '.join(KNOWN)}; found {name!r}")
    return KNOWN[name]


def _folder(cache: str | Path | None) -> Path:
    return Path(constants.HF_HUB_CACHE if cache is None else cache).expanduser()


def _checked_revision(revision: str | None) -> str:
    """A revision that is one also as a path: the client makes files of that name."""
    if revision is None:
        return constants.DEFAULT_REVISION
    if not re.fullmatch(r"\w[\w.+/-]{0,199}", revision, re.ASCII) or ".." in revision:
        raise ValueError(f"revision must be a branch, tag or commit, found {revision!r}")
    return revision


def _ask(name: str, revision: str, token_from_login: bool) -> _Remote:
    """Ask the hub for a file's commit, checksum and size.

    A busy hub is asked again with growing pauses. Without a network there is one try only:
    the nodes of many clusters have none, and waiting would not mend that.
    """
    model = _published(name)
    url = hf_hub_url(model.repository, model.file, revision=revision)
    token, timeout = token_from_login or None, constants.HF_HUB_ETAG_TIMEOUT
    try:
        found = get_hf_file_metadata(url, token=token, timeout=timeout)
    except HfHubHTTPError as error:
        if error.response.status_code not in BUSY:
            raise
        found = get_hf_file_metadata(url, token=token, timeout=timeout, retry_on_errors=True)
    commit, sha256 = found.commit_hash or "", found.etag or ""
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise FileMetadataError("no commit or no checksum of the file")
    return _Remote(commit, sha256, found.size)


def _tell(text: str) -> None:
    click.echo(text, err=True)


def _mention_license(model: Published, folder: Path, report: Callable[[str], None]) -> None:
    """Say once per repository and cache which license the weights have; of many ranks, one does."""
    mark = folder / f"models--{model.repository.replace('/', '--')}" / ".license-mentioned"
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return
    except OSError:
        pass  # It cannot be remembered, so it is said again the next time.
    report(
        f"The weights of {model.repository}, and what is made from them, are under Meta's "
        f"{LICENSE}: read it at {model.page}"
    )


def _check_space(name: str, remote: _Remote, folder: Path) -> None:
    existing = next(
        part for part in (folder.absolute(), *folder.absolute().parents) if part.exists()
    )
    free = shutil.disk_usage(existing).free
    if remote.size is not None and remote.size > free:
        raise OSError(
            f"{name} needs {remote.size / 1e9:.1f} GB of disk, {folder} has "
            f"{free / 1e9:.1f} GB free: make room, or choose another folder with --cache or "
            "HF_HUB_CACHE"
        )


def _verify(name: str, path: Path, expected: str) -> None:
    """Compare a new file with the hub's checksum; the client itself compares sizes only."""
    with path.open("rb") as file:
        found = sha256(file)
        hashed = os.fstat(file.fileno())
    if found == expected:
        return
    if path.exists() and os.path.samestat(path.stat(), hashed):  # not yet replaced by another rank
        links = [path]
        while links[-1].is_symlink():
            links.append(links[-1].parent / links[-1].readlink())
        for link in links:
            link.unlink(missing_ok=True)
    raise OSError(
        f"{name} must have the sha256 {expected[:12]}..., found {found[:12]}...; the "
        "damaged file is removed: download it again"
    )


def _refuse_offline(name: str, revision: str, folder: Path) -> NoReturn:
    raise FileNotFoundError(
        f"{name} (revision {revision}) is not in the cache {folder}, and HF_HUB_OFFLINE is set: "
        f"run 'uma-md download {name}' where there is a network, or unset HF_HUB_OFFLINE"
    )
