"""The documentation site: `make docs` builds it. Pages about tasks, keys, rules and modules come from the package."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from fin_plugins import __version__  # noqa: E402

project = "fin-plugins"
author = "The fin-plugins authors"
copyright = "The fin-plugins authors, Apache-2.0"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "generated_pages",
    "plain_docstrings",
]
exclude_patterns = ["_build", "_ext", "README.md"]
source_suffix = {".md": "markdown"}
templates_path: list[str] = []

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True, "show-inheritance": False}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_use_legacy_class_based = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"
smartquotes = False  # an option is --dtype, not –dtype

# A link to another project's page cannot be followed everywhere: `make docs-external` follows them.
linkcheck_timeout = 20
linkcheck_anchors = True
suppress_warnings = ["ref.python"]  # a type named in a signature may exist in several folders
linkcheck_ignore = [r"https://github\.com/.+#.+"]

html_theme = "furo"
html_title = "fin-plugins"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5c8a", "color-brand-content": "#0b5c8a"},
    "dark_css_variables": {"color-brand-primary": "#6cb8e6", "color-brand-content": "#6cb8e6"},
    "source_repository": "",
}
copybutton_exclude = ".linenos, .gp, .go"
