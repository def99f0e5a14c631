# SPDX-License-Identifier: MIT
"""Packages of the wheel: those that are found, and the sources of the plugin beside them.

``uma-md plugin build`` compiles the sources where they are installed. The rest is in
pyproject.toml, which can find packages but not give one of them a folder of another name.
"""

from setuptools import find_packages, setup

PLUGIN = "uma_md.lammps_plugin"

setup(
    packages=[*find_packages(include=["uma_md*", "ipi_driver*"]), PLUGIN],
    package_dir={PLUGIN: "lammps_plugin"},
)
