# SPDX-License-Identifier: MIT
"""The conversation with i-PI stands on its own: any potential, no torch."""

import importlib.util
import pkgutil
import subprocess
import sys

from ipi_driver import wire

NEEDS = {"direct": "ipi", "ffmpi": "mpi4py"}


def test_the_conversation_with_i_pi_needs_no_torch():
    """In a fresh Python: in this one, torch is loaded."""
    modules = {module.name for module in pkgutil.iter_modules(wire.__path__)}
    assert {"address", "driver", "protocol", "shared_memory", "sockets", *NEEDS} <= modules
    modules -= {name for name, other in NEEDS.items() if not importlib.util.find_spec(other)}
    lines = [f"import ipi_driver.wire.{name}" for name in sorted(modules)]
    program = "\n".join([*lines, "import sys", "assert 'torch' not in sys.modules"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
