# SPDX-License-Identifier: MIT
"""Bonds beside the model: LAMMPS leaves bonded pairs out of neighbor lists where their weight is 0.

What counts is whether a pair of atoms that the model sees is missing from its list, at any time.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from lammps_runs import RANKS, launch, must_end, refuse, run
from lammps_snapshots import check, watch

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

MISSING = "its neighbor list must hold all pairs of its atoms, but"
SEE = "\ncompute uma all pair uma\nthermo_style custom step pe c_uma\nrun 0\n"
SEE += "print 'uma $(c_uma:%.16g)'\n"

HEAD = """
units metal
atom_style full
atom_modify map array
bond_style zero
read_data {data}
bond_coeff * 0.96
"""
UMA = """
pair_style uma device cpu
pair_coeff * * {model} {names}
"""
WATER_BONDS = ((1, 2), (1, 3))
CHAIN_BONDS = ((1, 2), (2, 3), (3, 4))  # of hydrogen peroxide, as ``chain`` orders it


def boxed(atoms: Atoms, side: float = 12.0) -> Atoms:
    atoms = atoms.copy()
    atoms.set_cell([side] * 3)
    atoms.center()
    atoms.pbc = True
    return atoms


@pytest.fixture
def water() -> Atoms:
    """One molecule and its mirror image two angstrom away; the first three atoms are bonded."""
    one = molecule("H2O")
    other = one.copy()
    other.positions[:, 0] += 2.9
    return boxed(one + other)


@pytest.fixture
def chain() -> Atoms:
    """Hydrogen peroxide, from one end to the other."""
    return boxed(molecule("H2O2")[[2, 0, 1, 3]])


@pytest.fixture
def model(exported) -> Path:
    return exported("tiny-1p2p1")


def data(
    path: Path, atoms: Atoms, bonds: Sequence[tuple[int, int]], types: Sequence[int] = ()
) -> Path:
    """Write a structure with bonds; types are 1 for H and 2 for O, if not given."""
    types = types or [1 if z == 1 else 2 for z in atoms.numbers]
    most = max(2, *types)
    sides = zip(atoms.cell.lengths(), "xyz", strict=True)
    lines = ["", "", f"{len(atoms)} atoms", f"{len(bonds)} bonds"]
    lines += [f"{most} atom types", "1 bond types", "1 angle types"]
    lines += ["4 extra bond per atom", "4 extra angle per atom", "8 extra special per atom"]
    lines += [f"0 {side:.17g} {axis}lo {axis}hi" for side, axis in sides]
    lines += ["", "Masses", ""] + [
        f"{n + 1} {1.008 if n % 2 == 0 else 15.999}" for n in range(most)
    ]
    lines += ["", "Atoms # full", ""]
    for n, (kind, r) in enumerate(zip(types, atoms.positions, strict=True), start=1):
        charge = 0.4 if kind % 2 else -0.8
        lines.append(f"{n} 1 {kind} {charge} " + " ".join(f"{x:.17g}" for x in r))
    if bonds:
        lines += ["", "Bonds", ""] + [f"{n} 1 {i} {j}" for n, (i, j) in enumerate(bonds, start=1)]
    path.write_text("\n".join(lines) + "\n")
    return path


def energies(log: str) -> list[float]:
    return [float(line.split()[1]) for line in log.splitlines() if line.startswith("uma ")]


PLAIN = [
    "special_bonds lj/coul 1 1 1",
    "special_bonds lj/coul 1e-50 1e-50 1e-50",
    "special_bonds lj/coul 0.5 0.5 0.5",
    "special_bonds lj 0 0 0 coul 1 1 1",
    "special_bonds lj/coul 1 1e-50 0",  # there are no 1-4 neighbors in water
]
# Ewald's sum and its like need all pairs, so LAMMPS keeps them all.
BESIDE = {
    "kspace": "special_bonds lj/coul 0 0 0\n{overlay} coul/long 5.0\n"
    "{coeff}\npair_coeff * * coul/long\nkspace_style ewald 1e-4",
    "dsf": "special_bonds lj/coul 0 0 0\n{overlay} coul/dsf 0.2 5.0\n"
    "{coeff}\npair_coeff * * coul/dsf",
    "weights of its own": "special_bonds lj/coul 1e-50 1e-50 1e-50\n{overlay} lj/cut 5.0\n"
    "{coeff}\npair_coeff * * lj/cut 0.01 1.0\npair_modify pair uma special lj/coul 1 1 1",
    "exclusions of the other": "special_bonds lj/coul 1e-50 1e-50 1e-50\n{overlay} lj/cut 5.0\n"
    "{coeff}\npair_coeff * * lj/cut 0.01 1.0",
}


@pytest.mark.parametrize("ranks", RANKS)
def test_settings_that_keep_all_pairs_are_accepted(ranks, water, model, calculators, tmp_path):
    head = HEAD.format(data=data(tmp_path / "bonded.data", water, WATER_BONDS))
    plain = UMA.format(model=model, names="H O")
    script = "".join(f"{head}{setting}{plain}{SEE}clear\n" for setting in PLAIN)
    overlay, coeff = "pair_style hybrid/overlay uma device cpu", f"pair_coeff * * uma {model} H O"
    for text in BESIDE.values():
        script += head + text.format(overlay=overlay, coeff=coeff) + SEE + "clear\n"
    water.calc = calculators("tiny-1p2p1")
    found = energies(run(script, ranks, tmp_path))
    assert len(found) == len(PLAIN) + len(BESIDE)
    assert np.abs(np.array(found) - water.get_potential_energy()).max() < 1e-8


@pytest.mark.parametrize(
    ("weights", "structure", "kind"),
    [
        ("", "water", "1-2"),
        ("lj/coul 0 1 1", "water", "1-2"),
        ("lj/coul 1 0 1", "water", "1-3"),
        ("lj/coul 1e-50 0 1", "chain", "1-3"),
        ("lj/coul 1 1 0", "chain", "1-4"),
    ],
)
def test_settings_that_leave_a_pair_out_are_refused(
    weights, structure, kind, request, model, tmp_path
):
    atoms = request.getfixturevalue(structure)
    bonds = {"water": WATER_BONDS, "chain": CHAIN_BONDS}[structure]
    head = HEAD.format(data=data(tmp_path / "bonded.data", atoms, bonds))
    head += f"special_bonds {weights}" if weights else ""
    script = head + UMA.format(model=model, names="H O") + SEE
    log = must_end(script, tmp_path, f"{MISSING} there are bonds, and {kind} neighbors are missing")
    assert "uma " not in log.split("Step", 1)[-1]


HYBRID = """
pair_style hybrid uma device cpu lj/cut 5.0
pair_coeff * * uma {model} H O NULL NULL
pair_coeff 1*2 3*4 lj/cut 0.001 1.0
pair_coeff 3*4 3*4 lj/cut 0.001 1.0
"""


@pytest.mark.parametrize(
    ("types", "bonds"),
    [
        ([2, 1, 1, 4, 3, 3], ((4, 5), (4, 6))),  # a molecule that the model does not see
        ([2, 1, 1, 4, 3, 3], ((1, 4), (4, 5))),  # a bond across, from the model's atoms
    ],
)
def test_bonds_of_atoms_that_the_model_does_not_see_are_free(
    types, bonds, water, model, calculators, tmp_path
):
    head = HEAD.format(data=data(tmp_path / "mixed.data", water, bonds, types))
    seen = water[:3]
    seen.calc = calculators("tiny-1p2p1")
    for ranks in (1, 2):
        log = run(head + HYBRID.format(model=model) + SEE, ranks, tmp_path)
        assert energies(log) == pytest.approx([seen.get_potential_energy()], abs=1e-8)


def test_a_pair_that_is_bonded_through_another_atom_is_refused(water, model, tmp_path):
    """Both hydrogen atoms of a molecule whose oxygen the model does not see are 1-3 neighbors."""
    head = HEAD.format(data=data(tmp_path / "m.data", water, WATER_BONDS, [4, 1, 1, 2, 1, 1]))
    must_end(
        head + HYBRID.format(model=model) + SEE, tmp_path, f"{MISSING} there are bonds, and 1-3"
    )


@pytest.mark.parametrize(
    ("styles", "other"), [("uma lj/cut 5.0", "lj/cut 0.01 1.0"), ("uma", "none")]
)
def test_pairs_of_types_that_another_style_takes_are_refused(styles, other, water, model, tmp_path):
    script = HEAD.format(data=data(tmp_path / "bare.data", water, ()))
    script += f"pair_style hybrid {styles}\npair_coeff * * uma {model} H O\n"
    script += f"pair_coeff 1 2 {other}\n{SEE}"
    must_end(script, tmp_path, f"{MISSING} another pair_coeff takes those of types 1 and 2")


MOLECULE = """\
water

