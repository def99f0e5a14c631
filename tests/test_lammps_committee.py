# SPDX-License-Identifier: MIT
"""``pair_style uma ... committee``: the mean of several models, and how far they differ."""

import numpy as np
import pytest
from ase_results import Results
from conftest import checkpoint
from lammps_runs import RANKS, Block, refuse, run, static
from structures import structure

from uma_md import UMACalculator
from uma_md.export import export

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

VARIANT = "tiny-1p2p1"
FIRST = 11  # of the numbers of 'compute pair uma' that belong to a committee
TO_REAL = 23.060549  # kcal/mol per eV, of LAMMPS

SEE = f"""
compute uma all pair uma
fix spread all pair 1 uma force_deviation 0
thermo_style custom step pe c_uma[*]
run 0
print "seen $(c_uma[{FIRST}]:%.16g) $(c_uma[{FIRST + 1}]:%.16g) $(c_uma[{FIRST + 2}]:%.16g) &
$(c_uma[{FIRST + 3}]:%.16g)"
write_dump all custom spread.dump f_spread modify sort id format float %.17g
"""


@pytest.fixture(scope="module")
def files(fine_tunes, tmp_path_factory):
    """A model, exported, and two fine-tunes of it."""
    folder = tmp_path_factory.mktemp("members")
    sources = [checkpoint(VARIANT), fine_tunes(VARIANT, 1), fine_tunes(VARIANT, 2)]
    for number, source in enumerate(sources):
        export(source, folder / f"{number}.pt", "omol", dtype="float64")
    return [folder / f"{number}.pt" for number in range(len(sources))]


@pytest.fixture(scope="module")
def committee(files):
    """What ASE gives for the committee of all, by structure."""
    return Results(UMACalculator(files, device="cpu"))


def committee_of(atoms, files, *words):
    style = f"committee {' '.join(map(str, files[1:]))} {' '.join(words)}"
    return Block(atoms, files[0], style)


def seen(log):
    """Largest, mean, energy per atom, virial, as ``SEE`` prints them."""
    line = next(line for line in log.splitlines() if line.startswith("seen "))
    return np.array(line.split()[1:], dtype=float)


def expect_deviations(found, spread, expected, atoms):
    """LAMMPS's numbers and per-atom vector must be those of the calculator."""
    forces, stress = expected["forces_std"], expected["stress_std"]
    virial = stress.max() * atoms.get_volume() / len(atoms)
    assert spread == pytest.approx(forces, abs=1e-10)
    wanted = [forces.max(), forces.mean(), expected["energy_std"], virial]
    assert found == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.extended), 4])
def test_mean_and_deviations_do_not_depend_on_ranks(ranks, files, committee, tmp_path):
    for spec in ("water:8", "shear", "slab"):
        block = committee_of(structure(spec), files)
        (mean,) = static([block], ranks, tmp_path)
        expected = committee(block.atoms)
        assert mean.energy == pytest.approx(expected["energy"], abs=1e-8)
        assert np.abs(mean.forces - expected["forces"]).max() < 1e-8
        virial = expected["virial"]
        assert np.abs(mean.virial - virial).max() < 1e-6 * np.abs(virial).max() + 1e-9
        assert mean.atom_energies == pytest.approx(expected["energies"], abs=1e-8)
        trace = -mean.centroid_stress.sum(axis=0)[:3].sum()
        assert trace == pytest.approx(np.trace(virial), rel=1e-6, abs=1e-9)
        log = run(block.setup(tmp_path, 0) + SEE, ranks, tmp_path)
        spread = np.loadtxt(tmp_path / "spread.dump", skiprows=9)
        expect_deviations(seen(log), spread, expected, block.atoms)


def test_of_two_members_deviations_are_half_of_the_difference(files, tmp_path):
    atoms = structure("water:8")
    alone = static([Block(atoms, file) for file in files[:2]], 1, tmp_path)
    for ranks in (1, 2):
        log = run(committee_of(atoms, files[:2]).setup(tmp_path, 0) + SEE, ranks, tmp_path)
        distances = 0.5 * np.linalg.norm(alone[0].forces - alone[1].forces, axis=1)
        assert np.loadtxt(tmp_path / "spread.dump", skiprows=9) == pytest.approx(distances)
        largest, mean, energy, virial = seen(log)
        assert largest == pytest.approx(distances.max(), rel=1e-9)
        assert mean == pytest.approx(distances.mean(), rel=1e-9)
        assert energy == pytest.approx(0.5 * abs(alone[0].energy - alone[1].energy) / 24, rel=1e-8)
        difference = np.abs(alone[0].virial - alone[1].virial).max()
        assert virial == pytest.approx(0.5 * difference / 24, rel=1e-7)


