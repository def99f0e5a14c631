# SPDX-License-Identifier: MIT
"""Files that LAMMPS writes and reads again, models one after the other, and atom styles."""

import io

import pytest
from lammps_runs import RANKS, Block, refuse, run
from lammps_snapshots import thermo_of, watch
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]


@pytest.fixture
def salt(exported):
    return Block(structure("nacl:1"), exported("tiny-1p2p1", "omat"))


def test_a_dump_is_rerun(salt, tmp_path):
    head = salt.setup(tmp_path, 0)
    move = "\nvelocity all create 900 47 loop geom\nfix nve all nve\n"
    first = run(head + move + watch("run") + "run 4\n", 2, tmp_path)
    again = head + watch("again") + "rerun run.dump dump x y z box yes\n"
    for ranks in (1, 2, 4):
        ran, reran = thermo_of(first), thermo_of(run(again, ranks, tmp_path))
        assert len(ran) == 5
        assert list(ran) == list(reran)
        for key, rows in ran.items():
            assert reran[key][-1] == pytest.approx(rows[-1], rel=1e-9)


RESTART = """
velocity all create 900 47 loop geom
fix npt all npt temp 500 500 0.1 iso 0 0 1.0
"""
LAST = "write_dump all custom {name} id x y z vx vy vz fx fy fz modify format float %.17g sort id\n"


@pytest.mark.parametrize("ranks", RANKS)
def test_a_restart_goes_on_bit_by_bit(ranks, exported, tmp_path):
    salt = Block(structure("nacl:2"), exported("tiny-1p2p1", "omat"))
    # LAMMPS sorts atoms at the start of a run, with any pair style: sums then differ by rounding.
    head = salt.setup(tmp_path, 0).replace("map array", "map array sort 0 0.0")
    run(
        head + RESTART + "restart 6 half.*\nrun 12\n" + LAST.format(name="whole.dump"),
        ranks,
        tmp_path,
    )
    model = "\n".join(line for line in head.splitlines() if line.startswith("pair_"))
    resumed = (
        f"units metal\natom_modify map array sort 0 0.0\nread_restart half.6\n{model}\n"
        "fix npt all npt temp 500 500 0.1 iso 0 0 1.0\nrestart 6 again.*\nrun 6\n"
    )
    run(resumed + LAST.format(name="halves.dump"), ranks, tmp_path)
    whole, halves = ((tmp_path / f"{name}.dump").read_text() for name in ("whole", "halves"))
    assert whole == halves


def test_a_written_data_file_has_the_same_energy(salt, tmp_path):
    head = salt.setup(tmp_path, 0)
    see = "\nrun 0\nprint 'energy $(pe:%.12f)'\n"
    first = run(head + "\nwrite_data copy.data nocoeff\n" + see, 2, tmp_path)
    (tmp_path / "0.data").rename(tmp_path / "unused")
    again = run(head.replace(str(tmp_path / "0.data"), "copy.data") + see, 2, tmp_path)
    energies = [line for line in (first + again).splitlines() if line.startswith("energy ")]
    assert len(energies) == 2
    assert energies[0] == energies[1]


def test_a_second_model_after_clear_and_in_place(salt, exported, calculators, tmp_path):
    head = salt.setup(tmp_path, 0)
    see = "\nrun 0\nprint 'energy $(pe:%.16g)'\n"
    other = exported("tiny-1p1", "omat")
    script = head + see + "clear\n" + head.replace(str(salt.model), str(other)) + see
    script += f"pair_coeff * * {salt.model} Cl Na" + see
    script += f"pair_style uma chunk 100\npair_coeff * * {other} Cl Na" + see
    log = run(script, 2, tmp_path)
    found = [float(line.split()[1]) for line in log.splitlines() if line.startswith("energy ")]
    expected = []
    for variant in ("tiny-1p2p1", "tiny-1p1", "tiny-1p2p1", "tiny-1p1"):
        salt.atoms.calc = calculators(variant, "omat")
        expected.append(salt.atoms.get_potential_energy())
    assert found == pytest.approx(expected, abs=1e-8)


BONDED = """
create_bonds single/bond 1 1 2
create_bonds single/bond 1 1 3
"""


@pytest.mark.parametrize("style", ["atomic", "charge", "bond", "molecular", "full"])
def test_atom_styles_make_no_difference_and_bonds_are_refused(
    style, exported, calculators, tmp_path
):
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    room = " extra/bond/per/atom 4 extra/special/per/atom 8\nbond_style zero\nbond_coeff 1"
    bonded = style in ("bond", "molecular", "full")
    head = block.setup(tmp_path, 0).replace("atom_style atomic", f"atom_style {style}")
    data = tmp_path / "0.data"
    extra = {"charge": "0.0 ", "bond": "0 ", "molecular": "0 ", "full": "0 0.0 "}.get(style, "")
    data.write_text(_with_columns(data.read_text(), extra, bonded))
    if bonded:
        head = head.replace(f"read_data {data}", f"read_data {data}{room}")
    see = "\nrun 0\nprint 'energy $(pe:%.16g)'\n"
    if bonded:
        head += BONDED
        refuse(head + see, tmp_path, "there are bonds, and 1-2 neighbors are missing")
        head += "\nspecial_bonds lj/coul 1 1 1"
    log = run(head + see, 2, tmp_path)
    (found,) = (float(line.split()[1]) for line in log.splitlines() if line.startswith("energy "))
    block.atoms.calc = calculators("tiny-1p2p1")
    assert found == pytest.approx(block.atoms.get_potential_energy(), abs=1e-8)


def _with_columns(text: str, extra: str, bonded: bool) -> str:
    """A data file of atom style atomic made one of another style."""
    head, _, atoms = text.partition("Atoms # atomic")
    rows = []
    for line in io.StringIO(atoms):
        words = line.split(maxsplit=2)
        if len(words) < 3:
            rows.append(line)
            continue
        number, kind, rest = words
        first = extra.startswith("0 ")
        molecule, charge = ("0 ", extra[2:]) if first else ("", extra)
        rows.append(f"{number} {molecule}{kind} {charge}{rest}")
    if bonded:
        head = head.replace("atom types", "atom types\n1 bond types")
    return head + "Atoms" + "".join(rows)
