"""Settings of the documentation site: `make docs` builds it into docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from raypipe import __version__  # noqa: E402

project = "raypipe"
author = "the authors of raypipe"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_pages",
    "outside_pages",
    "python_api",
    "rooms",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"raypipe {version}"

myst_heading_anchors = 4  # the anchors that GitHub gives headings
myst_enable_extensions = ["colon_fence", "deflist"]

# What is in single backticks in docstrings is code.
default_role = "code"
smartquotes = False  # options begin with two dashes
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_ivar = True
napoleon_attr_annotations = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Types of other packages; links within this project are all to be found.
nitpick_ignore: list[tuple[str, str]] = []
