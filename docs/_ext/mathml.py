# SPDX-License-Identifier: MIT
"""Formulas as MathML, which browsers draw without any script."""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

# The converter knows no spacing by kind, nor text-sized fractions.
SIMPLER = (
    (re.compile(r"\\mathrel\{([^}]*)\}"), r"{\1}"),
    (re.compile(r"\\tfrac(\d)(\d)"), r"\\frac{\1}{\2}"),
)
# Bars of |v|, which browsers take for relations and keep apart.
BARS = re.compile(r"<mo([^>]*)>\|</mo>")


def formula(text: str, as_block: bool = False) -> str:
    """MathML of a formula in LaTeX."""
    for found, simpler in SIMPLER:
        text = found.sub(simpler, text)
    return BARS.sub(r'<mo\1 lspace="0" rspace="0">|</mo>', tex2mathml(text, as_block=as_block))


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(formula(node.astext()))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    text = formula(node.astext(), as_block=True)
    translator.body.append(f'<div class="formula">{text}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