def test_ranks_without_atoms_have_no_deviations(files, committee, tmp_path):
    """Four ranks, all atoms on one of them."""
    atoms = structure("mol:H2O")
    atoms.positions += (1, 1, 1)
    atoms.set_cell([40, 40, 40])
    atoms.pbc = True
    block = committee_of(atoms, files)
    block.before = "processors 4 1 1"
    log = run(block.setup(tmp_path, 0) + SEE, 4, tmp_path)
    spread = np.loadtxt(tmp_path / "spread.dump", skiprows=9)
    expect_deviations(seen(log), spread, committee(block.atoms), block.atoms)


@pytest.mark.parametrize("ranks", RANKS)
def test_equal_members_are_the_plain_style(ranks, files, tmp_path):
    atoms = structure("water:8")
    plain, *committees = (
        Block(atoms, files[0], style)
        for style in ("", f"committee {files[0]}", f"committee {files[0]} {files[0]}")
    )
    (wanted,) = static([plain], ranks, tmp_path)
    for block in committees:
        (found,) = static([block], ranks, tmp_path)
        assert found.energy == wanted.energy
        assert (found.forces == wanted.forces).all()
        assert (found.virial == wanted.virial).all()
        log = run(block.setup(tmp_path, 0) + SEE, ranks, tmp_path)
        assert not seen(log).any()
        assert not np.loadtxt(tmp_path / "spread.dump", skiprows=9).any()


def test_units_real_and_hybrid_styles_have_deviations_too(files, committee, tmp_path):
    block = committee_of(structure("water:8"), files)
    expected = committee(block.atoms)
    script = block.setup(tmp_path, 0).replace("units metal", "units real") + SEE
    largest, _, energy, _ = seen(run(script, 2, tmp_path))
    assert largest == pytest.approx(TO_REAL * expected["forces_std"].max(), rel=1e-6)
    assert energy == pytest.approx(TO_REAL * expected["energy_std"], rel=1e-6)
    script = block.setup(tmp_path, 0).replace("pair_style uma", "pair_style hybrid/overlay uma")
    script = script.replace("pair_coeff * *", "pair_coeff * * uma")
    log = run(script.replace("special", "") + SEE, 2, tmp_path)
    assert seen(log)[0] == pytest.approx(expected["forces_std"].max(), rel=1e-8)
    assert seen(log)[1] == pytest.approx(expected["forces_std"].mean(), rel=1e-8)


def test_types_that_the_model_does_not_see_have_no_deviation(files, tmp_path):
    atoms = structure("water:8")
    oxygen = committee_of(atoms[atoms.numbers == 8], files)
    log = run(oxygen.setup(tmp_path, 0) + SEE, 2, tmp_path)
    wanted = seen(log)
    block = committee_of(atoms, files)
    script = block.setup(tmp_path, 0).replace(
        "pair_style uma", "pair_style hybrid/overlay zero 6 uma"
    )
    script = script.replace(
        f"pair_coeff * * {files[0]} H O",
        f"pair_coeff * * zero\npair_coeff * * uma {files[0]} NULL O",
    )
    log = run(script + SEE, 2, tmp_path)
    spread = np.loadtxt(tmp_path / "spread.dump", skiprows=9)
    assert (spread[atoms.numbers == 1] == 0).all()
    assert (spread[atoms.numbers == 8] > 0).all()
    assert seen(log) == pytest.approx(wanted, rel=1e-8)


DYNAMICS = """
velocity all create 600 71 loop geom
fix nve all nve
timestep 0.001
"""


