# SPDX-License-Identifier: MIT
"""MPI ranks that share systems, in the words of the LAMMPS plugin.

``agreement`` makes ranks fail together, ``placement`` gives each its device, ``decomposition`` its
atoms; ``halo_exchange`` moves rows between them, ``spatial`` evaluates systems over all of them.
"""
