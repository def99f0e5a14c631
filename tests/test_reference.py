# SPDX-License-Identifier: MIT
"""Values of fairchem-core, for the layouts of published files, every task and structure.

``tests/data/*.npz`` hold what fairchem-core 2.24.0 gives in float64, unmerged.
"""

import numpy as np
import pytest
from conftest import DATA, ESEN, VARIANTS
from structures import structure

# energy eV (float32: eV/atom), forces eV/angstrom, stress eV/angstrom^3
TOLERANCES = {"float64": (1e-8, 1e-8, 1e-9), "float32": (1e-6, 1e-4, 1e-6)}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", [*VARIANTS, *ESEN])
def test_energies_forces_and_stresses_are_those_of_fairchem(variant, dtype, calculators):
    reference = np.load(DATA / f"{variant}.npz")
    names = sorted({key.rsplit(":", 1)[0] for key in reference.files})
    assert len(names) >= (10 if variant in ESEN else 40)
    if dtype == "float32":
        names = [name for name in names if name.startswith(("omol", "omat"))]
    energy_error, force_error, stress_error = TOLERANCES[dtype]
    for name in names:
        task, spec = name.split("/")
        atoms = structure(spec)
        atoms.calc = calculators(variant, task, dtype)
        size = len(atoms) if dtype == "float32" else 1
        error = abs(atoms.get_potential_energy() - reference[f"{name}:e"]) / size
        assert error < energy_error, name
        assert np.abs(atoms.get_forces() - reference[f"{name}:f"]).max() < force_error, name
        if f"{name}:s" in reference.files:
            stress = atoms.get_stress(voigt=False)
            assert np.abs(stress - reference[f"{name}:s"]).max() < stress_error, name


def test_reference_forces_are_large_enough_to_compare():
    reference = np.load(DATA / "tiny-1p2p1.npz")
    assert np.abs(reference["omol/water:32:f"]).max() > 0.1
