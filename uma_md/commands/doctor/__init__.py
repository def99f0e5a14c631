# SPDX-License-Identifier: MIT
"""``uma-md doctor``: what is installed, what works, and what to mend."""
