# SPDX-License-Identifier: MIT
"""Write what the fuzzer starts from: valid inputs, and the attacks of the tests."""

import json
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from unsafe_files import CONFIGS, PICKLES, TENSORS, archive, tensor_pickle  # noqa: E402

RECORD = {
    "format": "uma-md",
    "format_version": 1,
    "model_id": "UMA-S-1.2.1",
    "task": "omol",
    "charge": 0,
    "spin": 1,
    "elements": ["H", "He"],
    "cutoff": 6.0,
    "dtype": "float32",
    "torch_version": "2.13.0",
    "composition": {"H": 2},
    "composition_exact": False,
    "supports_single_atoms": True,
    "max_neighbors": 300,
    "num_layers": 4,
    "lmax": 2,
    "mmax": 2,
    "sphere_channels": 128,
    "bytes_per_edge": 1000,
    "parameters_total": 10,
    "parameters_active": 5,
    "source": "m.pt",
    "source_sha256": "",
}
CONFIG = {"backbone": {"model": "eSCNMDMoeBackbone", "lmax": 2, "mmax": 2, "cutoff": 6.0}}


def checkpoints() -> list[bytes]:
    """Pickles, headers of safetensors, and whole archives."""
    pickles = [one for one in PICKLES.values() if len(one) < 5000]
    pickles += [tensor_pickle(*one) for one in TENSORS.values()] + list(CONFIGS.values())
    pickles += [pickle.dumps(CONFIG, protocol) for protocol in (2, 4)]
    pickles.append(tensor_pickle(1, (2, 3), (3, 1)))
    text = json.dumps(CONFIG)
    header = {"format": "uma-md", "model_config": text, "tasks_config": "[]"}
    safe = save({"w": np.ones(2)}, header)
    size = struct.unpack("<Q", safe[:8])[0]
    path = Path(sys.argv[1]) / "m.pt"
    whole = archive(path, pickles[-1], more=[("m/data/0", bytes(64))]).read_bytes()
    path.unlink()
    return [b"p" + one for one in pickles] + [b"s" + safe[8 : 8 + size], b"z" + whole]


def messages() -> list[bytes]:
    """Conversations with three atoms."""

    def word(text: str) -> bytes:
        return text.ljust(12).encode()

    one = word("POSDATA") + bytes(144) + struct.pack("<i", 3) + bytes(72)
    two = word("POSDATA") + struct.pack("<i", 3) + bytes(288 + 144)
    conversations = [word("STATUS") + one + word("GETFORCE") + word("EXIT")]
    for text, rest in (("task : omol , charge : 1", one), (" , , batch_size:2", two)):
        init = word("INIT") + struct.pack("<ii", 0, len(text)) + text.encode()
        conversations.append(init + rest + word("GETFORCE"))
    return conversations


def main() -> None:
    """Write the seeds of all targets into folders of their names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {
        "checkpoint": checkpoints(),
        "record": [json.dumps(RECORD).encode()],
        "messages": messages(),
    }
    for kind, seeds in kinds.items():
        (folder / kind).mkdir(exist_ok=True)
        for number, seed in enumerate(seeds):
            (folder / kind / f"seed-{number}").write_bytes(seed)


if __name__ == "__main__":
    main()
