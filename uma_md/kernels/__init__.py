# SPDX-License-Identifier: MIT
"""Hand-written kernels for the stages that work on edges: one C++ library for Python and LAMMPS."""
