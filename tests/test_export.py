# SPDX-License-Identifier: MIT
"""Exported files: the same numbers, the record, and what is refused."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import prepared
import pytest
import torch
from ase.build import molecule
from ase.io import write
from click.testing import CliRunner
from conftest import VARIANTS, checkpoint
from structures import structure

from uma_md import UMACalculator
from uma_md.cli import main
from uma_md.export import composition, export
from uma_md.files import torchscript
from uma_md.files.arguments import OutputName
from uma_md.files.exported import read_metadata
from uma_md.files.metadata import Metadata
from uma_md.files.whole_file import written_whole
from uma_md.info import describe
from uma_md.options import RunOptions
from uma_md.prediction_files import predict_file


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("merged", [False, True])
def test_exported_files_give_the_numbers_of_the_checkpoint(variant, merged, exported, calculators):
    atoms = structure("water:8")
    options = {"merge_for": "(H2O)8"} if merged else {}
    results = []
    for calculator in (
        calculators(variant),
        UMACalculator(exported(variant, **options), device="cpu"),
    ):
        atoms.calc = calculator
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-9)
    assert np.abs(results[0][1] - results[1][1]).max() < 1e-9
    assert np.abs(results[0][2] - results[1][2]).max() < 1e-9


def test_a_merged_file_is_smaller(exported):
    whole = exported("tiny-1p2p1").stat().st_size
    assert exported("tiny-1p2p1", merge_for="(H2O)8").stat().st_size < whole / 2


def test_an_unmerged_file_serves_any_composition(exported, calculators):
    calculator = UMACalculator(exported("tiny-1p2p1"), device="cpu")
    for spec in ("water:8", "mol:CH3CH2OH@-1,2", "water:8", "far"):
        atoms, other = structure(spec), structure(spec)
        atoms.calc, other.calc = calculator, calculators("tiny-1p2p1")
        assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-9)


def test_a_merged_file_refuses_other_compositions_charges_and_spins(exported):
    calculator = UMACalculator(exported("tiny-1p1", merge_for="H2O"), device="cpu")
    atoms = structure("water:8")
    atoms.calc = calculator
    atoms.get_potential_energy()
    for other in (molecule("CH3OH"), molecule("H2O2")):
        other.calc = calculator
        with pytest.raises(ValueError, match=r"merged for H2O1 with charge 0 .* --merge-for"):
            other.get_potential_energy()
    atoms.info["charge"] = 1
    with pytest.raises(ValueError, match="found H16O8 with charge 1 and spin 1"):
        atoms.get_potential_energy()


def test_a_merged_file_of_uma_s_1p2_serves_one_number_of_atoms(exported):
    atoms = structure("water:8")
    atoms.calc = UMACalculator(exported("tiny-1p2", merge_for="H2O"), device="cpu")
    with pytest.raises(ValueError, match="merged for H2O1 .* found H16O8"):
        atoms.get_potential_energy()


def test_the_record_says_what_the_file_is(exported):
    metadata = read_metadata(exported("tiny-1p2p1", "omat", "float32", charge=1, spin=2))
    assert metadata.model_id == "UMA-S-1.2.1"
    assert (metadata.task, metadata.charge, metadata.spin) == ("omat", 1, 2)
    assert (metadata.dtype, metadata.cutoff) == ("float32", 5.0)
    assert metadata.torch_version == torch.__version__.split("+")[0]
    assert metadata.composition is None
    assert len(metadata.source_sha256) == 64
    assert Metadata.from_json(metadata.to_json()) == metadata
    rows = dict(describe(exported("tiny-1p2p1", merge_for="(H2O)8")))
    assert rows["composition"] == "merged for H16O8"


def test_merging_reads_structure_files(tmp_path):
    structure("water:8").write(tmp_path / "water.xyz")
    record = export(
        checkpoint("tiny-1p1"), tmp_path / "m.pt", "omol", merge_for=str(tmp_path / "water.xyz")
    )
    assert record["composition"] == {"H": 16, "O": 8}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "water"}, "task must be one of oc20, omol, .* found 'water'"),
        ({"charge": 101}, "charge must be -100 to 100, found 101"),
        ({"spin": -1}, "spin must be 0 to 100, found -1"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; found 'float16'"),
        ({"merge_for": "water?"}, "--merge-for must be a formula .* found 'water\\?'"),
        ({"merge_for": "Qq"}, "--merge-for must be a formula .* found 'Qq'"),
        (
            {"merge_for": ""},
            "--merge-for must have .* of each of .* in all, found ''",
        ),
        ({"merge_for": "H0"}, "--merge-for must have .* of each of .* in all, found 'H0'"),
        ({"merge_for": "H2O0"}, "--merge-for must have .* of each of .* in all, found 'H2O0'"),
        ({"merge_for": "(H2O)0"}, "--merge-for must have .* of each of .* in all, found"),
        ({"merge_for": "H" + 20 * "9"}, "--merge-for must have .* of each of .* in all, found"),
        ({"merge_for": "H2147483648"}, "--merge-for must have .* at most 2147483647 in all, found"),
        ({"merge_for": "(HO)1073741824"}, "--merge-for must have .* at most 2147483647 in all,"),
        ({"merge_for": "H-2"}, "--merge-for must be a formula .* found 'H-2'"),
        ({"merge_for": "("}, "--merge-for must be a formula .* found '\\('"),
        ({"merge_for": "D2O"}, "--merge-for must be a formula of known elements, found 'D2O' with"),
        ({"merge_for": "X2"}, r"knows the elements H to Es, found X \(atomic number 0\)"),
        ({"merge_for": __file__}, "--merge-for must be .* a structure file that ASE reads"),
        ({"merge_for": "FmO"}, r"knows the elements H to Es, found Fm \(atomic number 100\)"),
    ],
)
def test_bad_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(checkpoint("tiny-1p1"), tmp_path / "out.pt", **{"task": "omol", **options})
    assert not list(tmp_path.iterdir())


def test_a_formula_may_be_longer_than_the_name_of_a_file():
    assert composition("H2O" * 200) == {"H": 400, "O": 200}


def test_whole_floats_are_charges_of_a_file_that_is_read_again(tmp_path):
    path = tmp_path / "out.pt"
    given: dict[str, Any] = {"charge": -1.0, "spin": np.int64(2)}
    export(checkpoint("tiny-1p1"), path, "omol", **given)
    assert (read_metadata(path).charge, read_metadata(path).spin) == (-1, 2)


@pytest.fixture
def nodes(tmp_path):
    """What is no regular file, and links to it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("link to a device", "/dev/null"),
        ("link to a pipe", "pipe"),
        ("one", "other"),
        ("other", "one"),
        ("link to a folder", "."),
    ):
        (folder / name).symlink_to(target)
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/dev/full", "a device"),
        ("/dev/null", "a device"),
        ("/dev/stdout", "a link that leads in a circle or into /proc"),
        ("/proc/self/fd/1", "a link that leads in a circle or into /proc"),
        ("pipe", "a pipe or a socket"),
        ("link to a device", "a device"),
        ("link to a pipe", "a pipe or a socket"),
        ("one", "a link that leads in a circle or into /proc"),
        (".", "a folder"),
        ("link to a folder", "a folder"),
    ],
)
def test_what_is_no_regular_file_stays_and_is_refused(name, kind, nodes):
    """By everything that writes whole files, and before the work is done."""
    before = sorted((path.name, path.lstat().st_mode) for path in nodes.iterdir())
    path = nodes / name
    sentence = f"output must be a new file or replace a regular one, found {kind} at {path}"
    with pytest.raises(OSError, match=re.escape(sentence)):
        export(checkpoint("tiny-1p1"), path, "omol")
    with pytest.raises(OSError, match=re.escape(sentence)), written_whole(path):
        raise AssertionError
    result = CliRunner().invoke(main, _arguments(path))
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {sentence}")
    assert sorted((path.name, path.lstat().st_mode) for path in nodes.iterdir()) == before
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def _arguments(output: Path) -> list[str]:
    return ["export", str(checkpoint("tiny-1p1")), "--task", "omol", "-o", str(output)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("/proc/x.pt", "output must be in a folder where files can be made, found /proc ("),
        ("/proc/new/x.pt", "output must be in a folder where files can be made, found /proc"),
        ("file/x.pt", "output must be in a folder where files can be made, found {}/file ("),
        ("x" * 256, "output must have a name that the disk takes, found {}/xxx"),
        ("\udcff" * 256, "output must have a name that the disk takes, found {}/"),
    ],
)
def test_where_no_file_can_be_made_is_refused_before_the_work(name, sentence, tmp_path):
    (tmp_path / "file").touch()
    path, begins = tmp_path / name, re.escape(sentence.format(tmp_path))
    with pytest.raises(OSError, match=begins):
        export("no model of this name", path, "omol")
    with pytest.raises(OSError, match=begins):
        predict_file(Path("none.xyz"), path, Path("none"), None, RunOptions(), print)
    with pytest.raises(OSError, match=begins), written_whole(path):
        raise AssertionError
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_name_may_be_as_long_as_the_disk_allows(tmp_path):
    for name in ("x" * 255, "\N{GREEK SMALL LETTER OMEGA}" * 127):
        with written_whole(tmp_path / name) as part:
            part.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


