# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Sphinx settings, and the links.

What a build makes from the code (the reference, pictures, tables) is in ``_ext``. A name in single backticks links to
its entry, from any page and docstring; one that is no public name is set as code. Whatever does not resolve otherwise
is an error (``nitpicky``).
"""

from __future__ import annotations

import builtins
import importlib.util
import pathlib
import sys
from typing import TYPE_CHECKING, Any

HERE = pathlib.Path(__file__).resolve().parent
if importlib.util.find_spec("tsocket") is None:  # not installed: a checkout
    sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE / "_ext"))

from reference import PACKAGES, annotation_names  # noqa: E402  # found by the line above

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "tsocket"
author = "the tsocket authors"
project_copyright = "the tsocket authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference", "lifecycle", "architecture", "seeing"]
html_theme = "furo"
html_title = "tsocket"
html_static_path = ["_static"]
html_css_files = ["tsocket.css"]
exclude_patterns = ["_build", "_ext"]
nitpicky = True
default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
autodoc_typehints = "none"  # they come from _ext/signatures.py
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Headings whose text is prose: without this, "-1: the reason" below Returns would be taken for a type and its meaning.
napoleon_custom_sections = ["Returns", "Raises", "Callbacks", "Ownership", "Note"]
# The name that type checkers have for "any bytes-like object", and internal classes; nothing to link to.
nitpick_ignore = [("py:class", name) for name in ("ReadableBuffer", "reader", "writer")]

# -------------------------------------------------------------------------------------------------------------- links


def link(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """
    Find a name in any of the packages, whichever page it stands on.

    Docstrings set every name and expression in single backticks; what is no public name stays as code without a link.
    """
    target = node.get("reftarget", "").removesuffix("()")
    module = target.rpartition(".")[0] or target
    if module.partition(".")[0] in sys.stdlib_module_names:
        return python_link(module, target, contnode)
    if hasattr(builtins, target):
        return contnode
    objects = env.get_domain("py").objects  # type: ignore[attr-defined]  # only the Python domain has it
    for full in (target, *(f"{package}.{target}" for package in PACKAGES)):
        if full in objects:
            return make_link(app, node, objects[full], contnode)
    # A type in a signature that only checkers know; a name in backticks that is no public one.
    return contnode if node.get("reftype") == "obj" or target in annotation_names else None


def python_link(module: str, target: str, contnode: nodes.Element) -> nodes.Element:
    """A link to Python's own manual, made without asking for its index."""
    from docutils import nodes

    anchor = target if target != module else f"module-{module}"
    uri = f"https://docs.python.org/3/library/{module}.html#{anchor}"
    return nodes.reference("", "", contnode, internal=False, refuri=uri)


def make_link(app: Sphinx, node: pending_xref, found: Any, contnode: nodes.Element) -> nodes.Element:
    """The link itself."""
    from sphinx.util.nodes import make_refnode

    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, contnode, node["reftarget"])


def setup(app: Sphinx) -> None:
    """Hook it all into the build."""
    app.connect("missing-reference", link)
