# SPDX-License-Identifier: MIT
"""``uma-md setup``: from a structure and a task to a folder that runs."""
