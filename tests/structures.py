# SPDX-License-Identifier: MIT
"""Structures that the tests share, by name: ``NAME:ARGUMENT@charge,spin``.

The reference values in ``tests/data`` were computed for these, so that a change here
asks for new ones: see ``tests/reference/README.md``.
"""

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule

PERIODIC = ("water:8", "water:32", "cu:3", "cutri:4", "shear", "nacl:2")
STRUCTURES = (*PERIODIC, "slab", "far")
MOLECULES = (
    "mol:CH3CH2OH@-1,2",
    "mol:OH@-1,1",
    "mol:OH@0,2",
    "mol:O2@0,3",
    "mol:H2O@2,1",
)


def structure(spec: str) -> Atoms:
    """Build a structure by its name."""
    spec, _, charge_spin = spec.partition("@")
    name, _, argument = spec.partition(":")
    atoms = _BUILDERS[name](argument)
    if charge_spin:
        charge, spin = charge_spin.split(",")
        atoms.info.update(charge=int(charge), spin=int(spin))
    return atoms


def water_box(molecules: int, seed: int = 3) -> Atoms:
    """Water molecules, rotated at random, on a jittered grid at 0.997 g/cm^3; not relaxed."""
    rng = np.random.default_rng(seed)
    length = (molecules * 18.015 / 6.02214076e23 / 0.997) ** (1 / 3) * 1e8
    sites = int(np.ceil(molecules ** (1 / 3)))
    box = Atoms(cell=[length] * 3, pbc=True)
    points = [(i, j, k) for i in range(sites) for j in range(sites) for k in range(sites)]
    rng.shuffle(points)
    for point in points[:molecules]:
        water = molecule("H2O")
        water.rotate(rng.uniform(0, 360), rng.normal(size=3))
        center = (np.array(point) + 0.5) * length / sites
        water.translate(center - water.get_center_of_mass() + rng.normal(scale=0.05, size=3))
        box += water
    return box


def _rattled(atoms: Atoms, seed: int, amplitude: float = 0.1) -> Atoms:
    atoms.rattle(amplitude, seed=seed)
    return atoms


def _slab(_: str) -> Atoms:
    slab = fcc111("Cu", (3, 3, 4), vacuum=8.0, periodic=True)
    add_adsorbate(slab, molecule("CO"), 2.0, "ontop")
    return _rattled(slab, 1, 0.05)


def _sheared_silicon(_: str) -> Atoms:
    """Sheared so strongly that an atom has many images within the cutoff."""
    atoms = bulk("Si", cubic=True)
    shear = np.array([[1, 0, 0], [0.3, 1, 0], [-0.2, 0.25, 1.1]])
    atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    return _rattled(atoms, 5)


def _far_apart(_: str) -> Atoms:
    """Two molecules beyond each other's cutoff, and a lone atom."""
    ammonia = molecule("NH3")
    ammonia.translate([14, 0, 0])
    return molecule("CH4") + ammonia + Atoms("Ar", [[0, 30, 0]])


_BUILDERS = {
    "water": lambda n: water_box(int(n)),
    "cu": lambda n: _rattled(bulk("Cu", cubic=True) * ((int(n),) * 3), int(n)),
    "cutri": lambda n: _rattled(bulk("Cu") * ((int(n),) * 3), int(n)),
    "nacl": lambda n: _rattled(
        bulk("NaCl", "rocksalt", a=5.64, cubic=True) * ((int(n),) * 3), int(n)
    ),
    "slab": _slab,
    "shear": _sheared_silicon,
    "far": _far_apart,
    "mol": lambda name: _rattled(molecule(name), 1, 0.05),
}
