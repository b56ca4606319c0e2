# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The reference, written from the packages when a build begins.

Every public name of ``__all__`` gets its entry, on a page for each module, so none can be forgotten; a page lists all
names with their signatures; and ``man/NAME.html`` leads to the entry of a name, whichever page it is on.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pathlib
import re
import sys
from typing import TYPE_CHECKING, Any

from signatures import names_for_checkers, signatures_of

if TYPE_CHECKING:
    from types import ModuleType

    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

__all__ = ["PACKAGES", "annotation_names", "setup"]

HERE = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ("talloc_py", "tevent", "tsocket")
# One literal, over one line or several, and nothing else behind "C:".
PROTOTYPE = re.compile(r"C: ``([^`]+)``\.?")

# Modules of public names that C does not have, and no other page shows.
OUR_OWN = ("tevent.testing", "tsocket.testing")

annotation_names: set[str] = set()


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


def own_names(package_name: str) -> dict[str, list[str]]:
    """The names of a package by the module they are written in, both in the order of the alphabet."""
    package = importlib.import_module(package_name)
    homes: dict[str, list[str]] = {}
    for name in sorted(package.__all__, key=str.lower):
        home = home_of(package, name)
        if home.split(".")[0] == package_name:
            homes.setdefault(home, []).append(name)
    return dict(sorted(homes.items(), key=lambda item: item[0].replace("._", ".")))


def summary(module: ModuleType) -> str:
    """The first sentence of a module's docstring."""
    text = (module.__doc__ or module.__name__).strip()
    return text.split("\n\n")[0].replace("\n", " ")


def heading(text: str, line: str) -> list[str]:
    """A heading."""
    return [text, line * len(text), ""]


def write(path: pathlib.Path, lines: list[str]) -> None:
    """Write a page, unless it says the same already: then Sphinx need not read it again."""
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(lines) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------- entries


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


def write_reference(app: Sphinx) -> None:
    """Write a page a module, and a page a package that leads there."""
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        homes = own_names(package_name)
        lines = [*heading(package_name, "="), summary(package), "", ".. toctree::", "   :hidden:", ""]
        lines += [f"   {package_name}/{home.rpartition('.')[2]}" for home in homes] + [""]
        for home, names in homes.items():
            module = importlib.import_module(home)
            annotation_names.update(names_for_checkers(home))
            lines += [f":doc:`{home} <{package_name}/{home.rpartition('.')[2]}>`", f"   {summary(module)}", ""]
            page = [*heading(home, "="), summary(module), "", f".. py:currentmodule:: {package_name}", ""]
            for name in names:
                page += entry(package, name)
            write(HERE / "api" / package_name / f"{home.rpartition('.')[2]}.rst", page)
        known = {name for names in homes.values() for name in names}
        again = [name for name in package.__all__ if name not in known]
        if again:
            lines += [*heading("Exported again", "-"), ", ".join(f"`{name}`" for name in again) + ".", ""]
        write(HERE / "api" / f"{package_name}.rst", lines)


def write_own(app: Sphinx) -> None:
    """Write a page of the tools for tests."""
    lines = heading("Tools for tests", "=")
    lines += ["What C does not have. :doc:`../testing` is the guide.", ""]
    for module_name in OUR_OWN:
        module = importlib.import_module(module_name)
        lines += [*heading(module_name, "-"), summary(module), "", f".. py:currentmodule:: {module_name}", ""]
        for name in sorted(module.__all__, key=str.lower):
            if callable(getattr(module, name)):
                lines += entry(module, name)
    write(HERE / "api" / "testing.rst", lines)


def write_names(app: Sphinx) -> None:
    """Write the index of all names."""
    lines = heading("Every C name", "=")
    lines += [
        "All public names of the C libraries, with their signatures in Python.",
        "``man/NAME.html`` leads to the entry of a name as well,",
        "and ``python -m pydoc tevent.NAME`` shows it in a terminal.",
        "",
    ]
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        lines += [*heading(package_name, "-"), ".. rst-class:: c-names", ""]
        for name, home in sorted((name, home) for home, names in own_names(package_name).items() for name in names):
            lines += name_line(package, name, home)
        lines.append("")
    write(HERE / "api" / "names.rst", lines)


