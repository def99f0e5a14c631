# SPDX-License-Identifier: MIT
"""Motion in LAMMPS: conservation, one trajectory for all ranks, gradients by finite differences."""

import numpy as np
import pytest
from lammps_runs import Block, run
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi]

DYNAMICS = """
velocity all create 600 4711 mom yes rot no loop geom
neighbor 0.3 bin
neigh_modify every 1 delay 0 check yes
fix move all nve
timestep 0.0005
thermo {every}
thermo_style custom step pe ke etotal temp press
thermo_modify format float %.16g
"""


def thermo(log: str) -> np.ndarray:
    """Rows of numbers under the thermo header of a log."""
    rows = []
    reading = False
    for line in log.splitlines():
        words = line.split()
        if words[:2] == ["Step", "PotEng"]:
            reading = True
        elif reading and words and words[0].isdigit():
            rows.append([float(word) for word in words])
        elif reading and words[:2] == ["Loop", "time"]:
            reading = False
    return np.array(rows)


@pytest.mark.slow
def test_nve_conserves_energy_across_reneighboring(exported, tmp_path):
    """300 steps of hot salt on two ranks, with neighbor lists made anew on the way."""
    block = Block(structure("nacl:1"), exported("tiny-1p2p1", "omat"))
    script = block.setup(tmp_path, 0) + DYNAMICS.format(every=6) + "run 300\n"
    log = run(script, 2, tmp_path)
    rows = thermo(log)
    assert len(rows) == 51
    total, kinetic = rows[:, 3], rows[:, 2]
    assert np.ptp(kinetic) > 0.05
    builds = int(log.split("Neighbor list builds = ")[1].split()[0])
    assert builds >= 3
    assert np.ptp(total) < 2e-3 * np.ptp(kinetic)
    drift = np.polyfit(rows[:, 0], total, 1)[0] * 300
    assert abs(drift) < 1e-3 * np.ptp(kinetic)


@pytest.mark.slow
def test_the_trajectory_is_that_of_one_rank(exported, tmp_path):
    """30 steps, positions and velocities, on 1, 2 and 4 ranks."""
    block = Block(structure("nacl:2"), exported("tiny-1p2p1", "omat"))
    ends = []
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        script = (
            block.setup(folder, 0)
            + DYNAMICS.format(every=10)
            + (
                "run 30\nwrite_dump all custom end.txt xu yu zu vx vy vz "
                "modify format float %.17g sort id\n"
            )
        )
        run(script, ranks, folder)
        ends.append(np.loadtxt(folder / "end.txt", skiprows=9))
    for other in ends[1:]:
        assert np.abs(other - ends[0]).max() < 1e-9


PRESSURE = """
compute virial all pressure NULL virial
thermo_style custom step pe c_virial[*]
thermo_modify format float %.16g
run 0
print "$(c_virial[1]:%.16g) $(c_virial[2]:%.16g) $(c_virial[3]:%.16g) $(c_virial[4]:%.16g) &
$(c_virial[5]:%.16g) $(c_virial[6]:%.16g) $(vol:%.16g)" file pressure.txt
print "" file energies.txt
"""

# LAMMPS's strains: x, y, z scale lengths, xy, xz, yz change the tilt.
STRAIN = """
change_box all {component} {sign}{amount} remap {units}
run 0
print "$(pe:%.16g)" append energies.txt
change_box all {component} {back}{amount} remap {units}
"""


