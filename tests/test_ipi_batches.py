# SPDX-License-Identifier: MIT
"""Batches that i-PI cuts in two, and what a driver makes of bytes beyond reason."""

import numpy as np
import pytest

from ipi_driver.wire.driver import Driver
from ipi_driver.wire.pacing import LONGEST, PATIENCE, SHARE, Pacing
from ipi_driver.wire.protocol import Disconnected, Results, Structures, repeat_last, without_padding


class Script:
    """A stream that plays what i-PI sends and keeps what it gets."""

    def __init__(self, *parts):
        self.input, self.output = b"".join(parts), b""

    def read_into(self, data):
        if len(data) > len(self.input):
            raise Disconnected("the script is over")
        data[:] = self.input[: len(data)]
        self.input = self.input[len(data) :]

    def write(self, *parts):
        self.output += b"".join(map(bytes, parts))

    def at_end(self):
        return not self.input

    def watched(self):
        raise AssertionError("nobody watches a script")


class Nothing:
    """A potential without forces on two atoms."""

    natoms = 2

    def configure(self, parameters):
        self.parameters = parameters

    def __call__(self, structures):
        batch = len(structures.positions)
        zeros = np.zeros((batch, 2, 3))
        return Results(np.arange(batch) + 1.0, zeros, np.zeros((batch, 3, 3)), [""] * batch)


def word(text):
    return text.ljust(12).encode()


def init(text, length=None):
    size = len(text) if length is None else length
    return word("INIT") + np.array([0, size], np.int32).tobytes() + text.encode()


def serve(*parts):
    script = Script(*parts)
    Driver(script, Nothing(), lambda _: None, interruptible=False).serve()
    return script.output


def positions(count):
    return np.random.default_rng(0).normal(size=(count, 2, 3))


def test_padding_is_what_equals_the_structure_before_it():
    cells = np.tile(np.eye(3), (4, 1, 1))
    some = positions(4)
    some[3] = some[2] = some[1]
    assert len(without_padding(Structures(cells, some)).positions) == 2
    cells[3] *= 2
    assert len(without_padding(Structures(cells, some)).positions) == 4


def test_padded_results_repeat_the_last_one():
    results = Results(np.arange(2.0), positions(2), np.zeros((2, 3, 3)), ["a", "b"])
    padded = repeat_last(results, 4)
    assert padded.energies.tolist() == [0, 1, 1, 1]
    assert padded.extras == ["a", "b", "b", "b"]
    assert repeat_last(results, 2) is results


def test_the_order_of_messages_is_that_of_i_pi():
    structure = np.eye(3).tobytes() * 2 + np.int32(2).tobytes() + positions(1).tobytes()
    status, ready, posdata, get = map(word, ("STATUS", "READY", "POSDATA", "GETFORCE"))
    end = word("EXIT")
    force = word("FORCEREADY") + np.float64(1).tobytes() + np.int32(2).tobytes() + bytes(124)
    answer = serve(status, init(" "), status, posdata, structure, get, status, end)
    assert answer == word("NEEDINIT") + ready + force + ready
    answer = serve(init(" "), posdata, structure, status, get, end)
    assert answer == word("HAVEDATA") + force


def test_what_follows_posdata_is_read_before_computing():
    """Left unread, the death of a driver would be a reset connection, on which i-PI hangs."""
    structure = np.eye(3).tobytes() * 2 + np.int32(2).tobytes() + positions(1).tobytes()
    end = word("STATUS") + word("EXIT")
    script = Script(init(" "), word("POSDATA"), structure, word("GETFORCE"), end)
    unread = []

    class Looking(Nothing):
        def __call__(self, structures):
            unread.append(script.input)
            return super().__call__(structures)

    Driver(script, Looking(), lambda _: None, interruptible=False).serve()
    assert unread == [end]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([word("HELLO")], "found 'HELLO'"),
        ([word("POSDATA")], "i-PI must send INIT before POSDATA"),
        ([init(" "), word("GETFORCE")], "i-PI must send POSDATA before GETFORCE"),
        ([init(" ", -1)], "parameters must have at most 1048576 bytes, i-PI announced -1"),
        ([init(" ", 1 << 30)], "i-PI announced 1073741824"),
        ([init(" batch_size:0")], "batch_size must be a whole number, 1 or more, found '0'"),
        ([init(" batch_size:²")], "batch_size must be a whole number"),
        ([init(" batch_size:999999999")], "a batch must have at most 89478485 structures of 2"),
        (
            [init(" batch_size:2"), word("POSDATA"), np.int32(1 << 30).tobytes()],
            "found 1073741824 atoms in i-PI and 2 in the template",
        ),
    ],
)
def test_what_is_beyond_reason_is_refused_before_memory_is_taken(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        serve(*parts)


def test_a_pause_grows_while_batches_are_cut():
    pacing = Pacing(32)
    pauses = []
    for count in (32, 11, 21, 11, 21, 32, 32):
        pacing.note(count, 0.1)
        pauses.append(pacing.pause)
    assert pauses == sorted(pauses)
    assert 0 < pauses[-1] == pauses[-3] <= min(LONGEST, SHARE * 0.1 * 32 / 21)


def test_no_pause_where_batches_are_whole_or_cannot_be():
    for counts in ([32] * 100, [32, 8] * 100):
        pacing = Pacing(32)
        for count in counts:
            pacing.note(count, 1.0)
        assert pacing.pause == 0
    pacing = Pacing(4)
    for _ in range(20 * PATIENCE):
        pacing.note(1, 1.0)
    assert pacing.pause == 0
