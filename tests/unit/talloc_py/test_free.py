# SPDX-License-Identifier: LGPL-3.0-or-later
"""Order, refusals and odd moments of freeing."""

from __future__ import annotations

import sys

import pytest

import talloc_py as t
from talloc_py._walk import check_invariants
from talloc_py.core import abort_errors, being_freed, chunk_of, library_destructors


def named(parent, name):
    return t.talloc_named_const(parent, 0, name)


class Recorder:
    """Destructors that write down who was asked, and answer as they are told."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    def watch(self, *chunks):
        for chunk in chunks:
            t.talloc_set_destructor(chunk, self)

    def __call__(self, ptr):
        name = t.talloc_get_name(ptr)
        parent = t.talloc_parent_name(ptr)
        self.asked.append((name, parent))
        answer = self.answers.get(name, 0)
        return answer(ptr) if callable(answer) else answer

    @property
    def names(self):
        return [name for name, _parent in self.asked]


@pytest.fixture
def recorder():
    return Recorder()


class TestOrder:
    def test_parents_before_children_and_newest_first(self):
        """a(b(d), c, e) goes as a e c b d."""
        recorder = Recorder()
        a = named(None, "a")
        b = named(a, "b")
        c = named(a, "c")
        d = named(b, "d")
        e = named(a, "e")
        recorder.watch(a, b, c, d, e)
        assert t.talloc_free(a) == 0
        assert recorder.names == ["a", "e", "c", "b", "d"]

    def test_children_still_see_their_dying_parent(self, recorder):
        """While the children go, talloc_parent() of a child is the chunk that is freed."""
        a = named(None, "a")
        recorder.watch(named(a, "b"))
        t.talloc_free(a)
        assert recorder.asked == [("b", "a")]

    def test_none(self):
        """Freeing None is -1; TALLOC_FREE and talloc_free_children take it calmly."""
        assert t.talloc_free(None) == -1
        assert t.TALLOC_FREE(None) is None
        assert t.talloc_free_children(None) is None

    def test_talloc_free_macro_gives_none(self, aborts):
        """TALLOC_FREE gives None whatever talloc_free said."""
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: -1)
        assert t.TALLOC_FREE(a) is None
        assert t.talloc_get_name(a) == "a"
        t.talloc_set_destructor(a, None)
        assert t.TALLOC_FREE(a) is None
        assert t.TALLOC_FREE(a) is None
        assert aborts == ["Bad talloc magic value - access after free"]

    def test_siblings_stay_linked(self):
        """Freeing the first, a middle and the last sibling leaves the others in order."""
        for victim in range(3):
            top = named(None, "top")
            kids = [named(top, str(n)) for n in range(3)]
            assert t.talloc_free(kids[victim]) == 0
            check_invariants(chunk_of(top))
            assert t.talloc_total_blocks(top) == 3

    def test_a_chain_of_a_hundred_thousand(self):
        """A deep tree is counted, reported and freed without recursion."""
        top = last = named(None, "top")
        for _ in range(100_000):
            last = named(last, "x")
        assert t.talloc_total_blocks(top) == 100_001
        lines = []
        t.talloc_report_depth_cb(top, 0, -1, lambda *args: lines.append(args[1]), None)
        assert lines[-1] == 100_000
        assert t.talloc_free(top) == 0


class TestVeto:
    def test_refused_free_changes_nothing(self, recorder):
        """-1 leaves the chunk, its children and its destructor as they were."""
        top = named(None, "top")
        a = named(top, "a")
        b = named(a, "b")
        recorder.watch(a, b)
        recorder.answers["a"] = -1
        assert t.talloc_free(a) == -1
        assert t.talloc_free(a) == -1
        assert recorder.names == ["a", "a"]
        assert t.talloc_parent(b) is a

    @pytest.mark.parametrize("answer", [0, 1, -2, None, True, "no", -1.0])
    def test_only_minus_one_refuses(self, answer):
        """Anything but the number -1 agrees."""
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: answer)
        assert t.talloc_free(a) == 0

    def test_refusing_child_moves_to_the_grandparent(self, recorder):
        """It is asked once on each dying level and ends below what lives on."""
        top = named(None, "top")
        l1 = named(top, "l1")
        l2 = named(l1, "l2")
        l3 = named(l2, "l3")
        recorder.watch(l3)
        recorder.answers["l3"] = -1
        assert t.talloc_free(l1) == 0
        assert recorder.asked == [("l3", "l2"), ("l3", "l1")]
        assert t.talloc_parent(l3) is top

    def test_refusing_child_of_a_chunk_with_a_younger_sibling_goes_to_top_level(self):
        """The parent of the freed chunk is known only if that was the newest child, as in C."""
        top = named(None, "top")
        a = named(top, "a")
        named(top, "younger")
        child = named(a, "child")
        t.talloc_set_destructor(child, lambda _p: -1)
        assert t.talloc_free(a) == 0
        assert t.talloc_parent(child) is None

    def test_destructor_that_replaces_itself_and_refuses(self):
        """The replacement stays set."""
        a = named(None, "a")
        asked = []

        def first(ptr):
            t.talloc_set_destructor(ptr, second)
            asked.append(1)
            return -1

        def second(_ptr):
            asked.append(2)
            return 0

        t.talloc_set_destructor(a, first)
        assert t.talloc_free(a) == -1
        assert t.talloc_free(a) == 0
        assert asked == [1, 2]

    def test_destructor_that_replaces_itself_and_agrees(self):
        """The replacement is not called."""
        a = named(None, "a")
        asked = []
        t.talloc_set_destructor(a, lambda p: t.talloc_set_destructor(p, asked.append))
        assert t.talloc_free(a) == 0
        assert asked == []

    def test_child_that_moves_itself_and_refuses_stays_there(self):
        """The free does not move it again."""
        other = named(None, "other")
        top = named(None, "top")
        child = named(top, "child")

        def leave(ptr):
            t.talloc_steal(other, ptr)
            return -1

        t.talloc_set_destructor(child, leave)
        assert t.talloc_free(top) == 0
        assert t.talloc_parent(child) is other

    def test_child_that_moves_itself_and_agrees_is_freed(self):
        """It is freed from its new place."""
        other = named(None, "other")
        top = named(None, "top")
        child = named(top, "child")
        t.talloc_set_destructor(child, lambda p: t.talloc_steal(other, p) and 0)
        assert t.talloc_free(top) == 0
        assert t.talloc_total_blocks(other) == 1


class TestInsideDestructors:
    def test_free_of_the_same_chunk_is_refused(self):
        """-1, and the destructor is not called again."""
        a = named(None, "a")
        results = []

        def destructor(ptr):
            results.append(t.talloc_free(ptr))
            return 0

        t.talloc_set_destructor(a, destructor)
        assert t.talloc_free(a) == 0
        assert results == [-1]

    def test_destructor_that_removes_itself_and_frees(self):
        """The outer free finds the work done."""
        a = named(None, "a")

        def destructor(ptr):
            t.talloc_set_destructor(ptr, None)
            assert t.talloc_free(ptr) == 0

        t.talloc_set_destructor(a, destructor)
        assert t.talloc_free(a) == 0

    def test_free_of_the_parent(self):
        """The parent goes, the busy chunk moves up, and then goes too."""
        top = named(None, "top")
        a = named(top, "a")
        b = named(a, "b")
        gone = []
        t.talloc_set_destructor(a, lambda _p: gone.append("a"))

        def destructor(ptr):
            assert t.talloc_free(a) == 0
            assert t.talloc_parent(ptr) is top
            gone.append("b")

        t.talloc_set_destructor(b, destructor)
        assert t.talloc_free(b) == 0
        assert gone == ["a", "b"]
        assert t.talloc_total_blocks(top) == 1

    def test_free_of_a_parent_that_is_dying_already(self):
        """Success without effect."""
        a = named(None, "a")
        b = named(a, "b")
        results = []
        t.talloc_set_destructor(b, lambda _p: results.append(t.talloc_free(a)))
        assert t.talloc_free(a) == 0
        assert results == [0]

    def test_siblings_freed_stolen_and_added(self):
        """What is freed is gone, what is stolen survives, what is added goes in the same run."""
        top = named(None, "top")
        freed, stolen = named(top, "freed"), named(top, "stolen")
        actor = named(top, "actor")
        gone = []

        def destructor(_p):
            assert t.talloc_free(freed) == 0
            t.talloc_steal(None, stolen)
            t.talloc_set_destructor(named(top, "added"), lambda _q: gone.append("added"))

        t.talloc_set_destructor(actor, destructor)
        assert t.talloc_free(top) == 0
        assert gone == ["added"]
        assert t.talloc_get_name(stolen) == "stolen"

    def test_a_dying_chunk_counts_for_nothing_but_can_be_used(self):
        """Totals are 0, a report is empty; name, size, parent and children still work."""
        top = named(None, "top")
        a = t.talloc_named_const(top, 7, "a")
        child = named(a, "child")
        seen = []

        def destructor(_p):
            seen.append((t.talloc_total_size(a), t.talloc_total_blocks(a), t.talloc_get_size(a), t.talloc_get_name(a)))
            seen.append((t.talloc_parent(a) is top, t.talloc_is_parent(child, top), being_freed(chunk_of(a))))
            lines = []
            t.talloc_report_depth_cb(a, 0, -1, lambda *args: lines.append(args), None)
            seen.append(lines)
            named(a, "late")
            assert t.talloc_steal(None, a) is a

        t.talloc_set_destructor(child, destructor)
        assert t.talloc_free(a) == 0
        assert seen == [(0, 0, 7, "a"), (True, 1, True), []]

    def test_dying_chunk_with_a_younger_sibling_has_forgotten_its_parent(self):
        """talloc_parent() is None and talloc_is_parent() 0, as in C."""
        top = named(None, "top")
        a = named(top, "a")
        named(top, "younger")
        child = named(a, "child")
        seen = []
        t.talloc_set_destructor(child, lambda _p: seen.append((t.talloc_parent(a), t.talloc_is_parent(child, top))))
        t.talloc_free(a)
        assert seen == [(None, 0)]

    def test_reference_to_a_dying_chunk_is_dropped(self):
        """A destructor below refers to the dying chunk: the handle goes with it."""
        other = named(None, "other")
        a = named(None, "a")
        child = named(a, "child")
        t.talloc_set_destructor(child, lambda _p: t.talloc_reference(other, a) and 0)
        assert t.talloc_free(a) == 0
        assert t.talloc_total_blocks(other) == 1

    def test_heir_that_was_freed_meanwhile(self):
        """The grandparent is gone when the child refuses: the child goes to top level."""
        grand = named(None, "grand")
        a = named(grand, "a")
        child = named(a, "child")

        def destructor(_p):
            t.talloc_free(grand)
            return -1

        t.talloc_set_destructor(child, destructor)
        assert t.talloc_free(a) == 0
        assert t.talloc_parent(child) is None


class TestFreeChildren:
    def test_the_name_stays_and_ends_first(self):
        """The present .name survives, an older one goes."""
        a = named(None, "a")
        t.talloc_set_name(a, "old")
        name = t.talloc_set_name(a, "new %d", 1)
        named(a, "child")
        t.talloc_free_children(a)
        assert t.talloc_total_blocks(a) == 2
        assert t.talloc_get_name(a) == "new 1"
        assert t.talloc_parent(name) is a
        check_invariants(chunk_of(a))

    def test_refusing_children_move_to_the_parent(self):
        """... of the chunk whose children are freed."""
        top = named(None, "top")
        a = named(top, "a")
        b = named(a, "b")
        t.talloc_set_destructor(b, lambda _p: -1)
        t.talloc_free_children(a)
        assert t.talloc_parent(b) is top

    def test_name_freed_or_taken_meanwhile(self):
        """A destructor that frees or steals the name string does no harm."""
        elsewhere = named(None, "elsewhere")
        for act in (t.talloc_free, lambda s: t.talloc_steal(elsewhere, s)):
            top = named(None, "top")
            a = named(top, "x")
            name = t.talloc_set_name(a, "n")
            child = named(a, "child")
            t.talloc_set_destructor(child, lambda _p, act=act, name=name: act(name) and 0)
            t.talloc_free_children(a)
            check_invariants(chunk_of(top))
            assert t.talloc_get_name(a) == "n"

    def test_owner_freed_meanwhile(self):
        """The name goes with it."""
        a = named(None, "x")
        name = t.talloc_set_name(a, "n")
        t.talloc_set_destructor(named(a, "child"), lambda _p: t.talloc_free(a))
        t.talloc_free_children(a)
        for dead in (a, name):
            with pytest.raises(t.talloc_abort_error):
                t.talloc_get_name(dead)


class TestRaisingDestructors:
    def test_reported_and_counted_as_agreement(self, monkeypatch):
        """The exception goes to sys.unraisablehook, the free goes on."""
        seen = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append((args.exc_value, args.object)))
        error = KeyboardInterrupt()

        def destructor(_p):
            raise error

        a = named(None, "a")
        t.talloc_set_destructor(a, destructor)
        assert t.talloc_free(a) == 0
        assert seen == [(error, destructor)]

    def test_default_hook_prints_the_name_of_the_chunk(self, monkeypatch, capsys):
        """The line on stderr tells which chunk it was."""
        monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
        a = named(None, "my chunk")
        t.talloc_set_destructor(a, lambda _p: 1 // 0)
        assert t.talloc_free(a) == 0
        err = capsys.readouterr().err
        assert "'my chunk'" in err
        assert "ZeroDivisionError" in err

    def test_failing_hook(self, monkeypatch, capsys):
        """An exception of the hook itself does not leave the free either."""
        monkeypatch.setattr(sys, "unraisablehook", lambda _args: [][0])
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: 1 // 0)
        assert t.talloc_free(a) == 0
        assert "IndexError" in capsys.readouterr().err

    def test_abort_error_of_a_library_destructor_leaves_the_free(self):
        """It counts as a refusal; the rest of the free is finished first."""

        class library_error(RuntimeError):
            pass

        def destructor(_p):
            raise library_error("busy")

        abort_errors.append(library_error)
        library_destructors.add(destructor)
        try:
            top = named(None, "top")
            a = named(top, "a")
            b = named(a, "b")
            gone = []
            t.talloc_set_destructor(named(a, "later"), lambda _p: gone.append("later"))
            t.talloc_set_destructor(b, destructor)
            with pytest.raises(library_error):
                t.talloc_free(b)
            assert t.talloc_parent(b) is a
            with pytest.raises(library_error):
                t.talloc_free(a)
            assert t.talloc_parent(b) is top
            assert gone == ["later"]
            with pytest.raises(t.talloc_abort_error):
                t.talloc_get_name(a)
            with pytest.raises(library_error):
                t.talloc_free_children(top)
        finally:
            abort_errors.remove(library_error)
            library_destructors.remove(destructor)

    def test_the_same_error_of_a_user_is_reported(self, monkeypatch):
        """Use after free in a user's destructor does not leave the free."""
        seen = []
        monkeypatch.setattr(sys, "unraisablehook", lambda args: seen.append(type(args.exc_value)))
        dead = named(None, "dead")
        t.talloc_free(dead)
        a = named(None, "a")
        t.talloc_set_destructor(a, lambda _p: t.talloc_get_size(dead))
        assert t.talloc_free(a) == 0
        assert seen == [t.talloc_abort_error]


