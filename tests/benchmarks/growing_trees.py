# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scenarios for `growth.py`: trees of chunks."""

from __future__ import annotations

import io

from growing import Steps, scenario
from tree import talloc_build

from talloc_py import (
    TALLOC_CTX,
    TALLOC_FREE,
    talloc,
    talloc_array,
    talloc_asprintf_append_buffer,
    talloc_free,
    talloc_free_children,
    talloc_new,
    talloc_parent,
    talloc_pool,
    talloc_realloc,
    talloc_reference,
    talloc_report_full,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_set_name,
    talloc_stackframe,
    talloc_steal,
    talloc_strdup,
    talloc_strdup_append_buffer,
    talloc_total_blocks,
    talloc_total_size,
    talloc_unlink,
    uint8_t,
)

MILLION = (1_000, 10_000, 100_000, 1_000_000)


class node(TALLOC_CTX):
    """Anything."""

    __slots__ = ()


@scenario(*MILLION)
def tree(steps: Steps, size: int) -> None:
    """A tree, ten children each."""
    top = talloc_new(None)
    with steps("built"):
        talloc_build(top, size)
    with steps("counted"):
        assert talloc_total_blocks(top) > size
    with steps("freed"):
        talloc_free(top)


@scenario(*MILLION)
def chain(steps: Steps, size: int) -> None:
    """A chain, each the child of the one before."""
    top = last = talloc_new(None)
    with steps("built"):
        for _ in range(size):
            last = talloc(last, node)
    with steps("counted"):
        assert talloc_total_size(top) >= 0
    with steps("freed"):
        talloc_free(top)


@scenario(*MILLION)
def children(steps: Steps, size: int) -> None:
    """Children of one chunk."""
    top = talloc_new(None)
    with steps("built"):
        for _ in range(size):
            talloc(top, node)
    with steps("freed at once"):
        talloc_free_children(top)
    chunks = [talloc(top, node) for _ in range(size)]
    with steps("freed, oldest first"):
        for chunk in chunks:
            talloc_free(chunk)
    chunks = [talloc(top, node) for _ in range(size)]
    with steps("freed, newest first"):
        for chunk in reversed(chunks):
            talloc_free(chunk)
    talloc_free(top)


@scenario(1_000, 4_000, 16_000, 64_000)
def parents(steps: Steps, size: int) -> None:
    """The parent of each of many siblings."""
    top = talloc_new(None)
    chunks = [talloc(top, node) for _ in range(size)]
    with steps("asked for"):
        for chunk in chunks:
            talloc_parent(chunk)
    talloc_free(top)


@scenario()
def moved(steps: Steps, size: int) -> None:
    """Children moved from one owner to another."""
    top = talloc_new(None)
    one, two = talloc_new(top), talloc_new(top)
    chunks = [talloc(one, node) for _ in range(size)]
    with steps("moved"):
        for chunk in chunks:
            talloc_steal(two, chunk)
    with steps("freed"):
        talloc_free(top)


@scenario()
def destructors(steps: Steps, size: int) -> None:
    """Chunks with destructors."""
    top = talloc_new(None)
    with steps("built"):
        for _ in range(size):
            talloc_set_destructor(talloc(top, node), lambda ptr: 0)
    with steps("freed"):
        talloc_free(top)


@scenario()
def refusing(steps: Steps, size: int) -> None:
    """Chunks whose destructors refuse once."""
    top = talloc_new(None)
    owner = talloc_new(top)

    def refuse(ptr: node) -> int:
        talloc_set_destructor(ptr, None)
        return -1

    for _ in range(size):
        talloc_set_destructor(talloc(owner, node), refuse)
    with steps("kept"):
        talloc_free(owner)
    with steps("freed"):
        talloc_free(top)


@scenario()
def referenced(steps: Steps, size: int) -> None:
    """Chunks with a reference each."""
    top = talloc_new(None)
    one, two = talloc_new(top), talloc_new(top)
    chunks = [talloc(one, node) for _ in range(size)]
    with steps("referenced"):
        for chunk in chunks:
            talloc_reference(two, chunk)
    with steps("first owner freed"):
        talloc_free(one)
    with steps("holder freed"):
        talloc_free(two)
    talloc_free(top)


