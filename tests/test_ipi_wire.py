"""The conversation with i-PI stands on its own: any potential, no torch."""

import importlib.util
import pkgutil
import subprocess
import sys

from ipi_driver import wire

MODULES = [module.name for module in pkgutil.iter_modules(wire.__path__)]


def test_the_conversation_with_i_pi_needs_no_torch():
    """In a fresh Python: in this one, torch is loaded."""
    here = [name for name in MODULES if name != "ffmpi" or importlib.util.find_spec("mpi4py")]
    assert {"address", "driver", "protocol", "shared_memory", "sockets"} <= set(here)
    imports = "\n".join(f"import ipi_driver.wire.{name}" for name in here)
    program = f"import sys\n{imports}\nprint('torch' in sys.modules, 'ase' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]
