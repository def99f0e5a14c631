# SPDX-License-Identifier: MIT
"""``uma-md check``: whether a system, a model and an engine go together, before a long run."""