def name_line(package: ModuleType, name: str, home: str) -> list[str]:
    """One line of the index: what a name is and how it is called."""
    thing = getattr(package, name)
    said = f"* `~{package.__name__}.{name}`"
    if inspect.isclass(thing):
        return [f"{said} ``class``"]
    if inspect.isroutine(thing):
        return [f"{said} ``{' | '.join(str(each) for each in signatures_of(home, name)[:1])}``"]
    return [f"{said} ``= {int(thing) if isinstance(thing, int) else thing!r}``"]


# ------------------------------------------------------------------------------------------------- what autodoc shows


def show_types(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str] | None:
    """The signature that type checkers see, of a function of ours."""
    module = getattr(thing, "__module__", "") or ""
    if what != "function" or module.partition(".")[0] not in PACKAGES:
        return None
    annotation_names.update(names_for_checkers(module))
    found = signatures_of(module, thing.__name__)
    return (found[0].parameters, found[0].returns) if found else None


def show_more(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Set the C prototype as C code, and list what an overloaded function takes besides."""
    paragraphs = "\n".join(lines).split("\n\n")
    for index, paragraph in enumerate(paragraphs):
        match = PROTOTYPE.fullmatch(paragraph.strip())
        if match:
            code = " ".join(match[1].split())
            paragraphs[index] = f".. code-block:: c\n   :class: c-prototype\n   :force:\n\n   {code}"
    module = getattr(thing, "__module__", "") or ""
    if what == "function" and module.partition(".")[0] in PACKAGES:
        more = signatures_of(module, thing.__name__)[1:]
        if more:
            paragraphs[-1:] = [paragraphs[-1].rstrip(), "Also", *(f"* ``{each}``" for each in more), ""]
    lines[:] = "\n\n".join(paragraphs).split("\n")


# -------------------------------------------------------------------------------------------------- checks, redirects


def check_complete(app: Sphinx, env: BuildEnvironment) -> None:
    """Every public name must have become an entry under the name that users know it by."""
    from sphinx.util import logging

    objects = env.get_domain("py").objects  # type: ignore[attr-defined]
    for package_name in PACKAGES:
        for name in importlib.import_module(package_name).__all__:
            if not any(f"{each}.{name}" in objects for each in PACKAGES):
                logging.getLogger(__name__).warning("%s.%s is not in the reference", package_name, name)


def write_man(app: Sphinx, error: Exception | None) -> None:
    """Let ``man/NAME.html`` lead to the entry of each name."""
    if error is not None or app.builder.format != "html":
        return
    folder = pathlib.Path(app.outdir) / "man"
    folder.mkdir(exist_ok=True)
    for full, found in app.env.get_domain("py").objects.items():  # type: ignore[attr-defined]
        package, _, name = full.rpartition(".")
        if package in PACKAGES:
            target = f"../{app.builder.get_target_uri(found.docname)}#{found.node_id}"
            (folder / f"{name}.html").write_text(
                f'<!DOCTYPE html><title>{name}</title><meta http-equiv="refresh" content="0; url={target}">'
                f'<a href="{target}">{name}</a>\n',
                encoding="utf-8",
            )


def setup(app: Sphinx) -> dict[str, bool]:
    """Hook it all into the build."""
    app.connect("builder-inited", write_reference)
    app.connect("builder-inited", write_names)
    app.connect("builder-inited", write_own)
    app.connect("autodoc-process-signature", show_types)
    # After the extension that understands the sections of a docstring.
    app.connect("autodoc-process-docstring", show_more, priority=900)
    app.connect("env-check-consistency", check_complete)
    app.connect("build-finished", write_man)
    return {"parallel_read_safe": False}
