# SPDX-License-Identifier: MIT
"""Commands that prepare, check and time runs, one folder each.

``command.py`` of a folder has the click command, which imports the rest when it runs.
"""
