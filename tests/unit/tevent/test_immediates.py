# SPDX-License-Identifier: LGPL-3.0-or-later
"""Immediates: queue, run, cancel, free."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from tevent_kit import Recorder, context, turns

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_set_memlimit,
)
from tevent import (
    tevent_abort_error,
    tevent_common_immediate_cancel,
    tevent_common_invoke_immediate_handler,
    tevent_common_schedule_immediate,
    tevent_context,
    tevent_create_immediate,
    tevent_immediate,
    tevent_immediate_get_tag,
    tevent_immediate_set_tag,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_re_initialise,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_set_trace_immediate_callback,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
)
from tevent.immediate import im_append, im_remove


def create(ctx: TALLOC_CTX | None) -> tevent_immediate:
    """An idle immediate that is there."""
    im = tevent_create_immediate(ctx)
    assert im is not None
    return im


@pytest.fixture(params=["unwatched", "traced"])
def ev(request: pytest.FixtureRequest, top: TALLOC_CTX) -> tevent_context:
    """A context, once as it comes and once with a trace callback, which takes another way."""
    ev = context(top)
    if request.param == "traced":
        tevent_set_trace_immediate_callback(ev, lambda *_: None, None)
    return ev


class TestCreate:
    def test_owner(self, top: TALLOC_CTX) -> None:
        """mem_ctx; None is top level, not a context."""
        im = create(top)
        assert talloc_parent(im) is top
        assert talloc_get_name(im) == "struct tevent_immediate"
        loose = create(None)
        assert talloc_parent(loose) is None
        talloc_free(loose)

    def test_memory_limit(self) -> None:
        """None where a limit forbids it."""
        tight = talloc_new(None)
        assert tight is not None
        talloc_set_memlimit(tight, 1)
        assert tevent_create_immediate(tight) is None
        talloc_free(tight)

    def test_class_is_not_called(self) -> None:
        """Only the function makes immediates."""
        with pytest.raises(TypeError, match="made by tevent_create_immediate"):
            tevent_immediate()

    def test_repr(self, top: TALLOC_CTX, epoll_ev: tevent_context, log: Recorder) -> None:
        """It tells its state."""
        im = create(top)
        assert "idle" in repr(im)
        tevent_schedule_immediate(im, epoll_ev, log.immediate, None)
        assert "queued for immediate" in repr(im)
        talloc_free(im)
        assert "freed" in repr(im)


class TestSchedule:
    def test_first_in_first_out(self, ev: tevent_context, log: Recorder) -> None:
        """One an iteration, in order."""
        for i in range(4):
            tevent_schedule_immediate(create(ev), ev, log.immediate, i)
        for i in range(4):
            assert tevent_loop_once(ev) == 0
            assert log.take() == [i]
        assert tevent_loop_once(ev) == -1

    def test_handler_s_arguments(self, ev: tevent_context) -> None:
        """The context, the event, the private data; the event is idle meanwhile."""
        seen: list[Any] = []
        mark = object()
        im = create(ev)

        def handler(*args: Any) -> None:
            seen.append((*args, im.event_ctx, im.busy))

        tevent_schedule_immediate(im, ev, handler, mark)
        assert im.event_ctx is ev
        assert im.handler is handler
        assert im.handler_name == "handler"
        assert im.private_data is mark
        tevent_loop_once(ev)
        assert seen == [(ev, im, mark, None, True)]
        assert (im.event_ctx, im.handler, im.private_data, im.busy) == (None, None, None, False)

    def test_twice_is_one_run_at_the_end(self, ev: tevent_context, log: Recorder) -> None:
        """The first one is cancelled."""
        one, two = create(ev), create(ev)
        tevent_schedule_immediate(one, ev, log.immediate, "first")
        tevent_schedule_immediate(two, ev, log.immediate, "other")
        tevent_schedule_immediate(one, ev, log.immediate, "second")
        turns(ev)
        assert log.take() == ["other", "second"]

    def test_on_another_context(self, ev: tevent_context, top: TALLOC_CTX, log: Recorder) -> None:
        """It moves."""
        other = context(top)
        im = create(top)
        tevent_schedule_immediate(im, ev, log.immediate, "here")
        tevent_schedule_immediate(im, other, log.immediate, "there")
        assert not ev.immediate_events
        turns(ev)
        assert log.take() == []
        turns(other)
        assert log.take() == ["there"]

    @pytest.mark.parametrize("position", range(3))
    @pytest.mark.parametrize("way", ["none", "reset", "cancel", "free"])
    def test_cancel_anywhere(self, ev: tevent_context, log: Recorder, position: int, way: str) -> None:
        """The first, the middle and the last of the queue."""
        ims = [create(ev) for _ in range(3)]
        for i, im in enumerate(ims):
            tevent_schedule_immediate(im, ev, log.immediate, i)
        victim = ims[position]
        if way == "none":
            tevent_schedule_immediate(victim, ev, None, None)
        elif way == "reset":
            tevent_reset_immediate(victim)
        elif way == "cancel":
            tevent_common_immediate_cancel(victim)
        else:
            assert talloc_free(victim) == 0
        turns(ev)
        assert log.take() == [i for i in range(3) if i != position]
        if way != "free":
            assert victim.event_ctx is None
            tevent_schedule_immediate(victim, ev, log.immediate, "again")
            turns(ev)
            assert log.take() == ["again"]

    def test_cancel_of_an_idle_one(self, ev: tevent_context) -> None:
        """Nothing happens."""
        im = create(ev)
        tevent_reset_immediate(im)
        tevent_schedule_immediate(im, ev, None, None)
        assert im.event_ctx is None

    def test_again_in_its_own_handler(self, ev: tevent_context, log: Recorder) -> None:
        """It runs in the next iteration that reaches it, behind those that wait."""

        def handler(ev: tevent_context, im: tevent_immediate, private_data: int) -> None:
            log.calls.append(private_data)
            if private_data < 3:
                tevent_schedule_immediate(im, ev, handler, private_data + 1)

        tevent_schedule_immediate(create(ev), ev, handler, 1)
        tevent_schedule_immediate(create(ev), ev, log.immediate, "other")
        assert tevent_loop_wait(ev) == 0
        assert log.take() == [1, "other", 2, 3]

    def test_a_freed_destructor_of_the_user(self, ev: tevent_context, log: Recorder) -> None:
        """As in C, scheduling sets the library's destructor: the event is taken off its list when it is freed."""
        im = create(ev)
        talloc_set_destructor(im, lambda ptr: log.calls.append("user") or 0)
        tevent_schedule_immediate(im, ev, log.immediate, "never")
        talloc_free(im)
        turns(ev)
        assert log.take() == []

    def test_private_data_is_let_go(self, ev: tevent_context) -> None:
        """After the run nothing keeps it."""

        class Thing:
            pass

        thing = Thing()
        gone = weakref.ref(thing)
        im = create(ev)
        tevent_schedule_immediate(im, ev, lambda *_: None, thing)
        del thing
        turns(ev)
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ("xeh", "im must be a tevent_immediate, not int"),
            ("ieX", "handler must be callable or None, not int"),
            ("ixh", "ev must be a tevent_context, not int"),
            ("iih", "ev must be a tevent_context, not tevent_immediate"),
            ("eeh", "im must be a tevent_immediate, not tevent_context"),
            ("neh", "im must be a tevent_immediate, not NoneType"),
        ],
    )
    def test_wrong_types(self, ev: tevent_context, args: str, message: str) -> None:
        """Each is named, and nothing is queued."""
        values: dict[str, Any] = {"x": 5, "X": 5, "n": None, "i": create(ev), "e": ev, "h": lambda *_: None}
        with pytest.raises(TypeError, match=message):
            tevent_schedule_immediate(*(values[name] for name in args), None)
        assert not ev.immediate_events
        if args[0] != "i":
            for call in (tevent_reset_immediate, tevent_immediate_get_tag):
                if values[args[0]] is not None:
                    with pytest.raises(TypeError, match="im must be a tevent_immediate"):
                        call(values[args[0]])

    def test_freed(self, ev: tevent_context, log: Recorder) -> None:
        """A freed event or context goes to talloc's abort function."""
        im, other = create(ev), create(None)
        talloc_free(im)
        for call in (
            lambda: tevent_schedule_immediate(im, ev, log.immediate, None),
            lambda: tevent_reset_immediate(im),
            lambda: tevent_immediate_set_tag(im, 1),
        ):
            with pytest.raises(RuntimeError, match="access after free"):
                call()
        talloc_free(ev)
        with pytest.raises(RuntimeError, match="access after free"):
            tevent_schedule_immediate(other, ev, log.immediate, None)
        talloc_free(other)


