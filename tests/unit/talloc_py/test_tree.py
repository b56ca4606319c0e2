# SPDX-License-Identifier: LGPL-3.0-or-later
"""Names, owners, moving, references, tracking of chunks without an owner, stack frames, secrets."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

import talloc_py as t
from talloc_py._walk import check_invariants
from talloc_py.core import chunk_of

C = t.TALLOC_CTX


class foo_state(C):
    a: int


def named(parent, name):
    return t.talloc_named_const(parent, 0, name)


def here(offset=0):
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno + offset}"


class TestNames:
    def test_set_name(self):
        """The name is a child string called .name; earlier ones stay."""
        a = named(None, "a")
        name = t.talloc_set_name(a, "x%d", 1)
        assert (name, t.talloc_get_name(a), t.talloc_get_name(name), t.talloc_parent(name)) == ("x1", "x1", ".name", a)
        t.talloc_set_name(a, "two")
        assert t.talloc_total_blocks(a) == 3
        t.talloc_free(name)
        assert t.talloc_get_name(a) == "two"

    def test_name_outlives_its_string(self):
        """Freed or stolen away, the name stays what it was."""
        a = named(None, "a")
        name = t.talloc_set_name(a, "kept")
        t.talloc_free(name)
        assert t.talloc_get_name(a) == "kept"

    def test_unnamed(self):
        """None makes unnamed: "UNNAMED" to those who ask, None as the name of a parent."""
        a = named(None, "a")
        b = named(a, "b")
        t.talloc_set_name_const(a, None)
        assert t.talloc_get_name(a) == "UNNAMED"
        assert t.talloc_check_name(a, "UNNAMED") is a
        assert t.talloc_parent_name(b) is None
        assert t.talloc_find_parent_byname(b, "UNNAMED") is None
        assert t.talloc_get_type(a, foo_state) is None

    def test_up_to_the_first_nul(self):
        """A name ends where a C string does."""
        a = named(None, "a\0b")
        assert t.talloc_get_name(a) == "a"
        assert t.talloc_get_name(t.talloc_asprintf(None, "a%cb", 0)) == "a"

    def test_types(self):
        """Only names count: same name matches, a subclass does not."""
        p = t.talloc(None, foo_state)
        other = type("foo_state", (C,), {})
        derived = type("derived", (foo_state,), {})
        assert t.talloc_get_type(p, other) is p
        assert t.talloc_get_type(p, derived) is None
        assert t.talloc_get_type_abort(p, other) is p
        t.talloc_set_type(p, derived)
        assert t.talloc_get_name(p) == "struct derived"
        t.talloc_set_name_const(p, "struct foo_state")
        assert t.talloc_get_type(p, foo_state) is p
        s = t.talloc_strdup(None, "char")
        assert t.talloc_get_type(t.talloc_strdup(None, "x"), t.char) is None
        assert t.talloc_get_type(s, t.char) is s
        t.talloc_set_type(p, foo_state | None)
        assert t.talloc_get_name(p) == "struct foo_state *"

    def test_mismatch(self, log, aborts):
        """The reason names the place, the name and the type wanted; None is a mismatch too."""
        p = t.talloc(None, foo_state)
        assert t.talloc_get_type_abort(p, int) is None
        place = here(-1)
        assert t.talloc_get_type_abort(None, int) is None
        assert aborts == [
            f"{place}: Type mismatch: name[struct foo_state] expected[int]",
            f"{here(-3)}: Type mismatch: name[NULL] expected[int]",
        ]
        assert log == [reason + "\n" for reason in aborts]

    def test_mismatch_raises(self):
        """By default."""
        with pytest.raises(
            t.talloc_abort_error, match=r"Type mismatch: name\[a\] expected\[int\]: the chunk is a TALL"
        ):
            t.talloc_get_type_abort(named(None, "a"), int)

    def test_parents(self):
        """By name and by type, the chunk itself first."""
        top = t.talloc(None, foo_state)
        a = named(top, "a")
        b = named(a, "b")
        assert t.talloc_parent_name(b) == "a"
        assert t.talloc_parent_name(top) is None
        assert t.talloc_find_parent_byname(b, "b") is b
        assert t.talloc_find_parent_byname(b, "a") is a
        assert t.talloc_find_parent_bytype(b, foo_state) is top
        assert t.talloc_find_parent_bytype(b, int) is None

    def test_search_in_a_loop_ends(self):
        """A loop off the tree is gone round once."""
        a = named(None, "a")
        b = named(a, "b")
        t.talloc_steal(b, a)
        c = named(b, "c")
        for start in (a, b, c):
            assert t.talloc_find_parent_byname(start, "nobody") is None
            assert t.talloc_is_parent(start, named(None, "x")) == 0
        out = io.StringIO()
        t.talloc_show_parents(c, out)
        assert "'a'" in out.getvalue()


class TestOwners:
    def test_is_parent_gives_up(self):
        """An ancestor 9999 levels up is found, one 10000 up is not."""
        top = last = named(None, "top")
        chain = [top]
        for _ in range(10_000):
            last = named(last, "x")
            chain.append(last)
        assert t.talloc_is_parent(last, chain[1]) == 1
        assert t.talloc_is_parent(last, top) == 0
        assert t.talloc_is_parent(top, last) == 0
        assert t.talloc_is_parent(top, top) == 1

    def test_steal_comes_first(self):
        """Also where it already is a child."""
        top = named(None, "top")
        a, b = named(top, "a"), named(top, "b")
        assert t.talloc_steal(top, a) is a
        order = []
        t.talloc_report_depth_cb(top, 0, -1, lambda p, *_rest: order.append(p), None)
        assert order == [top, a, b]
        assert t.talloc_steal(top, a) is a
        assert t.talloc_steal(a, a) is a
        check_invariants(chunk_of(top))

    def test_move_and_top_level(self):
        """None is no owner."""
        top = named(None, "top")
        a = named(top, "a")
        assert t.talloc_move(None, a) is a
        assert t.talloc_parent(a) is None
        assert t.talloc_total_blocks(top) == 1

    def test_steal_with_references_warns(self, log):
        """Unless it stays with its owner; the move happens all the same."""
        top, other = named(None, "top"), named(None, "other")
        a = named(top, "a")
        t.talloc_reference(other, a)
        made = here(-1)
        t.talloc_steal(top, a)
        assert log == []
        t.talloc_steal(other, a)
        stolen = here(-1)
        assert log == [f"WARNING: talloc_steal with references at {stolen}\n", f"\treference at {made}\n"]
        assert t.talloc_parent(a) is other
        assert t.talloc_reference_count(a) == 1

    def test_steal_to_none_under_tracking_warns(self, log):
        """None is compared as None, also if the null_context is the parent."""
        t.talloc_enable_null_tracking_no_autofree()
        a = named(None, "a")
        t.talloc_increase_ref_count(a)
        t.talloc_steal(None, a)
        assert log[0].startswith("WARNING: talloc_steal with references")

    def test_reparent(self):
        """Ownership moves, or the newest reference of the old parent; else None."""
        top, other, third = named(None, "top"), named(None, "other"), named(None, "third")
        a = named(top, "a")
        t.talloc_reference(other, a)
        assert t.talloc_reparent(other, third, a) is a
        assert (t.talloc_total_blocks(other), t.talloc_total_blocks(third)) == (1, 2)
        assert t.talloc_reparent(other, top, a) is None
        assert t.talloc_reparent(top, other, a) is a
        assert t.talloc_parent(a) is other
        assert t.talloc_reparent(None, top, a) is None
        assert t.talloc_reparent(None, top, third) is third

    def test_loop_dies_together(self):
        """Stolen into its own child, a chunk is off the tree; freeing one frees both."""
        a = named(None, "a")
        b = named(a, "b")
        t.talloc_steal(b, a)
        assert (t.talloc_total_blocks(a), t.talloc_total_blocks(b)) == (2, 2)
        check_invariants(chunk_of(a))
        gone = []
        for p in (a, b):
            t.talloc_set_destructor(p, lambda q: gone.append(t.talloc_get_name(q)))
        assert t.talloc_free(a) == 0
        assert gone == ["a", "b"]

    def test_loop_with_a_refusal_ends(self):
        """In a loop the refusing child is its own grandparent: it goes to the top level, asked once."""
        a = named(None, "a")
        b = named(a, "b")
        t.talloc_steal(b, a)
        asked = []
        t.talloc_set_destructor(b, lambda q: asked.append(q) or -1)
        assert t.talloc_free(a) == 0
        assert (asked, t.talloc_parent(b), t.talloc_total_blocks(b)) == ([b], None, 1)


class TestReferences:
    def test_count_and_blocks(self):
        """A reference is a block without bytes."""
        top, other = named(None, "top"), named(None, "other")
        a = t.talloc_size(top, 10)
        assert t.talloc_reference(other, a) is a
        assert t.talloc_reference(other, a) is a
        assert (t.talloc_reference_count(a), t.talloc_total_blocks(other), t.talloc_total_size(other)) == (2, 3, 0)
        assert t.talloc_free(other) == 0
        assert t.talloc_reference_count(a) == 0

    def test_free_is_refused(self, log):
        """... with the places of the references, newest first."""
        top, other = named(None, "top"), named(None, "other")
        a = named(top, "a")
        t.talloc_reference(other, a)
        oldest = here(-1)
        t.talloc_reference(other, a)
        newest = here(-1)
        assert t.talloc_free(a) == -1
        free = here(-1)
        assert log == [
            f"ERROR: talloc_free with references at {free}\n",
            f"\treference at {newest}\n",
            f"\treference at {oldest}\n",
        ]

    def test_top_level_chunk_with_one_reference(self, log):
        """Its referrer becomes the owner; if nobody holds it, it is just dropped."""
        other = named(None, "other")
        a = named(None, "a")
        t.talloc_reference(other, a)
        assert t.talloc_free(a) == 0
        assert t.talloc_parent(a) is other
        b = named(None, "b")
        assert t.talloc_increase_ref_count(b) == 0
        assert t.talloc_free(b) == 0
        assert t.talloc_reference_count(b) == 0
        assert log == []

    def test_child_with_references_survives_its_parent(self):
        """It moves under the holder of the newest one; its destructor is not asked."""
        top, b, c = named(None, "top"), named(None, "b"), named(None, "c")
        child = named(top, "child")
        t.talloc_set_destructor(child, lambda _p: pytest.fail("asked"))
        t.talloc_reference(b, child)
        t.talloc_reference(c, child)
        assert t.talloc_free(top) == 0
        assert t.talloc_parent(child) is c
        assert t.talloc_reference_count(child) == 1
        t.talloc_set_destructor(child, None)

    def test_inner_and_outer_reference(self):
        """Both are consumed, and the child ends off the tree under its own descendant."""
        top, outer = named(None, "top"), named(None, "outer")
        child = named(top, "child")
        inner = named(child, "inner")
        t.talloc_reference(outer, child)
        t.talloc_reference(inner, child)
        assert t.talloc_free(top) == 0
        assert t.talloc_parent(child) is inner
        assert t.talloc_reference_count(child) == 0
        assert t.talloc_total_blocks(outer) == 1

    def test_reference_that_nobody_holds(self):
        """The child goes to the parent of the chunk that is freed."""
        grand = named(None, "grand")
        top = named(grand, "top")
        child = named(top, "child")
        t.talloc_increase_ref_count(child)
        assert t.talloc_free(top) == 0
        assert t.talloc_parent(child) is grand

    def test_unlink(self):
        """References first, then ownership; others have nothing to give up."""
        top, b, c = named(None, "top"), named(None, "b"), named(None, "c")
        a = named(top, "a")
        t.talloc_reference(b, a)
        assert t.talloc_unlink(c, a) == -1
        assert t.talloc_unlink(b, a) == 0
        assert t.talloc_unlink(b, a) == -1
        t.talloc_reference(c, a)
        assert t.talloc_unlink(top, a) == 0
        assert t.talloc_parent(a) is c
        t.talloc_set_destructor(a, lambda _p: -1)
        assert t.talloc_unlink(c, a) == -1
        t.talloc_set_destructor(a, None)
        assert t.talloc_unlink(c, a) == 0

    def test_three_held_by_nobody(self):
        """unlink(None) drops them one by one, then the owner frees."""
        root = named(None, "root")
        p = named(root, "p")
        for _ in range(3):
            t.talloc_increase_ref_count(p)
        assert [t.talloc_unlink(None, p) for _ in range(4)] == [0, 0, 0, -1]
        assert t.talloc_unlink(root, p) == 0

    def test_unlink_of_a_reference_older_than_tracking(self):
        """C looks below the null_context and does not find it."""
        top = named(None, "top")
        p = named(top, "p")
        t.talloc_increase_ref_count(p)
        t.talloc_enable_null_tracking_no_autofree()
        assert t.talloc_unlink(top, p) == -1

    def test_loops_collapse(self):
        """A reference from below does not keep a chunk alive."""
        top = named(None, "parent")
        req1 = named(top, "req1")
        req3 = named(named(req1, "req2"), "req3")
        gone = []
        for p in (top, req1, req3):
            t.talloc_set_destructor(p, lambda q: gone.append(t.talloc_get_name(q)))
        t.talloc_reference(req3, req1)
        assert t.talloc_free(top) == 0
        assert gone == ["parent", "req1", "req3"]

    def test_reference_to_itself(self, log):
        """Free is refused, unlink only drops it, the owner's end frees it."""
        owner = named(None, "owner")
        p = named(owner, "p")
        t.talloc_reference(p, p)
        assert t.talloc_free(p) == -1
        assert t.talloc_unlink(owner, p) == 0
        assert t.talloc_reference_count(p) == 0
        t.talloc_reference(p, p)
        assert t.talloc_free(owner) == 0

    def test_removing_in_any_order(self):
        """The list of references stays whole."""
        for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
            top = named(None, "top")
            holders = [named(None, str(n)) for n in range(3)]
            p = named(top, "p")
            for holder in holders:
                t.talloc_reference(holder, p)
            for left, n in enumerate(order):
                assert t.talloc_free(holders[n]) == 0
                check_invariants(chunk_of(top))
                assert t.talloc_reference_count(p) == 2 - left


