# SPDX-License-Identifier: MIT
"""Exported files are code, which runs only if it is uma-md's; structures are read as tables."""

import json
import re
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from lammps_runs import Block, refuse
from structures import structure

from uma_md import UMACalculator
from uma_md.export import composition
from uma_md.files import exported as exported_files
from uma_md.files import structures, torchscript
from uma_md.files.metadata import Metadata
from uma_md.files.scripted_code import ALLOWED
from uma_md.info import describe
from uma_md.loading import load_model

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def untouched(tmp_path, monkeypatch):
    """Nothing that a test reads makes the file ``attacked`` in its folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "attacked").exists()


class Saves(torch.nn.Module):
    """Writes a file when a stage of the network is called."""

    @torch.jit.export
    def merge(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "attacked")
        return x


class Maps(torch.nn.Module):
    """Makes a file by mapping it, inside a branch of a loop."""

    @torch.jit.export
    def merge(self, x: torch.Tensor) -> torch.Tensor:
        for n in range(x.size(0)):
            if n > 1:
                x = torch.from_file("attacked", True, 10)
        return x


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Saves()

    @torch.jit.export
    def merge(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner.merge(x)


class RunsWhenLoaded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.x = torch.ones(1)

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.x, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.x, self.training = state
        torch.save(self.x, "attacked")


@pytest.fixture
def record(exported):
    return exported_files.read_metadata(exported("tiny-1p1")).to_json()


def scripted(module, path, record):
    torchscript.save(torchscript.script(module), path, {"metadata.json": record})
    return path


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        (Saves, "the operator aten::save"),
        (Maps, "the operator aten::from_file"),
        (Inner, "the operator aten::save"),
        (RunsWhenLoaded, r"code that runs while it is loaded \(__setstate__\)"),
    ],
)
def test_code_that_does_more_than_arithmetic_is_refused(attack, found, record, tmp_path):
    path = scripted(attack(), tmp_path / "m.pt", record)
    with pytest.raises(ValueError, match=f"{found}.*trust_code=True .* with your rights"):
        load_model(path, None, "float32", CPU)
    assert describe(path)  # reads the record alone


def test_code_runs_when_the_user_says_so(record, tmp_path):
    """So the refusals above are what keeps it from running."""
    path = scripted(Saves(), tmp_path / "m.pt", record)
    module, _ = load_model(path, None, "float32", CPU, trust_code=True)
    assert not (tmp_path / "attacked").exists()
    module._module.merge(torch.ones(1))
    (tmp_path / "attacked").unlink()
    path = scripted(RunsWhenLoaded(), tmp_path / "m.pt", record)
    load_model(path, None, "float32", CPU, trust_code=True)
    (tmp_path / "attacked").unlink()


@pytest.mark.parametrize("trusted", [False, True])
def test_a_calculator_runs_such_code_only_when_told(trusted, record, tmp_path):
    path = scripted(RunsWhenLoaded(), tmp_path / "m.pt", record)
    (tmp_path / "attacked").unlink(missing_ok=True)
    with nullcontext() if trusted else pytest.raises(ValueError, match="runs while it is loaded"):
        UMACalculator(path, device="cpu", trust_code=trusted)
    if trusted:
        (tmp_path / "attacked").unlink()


def test_lammps_and_python_allow_the_same_operators():
    source = (ROOT / "lammps_plugin" / "scripted_code.cpp").read_text()
    allowed = set()
    for space, name in (("aten", "OPERATORS"), ("prim", "STRUCTURE")):
        (text,) = re.findall(rf"\*{name} =\n(.*?);", source, re.DOTALL)
        allowed |= {f"{space}::{word}" for word in " ".join(re.findall('"(.*?)"', text)).split()}
    calls = {"prim::CallFunction", "prim::CallMethod"}  # which Python follows, writing them out
    assert allowed == ALLOWED | calls


def test_classes_that_torch_brings_along_are_refused(exported, tmp_path):
    """Their own code would read what the file has for them."""
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(exported("tiny-1p1")) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("/constants.pkl"):
                content = b"\x80\x02c__torch__.torch.classes.quantized\nLinearPackedParams\n."
            new.writestr(info, content)
    with pytest.raises(ValueError, match=r"runs while it is loaded \(classes\)"):
        load_model(path, None, "float32", CPU)


def test_files_of_others_are_refused_before_they_are_loaded(tmp_path):
    torchscript.save(torchscript.script(RunsWhenLoaded()), tmp_path / "m.pt", {})
    (tmp_path / "attacked").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="not a file that uma-md export wrote"):
        load_model(tmp_path / "m.pt", None, "float32", CPU, trust_code=True)


def test_a_bomb_in_the_code_is_refused(exported, tmp_path):
    path = tmp_path / "m.pt"
    path.write_bytes(exported("tiny-1p1").read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        prefix = file.namelist()[0].split("/")[0]
        file.writestr(f"{prefix}/code/bomb.py", b"#" * 100_000_000)
    assert path.stat().st_size < 5_000_000
    with pytest.raises(ValueError, match="would unpack to more: do not trust it"):
        load_model(path, None, "float32", CPU)


def test_a_damaged_archive_is_refused(exported, tmp_path):
    content = bytearray(exported("tiny-1p1").read_bytes())
    at = content.index(b"data.pkl") + 100
    content[at : at + 50] = bytes(50)
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_model(tmp_path / "m.pt", None, "float32", CPU)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cutoff", float("nan")),
        ("cutoff", 1e9),
        ("cutoff", "6"),
        ("elements", ["H", "../x"]),
        ("elements", []),
        ("elements", "H"),
        ("composition", {"H": -1}),
        ("composition", {"H": 1.5}),
        ("composition", {"Qq": 1}),
        ("composition", []),
        ("charge", True),
        ("charge", 1 << 70),
        ("spin", None),
        ("dtype", "float16"),
        ("model_id", "\x1b[31mUMA"),
        ("source_sha256", "x"),
        ("bytes_per_edge", 0),
        ("max_neighbors", -1),
        ("num_layers", 10**9),
        ("composition_exact", 1),
        ("task", ["omol"]),
    ],
)
def test_records_with_values_of_another_kind_are_refused(field, value, record):
    with pytest.raises(ValueError, match=f"metadata must have .* as its {field}, found"):
        Metadata.from_json(json.dumps({**json.loads(record), field: value}))


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000, "9" * 5000, '{"format": 1}'])
def test_records_that_are_no_records_are_refused(text):
    with pytest.raises(ValueError, match="metadata must be|must be written by uma-md export"):
        Metadata.from_json(text)


def test_structuress_are_limited_in_size_and_format(tmp_path, monkeypatch):
    (tmp_path / "m.xyz").write_text("1\n\nH 0 0 0\n")
    assert composition("m.xyz") == {"H": 1}
    monkeypatch.setattr(structures, "MOST_BYTES", 10)
    with pytest.raises(ValueError, match="a structure file must have at most 0.0 GB"):
        composition("m.xyz")


def test_xml_with_entities_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "vasprun.xml").write_text(
        f'<?xml version="1.0"?><!DOCTYPE m [<!ENTITY s SYSTEM "{tmp_path}/secret">]>'
        "<modeling><atominfo>&s;</atominfo></modeling>"
    )
    with pytest.raises(ValueError, match=r"a format that uma-md does not read \(vasp-xml\)"):
        composition("vasprun.xml")


@pytest.mark.lammps
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("attack", "style", "message"),
    [
        (Saves, "", "has code with the operator aten::save; export the checkpoint"),
        (RunsWhenLoaded, "", "has code that runs while it is loaded (__setstate__); export"),
        (Saves, "trust yes", "does not have a field with name 'lmax'"),
        (Saves, "trust perhaps", "'trust' must be yes or no, found 'perhaps'"),
    ],
)
def test_lammps_runs_such_code_only_when_the_input_says_so(
    attack, style, message, record, tmp_path
):
    path = scripted(attack(), tmp_path / "m.pt", record)
    (tmp_path / "attacked").unlink(missing_ok=True)
    script = Block(structure("water:8"), path, style).setup(tmp_path, 0) + "\nrun 0\n"
    refuse(script, tmp_path, message)
