# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The ordinary case, which has code of its own: one chunk without anything rare is made, or freed.

Each way to free has to do the same: `talloc_free`, `TALLOC_FREE`, and what the libraries above call.
"""

from __future__ import annotations

import copy
import gc
import sys
import weakref

import pytest

import talloc_py as t
from talloc_py._chunk import LEFT
from talloc_py._walk import check_invariants
from talloc_py.core import abort_errors, caller, chunk, chunk_of, free_chunk, library_destructors


def named(parent, name):
    return t.talloc_named_const(parent, 0, name)


# Ways to free: each gives the result and the number of the line that did it.


def by_function(ptr):
    return t.talloc_free(ptr), sys._getframe().f_lineno


def by_macro(ptr):
    return t.TALLOC_FREE(ptr), sys._getframe().f_lineno


def by_library(ptr):
    return free_chunk(chunk_of(ptr), caller(0)), sys._getframe().f_lineno


@pytest.fixture(params=[by_function, by_macro, by_library])
def free(request):
    """A way to free; gives talloc_free()'s result, None where it gives none."""
    return lambda ptr: request.param(ptr)[0]


def order(owner):
    """The children of *owner*, as reports have them."""
    seen = []
    t.talloc_report_depth_cb(owner, 0, 1, lambda ptr, *_rest: seen.append(id(ptr)), None)
    assert seen.pop(0) == id(owner)
    return seen


def is_dead(ptr, aborts):
    """Whether the use of *ptr* is an access after free."""
    del aborts[:]
    t.talloc_get_size(ptr)
    return aborts == ["Bad talloc magic value - access after free"]


class Hostile:
    """An answer whose every method raises."""

    def __eq__(self, other):
        raise AssertionError("compared")

    def __ne__(self, other):
        raise AssertionError("compared")

    def __bool__(self):
        raise AssertionError("asked for its truth")

    __hash__ = None  # type: ignore[assignment]


class TestAnswers:
    @pytest.mark.parametrize("answer", [None, 0, 1, -2, False, True, "no", -1.0, Hostile()], ids=repr)
    def test_agreed(self, free, aborts, answer):
        """All but the number -1 agrees, and is looked at without calling a method of it."""
        asked = []
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda ptr: (asked.append(ptr), answer)[1])
        assert free(a) in (0, None)
        assert len(asked) == 1
        assert asked[0] is a
        assert is_dead(a, aborts)

    def test_refused(self, free, aborts):
        """-1 leaves the chunk as it is, its destructor included."""
        answers = [-1, 0]
        top = named(None, "top")
        a = named(top, "a")
        t.talloc_set_destructor(a, lambda _p: answers.pop(0))
        assert free(a) in (-1, None)
        assert t.talloc_parent(a) is top
        assert free(a) in (0, None)
        assert answers == []
        assert is_dead(a, aborts)

    def test_refused_by_one_that_sets_another(self, free):
        """The other one stays."""
        asked = []
        a = named(None, "a")

        def refuse(ptr):
            t.talloc_set_destructor(ptr, asked.append)
            return -1

        t.talloc_set_destructor(a, refuse)
        free(a)
        assert asked == []
        free(a)
        assert len(asked) == 1

    def test_raised(self, free, aborts, monkeypatch):
        """It is reported and counts as agreed."""
        seen = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(args.exc_type))
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: 1 // 0)
        assert free(a) in (0, None)
        assert seen == [ZeroDivisionError]
        assert is_dead(a, aborts)

    def test_raised_by_a_library(self, free, monkeypatch):
        """What a library's destructor may raise leaves the free, and counts as a refusal."""

        class library_error(RuntimeError):
            pass

        def destructor(_p):
            raise library_error

        monkeypatch.setattr("talloc_py._free.abort_errors", [*abort_errors, library_error])
        monkeypatch.setattr("talloc_py._free.library_destructors", library_destructors | {destructor})
        top = named(None, "top")
        a = named(top, "a")
        t.talloc_set_destructor(a, destructor)
        for _attempt in range(2):
            with pytest.raises(library_error):
                free(a)
            assert t.talloc_parent(a) is top
            check_invariants(chunk_of(top))


