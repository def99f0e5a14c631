# SPDX-License-Identifier: MIT
"""What torch says of TorchScript: not to our users for our calls, to others for theirs."""

import subprocess
import sys
import threading
import warnings

import pytest
import torch

from uma_md import UMACalculator
from uma_md.files.torchscript import check_python, load, save, script, without_advice

ADVICE = r"`torch.jit.script` is deprecated"
KINDS = (DeprecationWarning, FutureWarning)


def test_our_calls_are_silent_where_every_warning_is_an_error(tmp_path):
    scripted = script(torch.nn.Linear(1, 1))
    save(scripted, tmp_path / "linear.pt", {"note": "of ours"})
    assert load(tmp_path / "linear.pt")(torch.ones(1)).shape == (1,)


def test_calls_of_others_are_still_warned_of(exported):
    with pytest.warns(KINDS, match=ADVICE):
        torch.jit.script(torch.nn.Linear(1, 1))
    before = list(warnings.filters)
    UMACalculator(exported("tiny-1p1"), device="cpu")
    assert list(warnings.filters) == before
    with pytest.warns(KINDS, match=ADVICE):
        torch.jit.script(torch.nn.Linear(1, 1))


def test_other_warnings_are_shown_in_our_calls():
    with without_advice(), pytest.raises(FutureWarning, match="of something else"):
        warnings.warn("of something else", FutureWarning, stacklevel=1)


def test_threads_leave_the_filters_as_they_were():
    before = list(warnings.filters)
    failures = []

    def work():
        try:
            for _ in range(20):
                script(torch.nn.Linear(1, 1))
        except Warning as warning:
            failures.append(warning)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before


USE = """
import sys, torch
from ase.build import molecule
from uma_md import UMACalculator
atoms = molecule("H2O")
atoms.calc = UMACalculator(sys.argv[1], device="cpu")
atoms.get_forces()
print("ours is done", file=sys.stderr, flush=True)
torch.jit.script(torch.nn.Linear(1, 1))
"""


def test_a_user_sees_no_warning_of_ours_and_that_of_his_own(exported):
    """By Python's own filters, with those shown that it hides outside of scripts."""
    command = [sys.executable, "-W", "default", "-c", USE, str(exported("tiny-1p1"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ours, own = done.stderr.split("ours is done")
    assert "torch.jit" not in ours
    assert "`torch.jit.script` is deprecated" in own


def test_a_python_without_torchscript_is_refused():
    for version in ((3, 10), (3, 13)):
        check_python(version)
    with pytest.raises(ValueError, match=r"need TorchScript.* 3\.10 to 3\.13, found Python 3\.14"):
        check_python((3, 14))
