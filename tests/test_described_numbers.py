# SPDX-License-Identifier: MIT
"""Sentences, keywords and tolerances in the docs are those of the code and of the tests."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import test_gpu
import test_reference
from doc_blocks import ROOT

from uma_md.config import check_integer
from uma_md.files.pickles import read_pickle
from uma_md.hub.catalog import KNOWN
from uma_md.hub.download import resolve
from uma_md.options import RunOptions
from uma_md.ranks.placement import pick_device
from uma_md.system import check_geometry

sys.path.insert(0, str(ROOT / "docs"))
import error_sentences as errors

TROUBLE = errors.PAGE.read_text()


def listed() -> list[str]:
    """Sentences of the page, as they stand in its lists."""
    lists = (found[3] for found in errors.SECTION.finditer(TROUBLE))
    return [line for part in lists for line in re.findall(r"(?m)^- `(.*)`$", part)]


def test_the_page_of_errors_is_what_the_code_says():
    """If not: python docs/error_sentences.py"""
    assert errors.fill(TROUBLE) == TROUBLE
    assert len(listed()) > 250
    assert len(set(listed())) > 0.9 * len(listed())


def is_listed(sentence: str) -> bool:
    parts = (re.split(rf"\s*{errors.GAP}\s*", line) for line in listed())
    patterns = (".*".join(map(re.escape, words)) for words in parts)
    return any(re.fullmatch(pattern, sentence, re.DOTALL) for pattern in patterns)


@pytest.mark.parametrize(
    "call",
    [
        lambda: RunOptions(chunk=0),
        lambda: RunOptions(dtype="half"),
        lambda: check_integer("spin", 101, (0, 100)),
        lambda: check_integer("charge", 0.5, (-100, 100)),
        lambda: resolve("uma-l-9"),
        lambda: resolve(Path("nowhere") / "uma-s-1p1.pt"),
        lambda: pick_device("tpu3"),
        lambda: check_geometry(np.zeros((0, 3)), np.zeros((3, 3)), np.zeros(3)),
        lambda: read_pickle(b"\x80\x02cos\nsystem\n.", ""),
    ],
)
def test_an_error_that_is_raised_is_on_the_page(call):
    with pytest.raises((ValueError, TypeError, OSError)) as error:
        call()
    assert is_listed(str(error.value)), error.value


def test_what_no_code_says_is_not_on_the_page():
    assert not is_listed("atoms must be green, found blue")


def test_every_raise_with_a_text_is_found():
    """Counted in another way: words right after ``raise SomeError("``."""
    for name in errors.sources():
        if not name.endswith(".py"):
            continue
        text = (ROOT / name).read_text()
        said = errors.sentences(ROOT / name)
        for start in re.findall(r'raise \w+\(\s*f?"([^"{]{12,}?)["{]', text):
            assert any(" ".join(start.replace("\\n", " ").split()) in line for line in said), (
                name,
                start,
            )


def test_every_error_of_lammps_is_found():
    for name in errors.sources():
        text = (ROOT / name).read_text()
        said = " ".join(errors.sentences(ROOT / name))
        for start in re.findall(r'(?:FLERR,|_error\(|_argument\()\s*"([^"{]{12,}?)["{]', text):
            assert " ".join(start.replace("\\n", " ").split()) in said, (name, start)


def test_the_keywords_of_the_pair_style_are_listed():
    code = (ROOT / "lammps_plugin" / "options.cpp").read_text()
    keywords = re.findall(r'^ +\{"(\w+)", "', code, re.MULTILINE)
    page = (ROOT / "docs" / "pair_style_uma.md").read_text()
    described = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(keywords) > 8
    assert sorted(described) == sorted(keywords)


def test_the_tolerances_of_the_page_are_those_of_the_tests():
    page = (ROOT / "docs" / "accuracy.md").read_text()
    rows = re.findall(r"^\| `(float\d\d)` \| (\S+) eV(?:/atom)? \| (\S+) \| (\S+) \|$", page, re.M)
    assert {
        name: tuple(map(float, numbers)) for name, *numbers in rows
    } == test_reference.TOLERANCES
    assert test_gpu.TOLERANCES["float64"][:2] == (1e-9, 1e-9)
    for name in re.findall(r"`(tests/\w+\.py)`", page):
        assert (ROOT / name).is_file()


def test_the_page_of_tasks_describes_every_task():
    page = (ROOT / "docs" / "tasks.md").read_text().partition("## Which one")[0]
    described = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert len(described) == 7
    assert set(described) == {task for known in KNOWN.values() for task in known.tasks}
