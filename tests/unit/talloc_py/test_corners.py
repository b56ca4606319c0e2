# SPDX-License-Identifier: LGPL-3.0-or-later
"""Corners that came to light when random programs were compared with the real library."""

from __future__ import annotations

import pytest

import talloc_py as t


class TestEmptyNames:
    """A name without a character is a name."""

    def test_is_not_taken_for_none_at_all(self):
        """An empty string is called "", not "UNNAMED"."""
        empty = t.talloc_strdup(None, "")
        assert t.talloc_get_name(empty) == ""
        assert t.talloc_check_name(empty, "") is empty
        assert t.talloc_check_name(empty, "UNNAMED") is None

    def test_in_a_type_mismatch(self, aborts):
        """The message of a mismatch shows it as it is."""
        assert t.talloc_get_type_abort(t.talloc_strdup(None, ""), int) is None
        assert aborts[0].endswith("Type mismatch: name[] expected[int]")


class TestLoopsOfOwners:
    """A chunk may end below its own descendant; then nothing may hang or be left half dead."""

    def test_freeing_the_children_of_a_chunk_that_is_one_of_them(self):
        """talloc_free_children() of a chunk in a loop frees the whole loop, itself too."""
        top = t.talloc_new(None)
        below = t.talloc_new(top)
        other = t.talloc_new(below)
        t.talloc_steal(below, top)
        t.talloc_free_children(below)
        for chunk in (top, below, other):
            with pytest.raises(t.talloc_abort_error, match="access after free"):
                t.talloc_get_size(chunk)

    def test_a_memory_limit_that_would_count_for_itself(self):
        """Stealing a limited context's owner into it ends, and so does what is allocated there afterwards."""
        top = t.talloc_new(None)
        limited = t.talloc_new(top)
        t.talloc_set_memlimit(limited, 1000)
        t.talloc_steal(limited, top)
        assert t.talloc_size(top, 2000) is None
        assert t.talloc_size(top, 10) is not None

    def test_moving_a_subtree_within_its_limit(self):
        """A chunk with children can be moved below the same limit."""
        limited = t.talloc_new(None)
        t.talloc_set_memlimit(limited, 2000)
        first, second = t.talloc_new(limited), t.talloc_new(limited)
        t.talloc_new(second)
        t.talloc_steal(first, second)
        assert t.talloc_parent(second) is first
        assert t.talloc_size(second, 2000) is None


class TestResizedStrings:
    """What was a string and is none any more."""

    def test_of_the_same_size_is_a_buffer(self):
        """The type that is asked for decides the kind, also where nothing else changes; the name stays."""
        buffer = t.talloc_realloc(None, t.talloc_strdup(None, "abc"), t.uint8_t, 4)
        assert type(buffer) is t.array.talloc_buffer
        assert buffer == b"abc\0"
        assert t.talloc_get_name(buffer) == "abc"

    def test_of_the_same_type_is_itself(self):
        """Nothing changes, so nothing is made."""
        string = t.talloc_strdup(None, "abc")
        assert t.talloc_realloc(None, string, t.char, 4) is string

    def test_an_array_of_numbers_keeps_the_name(self):
        """Where C leaves the memory alone the name is left too, although numbers have no text."""
        numbers = t.talloc_realloc(None, t.talloc_strdup(None, "abc"), int, 1)
        assert t.talloc_get_name(numbers) == "abc"


class TestAutofree:
    def test_asked_for_while_it_dies(self):
        """A destructor below the dying context gets another one."""
        seen: list[object] = []
        autofree = t.talloc_autofree_context()
        t.talloc_set_destructor(t.talloc_new(autofree), lambda _ptr: seen.append(t.talloc_autofree_context()))
        t.talloc_free(autofree)
        assert len(seen) == 1
        assert seen[0] is not autofree
        assert seen[0] is t.talloc_autofree_context()

    def test_a_reference_that_nobody_holds_is_moved_when_tracking_begins(self):
        """Owned by somebody, the context stays there, and the null_context gets the reference."""
        autofree = t.talloc_autofree_context()
        owner = t.talloc_new(None)
        t.talloc_increase_ref_count(autofree)
        t.talloc_steal(owner, autofree)
        t.talloc_enable_null_tracking()
        assert t.talloc_parent(autofree) is owner
        assert t.talloc_total_blocks(None) == 2
        assert t.talloc_unlink(None, autofree) == 0
        t.talloc_free(owner)


class TestResizedInAPool:
    def test_shrinking_by_more_than_the_padding_moves_the_last_member(self):
        """Below a limit nothing shrinks in place, not even the last member of a pool: it is new memory, and renamed."""
        pool = t.talloc_pool(None, 4000)
        t.talloc_set_memlimit(pool, 10000)
        t.talloc_new(pool)
        last = t.talloc_size(pool, 1025)
        assert t.talloc_get_name(t.talloc_realloc(None, last, t.uint8_t, 64)) == "uint8_t"


class TestStack:
    def test_a_frame_that_a_limit_refuses(self, aborts):
        """C panics, so the abort function is called; None if that returns."""
        frame = t.talloc_stackframe()
        t.talloc_set_memlimit(frame, 1)
        assert t.talloc_stackframe() is None
        assert t.talloc_tos() is frame
        assert aborts == ["talloc_stackframe failed"]
        t.talloc_free(frame)

    def test_a_frame_that_is_pushed_while_another_above_the_freed_one_goes(self):
        """The frame that goes is still on the stack while its children's destructors run: they push on top of it."""
        seen: list[object] = []
        outer = t.talloc_stackframe()
        inner = t.talloc_stackframe_pool(100)

        def pushes(_ptr: object) -> None:
            seen.append(t.talloc_parent(t.talloc_stackframe()))

        t.talloc_set_destructor(t.talloc_new(inner), pushes)
        t.talloc_free(outer)
        assert seen == [inner]
        assert not t.talloc_stackframe_exists()
