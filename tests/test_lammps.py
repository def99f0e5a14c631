# SPDX-License-Identifier: MIT
"""``pair_style uma`` in the real LAMMPS, on any number of ranks, against the ASE calculator."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase_results import Results
from conftest import VARIANTS
from lammps_runs import Block, Prediction, in_a_box, run, static
from structures import MOLECULES, STRUCTURES, structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

TASKS = {"tiny-1p1": "omol", "tiny-1p2": "oc25", "tiny-1p2p1": "omat", "tiny-m": "omc"}


def expect(found: Prediction, atoms: Atoms, results: Results) -> None:
    """What LAMMPS found must be what the ASE calculator gives."""
    expected = results(atoms)
    virial = expected["virial"]
    assert found.energy == pytest.approx(expected["energy"], abs=1e-8)
    assert np.abs(found.forces - expected["forces"]).max() < 1e-8
    assert np.abs(found.virial - virial).max() < 1e-6 * np.abs(virial).max() + 1e-9
    assert found.atom_energies == pytest.approx(expected["energies"], abs=1e-8)
    for atom_stress in (found.atom_stress, found.centroid_stress):
        trace = -atom_stress.sum(axis=0)[:3].sum()
        assert trace == pytest.approx(np.trace(virial), rel=1e-6, abs=1e-9)


GRIDS = [(1, ""), (2, "2 1 1"), (3, ""), (4, ""), (4, "1 2 2"), (4, "4 1 1")]


def structures_for(variant: str, ranks: int, grid: str) -> tuple[str, ...]:
    """All; but with all models but one, on several ranks, one half and the other by turns."""
    if variant == "tiny-1p2p1" or ranks == 1:
        return STRUCTURES
    return STRUCTURES[GRIDS.index((ranks, grid)) % 2 :: 2]


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "grid"), GRIDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_lammps_gives_the_numbers_of_ase(variant, ranks, grid, exported, results, tmp_path):
    compare(structures_for(variant, ranks, grid), variant, ranks, grid, exported, results, tmp_path)


@pytest.mark.extended
@pytest.mark.parametrize(("ranks", "grid"), GRIDS[1:])
@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"tiny-1p2p1"}))
def test_so_it_does_for_the_other_half(variant, ranks, grid, exported, results, tmp_path):
    specs = [spec for spec in STRUCTURES if spec not in structures_for(variant, ranks, grid)]
    compare(specs, variant, ranks, grid, exported, results, tmp_path)


def compare(specs, variant, ranks, grid, exported, results, folder) -> None:
    """One script with all structures, against ASE."""
    task = TASKS[variant]
    model = exported(variant, task)
    before = f"processors {grid}" if grid else ""
    blocks = [Block(in_a_box(structure(spec)), model, before=before) for spec in specs]
    for block, found in zip(blocks, static(blocks, ranks, folder), strict=True):
        expect(found, block.atoms, results(variant, task))


@pytest.mark.parametrize("variant", ["tiny-1p2", "tiny-1p2p1"])
def test_charge_and_spin_override_the_exported_ones(variant, exported, results, tmp_path):
    """Molecules in open, shrink-wrapped boxes, of two ranks one without atoms at times."""
    model = exported(variant)
    blocks = []
    for spec in MOLECULES:
        atoms = structure(spec)
        style = f"charge {atoms.info['charge']} spin {atoms.info['spin']}"
        blocks.append(Block(atoms, model, style, open_boundary="s"))
    for block, found in zip(blocks, static(blocks, 2, tmp_path), strict=True):
        expect(found, block.atoms, results(variant))


@pytest.mark.parametrize("given", ["-1.0", "-1", "-1.", "-1e0", "-1.000000e+00"])
def test_whole_numbers_may_be_written_as_floats(given, exported, results, tmp_path):
    atoms = in_a_box(structure("mol:OH"))
    atoms.info.update(charge=-1, spin=1)
    block = Block(atoms, exported("tiny-1p2p1"), f"charge {given} spin +1.0 chunk 1e3")
    (found,) = static([block], 1, tmp_path)
    expect(found, atoms, results("tiny-1p2p1"))


def test_ranks_without_atoms_and_atoms_without_neighbors(exported, results, tmp_path):
    """Four ranks, all atoms on one of them, and atoms without neighbors on another."""
    atoms = molecule("H2O")
    atoms.positions += (1, 1, 1)
    atoms += Atoms("Ar", [[39, 39, 39]])
    atoms.set_cell([40, 40, 40])
    atoms.pbc = (True, False, True)
    model = exported("tiny-1p2p1")
    blocks = [Block(atoms, model, before=f"processors {grid}") for grid in ("4 1 1", "1 2 2")]
    for block, found in zip(blocks, static(blocks, 4, tmp_path), strict=True):
        expect(found, block.atoms, results("tiny-1p2p1"))


def test_a_single_atom_in_small_boxes(exported, results, tmp_path):
    """All neighbors of an atom are its own images, or there are none at all."""
    model = exported("tiny-1p2p1", "omat")
    atoms = Atoms("Cu", cell=[[0, 2, 2], [2, 0, 2], [2, 2, 0]], pbc=True)
    lone = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    line = Atoms("Cu", cell=[2.5, 20, 20], pbc=(True, False, False))
    blocks = [Block(atoms, model), Block(lone, model), Block(line, model)]
    for ranks in (1, 2):
        for block, found in zip(blocks, static(blocks, ranks, tmp_path), strict=True):
            expect(found, block.atoms, results("tiny-1p2p1", "omat"))


def test_tiled_communication_and_balanced_boxes(exported, results, tmp_path):
    atoms = structure("water:32") * (2, 1, 1)
    after = "comm_style tiled\nbalance 1.0 rcb"
    block = Block(atoms, exported("tiny-1p2p1", dtype="float64"), after=after)
    (found,) = static([block], 3, tmp_path)
    expect(found, block.atoms, results("tiny-1p2p1"))


@pytest.mark.parametrize("style", ["chunk 13", "recompute on", "recompute off chunk 100000"])
def test_chunk_and_recompute_change_nothing(style, exported, results, tmp_path):
    block = Block(structure("nacl:2"), exported("tiny-1p2p1", "omat"), style)
    (found,) = static([block], 2, tmp_path)
    expect(found, block.atoms, results("tiny-1p2p1", "omat"))


def test_merged_files_serve_lammps(exported, results, tmp_path):
    model = exported("tiny-1p2p1", merge_for="H2O")
    block = Block(structure("water:8"), model)
    (found,) = static([block], 2, tmp_path)
    expect(found, block.atoms, results("tiny-1p2p1"))


def test_float32_agrees_with_float64(exported, calculators, tmp_path):
    atoms = structure("water:32")
    block = Block(atoms, exported("tiny-1p2p1", dtype="float32"))
    atoms.calc = calculators("tiny-1p2p1")
    for ranks in (1, 3):
        (found,) = static([block], ranks, tmp_path)
        energy = atoms.get_potential_energy()
        assert abs(found.energy - energy) / len(atoms) < 1e-6
        assert np.abs(found.forces - atoms.get_forces()).max() < 1e-4


def test_units_real_are_converted(exported, calculators, tmp_path):
    """Energies in kcal/mol and forces in kcal/mol/angstrom, by LAMMPS's own factor."""
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    script = block.setup(tmp_path, 0).replace("units metal", "units real")
    script += (
        "run 0\nvariable e equal pe\nprint '$(v_e:%.16g)' file e.txt\n"
        "write_dump all custom f.txt fx fy fz modify format float %.17g sort id\n"
    )
    run(script, 2, tmp_path)
    block.atoms.calc = calculators("tiny-1p2p1")
    unit = 23.060549
    energy = float((tmp_path / "e.txt").read_text()) / unit
    assert energy == pytest.approx(block.atoms.get_potential_energy(), abs=1e-8)
    forces = np.loadtxt(tmp_path / "f.txt", skiprows=9) / unit
    assert np.abs(forces - block.atoms.get_forces()).max() < 1e-10


