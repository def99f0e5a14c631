# SPDX-License-Identifier: MIT
"""The documentation as a whole: the site builds, links lead somewhere, words are the field's."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT

MARKDOWN = sorted(
    path
    for folder in ("docs", "examples", "training", "lammps_plugin", "fuzz", "tests/reference")
    for path in (ROOT / folder).rglob("*.md")
) + sorted(ROOT.glob("*.md"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<(https?://[^>\s]+)>")
# Hosts that pages may name: nothing is fetched, so this is all that is known of such links.
HOSTS = {"huggingface.co", "arxiv.org", "github.com", "phonopy.github.io", "wiki.fysik.dtu.dk"}
# What is said in other words: phrases that no one in the field uses.
AVOIDED = (
    r"not to be had",
    r"is the structure sound",
    r"whose energies it",
    r"which task's energies",
    r"energies of whom",
    r"turns the molecule",
    r"kinds of matter",
)


def without_code(path: Path) -> str:
    text = re.sub(r"(?ms)^(`{3,}|:{3,}).*?^\1$", "", path.read_text())
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path: Path) -> set[str]:
    """Anchors of headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", path.read_text()))
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in words}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    for inner, outer in LINK.findall(without_code(path)):
        target, _, anchor = (inner or outer).partition("#")
        if re.match(r"https?://", target):
            assert target.split("/")[2] in HOSTS, target
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), f"{target}#{anchor}"


def test_files_that_pages_name_exist():
    for name in PAGES:
        text = (ROOT / name).read_text()
        named = re.findall(r"`((?:docs|examples|tests|benchmarks|training|uma_md)/[\w./-]*)`", text)
        missing = [one for one in named if not (ROOT / one).exists()]
        assert missing == [], name


def test_prose_uses_the_words_of_the_field():
    sources = [*(ROOT / "uma_md").rglob("*.py"), *(ROOT / "ipi_driver").rglob("*.py")]
    for path in [*MARKDOWN, *sources]:
        text = " ".join(path.read_text().split())
        assert [phrase for phrase in AVOIDED if re.search(phrase, text, re.IGNORECASE)] == [], path


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 100


class Outside(HTMLParser):
    """What a page loads, rather than links to, from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        loaded = given.get("src") or (given.get("href") if tag == "link" else None) or ""
        if re.match(r"(https?:)?//", loaded) and given.get("rel") != "canonical":
            self.found.append(loaded)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    pytest.importorskip("furo", reason="the extra 'docs' is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "docs"]
    done = subprocess.run(
        [*command, "-d", str(folder / "trees"), str(folder / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_has_every_page_in_its_navigation(site):
    front = (site / "index.html").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert (site / f"{path.stem}.html").is_file()
        assert path.stem == "index" or f'href="{path.stem}.html"' in front, path.stem


@pytest.mark.slow
def test_the_site_loads_nothing_from_a_network(site):
    for path in site.glob("*.html"):
        parser = Outside()
        parser.feed(path.read_text())
        assert parser.found == [], path.name


@pytest.mark.slow
def test_formulas_and_the_picture_of_parts_are_drawn(site):
    kernels = (site / "kernels.html").read_text()
    assert kernels.count("<math") > 20
    assert "\\tau" not in kernels
    drawn = (site / "developers.html").read_text()
    arrows = re.findall(r"\w+ --&gt;|\w+ -->", (ROOT / "docs/developers.md").read_text())
    assert drawn.count('class="arrow"') == len(arrows)


@pytest.mark.slow
def test_the_reference_has_the_docstrings(site):
    page = (site / "python.html").read_text()
    for words in ("Energies, forces and stresses of one task", "Export one task of a checkpoint"):
        assert words in page