3 atoms
2 bonds

Coords

1 0 0 0
2 0.7632 0 0.5963
3 -0.7632 0 0.5963

Types

1 2
2 1
3 1

Charges

1 -0.8
2 0.4
3 0.4

Bonds

1 1 1 2
2 1 1 3

Special Bond Counts

1 2 0 0
2 1 1 0
3 1 1 0

Special Bonds

1 2 3
2 1 3
3 1 2
"""
REACTANTS = """\
a hydrogen and an oxygen atom

2 atoms

Types

1 1
2 2
"""
BOND = "\nBonds\n\n1 1 1 2\n"
MAP = "map\n\n2 equivalences\n\nInitiatorIDs\n\n1\n2\n\nEquivalences\n\n1 1\n2 2\n"
# What makes bonds, after a step without any.
LATER = {
    "fix deposit": "molecule m h2o.mol\nregion top block 2 10 2 10 1 3 units box\n"
    "fix in all deposit 1 0 2 4711 region top mol m near 1.0 vz 0 0 units box\nrun 4",
    "fix gcmc": "molecule m h2o.mol\n"
    "fix in all gcmc 2 10 0 0 4711 300 10 0.1 mol m full_energy overlap_cutoff 0.5\nrun 4",
    "fix widom": "molecule m h2o.mol\nfix in all widom 2 10 0 4711 300 mol m full_energy\nrun 4",
    "create_atoms": "molecule m h2o.mol\ncreate_atoms 0 single 2 2 2 mol m 4711\nrun 4",
    "create_bonds": "create_bonds single/bond 1 1 2\nrun 4",
    "read_data": "read_data bonded.data add append shift 0 0 5\nrun 4",
    "fix bond/react": "molecule pre pre.mol\nmolecule post post.mol\n"
    "fix rx all bond/react react one all 1 0.0 1.2 pre post rx.map\nrun 4",
    "fix bond/create": "fix bonds all bond/create 1 2 1 1.2 1\nrun 4",
}


@pytest.mark.parametrize("command", LATER)
def test_bonds_that_come_later_end_the_run_before_a_wrong_number(command, water, model, tmp_path):
    data(tmp_path / "bonded.data", water[:3], WATER_BONDS)
    (tmp_path / "h2o.mol").write_text(MOLECULE)
    (tmp_path / "pre.mol").write_text(REACTANTS)
    (tmp_path / "post.mol").write_text(REACTANTS.replace("atoms\n", "atoms\n1 bonds\n") + BOND)
    (tmp_path / "rx.map").write_text(MAP)
    script = HEAD.format(data=data(tmp_path / "bare.data", water, ()))
    script += UMA.format(model=model, names="H O") + "neigh_modify every 1 delay 0\n"
    script += "fix nve all nve\nthermo 1\nthermo_style custom step atoms pe\nrun 1\n"
    ranks = 1 if command in ("fix gcmc", "fix widom") else 2  # a rule of LAMMPS
    log = must_end(script + LATER[command], tmp_path, MISSING, ranks)
    rows = [line.split() for line in log.splitlines() if line.strip()[:1].isdigit()]
    assert all(row[1] == "6" for row in rows if len(row) == 3), log


@pytest.mark.parametrize(
    "fix", ["bond/create 1 2 1 1.2 1", "bond/create/angle 1 2 1 1.2 1 aconstrain 90 120"]
)
def test_fixes_that_make_bonds_are_refused_before_the_first(fix, water, model, tmp_path):
    script = HEAD.format(data=data(tmp_path / "bare.data", water, ()))
    script += UMA.format(model=model, names="H O") + f"fix bonds all {fix}\nrun 0\n"
    refuse(script, tmp_path, f"but fix bonds ({fix.split()[0]}) makes bonds: LAMMPS leaves pairs")


def test_molecules_come_with_bonds_where_all_pairs_are_kept(water, model, results, tmp_path):
    """As above with tiny weights: each snapshot has ASE's energy, forces and virial."""
    (tmp_path / "h2o.mol").write_text(MOLECULE)
    script = HEAD.format(data=data(tmp_path / "bare.data", water, ()))
    script += "special_bonds lj/coul 1e-50 1e-50 1e-50\n" + UMA.format(model=model, names="H O")
    script += "neigh_modify every 1 delay 0\nfix nve all nve\ntimestep 0.0002\n"
    script += LATER["fix deposit"].replace("run 4", watch("deposit") + "run 4")
    log = run(script, 2, tmp_path)
    frames = check(log, tmp_path, "deposit", ["H", "O"], results("tiny-1p2p1"))
    assert [len(atoms) for atoms in frames][-1] > 6


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_without_the_ghosts_of_its_lists_is_refused(ranks, water, model, tmp_path):
    """Special neighbors are found anew, which takes ghosts away, and the next run brings none."""
    script = HEAD.format(data=data(tmp_path / "bonded.data", water, WATER_BONDS))
    script += "special_bonds lj/coul 1 1 1\n" + UMA.format(model=model, names="H O")
    script += "run 1\nspecial_bonds lj/coul 1e-50 1e-50 1e-50\nrun 1 {pre}\n"
    run(script.format(pre=""), ranks, tmp_path)
    done = launch(script.format(pre="pre no"), ranks, tmp_path, "-screen", "screen.txt")
    screen = (tmp_path / "screen.txt").read_text()
    assert done.returncode != 0, screen[-3000:]
    assert "the neighbor lists must be of the atoms and ghosts at hand" in screen + done.stderr


