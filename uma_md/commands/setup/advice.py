# SPDX-License-Identifier: MIT
"""What a colleague would say of a system, a task and the settings of a run: one table of rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from uma_md.commands.setup.anatomy import Anatomy, widths
from uma_md.system import default_spin

ISOTOPE = 4.5  # u: lighter than this is hydrogen, deuterium, tritium or helium
FEWEST_CUBED = 2.0  # angstrom^3 per atom, less than in any solid
MOSTLY_METAL = 0.5  # share of metal atoms that frameworks do not have
CLOSE = 0.6  # angstrom: no bond is as short

# What is here in words is in lammps_plugin/advice.cpp as well; a test compares.
PURPOSES = {
    "omol": "molecules and clusters with charge and spin, wB97M-V",
    "omat": "inorganic materials, PBE and PBE+U",
    "oc20": "adsorbates on metal surfaces, RPBE",
    "oc22": "adsorbates on oxide surfaces, PBE+U",
    "oc25": "solid-liquid interfaces, RPBE+D3",
    "odac": "metal-organic frameworks and gases, PBE+D3",
    "omc": "crystals of molecules, PBE+D3",
}


@dataclass(frozen=True)
class Situation:
    """A system, and how it is to be run.

    Attributes
    ----------
    atoms
        As they are to be run; periodic directions have cell vectors.
    anatomy
        What they consist of.
    model
        Generation of the model, or its name.
    task
    tasks
        All that the model has.
    charge, spin
        Total charge in e, and spin multiplicity.
    cutoff
        angstrom.
    timestep
        fs; None where nothing is to move.
    ensemble
        ``nve``, ``nvt`` or ``npt``, None where nothing is to move.
    """

    atoms: Atoms
    anatomy: Anatomy
    model: str
    task: str
    tasks: tuple[str, ...]
    charge: int
    spin: int
    cutoff: float
    timestep: float | None = None
    ensemble: str | None = None


class Advice(NamedTuple):
    """A sentence, the rule that gave it, and whether it is a ``warning`` or a ``note``."""

    rule: str
    kind: str
    text: str


class Rule(NamedTuple):
    """When to say what.

    Attributes
    ----------
    name
    kind
        ``warning``, or ``note`` for what is fine and may surprise.
    when
        Of a situation: None, or the values for the sentence.
    sentence
    """

    name: str
    kind: str
    when: Callable[[Situation], dict[str, Any] | None]
    sentence: str


def advise(situation: Situation) -> list[Advice]:
    """All that there is to say, in the order of the table."""
    said = []
    for rule in RULES:
        values = rule.when(situation)
        if values is not None:
            said.append(Advice(rule.name, rule.kind, rule.sentence.format(**values)))
    return said


def purpose(model: str, task: str) -> str:
    """What a task of a model is for, and its level of theory; empty where not known."""
    if model == "uma-nano":
        return "of cheap methods, as uma-nano learned it"
    return PURPOSES.get(task, "")


def longest_timestep(lightest: float) -> float:
    """The longest time step that is usual for a lightest atom, fs.

    Bonds of hydrogen vibrate in 9 fs; frequencies fall with the root of the mass.

    Parameters
    ----------
    lightest
        Mass in u.
    """
    if lightest < ISOTOPE:
        return float(round(np.sqrt(max(lightest, 1.0)), 2))
    return 2.0 if lightest < 20 else 5.0


def _if(condition: bool, **values: Any) -> dict[str, Any] | None:
    return values if condition else None


def _other(situation: Situation, *names: str) -> str:
    """Which of these tasks the model has, as the end of a sentence."""
    found = [name for name in names if name in situation.tasks]
    return f"take {' or '.join(found)}" if found else f"this model has no {' or '.join(names)}"


def _is_solid(s: Situation) -> bool:
    return s.anatomy.extended and not _is_organic(s)


def _is_organic(s: Situation) -> bool:
    """Whether it is a framework or polymer of carbon and hydrogen, not a metal that bears some."""
    return (
        {1, 6} <= set(s.atoms.numbers)
        and not s.anatomy.molecular
        and s.anatomy.metal.mean() < MOSTLY_METAL
    )


def _omol_solid(s: Situation) -> dict[str, Any] | None:
    return _if(s.task == "omol" and _is_solid(s), other=_other(s, "omat"))


def _omc_solid(s: Situation) -> dict[str, Any] | None:
    return _if(s.task == "omc" and _is_solid(s), other=_other(s, "omat"))


def _oc20_oxide(s: Situation) -> dict[str, Any] | None:
    return _if(s.task == "oc20" and s.anatomy.oxide, other=_other(s, "oc22", "omat"))


def _oc20_solvent(s: Situation) -> dict[str, Any] | None:
    solvent = s.task == "oc20" and s.anatomy.solvent
    return _if(solvent, other=_other(s, "oc25" if s.anatomy.extended else "omol"))


def _omat_dispersion(s: Situation) -> dict[str, Any] | None:
    return _if(s.task == "omat" and len(s.anatomy.fragments) > 1)


def _molecule_without_box(s: Situation) -> dict[str, Any] | None:
    alone = not s.atoms.pbc.any() and s.anatomy.molecular
    return _if(s.task != "omol" and alone, task=s.task, other=_other(s, "omol"))


def _charge(s: Situation) -> dict[str, Any] | None:
    return _if(s.task != "omol" and s.charge != 0, task=s.task, charge=s.charge)


def _spin(s: Situation) -> dict[str, Any] | None:
    told = s.spin != default_spin(s.task)
    return _if(s.task != "omol" and told, task=s.task, spin=s.spin)


def _parity(s: Situation) -> dict[str, Any] | None:
    electrons = int(s.atoms.numbers.sum()) - s.charge
    wrong = s.task == "omol" and s.spin > 0 and (electrons + s.spin) % 2 == 0
    kind = "odd" if electrons % 2 else "even"
    ends = "even" if electrons % 2 else "odd"
    return _if(wrong, electrons=electrons, kind=kind, ends=ends, spin=s.spin)


def _charged_box(s: Situation) -> dict[str, Any] | None:
    return _if(bool(s.task == "omol" and s.charge and s.atoms.pbc.any()), charge=s.charge)


def _timestep(s: Situation) -> dict[str, Any] | None:
    if s.timestep is None:
        return None
    lightest = int(np.argmin(s.atoms.get_masses()))
    longest = longest_timestep(s.atoms.get_masses()[lightest])
    symbol = s.atoms.symbols[lightest]
    return _if(s.timestep > longest, step=s.timestep, symbol=symbol, longest=longest)


def _vacuum_npt(s: Situation) -> dict[str, Any] | None:
    names = " and ".join("abc"[axis] for axis in s.anatomy.vacuum)
    return _if(s.ensemble == "npt" and bool(s.anatomy.vacuum), axes=names)


def _small_box(s: Situation) -> dict[str, Any] | None:
    if not s.atoms.pbc.any():
        return None
    narrowest = widths(s.atoms)[s.atoms.pbc].min()
    return _if(narrowest < 2 * s.cutoff, width=narrowest, cutoff=s.cutoff)


def _dense(s: Situation) -> dict[str, Any] | None:
    if not s.atoms.pbc.all():
        return None
    volume = s.atoms.get_volume() / len(s.atoms)
    return _if(volume < FEWEST_CUBED, volume=volume)


def _overlap(s: Situation) -> dict[str, Any] | None:
    if s.anatomy.closest is None or s.anatomy.closest[0] >= CLOSE:
        return None
    distance, *pair = s.anatomy.closest
    first, second = (f"{s.atoms.symbols[k]} (atom {k + 1})" for k in pair)
    return {"distance": distance, "first": first, "second": second}


def _occupancy(s: Situation) -> dict[str, Any] | None:
    sites = s.atoms.info.get("occupancy") or {}
    partial = [site for site in sites.values() if min(site.values(), default=1) < 1]
    return _if(bool(partial), sites=len(partial))


def _nano(s: Situation) -> dict[str, Any] | None:
    return _if(s.model == "uma-nano")


RULES = (
    Rule(
        "omol-solid",
        "warning",
        _omol_solid,
        "omol was trained on molecules and clusters, not on layers and solids such as this one: "
        "{other}",
    ),
    Rule(
        "omc-solid",
        "warning",
        _omc_solid,
        "omc was trained on crystals of molecules, not on inorganic solids: {other}",
    ),
    Rule(
        "oc20-oxide",
        "warning",
        _oc20_oxide,
        "oc20 has no oxides in its training data, and this has the oxygen of one: {other}",
    ),
    Rule(
        "oc20-solvent",
        "warning",
        _oc20_solvent,
        "oc20 has adsorbates on surfaces in its training data, no solvent such as this: {other}",
    ),
    Rule(
        "omat-dispersion",
        "warning",
        _omat_dispersion,
        "omat's reference method (PBE, PBE+U) has no dispersion, which binds molecules and layers "
        "to each other: add D3, in LAMMPS by hybrid/overlay with dispersion/d3",
    ),
    Rule(
        "molecule-without-box",
        "warning",
        _molecule_without_box,
        "{task} was trained on periodic systems, and this is a molecule or cluster without a "
        "cell: {other}",
    ),
    Rule(
        "charge",
        "warning",
        _charge,
        "{task} was trained on neutral systems alone: a charge of {charge:+d} e has no meaning "
        "there, and only omol knows charges",
    ),
    Rule(
        "spin",
        "warning",
        _spin,
        "{task} was trained without spin multiplicities: {spin} has no meaning there, and only "
        "omol knows them",
    ),
    Rule(
        "parity",
        "warning",
        _parity,
        "an {kind} number of electrons ({electrons}) has an {ends} multiplicity, found {spin}: "
        "check charge and spin",
    ),
    Rule(
        "charged-box",
        "warning",
        _charged_box,
        "omol was trained on molecules in open space: in a periodic box with charge {charge:+d} "
        "there is no background charge, and energies do not compare with those of a "
        "periodic calculation",
    ),
    Rule(
        "time-step",
        "warning",
        _timestep,
        "a time step of {step:g} fs is too long for {symbol}, whose bonds vibrate faster: take "
        "{longest:g} fs or less",
    ),
    Rule(
        "vacuum-npt",
        "warning",
        _vacuum_npt,
        "there is empty space along {axes}, which a barostat would close: say which directions "
        "repeat with --periodic, or take nvt",
    ),
    Rule(
        "dense",
        "warning",
        _dense,
        "the cell leaves {volume:.2g} A^3 to each atom, less than any solid: it may be a "
        "placeholder, as PDB files of molecules have; give --periodic none then",
    ),
    Rule(
        "overlap",
        "warning",
        _overlap,
        "{first} and {second} are {distance:.2f} A apart, closer than any bond: check the "
        "structure and its cell",
    ),
    Rule(
        "occupancy",
        "warning",
        _occupancy,
        "{sites} sites of the file are occupied in part, and all atoms listed for them were "
        "taken: choose an ordered structure",
    ),
    Rule(
        "uma-nano",
        "note",
        _nano,
        "uma-nano is a small model for trials, not for research: give --model uma-s-1p2p1 or "
        "another of 'uma-md models'",
    ),
    Rule(
        "small-box",
        "note",
        _small_box,
        "the box is {width:.1f} A wide, less than twice the cutoff of {cutoff:g} A: this is fine, "
        "since all images of an atom are counted",
    ),
)