class TestTracking:
    def test_on_and_off(self):
        """New chunks without owner are children of null_context; those from before are not."""
        before = named(None, "before")
        t.talloc_enable_null_tracking()
        t.talloc_enable_null_tracking()
        a = t.talloc_size(None, 5)
        assert t.talloc_parent_name(a) == "null_context"
        assert t.talloc_parent(before) is None
        t.talloc_steal(None, before)
        assert t.talloc_parent_name(before) == "null_context"
        assert (t.talloc_total_size(None), t.talloc_total_blocks(None)) == (5, 3)
        out = io.StringIO()
        t.talloc_report(None, out)
        assert "null_context" in out.getvalue()
        t.talloc_disable_null_tracking()
        t.talloc_disable_null_tracking()
        assert t.talloc_parent(a) is None
        assert t.talloc_total_blocks(None) == 0

    def test_null_context_freed_by_hand(self):
        """Turning tracking off afterwards does no harm."""
        t.talloc_enable_null_tracking()
        null = t.talloc_parent(named(None, "a"))
        assert t.talloc_free(null) == 0
        t.talloc_disable_null_tracking()

    def test_free_of_a_tracked_chunk_with_one_reference(self):
        """null_context as owner is as good as none."""
        t.talloc_enable_null_tracking()
        other, a = named(None, "other"), named(None, "a")
        t.talloc_reference(other, a)
        assert t.talloc_free(a) == 0
        assert t.talloc_parent(a) is other

    def test_autofree(self):
        """One context, made anew once it was freed, adopted by tracking unless told otherwise."""
        first = t.talloc_autofree_context()
        assert t.talloc_autofree_context() is first
        assert t.talloc_get_name(first) == "autofree_context"
        t.talloc_enable_null_tracking_no_autofree()
        assert t.talloc_parent(first) is None
        t.talloc_disable_null_tracking()
        t.talloc_enable_null_tracking()
        assert t.talloc_parent_name(first) == "null_context"
        t.talloc_free(first)
        assert t.talloc_autofree_context() is not first
        t.talloc_free(t.talloc_autofree_context())

    @pytest.mark.parametrize(
        ("calls", "expected"),
        [
            ("t.talloc_enable_leak_report()", "talloc report on 'null_context' (total      5 bytes in   2 blocks)"),
            (
                "t.talloc_enable_leak_report(); t.talloc_enable_leak_report_full()",
                "full talloc report on 'null_context'",
            ),
            ("t.talloc_enable_null_tracking(); t.talloc_autofree_context()", ""),
        ],
    )
    def test_at_exit(self, calls, expected):
        """The autofree context goes first, then what is left is reported."""
        program = (
            "import talloc_py as t\n"
            f"{calls}\n"
            "a = t.talloc_autofree_context()\n"
            "t.talloc_set_destructor(t.talloc_size(a, 7), lambda p: print('bye', len(p)))\n"
            "leak = t.talloc_size(None, 5)\n"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert run.stdout == "bye 7\n"
        assert run.stderr.startswith(expected)
        assert bool(run.stderr) == bool(expected)

    def test_at_exit_with_nothing_left(self):
        """Silence."""
        program = "import talloc_py as t; t.talloc_enable_leak_report(); t.talloc_new(None)"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert run.stderr == ""

    def test_log_to_stderr(self, capsys):
        """sys.stderr is looked up when the message is written."""
        t.talloc_set_log_stderr()
        with pytest.raises(t.talloc_abort_error):
            t.talloc_get_name(C())
        assert capsys.readouterr().err == "Bad talloc magic value - unknown value\n"


class TestStack:
    @pytest.fixture(autouse=True)
    def _no_frames_left(self):
        while t.talloc_stackframe_exists():
            t.talloc_free(t.talloc_tos())
        yield
        while t.talloc_stackframe_exists():
            t.talloc_free(t.talloc_tos())

    def test_push_and_pop(self, log):
        """The newest frame is on top, a child of the one below, named by its place."""
        f1 = t.talloc_stackframe()
        assert t.talloc_get_name(f1) == here(-1)
        f2 = t.talloc_stackframe()
        assert t.talloc_parent(f2) is f1
        assert t.talloc_tos() is f2
        t.talloc_free(f2)
        assert t.talloc_tos() is f1
        t.talloc_free(f1)
        assert not t.talloc_stackframe_exists()
        assert log == []

    def test_pool(self):
        """A pool hangs on the internal parent; size 0 is an ordinary frame, a bad size a ValueError."""
        f1 = t.talloc_stackframe()
        f2 = t.talloc_stackframe_pool(1000)
        assert t.talloc_parent(f2) is t.talloc_parent(f1)
        assert t.talloc_get_name(f2) == here(-2)
        assert t.talloc_parent(t.talloc_stackframe_pool(0)) is f2
        with pytest.raises(ValueError, match="256 MiB"):
            t.talloc_stackframe_pool(-1)

    def test_freed_out_of_order(self, log):
        """The frames above go too, and that is logged."""
        f1 = t.talloc_stackframe()
        f2 = t.talloc_stackframe_pool(100)
        gone = []
        t.talloc_set_destructor(t.talloc_new(f2), lambda _p: gone.append(1))
        names = t.talloc_get_name(f1), t.talloc_get_name(f2)
        t.talloc_free(f1)
        assert log == ["Freed frame {}, expected {}.\n".format(*names)]
        assert gone == [1]
        assert not t.talloc_stackframe_exists()

    def test_destructors_may_use_the_top(self, log):
        """What they put there goes as well, ten times over at most."""
        f = t.talloc_stackframe()
        made = []

        def destructor(_p):
            made.append(1)
            t.talloc_set_destructor(t.talloc_new(t.talloc_tos()), destructor)

        def stubborn(_p):
            if len(made) < 3:
                made.append(1)
                t.talloc_set_destructor(t.talloc_new(t.talloc_tos()), stubborn)

        t.talloc_set_destructor(t.talloc_new(f), stubborn)
        t.talloc_free(f)
        assert len(made) == 3
        assert log == []

    def test_what_is_left_is_logged(self, log):
        """The string that is the name of a frame cannot go before it."""
        f = t.talloc_stackframe()
        t.talloc_set_name(f, "with a name")
        t.talloc_free(f)
        assert log == ["Left 2 blocks after 10 talloc_free_children(frame) calls\n"]

    def test_tos_without_a_frame(self, log):
        """One is made, named by the caller's place, and stays."""
        top = t.talloc_tos()
        place = here(-1)
        assert log == [f"no talloc stackframe at {place}, leaking memory\n"]
        assert t.talloc_get_name(top) == place
        assert t.talloc_tos() is top

    def test_stolen_frame(self, log):
        """It works as a frame still."""
        other = named(None, "other")
        f = t.talloc_stackframe()
        t.talloc_steal(other, f)
        assert t.talloc_tos() is f
        t.talloc_free(other)
        assert not t.talloc_stackframe_exists()

    def test_refusing_child_goes_to_the_parent_of_the_frame(self):
        """... the frame below."""
        f1 = t.talloc_stackframe()
        f2 = t.talloc_stackframe()
        child = t.talloc_new(f2)
        t.talloc_set_destructor(child, lambda _p: -1)
        t.talloc_free(f2)
        assert t.talloc_parent(child) is f1
        t.talloc_set_destructor(child, None)

    def test_internal_parent_freed(self):
        """All frames go, and a new parent is made when one is needed."""
        root = t.talloc_parent(t.talloc_stackframe())
        assert t.talloc_free(root) == 0
        assert not t.talloc_stackframe_exists()
        assert t.talloc_parent(t.talloc_stackframe()) is not root

    def test_replaced_destructor(self):
        """A frame that was robbed of its destructor is popped with the one below."""
        f1 = t.talloc_stackframe()
        f2 = t.talloc_stackframe_pool(10)
        t.talloc_set_destructor(f2, None)
        t.talloc_free(f2)
        t.talloc_free(f1)
        assert not t.talloc_stackframe_exists()

    def test_threads_have_their_own(self, log):
        """A thread that ends with frames reports them from the top down."""
        f = t.talloc_stackframe()
        names = []

        def run():
            assert not t.talloc_stackframe_exists()
            names.extend(t.talloc_get_name(t.talloc_stackframe()) for _ in range(2))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert t.talloc_tos() is f
        assert log == [f"Dangling frame[1] {names[1]}\n", f"Dangling frame[0] {names[0]}\n"]


class TestSecret:
    def test_buffer_is_wiped(self):
        """Its bytes are zero before it goes; the name stays."""
        b = t.talloc_memdup(None, b"password")
        name = t.talloc_get_name(b)
        t.talloc_keep_secret(b)
        assert t.talloc_get_name(b) == name
        assert t.talloc_free(b) == 0
        assert b == bytes(8)

    def test_string_is_hidden(self):
        """Its name no longer shows the content; size and the free work."""
        s = t.talloc_strdup(None, "password")
        t.talloc_keep_secret(s)
        assert (t.talloc_get_name(s), t.talloc_get_size(s)) == ("(secret)", 9)
        assert t.talloc_free(s) == 0

    def test_nothing_to_keep(self):
        """None and empty chunks are left alone."""
        assert t.talloc_keep_secret(None) is None
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: -1)
        t.talloc_keep_secret(a)
        assert t.talloc_free(a) == -1
