# SPDX-License-Identifier: MIT
"""Checkpoints as safetensors: the numbers of the published file, its conversion, its name."""

import json
import subprocess
import zipfile

import numpy as np
import prepared
import pytest
import torch
from checkpoint_files import rewrite
from conftest import checkpoint
from safetensors.torch import load_file, save_file
from structures import structure

from uma_md import UMACalculator
from uma_md.export import export
from uma_md.files.checkpoint import read_checkpoint
from uma_md.files.safetensors_checkpoint import write_checkpoint
from uma_md.hub import download as hub
from uma_md.info import describe


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    """The tiny 1.2.1 checkpoint as safetensors."""
    return convert(checkpoint("tiny-1p2p1"), tmp_path_factory.mktemp("safe") / "tiny.safetensors")


def convert(source, target, dtype=torch.float32):
    content = read_checkpoint(source)
    weights = content.read(list(content.weights), dtype)
    write_checkpoint(target, content.model_config, content.tasks_config, weights)
    return target


@pytest.mark.parametrize("task", ["omol", "omat"])
def test_energies_and_forces_are_those_of_the_published_file(task, safe, calculators):
    atoms, other = structure("water:8"), structure("water:8")
    atoms.calc = UMACalculator(safe, task, device="cpu", dtype="float64")
    other.calc = calculators("tiny-1p2p1", task)
    assert atoms.get_potential_energy() == other.get_potential_energy()
    assert np.array_equal(atoms.get_forces(), other.get_forces())


def test_info_and_export_take_it_as_they_take_a_published_file(safe, tmp_path, calculators):
    told, published = describe(safe), describe(checkpoint("tiny-1p2p1"))
    assert told[1:] == published[1:]
    record = export(safe, tmp_path / "water.pt", "omol", merge_for="(H2O)8", dtype="float64")
    assert record["source"] == "tiny.safetensors"
    atoms, other = structure("water:8"), structure("water:8")
    atoms.calc, other.calc = (
        UMACalculator(tmp_path / "water.pt", device="cpu"),
        calculators("tiny-1p2p1"),
    )
    assert atoms.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-9)


def test_weights_of_half_the_size_are_converted(tmp_path):
    path = convert(checkpoint("tiny-1p2p1"), tmp_path / "half.safetensors", torch.bfloat16)
    content = read_checkpoint(path)
    name = "backbone.sphere_embedding.weight"
    assert content.weights[name].dtype == torch.bfloat16
    assert content.read([name], torch.float64)[name].dtype == torch.float64


def test_tensors_in_the_configs_are_written_as_lists(safe, tmp_path):
    content = read_checkpoint(safe)
    tasks = [{"values": torch.tensor([1.0, 2.0]), "more": np.arange(2)}]
    write_checkpoint(tmp_path / "m.safetensors", content.model_config, tasks, {})
    assert read_checkpoint(tmp_path / "m.safetensors").tasks_config == [
        {"values": [1.0, 2.0], "more": [0, 1]}
    ]


def test_writing_refuses_other_suffixes_and_numbers_that_json_has_not(tmp_path):
    with pytest.raises(ValueError, match=r"must be named \*\.safetensors, found model\.pt"):
        write_checkpoint(tmp_path / "model.pt", {}, [], {})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_checkpoint(tmp_path / "m.safetensors", {"cutoff": float("nan")}, [], {})
    assert not list(tmp_path.iterdir())


def test_only_the_weights_that_are_asked_for_are_read(tmp_path):
    """A weight that is not asked for may be damaged."""

    def spoil(_, __, ema):
        ema["module.spoiled"] = torch.full((3,), torch.inf)

    path = rewrite(checkpoint("tiny-1p2p1"), tmp_path / "spoiled.pt", spoil)
    content = read_checkpoint(path)
    names = [name for name in content.weights if name != "spoiled"]
    weights = {**content.read(names, torch.float32), "spoiled": torch.full((3,), torch.inf)}
    safe = tmp_path / "spoiled.safetensors"
    write_checkpoint(safe, content.model_config, content.tasks_config, weights)
    read = read_checkpoint(safe)
    assert read.read(names[:1], torch.float32)
    with pytest.raises(ValueError, match="weights must be finite numbers, spoiled holds others"):
        read.read(["spoiled"], torch.float32)


def test_reading_does_not_import_fairchem_or_pickle_anything(safe):
    script = (
        "import pickle, sys\n"
        "def refuse(*_): raise AssertionError('unpickled')\n"
        "pickle.Unpickler = pickle.loads = pickle.load = refuse\n"
        "from uma_md.files.checkpoint import read_checkpoint\n"
        "content = read_checkpoint(sys.argv[1])\n"
        "import torch; content.read(list(content.weights), torch.float32)\n"
        "print('fairchem' in sys.modules)\n"
    )
    command = [str(prepared.python()), "-c", script, str(safe)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "False\n"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "must be a checkpoint as safetensors, with format uma-md, model_config"),
        ({"format": "pt"}, "with format uma-md"),
        ({"format": "uma-md", "model_config": "{}"}, "found other safetensors"),
        ({"model_config": "{", "tasks_config": "[]"}, "model_config of .* must be JSON"),
        ({"model_config": "[]", "tasks_config": "[]"}, "model_config .* a dict, found a list"),
        ({"model_config": "{}", "tasks_config": "{}"}, "tasks_config .* a list, found a dict"),
        ({"model_config": '{"a": NaN}', "tasks_config": "[]"}, "found the number NaN"),
    ],
)
def test_other_headers_are_refused(header, message, tmp_path):
    if "tasks_config" in header:
        header = {"format": "uma-md", **header}
    save_file({"a": torch.ones(1)}, tmp_path / "m.safetensors", header)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "m.safetensors")


def test_uma_nano_is_the_file_inside_the_package(safe, tmp_path, monkeypatch):
    assert hub.BUNDLED.parts[-3:] == ("uma_md", "data", "uma-nano.safetensors")
    monkeypatch.setattr(hub, "BUNDLED", safe.with_name("uma-nano.safetensors"))
    with pytest.raises(FileNotFoundError, match="has no uma-nano.safetensors: install a version"):
        UMACalculator("uma-nano", "omol")
    hub.BUNDLED.write_bytes(safe.read_bytes())
    assert hub.resolve("uma-nano") == hub.BUNDLED
    assert UMACalculator("uma-nano", "omol", device="cpu").metadata.source == "uma-nano.safetensors"


def test_a_header_says_what_the_file_is(safe):
    """The layout is that of the documentation, for other readers."""
    size = int.from_bytes(safe.read_bytes()[:8], "little")
    header = json.loads(safe.read_bytes()[8 : 8 + size])
    texts = header["__metadata__"]
    assert texts["format"] == "uma-md"
    assert json.loads(texts["model_config"])["backbone"]["sphere_channels"] == 16
    assert {task["property"] for task in json.loads(texts["tasks_config"])} >= {"energy"}
    assert "backbone.sphere_embedding.weight" in load_file(safe)
    assert not zipfile.is_zipfile(safe)
