# SPDX-License-Identifier: MIT
"""Where the sampling starts: molecules, water, ions, crystals and slabs."""

from __future__ import annotations

import zlib

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule
from ase.data import covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from uma_md.batching import build_graph
from uma_md.graph import Graph

ORGANICS = (
    "CH4", "C2H2", "C2H4", "C2H6", "C6H6", "CH3OH", "CH3CH2OH", "H2CO", "HCOOH", "CH3CHO",
    "H3CNH2", "CH3CN", "CH3CONH2", "NH3", "HCN", "CO2", "CO", "N2", "H2", "H2O2",
)  # fmt: skip
METALS = ("Cu", "Ni", "Al", "Pt")
ALLOYS = (("Cu", "Ni"), ("Cu", "Pt"), ("Ni", "Al"), ("Cu", "Al"), ("Ni", "Pt"), ("Al", "Pt"))
LATTICE = {"Cu": 3.59, "Ni": 3.49, "Al": 3.99, "Pt": 3.92}  # angstrom, EMT's own
WATER_VOLUME = 29.9  # cubic angstrom per molecule at 1 g/cm3


def random_numbers(name: str, draw: int) -> np.random.Generator:
    """Random numbers of its own for every draw of every family."""
    return np.random.default_rng((zlib.crc32(name.encode()), draw))


def with_state(atoms: Atoms, charge: int = 0, spin: int = 1) -> Atoms:
    """Set charge and spin multiplicity."""
    atoms.info = {"charge": charge, "spin": spin}
    return atoms


def ion(charge: int) -> Atoms:
    """Hydronium (+1) or hydroxide (-1)."""
    if charge < 0:
        return with_state(Atoms("OH", [(0, 0, 0), (0, 0, 0.97)]), -1)
    angles = np.arange(3) * 2 * np.pi / 3
    hydrogens = np.stack([0.94 * np.cos(angles), 0.94 * np.sin(angles), np.full(3, 0.28)], axis=1)
    return with_state(Atoms("OH3", [(0, 0, 0), *hydrogens]), 1)


def rotated(atoms: Atoms, rng: np.random.Generator, angle: float | None = None) -> Atoms:
    """A copy about its center, rotated about a random axis by an angle (degrees), or by any."""
    copy = atoms.copy()
    copy.positions -= copy.positions.mean(axis=0)
    axis = rng.normal(size=3)
    copy.rotate(rng.uniform(0, 360) if angle is None else angle, axis / np.linalg.norm(axis))
    return copy


def cluster(center: Atoms | None, waters: int, rng: np.random.Generator) -> Atoms:
    """Water molecules about a central molecule or none, packed as in the liquid."""
    atoms = center.copy() if center is not None else with_state(Atoms())
    if center is not None:
        atoms.positions -= atoms.positions.mean(axis=0)
    radius = (3 * WATER_VOLUME * (waters + (center is not None)) / (4 * np.pi)) ** (1 / 3)
    placed, tries = 0, 0
    while placed < waters:
        tries += 1
        reach = radius * (1 + tries / 4000)
        direction = rng.normal(size=3)
        place = direction / np.linalg.norm(direction) * reach * rng.uniform() ** (1 / 3)
        new = rotated(molecule("H2O"), rng)
        new.positions += place
        if len(atoms) and _gap(atoms, new) < 1.75:
            continue
        info = atoms.info
        atoms += new
        atoms.info = info
        placed += 1
    return atoms


def in_water(name: str, rng: np.random.Generator) -> Atoms:
    """A molecule among 1 to 4 water molecules."""
    return cluster(with_state(molecule(name)), int(rng.integers(1, 5)), rng)


def graph_of(atoms: Atoms, cutoff: float) -> Graph:
    """The graph of a structure, cutoff in angstrom."""
    cell = atoms.cell.complete().array
    return build_graph(atoms.positions, cell, atoms.pbc, atoms.numbers, cutoff, 300)


def molecules(graph: Graph) -> np.ndarray:
    """Which molecule each atom of a graph belongs to, (atoms,): atoms bonded or nearly."""
    senders, receivers = graph.senders.numpy(), graph.receivers.numpy()
    radii = covalent_radii[graph.atomic_numbers.numpy()]
    distances = np.linalg.norm(graph.vectors.numpy(), axis=1)
    bonded = distances < 1.25 * (radii[senders] + radii[receivers])
    bonds = (np.ones(bonded.sum()), (senders[bonded], receivers[bonded]))
    return connected_components(coo_array(bonds, shape=(len(radii), len(radii))), directed=False)[1]


def _gap(one: Atoms, other: Atoms) -> float:
    return float(np.linalg.norm(one.positions[:, None] - other.positions[None], axis=2).min())