@pytest.mark.parametrize("ranks", RANKS)
def test_the_file_has_a_row_for_every_so_many_steps(ranks, files, committee, tmp_path):
    block = committee_of(structure("water:8"), files, "deviations devi.out every 4")
    script = block.setup(tmp_path, 0) + DYNAMICS + SEE
    script += (
        "\nthermo 4\nthermo_style custom step c_uma[*]\nthermo_modify format float %.16g\nrun 10\n"
    )
    log = run(script, ranks, tmp_path)
    text = (tmp_path / "devi.out").read_text()
    names = "step max_devi_v min_devi_v avg_devi_v max_devi_f min_devi_f avg_devi_f devi_e"
    assert text.splitlines()[0].lstrip("#").split() == names.split()
    rows = np.loadtxt(tmp_path / "devi.out")
    assert rows[:, 0].tolist() == [0, 0, 4, 8]  # both runs begin at step 0
    expected = committee(block.atoms)
    forces, natoms = expected["forces_std"], len(block.atoms)
    virial = expected["stress_std"] * block.atoms.get_volume() / natoms
    assert rows[0, 1] == pytest.approx(virial.max(), rel=1e-5)
    assert rows[0, 2] == pytest.approx(virial.min(), rel=1e-5)
    nine = np.append(virial, virial[3:])
    assert rows[0, 3] == pytest.approx(np.sqrt((nine**2).mean()), rel=1e-5)
    wanted = [forces.max(), forces.min(), forces.mean(), expected["energy_std"]]
    assert rows[0, 4:] == pytest.approx(wanted, rel=1e-5)
    thermo = [line.split() for line in log.splitlines() if line.split()[:1] == ["8"]]
    numbers = np.array(thermo[-1][-4:], dtype=float)
    assert rows[3, [4, 6, 7, 1]] == pytest.approx(numbers, rel=1e-5)
    assert rows[3, 4] != pytest.approx(rows[2, 4], rel=1e-4)


def test_a_minimizer_writes_one_row_for_a_step(files, tmp_path):
    block = committee_of(structure("water:8"), files, "deviations devi.out every 1")
    run(block.setup(tmp_path, 0) + "\nminimize 0 0 3 30\n", 2, tmp_path)
    steps = np.loadtxt(tmp_path / "devi.out")[:, 0]
    assert steps.tolist() == [0, 1, 2, 3]


def test_a_restarted_run_adds_to_the_file_and_names_the_members(files, tmp_path):
    block = committee_of(structure("water:8"), files, "deviations devi.out every 5")
    setup = block.setup(tmp_path, 0)
    whole = run(setup + DYNAMICS + "run 5\nwrite_restart half.restart\nrun 5\n", 2, tmp_path)
    wanted = np.loadtxt(tmp_path / "devi.out")
    assert wanted[:, 0].tolist() == [0, 5, 5, 10]
    for number, file in enumerate(files, start=1):
        assert f"member {number}: {file}\n" in whole
    assert "committee of 3 members" in whole
    assert "deviations: devi.out, every 5 steps" in whole
    style = "\n".join(line for line in setup.splitlines() if line.startswith("pair_"))
    again = f"atom_modify map array\nread_restart half.restart\n{style}\n"
    log = run(again + "fix nve all nve\ntimestep 0.001\nrun 5\n", 2, tmp_path)
    assert "committee of 3 members" in log
    found = np.loadtxt(tmp_path / "devi.out")
    assert found[:, 0].tolist() == [0, 5, 5, 10, 5, 10]
    assert found[5, 1:] == pytest.approx(wanted[3, 1:], rel=1e-5)
    run(setup + "run 0\n", 1, tmp_path)  # from step 0: a new file
    assert np.loadtxt(tmp_path / "devi.out", ndmin=2)[:, 0].tolist() == [0]


def test_fix_halt_ends_a_run_at_a_large_deviation(files, tmp_path):
    block = committee_of(structure("water:8"), files)
    script = block.setup(tmp_path, 0) + DYNAMICS + SEE
    limit = 1.0001 * seen(run(script, 2, tmp_path))[0]
    script += f"variable largest equal c_uma[{FIRST}]\n"
    script += f"fix halt all halt 1 v_largest > {limit} error soft\n"
    script += "thermo 1\nthermo_style custom step c_uma[*]\nrun 500\n"
    log = run(script, 2, tmp_path)
    assert "Fix halt condition for fix-id halt met" in log
    steps = [line.split() for line in log.splitlines() if len(line.split()) == FIRST + 4]
    numbers = np.array([row for row in steps if row[0].isdigit()], dtype=float)
    assert numbers[-1, FIRST] > limit
    assert (numbers[:-1, FIRST] <= limit).all()
    assert numbers[-1, 0] < 500


