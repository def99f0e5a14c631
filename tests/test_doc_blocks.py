# SPDX-License-Identifier: MIT
"""Every command and every piece of code in the README and in docs/ runs, with a small model."""

import os
import re
import shutil
import subprocess

import prepared
import pytest
from ase.io import write
from conftest import checkpoint
from doc_blocks import (
    FIELD,
    FRAMES,
    IPI,
    LANGUAGES,
    MARKS,
    NO_CODE,
    PAGES,
    ROOT,
    Block,
    blocks,
    code,
)
from forks import Forked
from hub_server import COMMIT, Hub
from lammps_session import feed
from structures import water_box

from uma_md.hub.catalog import KNOWN

TIME_LIMIT = 200
MODELS = {
    "water.pt": "omol",
    "water-1.pt": "omol",
    "water-2.pt": "omol",
    "copper.pt": "omat",
    "model.pt": "omat",
}


def runs(block: Block) -> bool:
    return "shown" not in block.marks


@pytest.mark.parametrize("page", PAGES)
def test_every_block_has_a_language_and_known_marks(page):
    for block in blocks(page):
        known = (*LANGUAGES, *NO_CODE)
        assert block.language in known or block.language.startswith("{"), block.where
        assert set(block.marks) <= set(MARKS), block.where
        assert block.marks.get("within", "i-pi") in (*FRAMES, "i-pi"), block.where
        assert len(block.marks.get("shown", "a reason in words").split()) > 2, block.where
        if block.language in ("lammps", "xml"):
            assert block.marks, f"{block.where} must be a file, within a frame, or only shown"


# Pages with indented commands, which another test runs.
INDENTED = ("docs/commands.md",)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in INDENTED])
def test_no_code_is_indented_rather_than_fenced(page):
    text = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1$", "", (ROOT / page).read_text())
    assert re.findall(r"(?m)(?<=\n\n) {4}\S.*$", text) == []


@pytest.mark.parametrize("page", PAGES)
def test_what_is_only_shown_has_no_errors_of_syntax(page):
    for block in code(page):
        if runs(block):
            continue
        if block.language == "bash":
            command = ["bash", "-n", "-c", block.text]
            assert subprocess.run(command, check=False).returncode == 0, block.where
        if block.language == "python":
            compile(block.text, block.where, "exec")


class Session:
    """A folder in which the blocks of a page run, with what they take for granted."""

    def __init__(self, folder, exported, endpoint):
        self.folder, self.number = folder, f"water-{os.getpid()}"
        self.variables = {
            "PATH": prepared.path(),
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": "hf_member",
            "HF_HUB_CACHE": str(folder / "hub"),
        }
        self.environment = os.environ | self.variables
        box = water_box(8)
        shutil.copy(checkpoint("tiny-1p2p1"), folder / "uma-s-1p2p1.pt")
        write(folder / "water.xyz", box, format="extxyz")
        write(folder / "init.xyz", box, format="extxyz")
        write(folder / "structures.extxyz", [box, water_box(1)])
        write(folder / "water.data", box, format="lammps-data", specorder=["H", "O"], masses=True)
        for name, task in MODELS.items():
            shutil.copy(exported("tiny-1p2p1", task, "float32"), folder / name)
        before, after = FRAMES["water"]
        (folder / "in.water").write_text(before + after)
        (folder / "input.xml").write_text(self.changed(IPI.format(field=FIELD)))

    def changed(self, text):
        """Few steps and ranks, an address of this process, no file outside of the folder."""
        text = re.sub(r"(?m)^(run +)\d+", r"\g<1>3", text)
        text = re.sub(r"\b(mpiexec -n )\d+", r"\g<1>2", text)
        text = re.sub(r"(--unix |<address> )water\b", rf"\g<1>{self.number}", text)
        text = text.replace("/scratch/", f"{self.folder}/").replace("COMMIT", COMMIT)
        return text.replace("'uma' mode='unix'>", "'uma' mode='unix' pbc='false'>")

    def call(self, block, *command):
        done = subprocess.run(
            [*map(str, command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, block):
        text = self.changed(block.text)
        if "file" in block.marks:
            (self.folder / block.marks["file"]).write_text(text)
        elif block.language == "bash":
            self.call(block, "bash", "-e", "-o", "pipefail", "-c", f"{text}\nwait")
        elif block.language == "python":
            process = Forked(
                exec, text, {"__name__": "__main__"}, folder=self.folder, environment=self.variables
            )
            said, _ = process.communicate(TIME_LIMIT)
            assert process.returncode == 0, f"{block.where}\n{said}"
        elif block.language == "xml":
            (self.folder / "checked.xml").write_text(IPI.format(field=text))
            words = f"water.pt --template init.xyz --unix {self.number} --check checked.xml"
            assert "nothing to remark" in self.call(
                block, prepared.folder() / "uma-ipi", *words.split()
            )
        else:
            before, after = FRAMES[block.marks["within"]]
            ending = feed(f"{before}{block.text}{after}", 1, self.folder)
            assert ending.errors == [None], f"{block.where}\n{ending.screen}"
            assert "Loop time" in ending.screen, block.where


@pytest.mark.slow
@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.ipi
@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs, code(page)))])
def test_the_blocks_of_a_page_run(page, exported, tmp_path):
    content = checkpoint("tiny-1p2p1").read_bytes()
    with Hub({f"checkpoints/{name}.pt": content for name in KNOWN}) as hub:
        session = Session(tmp_path, exported, hub.url())
        for block in filter(runs, code(page)):
            session.run(block)


@pytest.mark.parametrize("page", PAGES)
def test_files_of_a_page_are_used_after_they_are_shown(page):
    parts = [block for block in code(page) if runs(block)]
    for k, block in enumerate(parts):
        if "file" in block.marks:
            assert any(block.marks["file"] in later.text for later in parts[k + 1 :]), block.where
