# SPDX-License-Identifier: MIT
"""i-PI's input, read and looked over before a run."""