def test_members_may_have_other_networks(exported, tmp_path):
    names = ("tiny-1p1", "tiny-m", "tiny-1p2")
    models = [exported(name, "omat") for name in names]
    expected = Results(UMACalculator(models, device="cpu"))
    block = committee_of(structure("cu:3"), models)
    for ranks in (1, 2, 4):
        log = run(block.setup(tmp_path, 0) + SEE, ranks, tmp_path)
        spread = np.loadtxt(tmp_path / "spread.dump", skiprows=9)
        expect_deviations(seen(log), spread, expected(block.atoms), block.atoms)


def test_forces_are_gradients_of_the_mean_energy(files, tmp_path):
    atoms = structure("water:8")
    moved = []
    for step in (1e-4, -1e-4):
        other = atoms.copy()
        other.positions[7, 1] += step
        moved.append(committee_of(other, files))
    here, up, down = static([committee_of(atoms, files), *moved], 2, tmp_path)
    assert -(up.energy - down.energy) / 2e-4 == pytest.approx(here.forces[7, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("committee", "'committee' must be one or more files, found nothing"),
        ("committee charge 0", "'committee' must be one or more files, found nothing"),
        ("deviations a.out", "'deviations' must come with 'committee', found no committee"),
        ("committee FILE every 5", "'every' must come with 'deviations', found no file for them"),
        (
            "committee FILE deviations a.out every 0",
            "a whole number of steps, 1 or more, found '0'",
        ),
        ("committee none.pt", "there is no file 'none.pt'"),
        (
            "committee FILE deviations no/such/folder/a.out",
            "the file of deviations must be one that can be written, found 'no/such/folder/a.out': "
            "No such file or directory",
        ),
    ],
)
def test_options_are_checked(style, message, files, tmp_path):
    block = Block(structure("water:8"), files[0], style.replace("FILE", str(files[1])))
    refuse(block.setup(tmp_path, 0) + "\nrun 0\n", tmp_path, message)


def test_members_must_be_alike(files, exported, fine_tunes, changed, tmp_path):
    def shorter(config, *_):
        config["backbone"]["cutoff"] = 4.0

    export(changed(VARIANT, shorter), tmp_path / "short.pt", "omol", dtype="float64")
    export(fine_tunes(VARIANT, 1), tmp_path / "charged.pt", "omol", charge=1, dtype="float64")
    for other, what in (
        (exported(VARIANT, "omat"), "task, found omol in ... and omat in"),
        (tmp_path / "short.pt", "cutoff, found 5 in ... and 4 in"),
        (exported(VARIANT, dtype="float32"), "precision, found float64 in ... and float32 in"),
        (tmp_path / "charged.pt", "charge, found 0 in ... and 1 in"),
    ):
        block = committee_of(structure("water:8"), [files[0], other])
        message = f"pair_style uma: members of a committee must have the same {what}"
        refuse(block.setup(tmp_path, 0) + "\nrun 0\n", tmp_path, message)
    block = committee_of(
        structure("water:8"), [files[0], tmp_path / "charged.pt"], "charge 1 spin 2"
    )
    run(block.setup(tmp_path, 0) + "\nrun 0\n", 2, tmp_path)


def test_without_a_committee_there_are_no_deviations(files, tmp_path):
    block = Block(structure("water:8"), files[0])
    script = block.setup(tmp_path, 0)
    message = "force_deviation must be that of a committee, found one model; add 'committee'"
    with_fix = "\nfix spread all pair 1 uma force_deviation 0\nrun 0\n"
    refuse(script + with_fix, tmp_path, message)
    with_number = f"\ncompute uma all pair uma\nthermo_style custom step c_uma[{FIRST}]\nrun 0\n"
    refuse(script + with_number, tmp_path, "out-of-range")


def test_all_ranks_stop_when_a_member_cannot_serve_the_atoms(files, fine_tunes, tmp_path):
    merged = tmp_path / "merged.pt"
    export(fine_tunes(VARIANT, 1), merged, "omol", dtype="float64", merge_for="CH4")
    block = committee_of(structure("water:8"), [files[0], merged])
    message = "the atoms must have the relative composition that the file is merged for, "
    refuse(block.setup(tmp_path, 0) + "\nrun 0\n", tmp_path, message, ranks=4)
