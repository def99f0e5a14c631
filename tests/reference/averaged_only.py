# SPDX-License-Identifier: MIT
"""Leave the raw weights out of checkpoints: inference reads the averaged ones alone.

    python averaged_only.py FILE [FILE ...]

``model_state_dict`` stays in the file, empty, since fairchem-core does not read it for inference.
All else stays as it is, to the last bit.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from checkpoint_files import published_class


def leave_out_raw_weights(path: Path) -> None:
    """Write a checkpoint anew without them."""
    with published_class():
        content = torch.load(path, weights_only=False)
        content.model_state_dict = {}
        torch.save(content, path)


if __name__ == "__main__":
    for word in sys.argv[1:]:
        leave_out_raw_weights(Path(word))