def test_pressure_is_the_volume_derivative_in_a_triclinic_box(exported, tmp_path):
    """dE/dlength and dE/dtilt from finite differences, on two ranks."""
    block = Block(structure("cutri:4"), exported("tiny-1p2p1", "omat"))
    step = 1e-4
    script = block.setup(tmp_path, 0) + PRESSURE
    for component in ("x", "y", "z", "xy", "xz", "yz"):
        for sign, back in (("", "-"), ("-", "")):
            script += STRAIN.format(
                component=f"{component} delta {'0.0 ' if len(component) == 1 else ''}",
                sign=sign,
                back=back,
                amount=step,
                units="units box",
            )
    run(script, 2, tmp_path)
    *pressure, volume = np.loadtxt(tmp_path / "pressure.txt")
    energies = np.loadtxt(tmp_path / "energies.txt").reshape(6, 2)
    slopes = (energies[:, 0] - energies[:, 1]) / (2 * step)
    # LAMMPS's cell is h = [[lx, xy, xz], [0, ly, yz], [0, 0, lz]] (columns are vectors) and
    # dE/dh = -volume * pressure h^-T, of which the upper triangle is compared.
    xx, yy, zz, xy, xz, yz = (np.array(pressure) / 1.6021765e6).tolist()
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    cell = block.prism.get_lammps_prism()
    h = np.array([[cell[0], cell[3], cell[4]], [0, cell[1], cell[5]], [0, 0, cell[2]]])
    expected = -volume * tensor @ np.linalg.inv(h).T
    upper = [expected[0, 0], expected[1, 1], expected[2, 2]]
    upper += [expected[0, 1], expected[0, 2], expected[1, 2]]
    assert np.abs(upper).max() > 1e-3
    assert slopes == pytest.approx(upper, abs=1e-6 * np.abs(upper).max() + 2e-8)


def test_forces_are_the_gradient_of_the_energy_on_two_ranks(exported, tmp_path):
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    step = 1e-4
    script = block.setup(tmp_path, 0) + (
        "run 0\nwrite_dump all custom f.txt fx fy fz modify format float %.17g sort id\n"
        'print "" file energies.txt\n'
    )
    picks = [(1, "x", 0), (9, "y", 1), (24, "z", 2)]
    for atom, axis, _ in picks:
        script += f"group one id {atom}\n"
        for amount in (step, -2 * step):
            shift = " ".join(str(amount) if name == axis else "0" for name in "xyz")
            script += (
                f'displace_atoms one move {shift}\nrun 0\nprint "$(pe:%.16g)" append energies.txt\n'
            )
        back = " ".join(str(step) if name == axis else "0" for name in "xyz")
        script += f"displace_atoms one move {back}\ngroup one delete\n"
    run(script, 2, tmp_path)
    forces = np.loadtxt(tmp_path / "f.txt", skiprows=9)
    energies = np.loadtxt(tmp_path / "energies.txt").reshape(len(picks), 2)
    for (atom, _, column), (up, down) in zip(picks, energies, strict=True):
        numeric = -(up - down) / (2 * step)
        assert numeric == pytest.approx(forces[atom - 1, column], abs=2e-8)


@pytest.mark.parametrize("ranks", [1, 2])
def test_isotopes_move_by_their_mass_and_fixed_atoms_do_not(ranks, exported, tmp_path):
    """From rest, a step moves each atom by its force over twice its mass; some hold still."""
    block = Block(structure("water:8"), exported("tiny-1p2p1"))
    step = """
    group held id 1:6
    group others subtract all held
    fix hold held setforce 0 0 0
    fix move all nve
    timestep 0.0005
    write_dump all custom {name}.before id x y z modify sort id format float %.17g
    run 1
    write_dump all custom {name}.after id x y z modify sort id format float %.17g
    clear
    """
    moves = []
    for index, mass in enumerate((1.008, 2.014)):
        script = block.setup(tmp_path, index) + f"\nmass 1 {mass}\n"
        run(script + step.format(name=tmp_path / str(index)), ranks, tmp_path)
        before, after = (
            np.loadtxt(tmp_path / f"{index}.{when}", skiprows=9)[:, 1:]
            for when in ("before", "after")
        )
        moves.append(after - before)
    light, heavy = moves
    hydrogens = block.atoms.numbers == 1
    free = np.arange(len(light)) >= 6
    assert (light[~free] == 0).all()
    assert (np.abs(light[free]).max(axis=1) > 1e-8).all()
    assert heavy[free & ~hydrogens] == pytest.approx(light[free & ~hydrogens], abs=1e-13)
    expected = light[free & hydrogens] * 1.008 / 2.014
    assert heavy[free & hydrogens] == pytest.approx(expected, abs=1e-13)