class TestBusyDestructors:
    def test_free_again(self, free, aborts):
        """A free from inside the destructor is refused, and the destructor is not called again."""
        results = []
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda ptr: results.append(t.talloc_free(ptr)))
        free(a)
        assert results == [-1]
        assert is_dead(a, aborts)

    @pytest.mark.parametrize("has_older", [False, True])
    @pytest.mark.parametrize("has_younger", [False, True])
    def test_free_itself(self, free, aborts, has_older, has_younger):
        """A destructor that takes itself off can free the chunk; what is left for the outer free is nothing."""
        top = named(None, "top")
        siblings = [named(top, "older")] if has_older else []
        a = named(top, "a")
        siblings += [named(top, "younger")] if has_younger else []
        results = []

        def destructor(ptr):
            t.talloc_set_destructor(ptr, None)
            results.append(t.talloc_free(ptr))

        t.talloc_set_destructor(a, destructor)
        assert free(a) in (0, None)
        assert results == [0]
        assert is_dead(a, aborts)
        check_invariants(chunk_of(top))
        assert t.talloc_total_blocks(top) == 1 + len(siblings)

    def test_free_the_owner(self, free, aborts):
        """A destructor that takes itself off can free the owner; the chunk goes with it."""
        top = named(None, "top")
        owner = named(top, "owner")
        a = named(owner, "a")

        def destructor(ptr):
            t.talloc_set_destructor(ptr, None)
            t.talloc_free(owner)

        t.talloc_set_destructor(a, destructor)
        assert free(a) in (0, None)
        assert is_dead(a, aborts)
        assert is_dead(owner, aborts)
        assert t.talloc_total_blocks(top) == 1

    def test_new_children(self, free, aborts):
        """What the destructor allocates on the chunk goes with it."""
        gone = []
        top = named(None, "top")
        a = named(top, "a")

        def destructor(ptr):
            child = named(ptr, "child")
            t.talloc_set_destructor(child, lambda _p: gone.append("child"))

        t.talloc_set_destructor(a, destructor)
        assert free(a) in (0, None)
        assert gone == ["child"]
        assert is_dead(a, aborts)
        assert t.talloc_total_blocks(top) == 1

    def test_new_reference(self, free, aborts):
        """A reference that the destructor makes does not save the chunk."""
        top = named(None, "top")
        holder = named(top, "holder")
        a = named(top, "a")

        def destructor(ptr):
            assert t.talloc_reference(holder, ptr) is ptr

        t.talloc_set_destructor(a, destructor)
        assert free(a) in (0, None)
        assert is_dead(a, aborts)
        check_invariants(chunk_of(top))
        assert t.talloc_total_blocks(top) == 2

    def test_move(self, free, aborts):
        """A chunk that its destructor moves is freed where it is then."""
        top = named(None, "top")
        other = named(top, "other")
        a = named(top, "a")
        t.talloc_set_destructor(a, lambda ptr: t.talloc_steal(other, ptr) and None)
        assert free(a) in (0, None)
        assert is_dead(a, aborts)
        check_invariants(chunk_of(top))
        assert t.talloc_total_blocks(top) == 2


class TestPlace:
    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_siblings_stay_in_order(self, free, count):
        """Whichever of the siblings goes, the others keep their places."""
        for index in range(count):
            top = named(None, "top")
            children = [named(top, str(number)) for number in range(count)]
            free(children.pop(index))
            check_invariants(chunk_of(top))
            assert order(top) == [id(ptr) for ptr in reversed(children)]

    @pytest.mark.parametrize("way", [by_function, by_macro, by_library])
    @pytest.mark.parametrize("has_child", [False, True])
    def test_the_place_of_the_free_is_named(self, way, has_child, log, aborts):
        """With children or without: an access afterwards says where it was."""
        a = named(None, "a")
        child = named(a, "child") if has_child else None
        _result, line = way(a)
        for dead in (a, child):
            if dead is not None:
                del log[:]
                t.talloc_get_size(dead)
                assert log[0] == f"talloc: access after free error - first free may be at {__file__}:{line}\n"

    @pytest.mark.parametrize("has_limit", [False, True])
    def test_the_free_that_did_it_is_named(self, free, log, aborts, has_limit):
        """Where the destructor has freed the chunk itself that is the place, not the free it was called from."""
        a = named(None, "a")
        lines = []

        def destructor(ptr):
            t.talloc_set_destructor(ptr, None)
            if has_limit:
                t.talloc_set_memlimit(ptr, 0)
            lines.append(by_function(ptr)[1])

        t.talloc_set_destructor(a, destructor)
        free(a)
        t.talloc_get_size(a)
        assert log[0] == f"talloc: access after free error - first free may be at {__file__}:{lines[0]}\n"

    def test_the_place_is_known_at_once(self, free, log, aborts):
        """Python code that runs when the object goes sees a dead chunk that knows where it was freed."""

        class vanishing(t.TALLOC_CTX):
            def __del__(self):
                t.talloc_get_size(self)

        for parents in (0, 1):
            top = named(None, "top")
            t.talloc(top, vanishing)
            del log[:]
            if parents:
                free(top)
            else:
                t.talloc_free_children(top)
            assert log[0].startswith("talloc: access after free error")
            assert __file__ in log[0]