def test_null_types_are_not_seen_by_the_model(exported, calculators, tmp_path):
    """Argon of another pair style beside water: hybrid, on two ranks."""
    water = structure("water:8")
    argon = Atoms("Ar2", [[0.5, 0.5, 0.5], [3.0, 3.1, 0.4]])
    mixed = water + argon
    block = Block(mixed, exported("tiny-1p2p1"), elements=["H", "O", "Ar"])
    styles = "\n".join(
        [
            "pair_style hybrid uma device cpu lj/cut 5.0",
            f"pair_coeff * * uma {block.model} H O NULL",
            "pair_coeff 1 3 lj/cut 0.0 1.0",
            "pair_coeff 2 3 lj/cut 0.0 1.0",
            "pair_coeff 3 3 lj/cut 0.0 1.0",
        ]
    )
    script = block.setup(tmp_path, 0)
    head, _, tail = script.partition("pair_style")
    script = head + styles + "\n" + tail.partition("H O")[2].partition("\n")[2]
    script += (
        "run 0\nvariable e equal pe\nprint '$(v_e:%.16g)' file e.txt\n"
        "write_dump all custom f.txt fx fy fz modify format float %.17g sort id\n"
    )
    run(script, 2, tmp_path)
    water.calc = calculators("tiny-1p2p1")
    energy = float((tmp_path / "e.txt").read_text())
    assert energy == pytest.approx(water.get_potential_energy(), abs=1e-8)
    forces = np.loadtxt(tmp_path / "f.txt", skiprows=9)
    assert np.abs(forces[: len(water)] - water.get_forces()).max() < 1e-8
    assert (forces[len(water) :] == 0).all()


def test_per_atom_virials_do_not_depend_on_ranks(exported, tmp_path):
    """Half of each edge's virial to each end, and nine components whose symmetric part is six."""
    atoms = structure("shear")
    block = Block(atoms, exported("tiny-1p2p1", "omat"))
    one, three = (static([block], ranks, tmp_path / str(ranks))[0] for ranks in (1, 3))
    assert np.abs(one.atom_stress).max() > 1e-4
    assert one.atom_stress == pytest.approx(three.atom_stress, abs=1e-9)
    assert one.centroid_stress == pytest.approx(three.centroid_stress, abs=1e-9)
    nine = one.centroid_stress
    symmetric = (nine[:, 3:6] + nine[:, 6:9]) / 2
    assert np.hstack((nine[:, :3], symmetric)) == pytest.approx(one.atom_stress, abs=1e-10)
