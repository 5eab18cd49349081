"""How the documentation is built: ``make docs``, offline, with Sphinx and MyST-NB; the notebooks are shown as they are kept."""

from __future__ import annotations

from importlib.metadata import version as installed

from docutils import nodes
from latex2mathml.converter import convert

project = "nbcnnviz"
author = "the nbcnnviz authors"
release = version = installed("nbcnnviz")
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "solutions", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = "nbcnnviz"
html_show_sourcelink = False

myst_enable_extensions = ["dollarmath", "amsmath", "html_image", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "code"
html_math_renderer = "mathml"


def _escaped(app, what, name, obj, options, lines):
    """Docstrings are plain text for `help`: what reStructuredText would take for a substitution or emphasis is not meant so."""
    for at, line in enumerate(lines):
        parts = line.split("``")
        parts[::2] = [part.replace("|", "\\|").replace("*", "\\*") for part in parts[::2]]
        lines[at] = "``".join(parts)


def _inline(translator, node):
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _displayed(translator, node):
    translator.body.append(f"<div class='math'>{convert(node.astext(), display='block')}</div>")
    raise nodes.SkipNode


def setup(app):
    """Connect what is above."""
    # Formulas as MathML, which browsers draw by themselves: nothing is fetched from elsewhere.
    app.add_html_math_renderer("mathml", (_inline, None), (_displayed, None))
    app.connect("autodoc-process-docstring", _escaped, priority=400)
