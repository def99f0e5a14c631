# SPDX-License-Identifier: MIT
"""What can go wrong between a user and the hub, each in one sentence with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)

from uma_md.files.whole_file import DISK_FULL
from uma_md.hub.catalog import KNOWN, LICENSE

BUSY = (408, 429, 500, 502, 503, 504)


@contextmanager
def explained(name: str, revision: str) -> Iterator[None]:
    """Turn what the hub client raises into one sentence with the next step."""
    try:
        yield
    except HfHubHTTPError as error:
        raise _explain_answer(error, name, revision) from error
    except LocalTokenNotFoundError as error:
        raise PermissionError(_login_sentence(name)) from error
    except FileMetadataError as error:
        raise ConnectionError(
            f"{constants.ENDPOINT} must answer as the Hugging Face hub does, found no commit or "
            f"no checksum for {name}: check HF_ENDPOINT and the proxy"
        ) from error
    except (httpx2.HTTPError, RuntimeError) as error:  # hf_xet raises RuntimeError
        raise _unreachable(name, error) from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise OSError(
                f"the disk is full: {name} does not fit, make room or choose another folder with "
                "--cache or HF_HUB_CACHE"
            ) from error
        if error.errno is None:
            raise _unreachable(name, error) from error
        raise


def _explain_answer(error: HfHubHTTPError, name: str, revision: str) -> Exception:
    """The exception for an answer of the hub that is not the file."""
    status, said = error.response.status_code, _one_line(error.server_message or "")
    model = KNOWN[name]
    if isinstance(error, RevisionNotFoundError):
        return ValueError(
            f"revision must be a branch, tag or commit of {model.repository}, found none named "
            f"{revision!r}: {model.page}/commits/main lists them"
        )
    if isinstance(error, RemoteEntryNotFoundError):
        return FileNotFoundError(
            f"revision {revision} of {model.repository} has no {name}: choose another with "
            "--revision"
        )
    if status == 401 or isinstance(error, GatedRepoError) or "fine-grained" in said:
        return PermissionError(_access_sentence(name, status, said))
    if status in BUSY:
        return ConnectionError(
            f"the hub is busy or down, it answered {status} for {name}: try again later"
        )
    return OSError(f"the hub refuses {name} with status {status}: {said or 'no reason given'}")


def _access_sentence(name: str, status: int, said: str) -> str:
    page = KNOWN[name].page
    if "Invalid credentials" in said:
        return (
            f"the hub does not accept the login for {name}: run 'hf auth login' again, or correct "
            "HF_TOKEN"
        )
    if status == 401:
        return _login_sentence(name)
    if "fine-grained" in said:
        return (
            f"the token may not read gated repositories, as {name} needs: allow it at "
            "https://huggingface.co/settings/tokens"
        )
    if "awaiting" in said:
        return (
            f"the request for access to {name} is not granted yet: wait for the mail, {page} "
            "shows the state"
        )
    if "rejected" in said:
        return f"the request for access to {name} was rejected: {page} shows why"
    return (
        f"this login has no access to {name}: request it at {page} (you accept the {LICENSE} there)"
    )


def _login_sentence(name: str) -> str:
    return (
        f"{name} is gated, and no login was found: request access at {KNOWN[name].page}, then run "
        "'hf auth login' or set HF_TOKEN"
    )


def _unreachable(name: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"{name} cannot be fetched from {constants.ENDPOINT} ({_one_line(str(error))}): check the "
        f"network, or run 'uma-md download {name}' where there is one"
    )


def _one_line(text: str) -> str:
    """What a server or a library said, short and without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(line.split())[:200].rstrip(".")
