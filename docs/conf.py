# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Sphinx settings, and the generator of the reference.

Every public name of the three packages gets its entry: the pages under ``api/`` are written here, when a build begins,
from ``__all__``, so none can be forgotten. A name in single backticks links to its entry, from any page and docstring;
one that is no public name is set as code. Whatever does not resolve otherwise is an error (``nitpicky``).
"""

from __future__ import annotations

import builtins
import enum
import importlib
import importlib.util
import inspect
import pathlib
import sys
from typing import TYPE_CHECKING, Any

HERE = pathlib.Path(__file__).resolve().parent
if importlib.util.find_spec("tsocket") is None:  # not installed: a checkout
    sys.path.insert(0, str(HERE.parent))

if TYPE_CHECKING:
    from types import ModuleType

    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "tsocket"
author = "the tsocket authors"
project_copyright = "the tsocket authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "tsocket"
exclude_patterns = ["_build"]
nitpicky = True
default_role = "py:obj"
add_module_names = False
python_use_unqualified_type_names = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Headings whose text is prose: without this, "-1: the reason" below Returns would be taken for a type and its meaning.
napoleon_custom_sections = ["Returns", "Raises", "Callbacks", "Ownership", "Note"]
# The name that type checkers have for "any bytes-like object"; nothing to link to.
nitpick_ignore = [("py:class", "ReadableBuffer")]

PACKAGES = ("talloc_py", "tevent", "tsocket")


# ----------------------------------------------------------------------------------------------- the reference pages


def home_of(package: ModuleType, name: str) -> str:
    """The module that *name* is written in; a plain constant does not know, so the modules are asked."""
    thing = getattr(package, name)
    module = getattr(thing, "__module__", None)
    if isinstance(module, str) and module.split(".")[0] in PACKAGES and not isinstance(thing, enum.Enum):
        return module
    prefix = package.__name__ + "."
    for each in sorted(key for key in sys.modules if key.startswith(prefix)):
        if name in getattr(sys.modules[each], "__all__", ()):
            return each
    return package.__name__


def entry(package: ModuleType, name: str) -> list[str]:
    """The lines that document one name."""
    thing = getattr(package, name)
    if inspect.isclass(thing):
        lines = [f".. autoclass:: {package.__name__}.{name}"]
        if issubclass(thing, enum.Enum):
            lines += ["", "   Members: " + ", ".join(f"`{each.name}`" for each in thing) + "."]
        return [*lines, ""]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {package.__name__}.{name}", ""]
    value = int(thing) if isinstance(thing, int) else thing
    lines = [f".. py:data:: {name}", f"   :value: {value!r}", ""]
    if isinstance(thing, enum.Enum):
        lines += [f"   Member of `{type(thing).__name__}`.", ""]
    return lines


def summary(module: ModuleType) -> str:
    """The first line of a module's docstring."""
    text = (module.__doc__ or module.__name__).strip()
    return text.split("\n\n")[0].replace("\n", " ")


def write_reference(app: Sphinx) -> None:
    """Write a page a package: its names by module, in the order of ``__all__``."""
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        mine = [name for name in package.__all__ if home_of(package, name).split(".")[0] == package_name]
        lines = [package_name, "=" * len(package_name), "", summary(package), ""]
        for module_name in dict.fromkeys(home_of(package, name) for name in mine):
            module = importlib.import_module(module_name)
            lines += [module_name, "-" * len(module_name), "", summary(module), ""]
            lines += [f".. py:currentmodule:: {package_name}", ""]
            for name in mine:
                if home_of(package, name) == module_name:
                    lines += entry(package, name)
        again = [name for name in package.__all__ if name not in mine]
        if again:
            lines += ["Exported again", "--------------", "", ", ".join(f"`{name}`" for name in again) + ".", ""]
        page, text = HERE / "api" / f"{package_name}.rst", "\n".join(lines)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


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
    return contnode if node.get("reftype") == "obj" else None


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


def check_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name must have become an entry under the name that users know it by."""
    from sphinx.util import logging

    objects = env.get_domain("py").objects  # type: ignore[attr-defined]
    for package_name in PACKAGES:
        for name in importlib.import_module(package_name).__all__:
            if not any(f"{each}.{name}" in objects for each in PACKAGES):
                logging.getLogger(__name__).warning("%s.%s is not in the reference", package_name, name)


def setup(app: Sphinx) -> None:
    """Hook it all into the build."""
    app.connect("builder-inited", write_reference)
    app.connect("missing-reference", link)
    app.connect("env-check-consistency", check_complete)
