# SPDX-License-Identifier: MIT
"""Every sentence that the code says of an error, and the page that lists them.

    python docs/error_sentences.py     # writes the lists of docs/troubleshooting.md anew

What depends on the case stands as an ellipsis. A list in the page is between a comment that names
source files and the comment ``end``; ``tests/test_described_numbers.py`` compares page and code.
"""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
GAP = "…"
TWICE = "lammps_plugin/advice.cpp"  # its sentences are those of uma_md/commands/setup/advice.py
SAYING = re.compile(r"(Error|Exception|Unknowable|Disconnected|Remark|refuse|abort|warn)$")
SPEAKERS = re.compile(r"sentence|explain|unreach|unread|reason|missing")  # functions
SOUNDS_SO = re.compile(r"\bmust\b|, found |\bcannot be\b|^; use ")
SECTION = re.compile(r"(<!-- sentences of ([^>]*) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def tidy(text: str) -> str | None:
    """A sentence with one ellipsis for each gap; None for what is no sentence."""
    text = re.sub(rf"(\s*{GAP}\s*)+", lambda gap: f" {GAP} " if " " in gap[0] else GAP, text)
    text = re.sub(rf"{GAP} ([,;:.)])", rf"{GAP}\1", " ".join(text.split()))
    words = re.findall(r"[A-Za-z]{2,}", text)
    return text if len(words) > 1 and " " in text else None


def python_text(node: ast.expr) -> str | None:
    """The text of an expression, with gaps; None where it has none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = [python_text(side) for side in (node.left, node.right)]
        return None if sides == [None, None] else "".join(side or GAP for side in sides)
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "rstrip":
        return python_text(node.func.value)  # type: ignore[attr-defined]
    return None


def docstrings(tree: ast.Module) -> set[int]:
    """Identities of the nodes that document something."""
    bodies = (getattr(node, "body", None) for node in ast.walk(tree))
    firsts = (
        body[0]
        for body in bodies
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr)
    )
    return {id(first.value) for first in firsts}


def python_sentences(source: str) -> Iterator[str]:
    """Sentences of a module: what errors and warnings say, and texts that read as they do."""
    tree = ast.parse(source)
    skipped = docstrings(tree)
    said: set[int] = set()
    for node in ast.walk(tree):  # from the outside inwards
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            said.update(id(word) for word in node.args if SAYING.search(name))
        elif isinstance(node, ast.FunctionDef) and SPEAKERS.search(node.name):
            inner = (one for one in ast.walk(node) if isinstance(one, ast.expr))
            said.update(id(one) for one in inner if len((python_text(one) or "").split()) > 4)
        text = python_text(node) if isinstance(node, ast.expr) else None
        if text is None or id(node) in skipped:
            continue
        skipped.update(id(inner) for inner in ast.walk(node))
        if id(node) in said or SOUNDS_SO.search(text):
            yield text


# In C++: literals that stand side by side, joined by what is between them.
TOKEN = re.compile(
    r"""//[^\n]*|/\*.*?\*/|\s+|"(?P<text>(?:[^"\\\n]|\\.)*)"|(?P<end>[;{}])|(?P<other>[^\s;{}"]+)""",
    re.DOTALL,
)
CALL = re.compile(r"error->(all|one|warning)\(|_(error|argument)\(")


def cpp_sentences(source: str) -> Iterator[str]:
    """Sentences of a C++ file: what is thrown or given to LAMMPS's errors, and the like."""
    code, text, between = "", "", ""
    for token in TOKEN.finditer(source):
        if token["text"] is not None:
            text += (GAP if between and text else "") + token["text"]
            between = ""
        elif token["other"]:
            if CALL.search(code + token["other"]) and not CALL.search(code):
                text = ""
            code, between = code + token["other"], between + token["other"]
        elif token["end"]:
            text += GAP if re.match(r"\+\w", between) else ""
            if CALL.search(code) or SOUNDS_SO.search(text):
                yield text.replace("{}", GAP).replace('\\"', '"').replace("\\n", " ")
            code, text, between = "", "", ""


def sentences(path: Path) -> list[str]:
    """All sentences of a source file, in its order, each once."""
    read = python_sentences if path.suffix == ".py" else cpp_sentences
    return list(dict.fromkeys(filter(None, map(tidy, read(path.read_text())))))


def sources() -> list[str]:
    """Sources that say something to users, relative to the root."""
    folders = ("uma_md", "ipi_driver", "lammps_plugin")
    found = (path for name in folders for path in (ROOT / name).rglob("*.*"))
    kinds = {".py", ".cpp", ".h"}
    names = (path.relative_to(ROOT).as_posix() for path in found if path.suffix in kinds)
    return sorted(name for name in names if name != TWICE)


def lists(page: str) -> dict[str, list[str]]:
    """What each list of the page must hold, by the names of its sources."""
    left, filled = sources(), {}
    for names in [found[2] for found in SECTION.finditer(page)]:
        patterns = ["*"] if names == "all others" else names.split()
        mine = [name for name in left if any(fnmatch(name, pattern) for pattern in patterns)]
        left = [name for name in left if name not in mine]
        said = (line for name in mine for line in sentences(ROOT / name))
        filled[names] = sorted(set(said), key=lambda line: line.strip(f" {GAP}:;,").lower())
    return filled


def fill(page: str) -> str:
    """The page with all its lists as the code has them."""
    filled = lists(page)

    def replace(found: re.Match[str]) -> str:
        lines = "".join(f"- `{line}`\n" for line in filled[found[2]])
        return f"{found[1]}\n{lines}\n{found[4]}"

    return SECTION.sub(replace, page)


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text()))