WRITERS = [
    ("export", "none", "--task", "omol", "--output"),
    ("predict", "none", "--model", "none", "--output"),
    ("setup", "water", "--task", "omol", "--output"),
    ("check", "water", "--task", "omol", "--json"),
    ("bench", "uma-nano", "--json"),
    ("doctor", "--json"),
    ("scaling", "water", "--plot"),
]


def test_all_that_write_are_known():
    """A command that takes the name of an output is in the list above."""
    found = {
        (name, option.opts[-1])
        for name, command in main.commands.items()
        for option in command.params
        if isinstance(option.type, OutputName) or "--output" in option.opts
    }
    assert found == {(words[0], words[-1]) for words in WRITERS}


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_names_that_are_none_are_refused_by_all_that_write(words, tmp_path, monkeypatch):
    """Before what they read is looked for."""
    monkeypatch.chdir(tmp_path)
    sentences = {"": f"{words[-1]} must be a name, found an empty one", " ": f"{words[-1]} must be"}
    sentences["/proc/x"] = "output must be in a folder where files can be made, found /proc ("
    if words[0] != "setup":
        sentences |= {
            "-": "output must be a file, found '-', which is a stream",
            "new/": "output must be a file, found new/, which is a folder",
            "/dev/null": "output must be a new file or replace a regular one, found a device",
        }
    for name, sentence in sentences.items():
        result = CliRunner().invoke(main, [*words, name])
        assert result.output.startswith(f"Error: {sentence}"), result.output
        assert len(result.output.splitlines()) == 1
        assert result.exit_code == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("exists", [True, False])