class TestFree:
    def test_in_its_handler(self, ev: tevent_context, log: Recorder) -> None:
        """-1, and really freed when the handler returns."""

        def handler(ev: tevent_context, im: tevent_immediate, private_data: object) -> None:
            log.calls.append(talloc_free(im))
            log.calls.append(im._talloc_chunk.obj is im)

        im = create(ev)
        tevent_schedule_immediate(im, ev, handler, None)
        tevent_loop_once(ev)
        assert log.take() == [-1, True]
        assert im._talloc_chunk.obj is None

    @pytest.mark.parametrize("way", ["schedule", "reset", "none"])
    def test_use_after_that(self, ev: tevent_context, aborts: list[str], log: Recorder, way: str) -> None:
        """In the same handler it aborts, and nothing is queued."""

        def handler(ev: tevent_context, im: tevent_immediate, private_data: object) -> None:
            talloc_free(im)
            if way == "schedule":
                tevent_schedule_immediate(im, ev, log.immediate, None)
            elif way == "none":
                tevent_schedule_immediate(im, ev, None, None)
            else:
                tevent_reset_immediate(im)

        im = create(ev)
        tevent_schedule_immediate(im, ev, handler, None)
        tevent_loop_once(ev)
        assert aborts == ["tevent_immediate use after free"]
        assert not ev.immediate_events
        assert im._talloc_chunk.obj is None

    def test_twice(self, ev: tevent_context, aborts: list[str]) -> None:
        """The second free in the handler aborts."""
        im = create(ev)
        tevent_schedule_immediate(im, ev, lambda ev, im, p: [talloc_free(im), talloc_free(im)], None)
        tevent_loop_once(ev)
        assert aborts == ["tevent_immediate double free"]
        assert im._talloc_chunk.obj is None

    def test_twice_raises_by_default(self, ev: tevent_context) -> None:
        """The error leaves the second talloc_free() and the loop."""
        im = create(ev)
        tevent_schedule_immediate(im, ev, lambda ev, im, p: [talloc_free(im), talloc_free(im)], None)
        with pytest.raises(tevent_abort_error, match="double free"):
            tevent_loop_once(ev)
        assert im._talloc_chunk.obj is None

    def test_parent_in_its_handler(self, ev: tevent_context, top: TALLOC_CTX, aborts: list[str]) -> None:
        """The busy event moves up and goes when the handler returns."""
        parent = talloc_new(top)
        im = create(parent)

        def handler(*_: Any) -> None:
            assert talloc_free(parent) == 0
            assert talloc_parent(im) is top

        tevent_schedule_immediate(im, ev, handler, None)
        tevent_loop_once(ev)
        assert im._talloc_chunk.obj is None
        assert aborts == []

    def test_others_from_a_handler(self, ev: tevent_context, log: Recorder) -> None:
        """They do not run any more."""
        ims = [create(ev) for _ in range(3)]
        tevent_schedule_immediate(ims[0], ev, lambda *_: [talloc_free(im) for im in ims[1:]], None)
        for im in ims[1:]:
            tevent_schedule_immediate(im, ev, log.immediate, "never")
        assert tevent_loop_wait(ev) == 0
        assert log.take() == []


