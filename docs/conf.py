"""How Sphinx makes a site of these pages: ``make docs``, or ``sphinx-build -W docs build/docs``."""

import shutil
from pathlib import Path
from typing import Any

from limner.version import __version__

project = "Limner"
author = "The Limner authors"
copyright = "The Limner authors; Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["page/**"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
# Shapes are strings of jaxtyping's, which are to be read as they are written.
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = "Limner"
html_static_path = ["static"]
html_css_files = ["limner.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "native"


def _with_page(app: Any, error: Exception | None) -> None:
    """The published page goes along as it is."""
    if error is None:
        shutil.copytree(Path(app.srcdir) / "page", Path(app.outdir) / "page", dirs_exist_ok=True)


def setup(app: Any) -> None:
    """Sphinx asks for it."""
    app.connect("build-finished", _with_page)
