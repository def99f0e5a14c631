# SPDX-License-Identifier: MIT
"""Fresh checkpoints, written and evaluated by fairchem-core where it is installed.

``tests/reference/README.md`` says how to install it.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ESEN, VARIANTS
from structures import structure

from uma_md import UMACalculator

pytestmark = [
    pytest.mark.reference,
    pytest.mark.filterwarnings("default"),
]

SPECS = ("water:8", "shear", "slab", "far")


@pytest.mark.parametrize("variant", [*VARIANTS, "tiny-waves", *ESEN])
def test_fresh_checkpoints_give_the_numbers_of_fairchem(variant, tmp_path):
    pytest.importorskip("fairchem.core", reason="fairchem-core has an environment of its own")
    sys.path.insert(0, str(Path(__file__).parent / "reference"))
    import fairchem_models

    path = tmp_path / "model.pt"
    torch.save(fairchem_models.build(variant, seed=20), path)
    reference = fairchem_models.evaluate(variant, str(path), SPECS)
    for name in sorted({key.rsplit(":", 1)[0] for key in reference}):
        task, spec = name.split("/")
        atoms = structure(spec)
        atoms.calc = UMACalculator(path, task, dtype="float64", device="cpu")
        assert abs(atoms.get_potential_energy() - reference[f"{name}:e"]) < 1e-8, name
        assert np.abs(atoms.get_forces() - reference[f"{name}:f"]).max() < 1e-8, name
        if f"{name}:s" in reference:
            stress = atoms.get_stress(voigt=False)
            assert np.abs(stress - reference[f"{name}:s"]).max() < 1e-9, name
