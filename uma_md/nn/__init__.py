# SPDX-License-Identifier: MIT
"""The vocabulary of the network: one equivariant idea per file.

Features live on a node or an edge as coefficients of real spherical harmonics, an
array ``(rows, (lmax + 1)**2, channels)`` ordered by degree l, then by order
m = -l..l, with the y axis as polar axis (so that l = 1 is x, y, z).
"""
