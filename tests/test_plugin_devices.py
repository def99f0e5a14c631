# SPDX-License-Identifier: MIT
"""How the plugin tells accelerators apart and shares them out, from made-up drivers and nodes.

Its part without torch and LAMMPS is compiled alone; the rule is that of ``test_placement.py``.
"""

import os
import subprocess
from shutil import which

import pytest
from conftest import DATA
from test_placement import LAYOUTS

SOURCES = DATA.parents[1] / "lammps_plugin"

pytestmark = pytest.mark.skipif(which("g++") is None, reason="needs g++")

PROGRAM = """
#include "devices.h"
#include <cstdio>
#include <iostream>
#include <sstream>

// Each line: the devices that one rank sees. Prints what each takes, and with how many others.
int main()
{
  for (const auto &identity : uma::device_identities()) {
    for (unsigned char byte : identity) std::printf("%02x", byte);
    std::printf("\\n");
  }
  uma::Visible visible;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    visible.emplace_back();
    for (std::string word; words >> word;) visible.back().push_back(word);
  }
  const auto choices = uma::assign_devices(visible);
  for (size_t rank = 0; rank < choices.size(); rank++)
    std::printf("%d %d\\n", choices[rank], uma::count_sharers(visible, choices, int(rank)));
}
"""

DRIVER = """
#include <cstdlib>
#include <cstring>
extern "C" {
int cuInit(unsigned) { return std::getenv("BROKEN") ? 100 : 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int index) { *device = 7 - index; return 0; }
int NAME(char *bytes, int device) { std::memset(bytes, device, 16); return 0; }
}
"""


def compile_to(target, text: str, *options: str) -> None:
    source = target.with_suffix(".cpp")
    source.write_text(text)
    command = ["g++", "-std=c++20", "-Wall", "-Werror", *options, "-o", str(target), str(source)]
    subprocess.run([*command, str(SOURCES / "devices.cpp"), f"-I{SOURCES}", "-ldl"], check=True)


@pytest.fixture(scope="module")
def devices(tmp_path_factory):
    """Runs the program in a folder that may hold a driver."""
    program = tmp_path_factory.mktemp("devices") / "program"
    compile_to(program, PROGRAM)

    def run(visible=(), folder=None, **environment: str) -> list[str]:
        if folder is not None:
            environment["LD_LIBRARY_PATH"] = str(folder)
        text = "".join(" ".join(identities) + "\n" for identities in visible)
        done = subprocess.run(
            [program],
            input=text,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ranks_take_the_devices_that_they_take_in_python(layout, devices):
    visible, expected = LAYOUTS[layout]
    lines = devices(visible)[-len(visible) :]
    choices, sharers = zip(*(map(int, line.split()) for line in lines), strict=True)
    assert list(choices) == expected
    taken = [names[k] for names, k in zip(visible, expected, strict=True)]
    assert list(sharers) == [taken.count(name) for name in taken]


@pytest.mark.parametrize("name", ["cuDeviceGetUuid", "cuDeviceGetUuid_v2"])
def test_uuids_are_those_of_the_driver(name, devices, tmp_path):
    compile_to(tmp_path / "libcuda.so.1", DRIVER, "-shared", "-fPIC", f"-DNAME={name}")
    assert devices(folder=tmp_path) == ["07" * 16, "06" * 16]
    assert devices(folder=tmp_path, BROKEN="1") == []


def test_a_driver_of_another_kind_has_none(devices, tmp_path):
    compile_to(tmp_path / "libcuda.so.1", "", "-shared", "-fPIC")
    assert devices(folder=tmp_path) == []
