# SPDX-License-Identifier: MIT
"""The analytic potential as a PES file of i-PI, through the driver's own code."""

from ipi_analytic import Analytic

from ipi_driver.wire.direct import DirectDriver

__DRIVER_NAME__ = "analytic"
__DRIVER_CLASS__ = "AnalyticDriver"


class AnalyticDriver(DirectDriver):
    def __init__(self, **_):
        super().__init__(Analytic())
