# SPDX-License-Identifier: MIT
"""``uma-md bench``: how fast a model runs a system here, and with which settings."""
