# SPDX-License-Identifier: MIT
"""A server on loopback that speaks the part of the hub's protocol that downloads use.

The hub answers ``HEAD /REPOSITORY/resolve/REVISION/FILE`` with the file's commit, checksum and
size, and redirects to storage on another origin, which serves ranges and never sees the token.
Refusals carry the hub's headers ``X-Error-Code`` and ``X-Error-Message``.
"""

import hashlib
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPOSITORY = "facebook/UMA"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TAGGED = "fedcba9876543210fedcba9876543210fedcba98"

# What the hub says of a gated model to each kind of visitor: status, code, message.
GATES = {
    "": (
        401,
        "GatedRepo",
        f"Access to model {REPOSITORY} is restricted. You must have access to it and be "
        "authenticated to access it. Please log in.",
    ),
    "hf_stranger": (
        403,
        "GatedRepo",
        f"Access to model {REPOSITORY} is restricted and you are not in the authorized list. "
        f"Visit https://huggingface.co/{REPOSITORY} to ask for access.",
    ),
    "hf_pending": (
        403,
        "GatedRepo",
        f"Your request to access model {REPOSITORY} is awaiting a review from the repo authors.",
    ),
    "hf_rejected": (
        403,
        "GatedRepo",
        f"Your request to access model {REPOSITORY} has been rejected by the repo's authors.",
    ),
    "hf_narrow": (
        403,
        None,
        "Please enable access to public gated repositories in your fine-grained token settings "
        "to view this repository.",
    ),
    "hf_expired": (401, None, "Invalid credentials in Authorization header"),
    "hf_banned": (403, None, "You are\x1b[31m not welcome"),
}


@dataclass
class Request:
    """A request as it came in."""

    host: str
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """What the server holds, what it is to do wrong, and what it was asked.

    Attributes
    ----------
    files
        Bytes by name, ``checkpoints/NAME.pt``, the same in every repository and revision.
    revisions
        Commits by branch or tag.
    busy : int
        How many requests for metadata to answer with status 503 first.
    cut : list of int
        After how many bytes to close the connection, transfer by transfer.
    changes
        Headers of the answer for metadata to replace, or to leave out (None).
    damage : bool
        Whether storage sends other bytes than those announced.
    gate
        Held by a test to keep transfers waiting after their first bytes.
    """

    files: dict[str, bytes]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1": TAGGED})
    busy: int = 0
    cut: list[int] = field(default_factory=list)
    changes: dict[str, str | None] = field(default_factory=dict)
    damage: bool = False
    gate: threading.Event | None = None
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> "Hub":
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, p)) for p in HOSTS]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def url(self, host: str = "hub") -> str:
        return f"http://127.0.0.1:{self._servers[HOSTS.index(host)].server_port}"

    def count(self, host: str, method: str) -> int:
        return sum((asked.host, asked.method) == (host, method) for asked in self.requests)

    def stored(self, sha256: str) -> bytes:
        return next(b for b in self.files.values() if hashlib.sha256(b).hexdigest() == sha256)


HOSTS = ("hub", "storage")


def _handler(hub: Hub, host: str) -> type[BaseHTTPRequestHandler]:
    """The handler of one host, bound to its hub."""
    return type("Handler", (_Handler,), {"hub": hub, "host": host})


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    host: str
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        asked = Request(self.host, self.command, self.path, self.headers.get("Range"), token)
        self.hub.requests.append(asked)
        if self.host == "storage":
            self._send_file(asked)
        elif self.hub.busy > 0:
            self.hub.busy -= 1
            self._refuse(503, None, "Service Unavailable")
        elif (token or "") in GATES:
            self._refuse(*GATES[token or ""])
        else:
            self._point_to_storage()

    def _refuse(self, status: int, code: str | None, message: str) -> None:
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _point_to_storage(self) -> None:
        match = re.fullmatch(r"/facebook/\w+/resolve/([^/]+)/(.+)", self.path)
        revision, name = match.groups() if match else ("", "")
        commits = {**self.hub.revisions, **{c: c for c in self.hub.revisions.values()}}
        if revision not in commits:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif name not in self.hub.files:
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._redirect(commits[revision], self.hub.files[name])

    def _redirect(self, commit: str, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        headers: dict[str, str | None] = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.url('storage')}/{sha256}",
            "Content-Length": "0",
            **self.hub.changes,
        }
        self.send_response(302)
        for header, value in headers.items():
            if value is not None:
                self.send_header(header, value)
        self.end_headers()

    def _send_file(self, asked: Request) -> None:
        content = self.hub.stored(asked.path.removeprefix("/"))
        if self.hub.damage:
            content = bytes(len(content))
        start = int(asked.range.removeprefix("bytes=").rstrip("-")) if asked.range else 0
        part = content[start:]
        self.send_response(206 if asked.range else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked.range:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.hub.cut:
            part = part[: self.hub.cut.pop(0)]
            self.close_connection = True
        self.wfile.write(part[:1000])
        if self.hub.gate is not None:
            self.hub.gate.wait(30)
        try:
            self.wfile.write(part[1000:])
        except OSError:
            self.close_connection = True  # the client was stopped meanwhile


def leftovers(cache):
    return [path for path in cache.rglob("*") if "incomplete" in path.name]
