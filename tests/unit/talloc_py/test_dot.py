# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tree of ownership in the language of Graphviz."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_named_const,
    talloc_new,
    talloc_reference,
    talloc_set_name_const,
    talloc_size,
    talloc_strdup,
    talloc_unlink,
)
from talloc_py.diagnostics import forget_births, remember_births
from talloc_py.dot import ownership_dot, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot of Graphviz is not installed")


def named(ctx: TALLOC_CTX | None, name: str) -> TALLOC_CTX:
    """An empty chunk with a name."""
    made = talloc_named_const(ctx, 0, name)
    assert made is not None
    return made


@pytest.fixture
def top() -> Iterator[TALLOC_CTX]:
    """The root of a tree."""
    ctx = named(None, "top")
    yield ctx
    talloc_free(ctx)


def graph(text: str) -> tuple[list[str], set[tuple[str, str]], set[tuple[str, str]]]:
    """The first lines of the labels; the arrows by label, and the dashed ones."""
    labels = dict(re.findall(r'^  (chunk\d+) \[label="(.*?)(?:\\n.*)?"\];$', text, re.MULTILINE))
    owned = re.findall(r"^  (chunk\d+) -> (chunk\d+);$", text, re.MULTILINE)
    referred = re.findall(r"^  (chunk\d+) -> (chunk\d+) \[style=dashed, label=reference\];$", text, re.MULTILINE)
    lines = text.count("->")
    assert lines == len(owned) + len(referred), "an arrow that is written in another way"
    return (
        list(labels.values()),
        {(labels[a], labels[b]) for a, b in owned},
        {(labels[a], labels[b]) for a, b in referred},
    )


def test_owners_and_references(top: TALLOC_CTX) -> None:
    """A node a chunk, an arrow to each that it owns, a dashed one to each that it refers to."""
    one, two = named(top, "one"), named(top, "two")
    below = named(one, "below")
    talloc_reference(two, below)
    names, owned, referred = graph(ownership_dot(top))
    assert sorted(names) == ["below", "one", "top", "two"]
    assert owned == {("top", "one"), ("top", "two"), ("one", "below")}
    assert referred == {("two", "below")}


def test_reference_to_the_outside(top: TALLOC_CTX) -> None:
    """What is only referred to is a node too, without what is below it."""
    other = named(None, "other")
    named(other, "its own")
    talloc_reference(top, other)
    names, owned, referred = graph(ownership_dot(top))
    assert names == ["top", "other"]
    assert (owned, referred) == (set(), {("top", "other")})
    talloc_unlink(top, other)
    talloc_free(other)


def test_several_roots_and_depth(top: TALLOC_CTX) -> None:
    """A chunk that two roots lead to stands there once; the depth is that of a report."""
    one = named(top, "one")
    named(named(one, "two"), "three")
    names, owned, _ = graph(ownership_dot(top, one, max_depth=1))
    assert names == ["top", "one", "two"]
    assert owned == {("top", "one"), ("one", "two")}
    assert graph(ownership_dot())[0] == []


def test_labels(top: TALLOC_CTX) -> None:
    """Name and size; in debug mode the place that made it."""
    talloc_set_name_const(talloc_size(top, 12), "twelve")
    assert r'[label="twelve\n12 bytes' in ownership_dot(top)
    remember_births()
    try:
        talloc_strdup(top, "text")
    finally:
        forget_births()
    assert rf'[label="text\n5 bytes\nmade at {__file__}:' in ownership_dot(top)


NASTY = 'quote " backslash \\ line\nend \\n { } | < > & \x00\x07 \udcff ä 漢'


def test_quoting() -> None:
    """Quotes, backslashes, line ends; what cannot be shown becomes an escape that is visible as such."""
    assert quoted(NASTY) == ('"quote \\" backslash \\\\ line\\nend \\\\n { } | < > & \\\\x00\\\\x07 \\\\udcff ä 漢"')


@needs_dot
def test_graphviz_reads_it(top: TALLOC_CTX) -> None:
    """The program itself takes the text, and shows the name of a chunk as it is."""
    named(top, NASTY.replace("\x00", ""))
    run = subprocess.run(["dot", "-Tplain"], input=ownership_dot(top), capture_output=True, text=True, check=True)
    assert len(re.findall("^node ", run.stdout, re.MULTILINE)) == 2
    assert len(re.findall("^edge ", run.stdout, re.MULTILINE)) == 1
    assert run.stderr == ""


def test_dead_root(top: TALLOC_CTX) -> None:
    """A freed chunk is a use after free."""
    dead = talloc_new(top)
    assert dead is not None
    talloc_free(dead)
    with pytest.raises(talloc_abort_error, match="access after free"):
        ownership_dot(dead)