def test_templates_of_molecules_are_refused_without_weights(water, model, calculators, tmp_path):
    """Atom style template keeps its bonds where no pair style can look."""
    (tmp_path / "h2o.mol").write_text(MOLECULE)
    rows = []
    for n, (number, (x, y, z)) in enumerate(zip(water.numbers, water.positions, strict=True)):
        head = f"{n + 1} {1 + n // 3} 1 {1 + n % 3} {1 if number == 1 else 2}"
        rows.append(f"{head} {x:.17g} {y:.17g} {z:.17g}")
    text = data(tmp_path / "t.data", water, ()).read_text().partition("Atoms")[0]
    text = "\n".join(
        line for line in text.splitlines() if "extra" not in line and "angle" not in line
    )
    (tmp_path / "t.data").write_text(text + "\nAtoms # template\n\n" + "\n".join(rows) + "\n")
    head = HEAD.replace("atom_style full", "molecule m h2o.mol\natom_style template m")
    head = head.format(data=tmp_path / "t.data")
    style = UMA.format(model=model, names="H O")
    must_end(head + style + SEE, tmp_path, f"{MISSING} there are bonds, and 1-2")
    water.calc = calculators("tiny-1p2p1")
    log = run(head + "special_bonds lj/coul 1e-50 1e-50 1e-50" + style + SEE, 2, tmp_path)
    assert energies(log) == pytest.approx([water.get_potential_energy()], abs=1e-8)
