# SPDX-License-Identifier: MIT
"""The picture and the tables of the docs are those of the code."""

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

from uma_md.files.metadata import FORMAT, FORMAT_VERSION, described_fields
from uma_md.options import RunOptions

ROOT = Path(__file__).parents[1]
PACKAGES = ("uma_md", "ipi_driver")


def sources() -> list[Path]:
    """All files of the packages, relative to the root."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return [path.relative_to(ROOT) for path in found]


def picture() -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """Parts with their files and folders, and the arrows between them."""
    text = (ROOT / "docs" / "developers.md").read_text().partition("```mermaid\n")[2]
    text = text.partition("```")[0]
    parts = {name: words.split() for name, words in re.findall(r'(\w+)\["([^"]+)"\]', text)}
    return parts, set(re.findall(r"(\w+) --> (\w+)", text))


def part_of(path: Path, parts: dict[str, list[str]]) -> str:
    """The one part that a file belongs to."""
    name = path.as_posix()
    owners = [
        part
        for part, words in parts.items()
        if any(name == word or (word.endswith("/") and name.startswith(word)) for word in words)
    ]
    assert len(owners) == 1, f"{name} must be in one part of the picture, found it in {owners}"
    return owners[0]


def imported(path: Path) -> set[Path]:
    """Files of the packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.split(".")[0] not in PACKAGES:
            continue
        for name in node.names:
            inner = Path(*node.module.split("."), f"{name.name}.py")
            outer = Path(*node.module.split(".")).with_suffix(".py")
            package = Path(*node.module.split("."), "__init__.py")
            found.add(next(p for p in (inner, outer, package) if (ROOT / p).is_file()))
    return found


def imports() -> set[tuple[str, str]]:
    """Pairs of different parts of which the first imports the second."""
    parts, _ = picture()
    pairs = {
        (part_of(path, parts), part_of(other, parts))
        for path in sources()
        for other in imported(path)
    }
    return {pair for pair in pairs if pair[0] != pair[1]}


def test_every_import_between_parts_goes_down_the_arrows():
    _, arrows = picture()

    @cache
    def below(part: str) -> frozenset[str]:
        ends = {end for start, end in arrows if start == part}
        return frozenset(ends.union(*(below(end) for end in ends)))

    found = imports()
    assert len(found) > 20
    upward = {pair for pair in found if pair[1] not in below(pair[0])}
    assert upward == set()


def test_every_arrow_is_an_import_and_none_leads_in_a_circle():
    parts, arrows = picture()
    assert {name for arrow in arrows for name in arrow} == set(parts)
    assert arrows - imports() == set()
    left = set(arrows)
    while left:  # parts that nothing imports can be taken off, one layer after another
        tops = {start for start, _ in left} - {end for _, end in left}
        assert tops, f"arrows must not lead in a circle, found {left}"
        left = {arrow for arrow in left if arrow[0] not in tops}


def test_every_part_is_described():
    parts, _ = picture()
    text = (ROOT / "docs" / "developers.md").read_text()
    described = set(re.findall(r"^\| (\w+) \|", text, re.MULTILINE))
    assert set(parts) - {"serving"} <= described


def rows(name: str) -> list[list[str]]:
    """Cells of the tables of a page, without backticks."""
    lines = (ROOT / "docs" / name).read_text().splitlines()
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| `")
    ]


def test_the_page_of_options_lists_all_of_them():
    expected = [
        [
            entry.name,
            "" if entry.default is None else str(entry.default),
            ", ".join(entry.metadata["choices"]),
            entry.metadata["meaning"],
        ]
        for entry in fields(RunOptions)
    ]
    assert rows("options.md") == expected


def test_the_page_of_file_formats_lists_all_fields_of_the_record():
    assert rows("files.md") == [list(row) for row in described_fields()]
    text = (ROOT / "docs" / "files.md").read_text()
    assert f"`format` (`{FORMAT}`) and `format_version` ({FORMAT_VERSION})" in text
