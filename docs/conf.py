# SPDX-License-Identifier: MIT
"""The site: ``make docs`` builds it from the pages of this folder, without a network."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from uma_md import __version__

project = "uma-md"
author = "uma-md developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "lammps_lexer",
    "mathml",
    "mermaid",
    "repository_links",
]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"uma-md {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False  # LICENSE says it
exclude_patterns = ["_ext"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
highlight_language = "text"

copybutton_exclude = ".linenos, .gp, .go"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types, shapes and units are in the docstrings
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_param = True
napoleon_preprocess_types = False
