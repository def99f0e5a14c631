# SPDX-License-Identifier: MIT
"""How far a structure scales over ranks: counted from its geometry, timed by rates.

``systems`` makes large structures, ``counting`` what ranks of each would exchange, ``bricks`` those
of LAMMPS; ``prediction`` turns counts and rates into times, ``rates`` measures a machine,
``report`` prints and draws.
"""
