# SPDX-License-Identifier: MIT
"""Batches of structures, evaluated by a model: in one process, or beads and atoms over ranks."""