class TestUseAfterFree:
    def test_message_and_reason(self, log, aborts):
        """First the place of the free, then the reason; the call gives its failure value."""
        a = named(None, "a")
        b = named(a, "b")
        t.talloc_free(a)
        line = sys._getframe().f_lineno - 1
        assert t.talloc_steal(None, b) is None
        place = f"{__file__}:{line}"
        assert log == [
            f"talloc: access after free error - first free may be at {place}\n",
            "Bad talloc magic value - access after free\n",
        ]
        assert aborts == ["Bad talloc magic value - access after free"]

    def test_every_function(self, aborts):
        """Each function that takes a chunk notices a dead one."""
        live = named(None, "live")
        dead = t.talloc_strdup(None, "dead")
        t.talloc_free(dead)
        calls = {
            -1: [
                lambda: t.talloc_free(dead),
                lambda: t.talloc_unlink(live, dead),
                lambda: t.talloc_unlink(dead, live),
                lambda: t.talloc_increase_ref_count(dead),
            ],
            0: [
                lambda: t.talloc_get_size(dead),
                lambda: t.talloc_total_size(dead),
                lambda: t.talloc_total_blocks(dead),
                lambda: t.talloc_reference_count(dead),
                lambda: t.talloc_is_parent(dead, live),
                lambda: t.talloc_is_parent(live, dead),
                lambda: t.talloc_array_length(dead),
                lambda: t.talloc_set_memlimit(dead, 0),
            ],
            None: [
                lambda: t.TALLOC_FREE(dead),
                lambda: t.talloc_free_children(dead),
                lambda: t.talloc(dead, t.TALLOC_CTX),
                lambda: t.talloc_set_destructor(dead, None),
                lambda: t.talloc_steal(live, dead),
                lambda: t.talloc_steal(dead, live),
                lambda: t.talloc_move(live, dead),
                lambda: t.talloc_new(dead),
                lambda: t.talloc_reparent(dead, None, live),
                lambda: t.talloc_reparent(None, live, dead),
                lambda: t.talloc_reparent(None, dead, live),
                lambda: t.talloc_parent(dead),
                lambda: t.talloc_set_name(dead, "x"),
                lambda: t.talloc_set_name_const(dead, "x"),
                lambda: t.talloc_set_type(dead, int),
                lambda: t.talloc_check_name(dead, "x"),
                lambda: t.talloc_get_type(dead, int),
                lambda: t.talloc_get_type_abort(dead, int),
                lambda: t.talloc_parent_name(dead),
                lambda: t.talloc_find_parent_byname(dead, "x"),
                lambda: t.talloc_find_parent_bytype(dead, int),
                lambda: t.talloc_reference(live, dead),
                lambda: t.talloc_reference(dead, live),
                lambda: t.talloc_array(dead, int, 1),
                lambda: t.talloc_realloc(None, dead, int, 1),
                lambda: t.talloc_strdup(dead, "x"),
                lambda: t.talloc_strdup_append(dead, "x"),
                lambda: t.talloc_strdup_append(dead, None),
                lambda: t.talloc_asprintf_append(dead, ""),
                lambda: t.talloc_asprintf_addbuf(dead, ""),
                lambda: t.talloc_asprintf_addsep(dead, ",", "x"),
                lambda: t.talloc_pool(dead, 10),
                lambda: t.talloc_named(dead, 0, "x"),
                lambda: t.talloc_size(dead, 1),
                lambda: t.talloc_named_const(dead, 0, "x"),
                lambda: t.talloc_memdup(dead, b""),
                lambda: t.talloc_report_depth_cb(dead, 0, -1, print, None),
                lambda: t.talloc_report_full(dead, sys.stdout),
                lambda: t.talloc_show_parents(dead, sys.stdout),
                lambda: t.talloc_keep_secret(dead),
                lambda: t.talloc_pooled_object(dead, t.TALLOC_CTX, 0, 0),
                lambda: t.talloc_memdup(dead, [1]),
                lambda: t.talloc_array(dead, t.uint8_t, 1),
                lambda: t.talloc_memdup(dead, t.TALLOC_CTX()),
            ],
        }
        for expected, functions in calls.items():
            for function in functions:
                aborts.clear()
                assert function() == expected
                assert set(aborts) == {"Bad talloc magic value - access after free"}
        aborts.clear()
        assert t.talloc_get_name(dead) == "UNNAMED"
        assert len(aborts) == 1
        assert t.talloc_total_blocks(live) == 1

    def test_default_raises_and_names_the_chunk(self):
        """The text starts with the reason and names the chunk."""
        a = t.talloc_strdup(None, "text")
        t.talloc_free(a)
        with pytest.raises(
            t.talloc_abort_error, match=r"^Bad talloc magic value - access after free: .*string"
        ) as info:
            t.talloc_free(a)
        assert isinstance(info.value, RuntimeError)

    def test_abort_function_that_raises(self):
        """Its exception passes to the caller."""

        def fn(_reason):
            raise LookupError

        t.talloc_set_abort_fn(fn)
        with pytest.raises(LookupError):
            t.talloc_get_name(t.TALLOC_CTX())

    def test_fields_stay_readable(self):
        """The Python object outlives the chunk."""
        s = t.talloc_strdup(None, "text")
        t.talloc_free(s)
        assert s == "text"
