"""UMA interatomic potentials in LAMMPS, behind i-PI, and in ASE."""

from uma_md.calculator import UMACalculator as UMACalculator

__version__ = "0.1.0"