@scenario(250, 1_000, 4_000, 16_000)
def much_referenced(steps: Steps, size: int) -> None:
    """References on one chunk."""
    top = talloc_new(None)
    for order in ("oldest first", "newest first"):
        chunk = talloc(top, node)
        holders = [talloc(top, node) for _ in range(size)]
        for holder in holders:
            talloc_reference(holder, chunk)
        with steps(f"unlinked, {order}"):
            for holder in holders if order == "oldest first" else reversed(holders):
                talloc_unlink(holder, chunk)
        for holder in holders:
            talloc_reference(holder, chunk)
        with steps(f"holders freed, {order}"):
            for holder in holders if order == "oldest first" else reversed(holders):
                talloc_free(holder)
        talloc_free(chunk)
    chunk = talloc(top, node)
    holders = [talloc(top, node) for _ in range(size)]
    with steps("referenced"):
        for holder in holders:
            talloc_reference(holder, chunk)
    with steps("freed"):
        talloc_free(top)


@scenario()
def strings(steps: Steps, size: int) -> None:
    """Strings made and named."""
    top = talloc_new(None)
    with steps("made"):
        chunks = [talloc_strdup(top, "text") for _ in range(size)]
    with steps("named"):
        for chunk in chunks:
            talloc_set_name(chunk, "%s %d", "number", 5)
    with steps("freed"):
        talloc_free(top)


@scenario(grows=dict.fromkeys(("appended", "appended by a format"), "each is a new str"))
def appended(steps: Steps, size: int) -> None:
    """Pieces of ten bytes appended to one string."""
    top = talloc_new(None)
    text = talloc_strdup(top, "")
    with steps("appended"):
        for _ in range(size):
            text = talloc_strdup_append_buffer(text, "ten bytes.")
    text = talloc_strdup(top, "")
    with steps("appended by a format"):
        for _ in range(size):
            text = talloc_asprintf_append_buffer(text, "%s", "ten bytes.")
    talloc_free(top)


@scenario()
def array(steps: Steps, size: int) -> None:
    """An array that grows by one."""
    top = talloc_new(None)
    pointers = talloc_array(top, node, 0)
    with steps("of pointers"):
        for count in range(1, size + 1):
            pointers = talloc_realloc(top, pointers, node, count)
    numbers = talloc_array(top, uint8_t, 0)
    with steps("of bytes"):
        for count in range(1, size + 1):
            numbers = talloc_realloc(top, numbers, uint8_t, count)
    talloc_free(top)


@scenario()
def pool(steps: Steps, size: int) -> None:
    """Chunks of a pool."""
    top = talloc_pool(None, 200 * size)
    with steps("built"):
        chunks = [talloc(top, node) for _ in range(size)]
    with steps("freed"):
        for chunk in chunks:
            talloc_free(chunk)
    talloc_free(top)


@scenario()
def limited(steps: Steps, size: int) -> None:
    """Chunks below a limit."""
    top = talloc_new(None)
    talloc_set_memlimit(top, 0)
    one, two = talloc_new(top), talloc_new(top)
    with steps("built"):
        chunks = [talloc(one, node) for _ in range(size)]
    with steps("moved"):
        for chunk in chunks:
            talloc_steal(two, chunk)
    with steps("freed"):
        talloc_free(top)


@scenario(100, 300, 1_000, 5_000)
def frames(steps: Steps, size: int) -> None:
    """Stack frames inside each other."""
    with steps("made"):
        stack = [talloc_stackframe() for _ in range(size)]
    with steps("freed"):
        while stack:
            TALLOC_FREE(stack.pop())


@scenario()
def report(steps: Steps, size: int) -> None:
    """A report of a tree."""
    top = talloc_new(None)
    talloc_build(top, size)
    with steps("written"):
        talloc_report_full(top, io.StringIO())
    talloc_free(top)
