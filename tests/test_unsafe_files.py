# SPDX-License-Identifier: MIT
"""Model files are data: whatever they try, reading ends in a refusal and nothing has happened."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import time

import pytest
import torch
from conftest import checkpoint
from safetensors.torch import save_file
from unsafe_files import (
    ARCHIVES,
    CONFIGS,
    PICKLES,
    TENSORS,
    archive,
    pickled,
    spoiled,
    tensor_pickle,
)

from uma_md.files.checkpoint import read_checkpoint
from uma_md.files.safetensors_checkpoint import write_checkpoint
from uma_md.info import describe
from uma_md.loading import UMASource, load_model

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def untouched(tmp_path, monkeypatch):
    """Whatever a test reads leaves its folder as it was, in little time."""
    monkeypatch.chdir(tmp_path)
    begun = time.process_time()
    yield
    assert not (tmp_path / "attacked").exists()
    assert time.process_time() - begun < 20


def refused(path, message="."):
    """Every reader of checkpoints refuses the file, in a sentence that a terminal can show."""
    before = {name: _digest(name) for name in path.parent.iterdir()}
    with pytest.raises(ValueError, match=message) as found:
        describe(path)
    assert len(str(found.value)) < 1000
    with pytest.raises(ValueError, match=message):
        load_model(path, "omol", "float32", CPU)
    assert {name: _digest(name) for name in path.parent.iterdir()} == before


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("attack", PICKLES)
def test_pickles_that_are_not_data_are_refused(attack, tmp_path):
    refused(archive(tmp_path / "m.pt", PICKLES[attack]), "must be a UMA checkpoint|at most")


@pytest.mark.parametrize("attack", CONFIGS)
def test_configs_without_end_are_refused(attack, tmp_path):
    refused(archive(tmp_path / "m.pt", CONFIGS[attack]), "must be a UMA checkpoint")


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, while such a file is made
@pytest.mark.parametrize("attack", ARCHIVES)
def test_archives_that_torch_does_not_write_are_refused(attack, tmp_path):
    ARCHIVES[attack](tmp_path / "m.pt")
    refused(tmp_path / "m.pt")


@pytest.mark.parametrize("attack", TENSORS)
def test_tensors_that_are_not_within_their_storage_are_refused(attack, tmp_path):
    content = tensor_pickle(*TENSORS[attack])
    path = archive(tmp_path / "m.pt", content, more=[("m/data/0", bytes(64))])
    with pytest.raises(ValueError, match="tensors must have|damaged|at most 64 bits"):
        read_checkpoint(path)


def test_a_valid_tensor_made_in_the_same_way_is_read(tmp_path):
    """So the refusals above are of what each of them changes."""
    content = tensor_pickle(1, (2, 3), (3, 1))
    data = struct.pack("<16f", *range(16))
    path = archive(tmp_path / "m.pt", content, more=[("m/data/0", data)])
    read = read_checkpoint(path).read(["w"], torch.float64)["w"]
    assert torch.equal(read, torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3))


def test_the_name_that_is_refused_is_told(tmp_path):
    path = archive(tmp_path / "m.pt", pickled(("os", "system", "true")))
    refused(path, r"this one names os\.system, which is not on uma-md's allow-list: do not trust")


def test_reading_attacks_opens_starts_and_imports_nothing(tmp_path):
    """An audit hook sees what the interpreter is asked to do, whatever it is called."""
    attacks = [archive(tmp_path / f"{n}.pt", one) for n, one in enumerate(PICKLES.values())]
    script = (
        "import sys\n"
        "from uma_md.info import describe\n"
        "try: describe(sys.argv[1])\n"
        "except ValueError: pass\n"
        "seen = []\n"
        "words = ('os.', 'subprocess.', 'exec', 'compile', 'import', 'pickle.', 'socket.',\n"
        "         'shutil.', 'ctypes.', 'marshal.', 'urllib.', 'webbrowser.')\n"
        "def watch(event, arguments):\n"
        "    writes = event == 'open' and arguments[1] not in ('r', 'rb', None)\n"
        "    if writes or event.startswith(words): seen.append((event, str(arguments)[:80]))\n"
        "sys.addaudithook(watch)\n"
        "for name in sys.argv[2:]:\n"
        "    try: describe(name); seen.append(name)\n"
        "    except ValueError: pass\n"
        "print(seen)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, [attacks[0], *attacks])],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert run.stdout == "[]\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weights_that_are_not_finite_are_refused(value, suffix, tmp_path):
    name = "backbone.mix_csd.bias"

    def spoil(_, __, weights):
        weights[name][3] = value

    path = rewritten(tmp_path / f"m.{suffix}", spoil)
    with pytest.raises(ValueError, match=f"weights must be finite numbers, {name} holds others"):
        load_model(path, "omol", "float32", CPU)


def test_weights_too_large_for_the_dtype_are_refused(tmp_path):
    def spoil(_, __, weights):
        weights["backbone.mix_csd.bias"] = weights["backbone.mix_csd.bias"].double() * 1e300

    path = rewritten(tmp_path / "m.pt", spoil)
    assert load_model(path, "omol", "float64", CPU)
    with pytest.raises(ValueError, match=r"holds others in torch\.float32"):
        load_model(path, "omol", "float32", CPU)


def rewritten(path, change):
    """The tiny 1.2.1 checkpoint with a change, as a published or a safetensors file."""
    if path.suffix == ".pt":
        return spoiled(checkpoint("tiny-1p2p1"), path, change)
    content = read_checkpoint(checkpoint("tiny-1p2p1"))
    weights = content.read(list(content.weights), torch.float32)
    change(content.model_config, content.tasks_config, weights)
    write_checkpoint(path, content.model_config, content.tasks_config, weights)
    return path


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("num_layers", 10**9, "num_layers must be that of the checkpoint's weights, 3"),
        ("sphere_channels", 10**9, "channels must be that of the checkpoint's weights, 16"),
        ("hidden_channels", 10**9, "hidden_channels must be that"),
        ("edge_channels", 10**9, "edge_channels must be that"),
        ("num_distance_basis", 10**9, "num_distance_basis must be that"),
        ("max_num_elements", 10**9, "max_num_elements must be that"),
        ("num_experts", 10**9, "num_experts must be that"),
        ("num_experts", -4, "num_experts must be 0 or more"),
        ("num_experts", 0, "num_experts must be that of the checkpoint's weights, 4; found 0"),
        ("num_layers", 10**30, "num_layers must be that|64 bits"),
        ("num_layers", "many", "invalid literal"),
        ("num_layers", None, "configs of a UMA checkpoint, they are damaged"),
        ("cutoff", 1e9, "cutoff must be within 100 angstrom"),
        ("cutoff", -1.0, "cutoff must be within 100 angstrom"),
        ("dataset_mapping", [1], "damaged"),
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_configs_that_are_not_those_of_the_weights_are_refused(
    option, value, message, suffix, tmp_path
):
    path = rewritten(
        tmp_path / f"m.{suffix}", lambda config, *_: config["backbone"].update({option: value})
    )
    refused(path, message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "much", None])
def test_scales_and_references_that_are_no_numbers_are_refused(value, tmp_path):
    def scale(_, tasks, __):
        for task in tasks:
            task["normalizer"]["rmsd"] = value

    def refer(_, tasks, __):
        for task in tasks:
            if task.get("element_references"):
                task["element_references"]["element_references"]["_args_"][0][1] = value

    for n, change in enumerate((scale, refer)):
        path = rewritten(tmp_path / f"{n}.pt", change)
        with pytest.raises(ValueError, match="finite numbers|damaged|must equal|could not"):
            UMASource(path).task("omol")


# --- safetensors ---


def safetensors_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def _one(shape, offsets, dtype="F32"):
    return {
        "__metadata__": {"format": "uma-md", "model_config": "{}", "tasks_config": "[]"},
        "w": {"dtype": dtype, "shape": shape, "data_offsets": offsets},
    }


SAFETENSORS = {
    "a header longer than the file": lambda p: p.write_bytes(struct.pack("<Q", 1 << 62) + b"{}"),
    "a header of 200 MB": lambda p: safetensors_file(p, b" " * 200_000_000),
    "no header": lambda p: p.write_bytes(b"\0" * 8),
    "nothing": lambda p: p.write_bytes(b""),
    "a pickle": lambda p: p.write_bytes(PICKLES["os.system"]),
    "a header that is no JSON": lambda p: safetensors_file(p, b"{"),
    "a header nested deep": lambda p: safetensors_file(p, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "a shape larger than its bytes": lambda p: safetensors_file(p, _one([3], [0, 8]), bytes(8)),
    "a product beyond 64 bits": lambda p: safetensors_file(
        p, _one([1 << 62, 1 << 62], [0, 8]), bytes(8)
    ),
    "bytes beyond the file": lambda p: safetensors_file(p, _one([2], [0, 8]), bytes(4)),
    "bytes before the data": lambda p: safetensors_file(p, _one([2], [-8, 0]), bytes(8)),
    "an end before the begin": lambda p: safetensors_file(p, _one([2], [8, 0]), bytes(8)),
    "bytes left over": lambda p: safetensors_file(p, _one([1], [0, 4]), bytes(800)),
    "a negative size": lambda p: safetensors_file(p, _one([-2], [0, 8]), bytes(8)),
    "an unknown dtype": lambda p: safetensors_file(p, _one([2], [0, 8], "EVIL"), bytes(8)),
    "truths for weights": lambda p: safetensors_file(p, _one([8], [0, 8], "BOOL"), bytes(8)),
    "tensors that overlap": lambda p: safetensors_file(
        p,
        {**_one([2], [0, 8]), "v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        bytes(12),
    ),
    "a config nested deep": lambda p: save_file(
        {},
        p,
        {"format": "uma-md", "model_config": '{"a":' * 100_000, "tasks_config": "[]"},
    ),
    "a config with a number of 5000 digits": lambda p: save_file(
        {},
        p,
        {"format": "uma-md", "model_config": '{"a":' + "9" * 5000 + "}", "tasks_config": "[]"},
    ),
    "configs of nothing": lambda p: safetensors_file(p, _one([1], [0, 4]), bytes(4)),
}


@pytest.mark.parametrize("attack", SAFETENSORS)
def test_invalid_safetensors_are_refused(attack, tmp_path):
    SAFETENSORS[attack](tmp_path / "m.safetensors")
    refused(tmp_path / "m.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(FileNotFoundError, match="must be an existing file"):
        describe(tmp_path / "pipe.pt")