def cubic_ice(rng: np.random.Generator, cells: tuple[int, int, int] = (2, 1, 1)) -> Atoms:
    """Cubic ice, protons at random under the ice rules: 8 molecules per cell of 6.36 angstrom."""
    oxygens = bulk("O", "diamond", a=6.36, cubic=True).repeat(cells)
    pairs = _bonds(oxygens)
    donated = _two_out_of_four(len(oxygens), pairs, rng)
    hydrogens = []
    for (one, other, vector), forward in zip(pairs, donated, strict=True):
        unit = vector / np.linalg.norm(vector)
        start = oxygens.positions[one] if forward else oxygens.positions[other]
        hydrogens.append(start + (0.97 if forward else -0.97) * unit)
    return with_state(oxygens + Atoms(f"H{len(hydrogens)}", hydrogens))


def _bonds(oxygens: Atoms) -> list[tuple[int, int, np.ndarray]]:
    from ase.neighborlist import neighbor_list

    first, second, shifts, vectors = neighbor_list("ijSD", oxygens, 3.0)
    bonds = []
    for i, j, shift, vector in zip(first, second, shifts, vectors, strict=True):
        if i < j or (i == j and tuple(shift) > (0, 0, 0)):
            bonds.append((int(i), int(j), vector))
    return bonds


def _two_out_of_four(
    count: int, bonds: list[tuple[int, int, np.ndarray]], rng: np.random.Generator
) -> list[bool]:
    """Directions of the bonds such that every oxygen donates two protons."""
    forward = list(rng.integers(0, 2, len(bonds)).astype(bool))
    while True:
        donates = np.zeros(count, dtype=int)
        for (one, other, _), out in zip(bonds, forward, strict=True):
            donates[one if out else other] += 1
        if (donates == 2).all():
            return forward
        # Rotate a random bond if that does not raise the disorder.
        k = int(rng.integers(len(bonds)))
        giver, taker = bonds[k][:2] if forward[k] else bonds[k][1::-1]
        if donates[giver] - 1 >= donates[taker]:
            forward[k] = not forward[k]


def crystal(symbols: tuple[str, ...], rng: np.random.Generator) -> Atoms:
    """An fcc crystal of a metal or a random alloy: strained, rattled, some with a vacancy."""
    repeat = ((2, 2, 2), (3, 2, 2), (2, 2, 1), (1, 1, 1))[rng.choice(4, p=[0.6, 0.15, 0.15, 0.1])]
    lattice = float(np.mean([LATTICE[symbol] for symbol in symbols]))
    atoms = bulk(symbols[0], "fcc", a=lattice, cubic=True).repeat(repeat)
    if len(symbols) > 1:
        share = rng.uniform(0.1, 0.9)
        atoms.symbols[rng.uniform(size=len(atoms)) < share] = symbols[1]
    if len(atoms) > 4 and rng.uniform() < 0.3:
        del atoms[int(rng.integers(len(atoms)))]
    strain = rng.normal(scale=0.02, size=(3, 3))
    strain = np.eye(3) * (1 + rng.uniform(-0.06, 0.08)) + (strain + strain.T) / 2
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(scale=rng.choice([0.02, 0.1, 0.2]), size=atoms.positions.shape)
    return with_state(atoms, 0, 0)


def slab(symbol: str, rng: np.random.Generator) -> Atoms:
    """An fcc (100) or (111) slab, alone or with CO, O or H at or above a random position."""
    build = (fcc100, fcc111)[int(rng.integers(2))]
    layers = int(rng.integers(3, 5))
    lattice = LATTICE[symbol] * (1 + rng.uniform(-0.02, 0.03))
    atoms = build(symbol, (2, 2, layers), a=lattice, vacuum=7.0)
    kind = ("CO", "O", "H", "none")[rng.choice(4, p=[0.4, 0.25, 0.25, 0.1])]
    if kind != "none":
        adsorbate = Atoms(kind)
        if kind == "CO":
            adsorbate = molecule("CO")
            adsorbate.rotate(
                180 if adsorbate.positions[0, 2] > adsorbate.positions[1, 2] else 0, "x"
            )
            if rng.uniform() < 0.4:
                adsorbate = rotated(adsorbate, rng)
        place = rng.uniform(size=2) @ atoms.cell.array[:2, :2]
        height = rng.choice([rng.uniform(0.8, 2.2), rng.uniform(2.0, 4.5)])
        add_adsorbate(atoms, adsorbate, height, position=tuple(place))
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    atoms.pbc = (True, True, True)
    return with_state(atoms, 0, 0)


def close_carbon_monoxide(symbol: str, rng: np.random.Generator) -> Atoms:
    """CO on a site of an fcc (100) or (111) surface, carbon below, often too close to it."""
    hundred = bool(rng.integers(2))
    lattice = LATTICE[symbol] * (1 + rng.uniform(-0.02, 0.02))
    atoms = (fcc100 if hundred else fcc111)(symbol, (2, 2, 3), a=lattice, vacuum=7.0)
    adsorbate = molecule("CO")
    adsorbate.rotate(180, "x")
    if rng.random() < 0.3:
        adsorbate = rotated(adsorbate, rng)
    site = str(rng.choice(("ontop", "bridge", "hollow" if hundred else "fcc")))
    add_adsorbate(atoms, adsorbate, rng.uniform(1.4, 3.2), site, mol_index=1)
    atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
    atoms.pbc = (True, True, True)
    return with_state(atoms, 0, 0)
