# SPDX-License-Identifier: MIT
"""MPI ranks that compute together, and that fail together."""

from __future__ import annotations

import hashlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from uma_md.failures import is_out_of_memory, sentence_of

T = TypeVar("T")

# What other ranks raise: the first of these that the failure is an instance of.
KINDS: tuple[type[Exception], ...] = (
    FileNotFoundError,
    PermissionError,
    ConnectionError,
    OSError,
    TypeError,
    ValueError,
    MemoryError,
    RuntimeError,
)
EAGER = 1e-3  # seconds of looking for a message without rest, then with
REST = 5e-5

# Each communicator keeps its duplicate: MPI libraries have no more than about 2000 in all. The
# duplicate keeps that of the node's ranks.
_DUPLICATE = MPI.Comm.Create_keyval(delete_fn=lambda comm, key, duplicate: duplicate.Free())
_NODE = MPI.Comm.Create_keyval(delete_fn=lambda comm, key, node: node.Free())


class Ranks:
    """A communicator of its own, whose ranks agree before each collective step.

    A rank that fails within ``together`` says so in the next agreement; the others learn of
    it there, wherever they are, and raise the same error. So no rank waits for one that has
    left, as long as everything between a rank's agreement and the end of the collective step
    that follows is communication alone, or ends as others expect it (``MPIExchange.abandon``).
    An agreement is one all-reduce of four integers.

    Parameters
    ----------
    comm
        Any intracommunicator; it is duplicated, once, so that no message meets the user's.

    Attributes
    ----------
    comm
        The duplicate.
    rank, size
        This rank and the number of ranks.

    Raises
    ------
    TypeError
        When this is not a communicator that mpi4py made, or one without ranks.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        if not (isinstance(comm, MPI.Intracomm) and comm):
            raise TypeError(f"comm must be an intracommunicator of mpi4py, found {comm!r}")
        duplicate = comm.Get_attr(_DUPLICATE)
        if duplicate is None:
            duplicate = comm.Dup()
            comm.Set_attr(_DUPLICATE, duplicate)
        assert isinstance(duplicate, MPI.Intracomm)
        self.comm = duplicate
        self.rank: int = self.comm.Get_rank()
        self.size: int = self.comm.Get_size()
        self._is_together = False
        self._interrupts = Interrupts()

    def node(self) -> MPI.Intracomm:
        """Those of the ranks that share this one's memory. Collective, within ``together`` only."""
        node = self.comm.Get_attr(_NODE)
        if node is None:
            self.agree()
            node = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
            self.comm.Set_attr(_NODE, node)
        assert isinstance(node, MPI.Intracomm)
        return node

    def agree(self) -> None:
        """Go on when all ranks do. Collective, within ``together`` only."""
        self._agree(0, 0)

    def _agree(self, digest: int, vote: int) -> tuple[bool, int]:
        """Go on when all ranks do: whether all gave the same digest, and the lowest vote."""
        self.check_interrupts()
        told, same, lowest = self._learn(None, digest, vote)
        if told is not None:
            raise _ToldError(told)
        return same, lowest

    def check_interrupts(self) -> None:
        """Raise an interrupt that was held back."""
        self._interrupts.check()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Hold work that all ranks do; an error on one becomes the same error on all.

        Collective. The text is that of the lowest rank that failed. Its kind is the builtin
        one that comes closest; a rank whose own error has this text, or is an interrupt,
        raises its own. Within such a block of these ranks it is a part of that block, so that
        they fail once, wherever each of them is.
        """
        if self._is_together:
            yield
            return
        self._is_together = True
        try:
            with self._interrupts.held(), self._failing_together():
                yield
        finally:
            self._is_together = False

    @contextmanager
    def _failing_together(self) -> Iterator[None]:
        try:
            yield
            self.agree()
        except _ToldError as error:
            raise error.public() from None
        except FailedElsewhereError:
            told = self._learn(None)[0]
            assert told is not None
            raise _ToldError(told).public() from None
        except MPI.Exception as failure:
            sys.stderr.write(f"communication between MPI ranks failed: {failure}\n")
            sys.stderr.flush()
            time.sleep(1)  # the launcher drops what it has not passed on when it learns of the end
            MPI.COMM_WORLD.Abort(1)  # others may be waiting in any call, on any communicator
        except BaseException as failure:
            told = self._learn(failure)[0]
            assert told is not None
            if told[1] == str(failure) or not isinstance(failure, Exception):
                raise
            raise _ToldError(told).public() from failure

    def broadcast(self, value: T | None, root: int = 0) -> T:
        """Give every rank the value of one of them. Collective."""
        self.agree()
        return self.comm.bcast(value, root=root)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Give every rank the equally shaped arrays of all, (ranks, ...). Collective."""
        values = np.ascontiguousarray(values)
        gathered = np.empty((self.size, *values.shape), dtype=values.dtype)
        self.agree()
        self.comm.Allgather(values, gathered)
        return gathered

    def gather_rows(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Give every rank the rows of all, (sum of counts, ...), rank by rank. Collective.

        Parameters
        ----------
        rows : (counts[rank], ...)
        counts : (ranks,)
            Known to every rank.
        """
        rows = np.ascontiguousarray(rows)
        gathered = np.empty((counts.sum(), *rows.shape[1:]), dtype=rows.dtype)
        width = int(np.prod(rows.shape[1:], dtype=int))
        self.agree()
        self.comm.Allgatherv(rows, [gathered, (counts * width).tolist()])
        return gathered

    def check_same(self, what: str, parts: Mapping[str, Any], advice: str, vote: int = 0) -> int:
        """Refuse what is not the same on all ranks, and give the lowest of their votes.

        Collective, within ``together`` only: one agreement, and more only where ranks differ.

        Parameters
        ----------
        what
            The thing that must be the same, for the message.
        parts
            Arrays, or what has a faithful ``repr``, by name; compared by checksums.
        advice
            What to do.
        vote
            Of this rank, on what the ranks do next.

        Raises
        ------
        ValueError
            On all ranks, naming the first that differs from rank 0 and the part.
        """
        mine = {name: _checksum(part) for name, part in parts.items()}
        same, lowest = self._agree(_number(mine), vote)
        if same:
            return lowest
        first = self.broadcast(mine)
        differing = [name for name in mine if mine[name] != first[name]]
        if differing:
            raise ValueError(
                f"all ranks must have the same {what}, found other {differing[0]} on rank "
                f"{self.rank} than on rank 0: {advice}"
            )
        self.agree()
        return lowest

    def _learn(
        self, failure: BaseException | None, digest: int = 0, vote: int = 0
    ) -> tuple[tuple[int, str] | None, bool, int]:
        """What the first rank that failed says, whether digests are the same, the lowest vote."""
        failed = self.size if failure is None else self.rank
        found = np.array([failed, digest, -digest, vote], dtype=np.int64)
        self.comm.Allreduce(MPI.IN_PLACE, found, MPI.MIN)
        first, lowest, highest, vote = map(int, found)
        if first == self.size:
            return None, lowest == -highest, vote
        described = None if failure is None else _describe(failure)
        return self.comm.bcast(described, root=first), False, vote


class Interrupts:
    """Ctrl-C, held back while ranks communicate.

    It would otherwise be raised wherever a rank waits for the others, who go on when it has
    left.
    """

    def __init__(self) -> None:
        self._came = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a block's interrupts until the next ``check``, the last one until its end."""
        in_charge = threading.current_thread() is threading.main_thread()
        if not in_charge or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.check()

    def check(self) -> None:
        """Raise what was held back."""
        if self._came:
            self._came = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:  # who asks twice does not want to wait
            signal.default_int_handler(number, frame)
        self._came = True


class _ToldError(Exception):
    """A failure that all ranks know of: index of its kind, and its text."""

    def public(self) -> Exception:
        kind, text = self.args[0]
        return KINDS[kind](text)


class FailedElsewhereError(Exception):
    """Another rank said, by what it sent, that it failed; why, all learn in the next agreement."""


def wait_for(comm: MPI.Comm, source: int) -> int:
    """Wait until a rank has sent a message, without taking a core; returns its tag.

    The message itself stays to be received.
    """
    status = MPI.Status()
    start = time.perf_counter()
    while not comm.Iprobe(source, MPI.ANY_TAG, status):
        if time.perf_counter() - start > EAGER:
            time.sleep(REST)
    return status.Get_tag()


def _describe(failure: BaseException) -> tuple[int, str]:
    """Kind and one sentence of a failure."""
    if is_out_of_memory(failure):
        advice = "use more ranks or devices, recompute='on' or a smaller chunk"
        return KINDS.index(MemoryError), f"a rank ran out of memory: {advice}"
    kinds = [index for index, kind in enumerate(KINDS) if isinstance(failure, kind)]
    kind = kinds[0] if kinds else KINDS.index(RuntimeError)
    return kind, sentence_of(failure) or f"a rank was stopped by {type(failure).__name__}"


def _number(checksums: Mapping[str, bytes]) -> int:
    """One number of all checksums, not negative."""
    return int.from_bytes(
        hashlib.blake2b(b"".join(checksums.values()), digest_size=7).digest(), "little"
    )


def _checksum(part: Any) -> bytes:
    if isinstance(part, np.ndarray):
        data = f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
    else:
        data = repr(part).encode()
    return hashlib.blake2b(data, digest_size=8).digest()
