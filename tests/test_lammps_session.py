# SPDX-License-Identifier: MIT
"""The LAMMPS that the other tests share: scripts do not see each other, and a death is noticed."""

import lammps_session
import pytest
from lammps_session import feed

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]


def test_nothing_of_a_script_is_left_for_the_next(tmp_path):
    first = "units real\nvariable x equal 3\nshell mkdir deeper\nshell cd deeper\nnonsense\n"
    errors = feed(first, 2, tmp_path / "first").errors
    assert len(errors) == 2
    assert all("Unknown command: nonsense" in (error or "") for error in errors)
    second = "info system\nprint $(is_defined(variable,x)) file defined\n"
    ending = feed(second, 3, tmp_path / "second")
    assert ending.errors == [None, None, None]
    assert (tmp_path / "second/defined").read_text() == "0\n"
    assert "Units         = lj" in ending.screen


@pytest.mark.parametrize(("command", "code"), [("'kill -9 $PPID'", 9), ("sleep 3", 14)])
def test_ranks_that_die_or_hang_fail_the_test_and_are_replaced(
    command, code, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(lammps_session, "TIME_LIMIT", 1 if code == 14 else 60)
        with pytest.raises(AssertionError, match=f"LAMMPS died: (.|\n)*EXIT CODE: {code}\n"):
            feed(f"shell {command}\n", 2, tmp_path)
    assert feed("print again", 2, tmp_path).errors == [None, None]
