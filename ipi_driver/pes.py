# SPDX-License-Identifier: MIT
r"""UMA as a potential inside i-PI's own process or its own driver.

    <ffdirect name='uma'> <pes>custom</pes> <pes_path>PATH OF THIS FILE</pes_path>
      <parameters>{ model: water.pt, template: init.xyz }</parameters> </ffdirect>

    i-pi-py_driver -u -a ADDRESS -m custom -P $(uma-ipi --pes-path) \
        -o model=water.pt,template=init.xyz

Parameters are the options of ``uma-ipi``: model, template, task, charge, spin, device, dtype,
extras, skin, and the fingerprint that they must have. i-PI finds the class through the two
names in capitals.
"""

from __future__ import annotations

from typing import Any

from ipi.utils.messages import info, verbosity

from ipi_driver.options import Options, whole_number
from ipi_driver.potential import UMAPotential
from ipi_driver.template import read_template
from ipi_driver.wire.direct import DirectDriver

__DRIVER_NAME__ = "uma"
__DRIVER_CLASS__ = "UMADriver"


class UMADriver(DirectDriver):
    """A model that i-PI calls.

    Parameters
    ----------
    model, template
        Paths.
    extras
        Names separated by spaces.
    options
        As for ``ipi_driver.options.Options``; what i-PI adds for its own use is passed over.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        When model, template and options do not go together.
    """

    def __init__(self, model: str, template: str, extras: str = "", **options: Any) -> None:
        verbose = options.pop("verbose", False)
        options.pop("verbosity", None)
        wanted = {name: options.pop(name) for name in ("fingerprint",) if name in options}
        for name in {"charge", "spin"} & options.keys():
            options[name] = whole_number(name, options[name])
        chosen = Options(extras=tuple(extras.split()), **options)
        potential = UMAPotential(model, read_template(template), chosen, _say)
        potential.configure(wanted)
        potential.warm_up()
        super().__init__(potential, verbose=verbose)


def _say(sentence: str) -> None:
    info(f" @UMA: {sentence}", verbosity.low)
