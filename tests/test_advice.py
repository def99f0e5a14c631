# SPDX-License-Identifier: MIT
"""Advice of `uma-md setup` and `check`: each rule is said where it should be, and only there."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100, graphene, molecule
from structures import water_box

from uma_md.commands.setup.advice import RULES, Situation, advise, longest_timestep
from uma_md.commands.setup.anatomy import Anatomy

TASKS = ("oc20", "omol", "omat", "odac", "omc", "oc22", "oc25")


def say(atoms: Atoms, task: str, spin: int | None = None, **others) -> dict[str, str]:
    """What is said of a system, by rule."""
    values = {"model": "UMA-1.2", "tasks": TASKS, "charge": 0, "cutoff": 6.0, "timestep": 0.5}
    values |= {"ensemble": "nvt", "spin": (1 if task == "omol" else 0) if spin is None else spin}
    situation = Situation(atoms=atoms, anatomy=Anatomy(atoms), task=task, **{**values, **others})
    return {advice.rule: advice.text for advice in advise(situation)}


def copper() -> Atoms:
    return bulk("Cu", cubic=True) * (4, 4, 4)


def salt() -> Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def magnesia() -> Atoms:
    return bulk("MgO", "rocksalt", a=4.21, cubic=True) * (3, 3, 3)


def slab(adsorbate: str = "CO", vacuum: float = 8.0) -> Atoms:
    surface = fcc100("Cu", (4, 4, 3), vacuum=vacuum)
    add_adsorbate(surface, molecule(adsorbate), 2.0, "hollow")
    return surface


def oxygen_monolayer() -> Atoms:
    surface = fcc100("Cu", (3, 3, 3), vacuum=8.0)
    top = surface.positions[:, 2].max()
    for x, y, _ in surface.positions[surface.positions[:, 2] > top - 0.1]:
        surface += Atoms("O", [[x + 1.28, y + 1.28, top + 0.9]])
    return surface


def wet_slab() -> Atoms:
    surface = fcc100("Cu", (4, 4, 3), vacuum=8.0)
    for k in range(4):
        water = molecule("H2O")
        water.translate([3 * (k % 2), 3 * (k // 2), surface.positions[:, 2].max() + 3.0])
        surface += water
    return surface


def graphite() -> Atoms:
    layers = graphene(size=(3, 3, 1), vacuum=3.35 / 2)
    layers.pbc = True
    return layers * (1, 1, 2)


def polyethylene() -> Atoms:
    chain = Atoms("C2H4", [[0, 0, 0], [0.84, 1.27, 0], *_hydrogens()], cell=[12, 2.55, 12])
    chain.pbc = [False, True, False]
    return chain


def _hydrogens() -> list[list[float]]:
    return [[-0.6, 0, 0.9], [-0.6, 0, -0.9], [1.44, 1.27, 0.9], [1.44, 1.27, -0.9]]


def close_pair() -> Atoms:
    return Atoms("HHO", [[0, 0, 0], [0.45, 0, 0], [0, 0.96, 0]])


def placeholder_cell() -> Atoms:
    water = molecule("H2O")
    water.set_cell([1, 1, 1])
    water.pbc = True
    return water


def partly_occupied(share: float) -> Atoms:
    alloy = bulk("Cu", cubic=True)
    alloy.info["occupancy"] = {"0": {"Cu": share}}
    return alloy


def molecule_in_vacuum() -> Atoms:
    atoms = molecule("H2O", vacuum=8.0)
    atoms.pbc = True
    return atoms


Case = tuple[Callable[[], dict[str, str]], str, Callable[[], dict[str, str]]]

CASES: dict[str, Case] = {
    "omol-solid": (lambda: say(salt(), "omol"), "take omat", lambda: say(water_box(8), "omol")),
    "omc-solid": (
        lambda: say(copper(), "omc"),
        "omc was trained on crystals of molecules",
        lambda: say(water_box(8), "omc"),
    ),
    "oc20-oxide": (
        lambda: say(magnesia(), "oc20"),
        "take oc22 or omat",
        lambda: say(oxygen_monolayer(), "oc20"),
    ),
    "oc20-solvent": (
        lambda: say(wet_slab(), "oc20"),
        "take oc25",
        lambda: say(slab("H2O"), "oc20"),
    ),
    "omat-dispersion": (
        lambda: say(graphite(), "omat"),
        "binds molecules and layers",
        lambda: say(copper(), "omat"),
    ),
    "molecule-without-box": (
        lambda: say(molecule("H2O"), "omat"),
        "a molecule or cluster without a cell: take omol",
        lambda: say(slab(), "oc20"),
    ),
    "charge": (
        lambda: say(copper(), "omat", charge=1),
        "a charge of +1 e has no meaning",
        lambda: say(molecule("H2O"), "omol", charge=1, spin=2),
    ),
    "spin": (
        lambda: say(bulk("Fe"), "omat", spin=3),
        "3 has no meaning",
        lambda: say(molecule("O2"), "omol", spin=3),
    ),
    "parity": (
        lambda: say(molecule("OH"), "omol", spin=1),
        "an odd number of electrons (9) has an even multiplicity, found 1",
        lambda: say(molecule("OH"), "omol", charge=-1, spin=1),
    ),
    "charged-box": (
        lambda: say(water_box(8), "omol", charge=-1, spin=2),
        "no background charge",
        lambda: say(molecule("OH"), "omol", charge=-1),
    ),
    "time-step": (
        lambda: say(molecule("H2O"), "omol", timestep=2.0),
        "2 fs is too long for H, whose bonds vibrate faster: take 1 fs or less",
        lambda: say(copper(), "omat", timestep=2.0),
    ),
    "vacuum-npt": (
        lambda: say(molecule_in_vacuum(), "omol", ensemble="npt"),
        "empty space along a and b and c",
        lambda: say(molecule_in_vacuum(), "omol", ensemble="nvt"),
    ),
    "dense": (
        lambda: say(placeholder_cell(), "omol"),
        "may be a placeholder",
        lambda: say(bulk("C", cubic=True), "omat"),  # diamond: no solid has more atoms
    ),
    "overlap": (
        lambda: say(close_pair(), "omol"),
        "H (atom 1) and H (atom 2) are 0.45 A apart",
        lambda: say(molecule("H2"), "omol"),
    ),
    "occupancy": (
        lambda: say(partly_occupied(0.5), "omat"),
        "1 sites of the file are occupied in part",
        lambda: say(partly_occupied(1.0), "omat"),
    ),
    "uma-nano": (
        lambda: say(copper(), "omat", model="uma-nano"),
        "not for research",
        lambda: say(copper(), "omat", model="UMA-1.1"),
    ),
    "small-box": (
        lambda: say(water_box(8), "omol"),
        "less than twice the cutoff of 6 A: this is fine",
        lambda: say(copper(), "omat"),
    ),
}


@pytest.mark.parametrize("rule", list(CASES))
def test_it_is_said_where_it_should_be(rule):
    said, text, _ = CASES[rule]
    found = said()
    assert text in found.get(rule, ""), found


@pytest.mark.parametrize("rule", list(CASES))
def test_it_is_not_said_where_it_should_not_be(rule):
    assert rule not in CASES[rule][2]()


def test_every_rule_has_both_tests():
    assert set(CASES) == {rule.name for rule in RULES}


def test_good_systems_are_free_of_warnings():
    for atoms, task in ((copper(), "omat"), (slab(), "oc20"), (water_box(64), "omol")):
        assert set(say(atoms, task)) <= {"small-box"}
    assert set(say(polyethylene(), "omol")) <= {"small-box"}


def test_tasks_that_a_model_does_not_have_are_not_advised():
    said = say(magnesia(), "oc20", tasks=("oc20", "omol"))
    assert said["oc20-oxide"].endswith("this model has no oc22 or omat")


@pytest.mark.parametrize(
    ("atoms", "dimensions"),
    [
        (molecule("C6H6"), [0]),
        (water_box(3), [0, 0, 0]),
        (polyethylene(), [1]),
        (graphite(), [2, 2]),
        (copper(), [3]),
        (slab(), [2]),
        (bulk("Cu"), [3]),
        (Atoms("ArAr", [[0, 0, 0], [4, 0, 0]]), [0, 0]),
    ],
)
def test_fragments_are_found_with_their_dimensions(atoms, dimensions):
    fragments = Anatomy(atoms).fragments
    assert sorted(fragment.dimensions for fragment in fragments) == sorted(dimensions)
    together = np.concatenate([fragment.atoms for fragment in fragments])
    assert sorted(together) == list(range(len(atoms)))


def test_heavy_hydrogen_may_take_longer_steps():
    assert longest_timestep(1.008) < longest_timestep(2.014) < longest_timestep(12.011)
    heavy = molecule("H2O")
    heavy.set_masses([15.999, 2.014, 2.014])
    assert "time-step" not in say(heavy, "omol", timestep=1.3)
    assert "time-step" in say(molecule("H2O"), "omol", timestep=1.3)
