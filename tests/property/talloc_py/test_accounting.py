# SPDX-License-Identifier: LGPL-3.0-or-later
"""What limits and pools have on their books, against sums made anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import talloc_py as t
from talloc_py.core import chunk_of

HEADER = 96
steps = st.lists(
    st.tuples(
        st.sampled_from(["size", "string", "free", "realloc", "nested"]), st.integers(0, 10**6), st.integers(0, 3000)
    ),
    max_size=40,
)


def charged(root):
    """The bytes of C below a chunk, headers included."""
    return t.talloc_total_size(root) + HEADER * t.talloc_total_blocks(root)


@given(steps, st.integers(0, 20_000))
def test_a_limit_counts_what_there_is(todo, max_size):
    """After each step cur_size is the sum of what lives, and never above the limit unless it was at the start."""
    root = t.talloc_named_const(None, 0, "root")
    t.talloc_set_memlimit(root, max_size)
    limit = chunk_of(root).extra.limit
    live = [root]
    for what, number, size in todo:
        victim = live[number % len(live)]
        before = charged(root)
        if what == "size":
            made = t.talloc_size(victim, size)
        elif what == "string":
            made = t.talloc_strdup(victim, "x" * size)
            size += 1
        elif what == "realloc" and victim is not root:
            old = t.talloc_get_size(victim)
            made = t.talloc_realloc_size(None, victim, size + 1)
            if made is None:
                assert before - old + size + 1 > max_size
            else:
                live[number % len(live)] = made
            made = victim
        elif what == "nested":
            made = victim if t.talloc_set_memlimit(victim, max_size) == 0 else None
        elif what == "free" and victim is not root:
            assert t.talloc_free(victim) == 0
            live = [p for p in live if p._talloc_chunk.obj is p]
            made = root
        else:
            continue
        if what in ("size", "string"):
            if made is None:
                assert max_size
                assert before + HEADER + size > max_size
            else:
                live.append(made)
        assert limit.cur_size == charged(root)
        for p in live:
            own = chunk_of(p).extra.limit
            if own.owner is chunk_of(p):
                assert own.cur_size == charged(p)


@given(steps, st.integers(0, 4000))
def test_a_pool_is_never_overdrawn(todo, space):
    """Members lie in the pool without overlap; an empty pool is all free again."""
    pool = t.talloc_pool(None, space)
    books = chunk_of(pool).extra.pool
    live = []
    for what, number, size in todo:
        if what in ("free", "realloc") and live:
            victim = live.pop(number % len(live))
            if what == "free":
                t.talloc_free(victim)
            else:
                live.append(t.talloc_realloc_size(None, victim, size + 1))
        else:
            live.append(t.talloc_size(pool, size))
        members = [chunk_of(p).extra for p in live if chunk_of(p).extra is not None and chunk_of(p).extra.member]
        members.sort(key=lambda extra: extra.start)
        assert books.count == len(members) + 1
        end = 0
        for extra in members:
            assert extra.start >= end
            end = extra.start + (HEADER + extra.size + 15) // 16 * 16
        assert end <= books.end <= max(books.size, 0)
        if not members:
            assert books.end == 0
