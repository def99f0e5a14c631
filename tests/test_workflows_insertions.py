# SPDX-License-Identifier: MIT
"""Grand canonical and trial insertions against integration: minutes, for ``make test-all``."""

import math

import numpy as np
import pytest
from ase import Atom
from ase.build import bulk
from lammps_runs import Block, run
from structures import structure

pytestmark = [pytest.mark.lammps, pytest.mark.mpi, pytest.mark.extended]


WIDOM = """
fix insert all widom 1 40 2 29494 2000 full_energy
thermo_style custom step atoms pe f_insert[*]
run 1
print "widom $(f_insert[1]:%.16g) $(f_insert[2]:%.16g)"
"""


def test_widom_insertions_give_one_chemical_potential_on_any_ranks(exported, tmp_path):
    block = Block(structure("nacl:2"), exported("tiny-1p2p1", "omat"))
    found = []
    for ranks in (1, 2, 4):
        log = run(block.setup(tmp_path, 0) + WIDOM, ranks, tmp_path)
        line = next(line for line in log.splitlines() if line.startswith("widom "))
        found.append([float(word) for word in line.split()[1:]])
    assert np.isfinite(found[0]).all()
    assert found[1] == pytest.approx(found[0], rel=1e-9)
    assert found[2] == pytest.approx(found[0], rel=1e-9)


# Of LAMMPS in units metal: Boltzmann's constant, Planck's, and (g/mol)(A/ps)^2 in eV.
KELVIN, HPLANCK, MVV2E = 8.617343e-5, 4.135667403e-3, 1.0364269e-4
TEMPERATURE = 6000.0
MOST = 4

GCMC = """
mass * 27.0
group gas type 1
group fixed type 2
neigh_modify every 1 delay 0
fix mc gas gcmc 1 20 0 1 {seed} {temperature} {potential:.12g} 0.5 full_energy group gas max {most}
variable gas equal count(gas)
fix often all ave/time 1 1 1 v_gas file {name}.count mode scalar
thermo 1000
run {steps}
"""


def test_grand_canonical_atoms_have_the_density_that_integration_gives(
    exported, calculators, tmp_path
):
    """Aluminium around fixed copper: LAMMPS on 1 and 2 ranks against the sum over N."""
    host = bulk("Cu", cubic=True)
    host.set_cell([6.5, 6.0, 5.5])
    del host[2:]
    calculator = calculators("tiny-1p2p1", "omat")
    rng = np.random.default_rng(11)
    energies = _configuration_integrals(host, calculator, rng)
    mean, spread, potential = _mean_number(energies, host.get_volume())
    assert 0.8 < mean < MOST - 0.8
    block = Block(host, exported("tiny-1p2p1", "omat"), elements=["Al", "Cu"])
    for ranks in (1, 2):
        name = f"{ranks}"
        text = GCMC.format(
            name=name, seed=381, temperature=TEMPERATURE, potential=potential, most=MOST, steps=50
        )
        run(block.setup(tmp_path, 0) + text, ranks, tmp_path)
        counts = np.loadtxt(tmp_path / f"{name}.count")[5:, 1]
        error = counts.std() / np.sqrt(len(counts) / 2)
        assert abs(counts.mean() - mean) < 4 * np.hypot(error, spread), (counts.mean(), mean)


def _configuration_integrals(host, calculator, rng, samples: int = 250) -> np.ndarray:
    """Energies of N random atoms in the host less the host's, (samples, N), eV."""
    energies = np.zeros((samples, MOST + 1))
    for number in range(MOST + 1):
        for row in range(samples if number else 1):
            atoms = host.copy()
            for point in rng.uniform(size=(number, 3)):
                atoms += Atom("Al", point @ host.cell.array)
            atoms.calc = calculator
            energies[row, number] = atoms.get_potential_energy()
    return energies - energies[0, 0]


def _mean_number(energies: np.ndarray, volume: float) -> tuple[float, float, float]:
    """Mean number, its uncertainty, and the chemical potential for about half of ``MOST``."""
    beta = 1 / (KELVIN * TEMPERATURE)
    numbers = np.arange(MOST + 1)
    factorials = np.array([math.factorial(n) for n in numbers])
    level = energies[:, MOST // 2].mean() / (MOST // 2)
    boltzmann = np.exp(-beta * (energies - level * numbers))
    boltzmann[:, 0] = 1.0

    def mean(rows: np.ndarray) -> float:
        weights = 2.0**numbers / factorials * rows.mean(axis=0)
        return float((numbers * weights).sum() / weights.sum())

    parts = [mean(rows) for rows in np.array_split(boltzmann, 5)]
    # (zV) exp(-beta level) = 2, where z = exp(beta mu) / Lambda^3.
    wavelength = HPLANCK / math.sqrt(2 * math.pi * 27.0 * MVV2E / beta)
    potential = level + math.log(2.0 * wavelength**3 / volume) / beta
    return mean(boltzmann), float(np.std(parts) / math.sqrt(5)), potential