def test_links_are_followed_and_stay(exists, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "model.pt", tmp_path / "link.pt"
    link.symlink_to("second.pt")
    (tmp_path / "second.pt").symlink_to("elsewhere/model.pt")
    if exists:
        target.write_bytes(b"old")
    export(checkpoint("tiny-1p1"), link, "omol")
    assert link.is_symlink()
    assert (tmp_path / "second.pt").is_symlink()
    assert not target.is_symlink()
    assert read_metadata(target).task == "omol"
    assert len(list(target.parent.iterdir())) == 1


def test_what_is_read_is_not_replaced(tmp_path):
    model, atoms = tmp_path / "model.pt", tmp_path / "water.xyz"
    model.write_bytes(checkpoint("tiny-1p1").read_bytes())
    (tmp_path / "link.pt").symlink_to(model)
    write(atoms, molecule("H2O"))
    for output in (model, tmp_path / "link.pt", atoms):
        with pytest.raises(ValueError, match="output must be another file than those that are"):
            export(model, output, "omol", merge_for=str(atoms))
    assert model.read_bytes() == checkpoint("tiny-1p1").read_bytes()


def test_files_of_others_and_of_newer_versions_are_refused(tmp_path, exported):
    scripted = torchscript.script(torch.nn.Linear(1, 1))
    torchscript.save(scripted, tmp_path / "other.pt", {})
    with pytest.raises(ValueError, match="not a file that uma-md export wrote"):
        UMACalculator(tmp_path / "other.pt")
    record = json.loads(read_metadata(exported("tiny-1p1")).to_json())
    with pytest.raises(ValueError, match="must be version 1, found 2: export again"):
        Metadata.from_json(json.dumps({**record, "format_version": 2}))
    del record["cutoff"]
    with pytest.raises(ValueError, match="metadata lacks cutoff"):
        Metadata.from_json(json.dumps(record))


def test_a_file_cut_short_is_refused(tmp_path, exported):
    whole = exported("tiny-1p1").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must be a UMA checkpoint as published"):
        UMACalculator(tmp_path / "cut.pt")


def test_export_leaves_one_whole_file(tmp_path):
    export(checkpoint("tiny-1p1"), tmp_path / "model.pt", "omol")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert zipfile.ZipFile(tmp_path / "model.pt").testzip() is None


WRITING = """
import sys, time
from pathlib import Path
from uma_md.files.whole_file import written_whole
with written_whole(Path(sys.argv[1])) as part:
    part.write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_told_to_end_leaves_the_old_file_and_no_half_of_a_new_one(
    number, tmp_path
):
    target = tmp_path / "model.pt"
    target.write_bytes(b"as it was")
    command = [sys.executable, "-c", WRITING, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)
        code = process.wait(timeout=60)
    assert code == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert target.read_bytes() == b"as it was"


def test_two_processes_may_export_to_one_file(tmp_path):
    """Each writes its own file; the last to end gives the name its content, whole."""
    output = tmp_path / "model.pt"
    command = [
        prepared.folder() / "uma-md",
        "export",
        str(checkpoint("tiny-1p1")),
        "--task",
        "omol",
        "-o",
        output,
    ]
    runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert UMACalculator(output, device="cpu").metadata.task == "omol"


def test_a_disk_that_fills_up_leaves_the_file_as_it_was(tmp_path):
    """A limit on the size of files stands for the full disk."""
    output = tmp_path / "model.pt"
    output.write_bytes(b"before")
    script = (
        "import resource, sys\n"
        "from uma_md.export import export\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: export(sys.argv[1], sys.argv[2], 'omol')\n"
        "except OSError as error: print(error)\n"
    )
    command = [str(prepared.python()), "-c", script, str(checkpoint("tiny-1p1")), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "must have room for" in done.stdout
    assert "the disk is full, make room or choose another folder" in done.stdout
    assert output.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
