# SPDX-License-Identifier: MIT
r"""UMA as a potential inside i-PI's own process or its own driver.

    <ffdirect name='uma'> <pes>custom</pes> <pes_path>PATH OF THIS FILE</pes_path>
      <parameters>{ model: water.pt, template: init.xyz }</parameters> </ffdirect>

    i-pi-py_driver -u -a ADDRESS -m custom -P $(uma-ipi --pes-path) \
        -o model=water.pt,template=init.xyz

Parameters are the options of ``uma-ipi``: model, template, task, charge, spin, device, dtype,
extras, skin, and the fingerprint that they must have. The models of a committee are separated by
spaces. i-PI finds the class through the two names in capitals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ipi.utils.messages import info, verbosity

from ipi_driver.options import Options, whole_number
from ipi_driver.potential import UMAPotential
from ipi_driver.template import read_template
from ipi_driver.wire.direct import DirectDriver
from uma_md.committee import Models

__DRIVER_NAME__ = "uma"
__DRIVER_CLASS__ = "UMADriver"


class UMADriver(DirectDriver):
    """A model that i-PI calls.

    Parameters
    ----------
    model, template
        Paths; of a committee's models several, separated by spaces.
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
        potential = UMAPotential(given_models(model), read_template(template), chosen, _say)
        potential.configure(wanted)
        potential.warm_up()
        super().__init__(potential, verbose=verbose)


def given_models(text: str) -> Models:
    """A model, or several that are separated by spaces, where this is not the name of a file."""
    names = text.split()
    return text if len(names) == 1 or Path(text).is_file() else list(names)


def _say(sentence: str) -> None:
    info(f" @UMA: {sentence}", verbosity.low)