class TestTags:
    def test_tags(self, ev: tevent_context, log: Recorder) -> None:
        """A 64-bit number, 0 at first; survives scheduling, running and re-initialising."""
        im = create(ev)
        assert tevent_immediate_get_tag(im) == 0
        tevent_immediate_set_tag(im, 2**64 + 9)
        tevent_schedule_immediate(im, ev, log.immediate, None)
        turns(ev)
        tevent_schedule_immediate(im, ev, log.immediate, None)
        tevent_re_initialise(ev)
        assert tevent_immediate_get_tag(im) == 9
        tevent_immediate_set_tag(None, 1)
        assert tevent_immediate_get_tag(None) == 0


class TestForBackends:
    def test_cancel_function(self, ev: tevent_context, log: Recorder) -> None:
        """Called before a queued event leaves its list, also to run; then forgotten."""

        def cancel(im: tevent_immediate) -> None:
            log.calls.append(("cancel", im in list(ev.immediate_events)))

        for way in ("run", "reset"):
            im = create(ev)
            tevent_common_schedule_immediate(im, ev, log.immediate, "ran", "a name")
            assert im.handler_name == "a name"
            im.cancel_fn = cancel
            im.additional_data = "mine"
            if way == "run":
                tevent_loop_once(ev)
                assert log.take() == [("cancel", True), "ran"]
            else:
                tevent_reset_immediate(im)
                assert log.take() == [("cancel", True)]
            assert (im.cancel_fn, im.additional_data) == (None, None)

    def test_invoke(self, ev: tevent_context, log: Recorder) -> None:
        """0 and whether it is gone; nothing for an idle one."""
        im = create(ev)
        assert tevent_common_invoke_immediate_handler(im) == (0, False)
        tevent_schedule_immediate(im, ev, log.immediate, "ran")
        assert tevent_common_invoke_immediate_handler(im) == (0, False)
        tevent_schedule_immediate(im, ev, lambda ev, im, p: talloc_free(im), None)
        assert tevent_common_invoke_immediate_handler(im) == (0, True)
        assert log.take() == ["ran"]

    def test_one_that_a_thread_schedules(self, ev: tevent_context, log: Recorder, aborts: list[str]) -> None:
        """Until the loop has taken it over nobody else may touch it."""
        tctx = tevent_threaded_context_create(ev, ev)
        assert tctx is not None
        im = create(ev)
        tevent_threaded_schedule_immediate(tctx, im, log.immediate, "thread")
        tevent_schedule_immediate(im, ev, log.immediate, "direct")
        assert talloc_free(im) == -1
        assert aborts == ["tevent_immediate is being scheduled by a thread"] * 2
        turns(ev)
        assert log.take() == ["thread"]

    def test_foreign_nodes(self, ev: tevent_context, log: Recorder) -> None:
        """Whatever has the links and a fire() can stand in the list; nobody is told of it."""

        class Node:
            im_ev: Any = None
            im_next: Any = None
            im_prev: Any = None

            def fire(self) -> None:
                im_remove(self)
                log.calls.append("node")

        nodes = [Node() for _ in range(3)]
        im = create(ev)
        im_append(ev, nodes[0])
        tevent_schedule_immediate(im, ev, log.immediate, "im")
        im_append(ev, nodes[1])
        im_append(ev, nodes[2])
        assert list(ev.immediate_events) == [nodes[0], im, nodes[1], nodes[2]]
        im_remove(nodes[1])
        turns(ev, 2)
        assert log.take() == ["node", "im"]
        tevent_re_initialise(ev)
        assert nodes[2].im_ev is None
        assert not ev.immediate_events
