# SPDX-License-Identifier: MIT
"""A force driver that serves UMA models to i-PI.

``protocol`` knows the bytes and ``shared_memory`` the segments, ``transports`` the sockets,
``driver`` the order of messages, ``ffmpi`` the same over MPI. ``engine`` computes, with
``neighbors`` and ``batching`` to turn structures into one graph; ``potential`` puts a
template, units and checks around it. ``check`` reads an input of i-PI before a run.
"""
