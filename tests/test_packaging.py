# SPDX-License-Identifier: MIT
"""What a release holds: every file under version control, one version, licenses, declared needs."""

import ast
import email
import os
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import uma_md

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")

BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
SOURCES = ("*.py", "*.cpp", "*.h", "*CMakeLists.txt", "*Makefile", "*.yml", ".ci/*")


def tracked(*patterns: str) -> set[str]:
    """Files under version control."""
    command = ["git", "ls-files", "-z", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.split("\0")) - {""}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build with the setuptools of this environment, as ``pip --no-build-isolation`` does."""
    command = [sys.executable, "-c", BUILD.format(kind), str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution of a clean tree (files as they are staged), unpacked."""
    clean, made, out = (tmp_path_factory.mktemp(name) for name in ("clean", "sdist", "unpacked"))
    subprocess.run(["git", "checkout-index", "-a", f"--prefix={clean}/"], cwd=ROOT, check=True)
    archive = build("sdist", clean, made)
    subprocess.run(["tar", "-xf", archive, "-C", out], check=True)
    (source,) = out.iterdir()
    return source


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel made from the source distribution."""
    with zipfile.ZipFile(build("wheel", sdist, tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def metadata(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_bytes(wheel.read(about(wheel, "METADATA")))


def about(wheel: zipfile.ZipFile, name: str) -> str:
    """Name of a file about the wheel in it."""
    (found,) = (one for one in wheel.namelist() if one.endswith(f".dist-info/{name}"))
    return found


def test_the_source_distribution_holds_every_file_and_no_other(sdist):
    """Data of the training as well: tests of the model that ships read it."""
    files = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    written = {name for name in files if name.startswith("uma_md.egg-info/")}
    assert files - written - {"PKG-INFO", "setup.cfg"} == tracked()


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sources = {f"uma_md/{name}" for name in tracked("lammps_plugin")}
    assert files == tracked("uma_md", "ipi_driver") | sources


def test_the_wheel_names_its_licenses_and_commands(wheel):
    assert metadata(wheel)["License-Expression"] == "MIT AND GPL-2.0-only"
    for name in ("LICENSE", "lammps_plugin/LICENSE"):
        assert wheel.read(about(wheel, f"licenses/{name}")).decode() == read(name)
    entries = wheel.read(about(wheel, "entry_points.txt")).decode().splitlines()
    assert {"uma-md = uma_md.cli:main", "uma-ipi = ipi_driver.cli:main"} <= set(entries)
    assert "uma = uma_md.plugin:path" in entries


def imported_packages(source: str) -> set[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.split(".")[0] for name in names}


def test_every_package_that_is_imported_is_declared(wheel):
    needs = metadata(wheel).get_all("Requires-Dist", [])
    used = ('extra == "lammps"', 'extra == "ipi"', 'extra == "demo"')
    needs = [need for need in needs if "extra" not in need or need.endswith(used)]
    declared = {re.split(r"[<=>]", need)[0].replace("-", "_") for need in needs}
    sources = map(read, tracked("uma_md/*.py", "ipi_driver/*.py"))
    imported = set().union(*map(imported_packages, sources))
    others = imported - set(sys.stdlib_module_names) - {"uma_md", "ipi_driver"}
    assert {"torch", "httpx2"} < others <= declared


def test_the_version_is_the_same_everywhere(wheel):
    version = metadata(wheel)["Version"]
    assert version == uma_md.__version__
    assert re.findall(r"(?m)^version: (.*)$", read("CITATION.cff")) == [version]
    headings = re.findall(r"(?m)^## (.*)$", read("CHANGELOG.md"))
    assert headings[0] == "[Unreleased]"
    assert headings[1].startswith(f"[{version}] - ")


def test_releases_in_the_changelog_have_dates_and_the_newest_is_first():
    releases = re.findall(r"(?m)^## (?!\[Unreleased\])(.*)$", read("CHANGELOG.md"))
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", one) for one in releases)
    dates = [one.split()[-1] for one in releases]
    assert dates == sorted(dates, reverse=True)


def make(*arguments: str) -> str:
    """Commands that make would run."""
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_fuzzing_and_soaking_take_the_options_that_their_pages_name():
    (fuzz,) = re.findall(r"`make (fuzz \w+=checkpoint \w+=3600)`", read("fuzz/README.md"))
    commands = make(*fuzz.split())
    assert "for target in checkpoint;" in commands
    assert "-max_total_time=3600 " in commands
    assert "`FUZZ_SECONDS` (60 by default)" in read("fuzz/README.md")
    assert "-max_total_time=60 " in make("fuzz")
    (soak,) = re.findall(r"make (soak \w+=0:)200", read("docs/lammps.md"))
    assert "--trials 0:7 " in make(*f"{soak}7".split())


def test_each_lane_runs_more_than_the_one_before():
    lanes = ("check", "test", "test-all")
    commands = (re.findall(r"-m pytest.*", make(lane)) for lane in lanes)
    (quick,), (gate,), (whole, rehearsal) = commands
    assert re.search(r'-m "not \(.*\bextended\b.*\)"$', quick)
    assert re.search(r'-m "not extended"$', gate)
    assert whole.startswith("-m pytest -q -n 2 ")
    assert ' -m "' not in whole
    assert rehearsal.endswith("-m gpu --gpu-rehearsal")
    for lane in lanes:
        assert "/mypy " in make(lane)


@pytest.mark.parametrize("target", ["setup", "test-torch"])
@pytest.mark.parametrize(
    ("version", "wanted"), [((3, 9), False), ((3, 10), True), ((3, 14), False)]
)
def test_a_python_without_our_torches_is_refused_before_anything_is_made(
    target, version, wanted, tmp_path
):
    """This Python, which says that it is another, and makes no environment."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.version_info = {version}")
    (tmp_path / "venv.py").write_text("raise SystemExit('an environment would be made')")
    for name in ("Makefile", "pyproject.toml", "setup.py", "requirements/constraints.txt"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(read(name))
    done = subprocess.run(
        ["make", target, f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    refused = "uma-md needs Python 3.10 to 3.13: make PYTHON=python3.x" in done.stderr
    assert refused != wanted
    assert ("an environment would be made" in done.stderr) == wanted


def test_every_source_names_its_license():
    names = tracked(*SOURCES)
    assert {"setup.py", ".ci/run", "Makefile", "lammps_plugin/pair_uma.cpp"} <= names
    for name in names:
        licensed = "GPL-2.0-only" if name.startswith("lammps_plugin/") else "MIT"
        lines = [line for line in read(name).splitlines()[:2] if not line.startswith("#!")]
        assert lines[0].lstrip("#/ ") == f"SPDX-License-Identifier: {licensed}", name