class TestMemory:
    def test_goes_at_once(self, free):
        """A freed chunk holds nothing, and nothing holds it but the program."""
        top = named(None, "top")
        older = named(top, "older")

        class node(t.TALLOC_CTX):
            pass

        a = t.talloc(top, node)
        younger = named(top, "younger")
        header = chunk_of(a)
        free(a)
        others = {id(chunk_of(other)) for other in (top, older, younger)} | {id(a)}
        assert not others & {id(thing) for thing in gc.get_referents(header)}
        gone = weakref.ref(a)
        gc.disable()
        try:
            del a
            assert gone() is None
        finally:
            gc.enable()

    def test_of_a_tree_is_not_held_by_one_of_it(self, free):
        """Who keeps a chunk of a tree that was freed keeps that one alone."""
        top = named(None, "top")
        for has_destructor in (False, True):
            owner = named(top, "owner")
            chunks = [owner, *(named(owner, "child") for _number in range(3))]
            chunks.append(named(chunks[2], "grandchild"))
            if has_destructor:
                for one in chunks:
                    t.talloc_set_destructor(one, lambda _p: 0)
            headers = [chunk_of(one) for one in chunks]
            free(owner)
            for header in headers:
                held = [thing for thing in gc.get_referents(header) if thing is not LEFT]
                assert not [thing for thing in held if isinstance(thing, (chunk, t.TALLOC_CTX))]
                assert not [thing for thing in held if getattr(thing, "__name__", "") == "<lambda>"]

    def test_of_a_tree_goes_at_once(self, free):
        """So with all that is below."""

        class node(t.TALLOC_CTX):
            pass

        top = t.talloc(None, node)
        level = [top]
        everything = [weakref.ref(top)]
        for _depth in range(3):
            level = [t.talloc(parent, node) for parent in level for _number in range(3)]
            everything += [weakref.ref(one) for one in level]
        del level
        gc.disable()
        try:
            free(top)
            del top
            assert {gone() for gone in everything} == {None}
        finally:
            gc.enable()

    def test_code_that_runs_when_an_object_goes_can_change_the_tree(self, free, aborts):
        """It frees and moves siblings of the chunk that is going, and makes new ones: all are met once."""
        top = named(None, "top")
        owner = named(top, "owner")
        gone = []

        class node(t.TALLOC_CTX):
            number: int

            def __del__(self):
                gone.append(self.number)
                if self.number == 4:
                    t.talloc_free(chunks.pop(3))
                    t.talloc_steal(top, chunks[1])
                    named(owner, "late")

        chunks = {}
        for number in range(5):
            chunks[number] = t.talloc(owner, node)
            chunks[number].number = number
        del chunks[4], chunks[2], chunks[0]
        free(owner)
        assert gone == [4, 3, 2, 0]
        assert t.talloc_parent(chunks[1]) is top
        check_invariants(chunk_of(top))
        assert t.talloc_total_blocks(top) == 2
        assert is_dead(owner, aborts)
        t.talloc_free(top)


class moody(t.TALLOC_CTX):
    """Its attributes cannot be read."""

    def __getattr__(self, name):
        raise LookupError(name)


class with_init(t.TALLOC_CTX):
    def __init__(self):
        self.child = named(self, "child")


@pytest.mark.parametrize(
    "make",
    [t.talloc_new, *(lambda ctx, f=f, c=c: f(ctx, c) for f in (t.talloc, t.talloc_zero) for c in (moody, with_init))],
)
class TestOwners:
    def test_newest_first(self, make):
        """A new chunk is the first child; its siblings know it."""
        top = named(None, "top")
        first, second, third = (make(top) for _number in range(3))
        check_invariants(chunk_of(top))
        assert order(top) == [id(third), id(second), id(first)]

    def test_none(self, make):
        """At top level, or below null_context."""
        assert t.talloc_parent(make(None)) is None
        t.talloc_enable_null_tracking()
        assert t.talloc_parent_name(make(None)) == "null_context"

    def test_an_owner_that_cannot_be_read(self, make):
        """A chunk is one whatever its class does with attributes."""
        owner = t.talloc(None, moody)
        assert t.talloc_parent(make(owner)) is owner

    def test_no_owner(self, make, aborts):
        """What is no chunk cannot own one."""
        assert make(moody()) is None
        assert make(copy.copy(t.talloc_new(None))) is None
        assert aborts == ["Bad talloc magic value - unknown value"] * 2
        for owner in (1, "text", []):
            with pytest.raises(TypeError):
                make(owner)

    def test_a_dead_owner(self, make, aborts):
        """It aborts, and nothing is made."""
        owner = named(None, "owner")
        t.talloc_free(owner)
        assert make(owner) is None
        assert aborts == ["Bad talloc magic value - access after free"]

    def test_a_limit(self, make):
        """Below a memory limit a new chunk is refused when there is no room."""
        owner = named(None, "owner")
        t.talloc_set_memlimit(owner, 96 + 95)
        assert make(owner) is None
        assert t.talloc_total_blocks(owner) == 1
        t.talloc_set_memlimit(owner, 0)
        assert t.talloc_parent(make(owner)) is owner
