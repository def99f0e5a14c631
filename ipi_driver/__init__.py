# SPDX-License-Identifier: MIT
"""A force driver that serves UMA models to i-PI.

``wire`` is the conversation with i-PI, with any potential and without torch. ``beads`` evaluates
batches of structures, with ``neighbors`` and ``batching`` to make one graph of them; ``potential``
puts a template, units and checks around it, ``serving`` brings both together. ``input`` reads an
input of i-PI before a run. ``pes`` is what i-PI itself loads.
"""
