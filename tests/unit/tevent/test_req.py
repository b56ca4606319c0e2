# SPDX-License-Identifier: LGPL-3.0-or-later
"""Requests: creation, ownership, state and callback data."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
from req_kit import Bench, children, job_state, opened, other_state, report, silent_aborts, state_of

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_get_type_abort,
    talloc_named_const,
    talloc_new,
    talloc_parent,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_set_name_const,
    talloc_steal,
    talloc_strdup,
    talloc_total_blocks,
    talloc_zero,
)
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_RECEIVED,
    tevent_abort_error,
    tevent_context_init,
    tevent_queue_add_entry,
    tevent_queue_create,
    tevent_queue_length,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_callback_data_void,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_nomem,
    tevent_req_notify_callback,
    tevent_req_oom,
    tevent_req_poll,
    tevent_req_post,
    tevent_req_received,
    tevent_req_reset_endtime,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_req_set_endtime,
    tevent_req_set_print_fn,
    tevent_req_set_profile,
    tevent_req_state,
    timeval,
)

bench = pytest.fixture(opened, name="bench")

STATES = ["INIT", "IN_PROGRESS", "DONE", "USER_ERROR", "TIMED_OUT", "NO_MEMORY", "RECEIVED"]


def test_states_have_the_numbers_of_the_c_enum() -> None:
    """The seven states are numbered from 0 in the order of the C header, each also a name of the package."""
    import tevent

    assert [state.name for state in tevent_req_state] == [f"TEVENT_REQ_{name}" for name in STATES]
    assert [state.value for state in tevent_req_state] == list(range(7))
    for state in tevent_req_state:
        assert getattr(tevent, state.name) is state


class TestCreate:
    def test_request_is_in_progress_and_a_child_of_its_context(self, bench: Bench) -> None:
        """A fresh request is in progress, its owner is mem_ctx and its state is a child of it."""
        req, state = bench.make()
        assert type(req) is tevent_req
        assert isinstance(req, TALLOC_CTX)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert tevent_req_is_in_progress(req) is True
        assert talloc_parent(req) is bench.root
        assert talloc_parent(state) is req
        assert talloc_get_name(req) == "struct tevent_req"

    def test_no_owner_makes_a_top_level_chunk(self) -> None:
        """A request on None has no parent."""
        req, _ = tevent_req_create(None, job_state)
        assert req is not None
        assert talloc_parent(req) is None
        assert talloc_free(req) == 0

    def test_state_is_zeroed_and_named_like_its_type(self, bench: Bench) -> None:
        """The state is what talloc_zero makes of the type."""
        _, state = bench.make()
        assert type(state) is job_state
        assert state.value == 0
        assert talloc_get_name(state) == "struct job_state"
        assert talloc_get_size(state) == 8

    def test_each_state_of_a_class_with_an_init_is_a_chunk_there(self, bench: Bench) -> None:
        """An ``__init__`` finds itself below the request, the first time and afterwards."""

        class family(TALLOC_CTX):
            def __init__(self) -> None:
                self.above = talloc_parent(self)

        for _ in range(3):
            req, state = tevent_req_create(bench.root, family)
            assert req is not None
            assert state.above is req
            assert tevent_req_data(req, family) is state

    def test_states_that_are_no_structs_are_refused_each_time(self, bench: Bench) -> None:
        """A type that talloc has met before is no more welcome than one that it has not."""
        for _ in range(2):
            assert talloc_zero(bench.root, int) is not None
            with pytest.raises(TypeError, match="the state's type must be a class derived from TALLOC_CTX, not <class"):
                tevent_req_create(bench.root, int)  # type: ignore[type-var]

    def test_any_chunk_may_own_a_request(self, bench: Bench) -> None:
        """A string chunk is as good an owner as any."""
        owner = talloc_strdup(bench.root, "owner")
        req, _ = bench.make(owner)
        assert talloc_parent(req) is owner

    def test_three_chunks(self, bench: Bench) -> None:
        """A fresh request counts as three blocks: itself, its state and its immediate, in the order of C."""
        req, _ = bench.make()
        assert talloc_total_blocks(req) == 3
        assert children(req) == ["struct job_state", "struct tevent_immediate"]
        assert talloc_total_blocks(bench.root) == talloc_total_blocks(bench.ev) + 1 + 3

    def test_looking_changes_nothing(self, bench: Bench) -> None:
        """A request that was counted behaves as one that was not."""
        req, _ = bench.make(name="a")
        tevent_req_done(req)
        bench.take()
        tevent_req_post(req, bench.ev)
        assert talloc_total_blocks(req) == 3
        assert "struct tevent_immediate" in report(req)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        tevent_req_post(req, bench.ev)
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_DONE)]
        assert talloc_total_blocks(req) == 3

    def test_one_chunk_more_for_endtime_entry_and_profile(self, bench: Bench) -> None:
        """A timer, each queue entry and a profile are one more child of the request each."""
        req, _ = bench.make()
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        assert tevent_req_set_endtime(req, bench.ev, timeval(2**33, 0))
        assert talloc_total_blocks(req) == 4
        tevent_queue_add_entry(queue, bench.ev, req, None, None)
        tevent_queue_add_entry(queue, bench.ev, req, None, None)
        assert talloc_total_blocks(req) == 6
        assert tevent_req_set_profile(req)
        assert talloc_total_blocks(req) == 7
        assert children(req) == [
            "struct tevent_req_profile",
            "struct tevent_queue_entry",
            "struct tevent_queue_entry",
            "struct tevent_timer",
            "struct job_state",
            "struct tevent_immediate",
        ]

    def test_memlimit_makes_it_none(self, bench: Bench) -> None:
        """Where a memory limit forbids the request or its state both results are None and nothing is left."""
        limited = talloc_new(bench.root)
        some, _ = bench.make()
        header = 96
        for room in (1, header + header + talloc_get_size(some)):
            talloc_set_memlimit(limited, room)
            assert tevent_req_create(limited, job_state) == (None, None)
            assert talloc_total_blocks(limited) == 1

    def test_a_state_that_cannot_be_made_leaves_no_request(self, bench: Bench) -> None:
        """An exception from the state's __init__ passes to the caller, and the request is gone."""

        class broken_state(TALLOC_CTX):
            def __init__(self) -> None:
                raise KeyError("broken")

        before = talloc_total_blocks(bench.root)
        with pytest.raises(KeyError, match="broken"):
            tevent_req_create(bench.root, broken_state)
        assert talloc_total_blocks(bench.root) == before

    @pytest.mark.parametrize("mem_ctx", ["text", 5, object(), b"bytes"])
    def test_owner_of_another_kind_is_refused(self, mem_ctx: object) -> None:
        """What is no chunk cannot own a request."""
        with pytest.raises(TypeError):
            tevent_req_create(mem_ctx, job_state)

    def test_freed_owner_is_refused(self, bench: Bench) -> None:
        """A freed owner is talloc's use after free."""
        owner = talloc_new(bench.root)
        talloc_free(owner)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_create(owner, job_state)
        with silent_aborts() as reasons:
            assert tevent_req_create(owner, job_state) == (None, None)
        assert reasons == ["Bad talloc magic value - access after free"]

    @pytest.mark.parametrize("type", ["struct job_state", 5, None, int, object])
    def test_type_must_be_a_state_class(self, bench: Bench, type: object) -> None:
        """The type is a class derived from TALLOC_CTX, and nothing is left behind when it is not."""
        before = talloc_total_blocks(bench.root)
        with pytest.raises(TypeError):
            tevent_req_create(bench.root, type)
        assert talloc_total_blocks(bench.root) == before

    def test_class_cannot_be_called(self) -> None:
        """A request is made by tevent_req_create alone."""
        with pytest.raises(TypeError, match="tevent_req_create"):
            tevent_req()

    def test_parameters_have_the_names_of_c(self, bench: Bench) -> None:
        """Every parameter may be given by keyword."""
        req, state = tevent_req_create(mem_ctx=bench.root, type=job_state)
        assert req is not None
        tevent_req_set_callback(req=req, fn=None, pvt=None)
        assert tevent_req_data(req=req, type=job_state) is state
        assert tevent_req_error(req=req, error=1)
        assert not tevent_req_nomem(p=1, req=req)


class TestParentRequest:
    """The parent request shows in the call depth and in profiles; here through profiles."""

    def test_created_on_the_state_has_a_parent_request(self, bench: Bench) -> None:
        """A request made on the state of another is its subrequest."""
        req, state = bench.make()
        assert tevent_req_set_profile(req)
        sub, _ = bench.make(state)
        assert tevent_req_get_profile(sub) is not None

    def test_created_on_the_request_has_none(self, bench: Bench) -> None:
        """A request made on another request itself is not its subrequest."""
        req, _ = bench.make()
        assert tevent_req_set_profile(req)
        sub, _ = bench.make(req)
        assert tevent_req_get_profile(sub) is None

    def test_created_further_down_has_none(self, bench: Bench) -> None:
        """A request made on a child of the state is not a subrequest: mem_ctx has to be the state itself."""
        req, state = bench.make()
        assert tevent_req_set_profile(req)
        sub, _ = bench.make(talloc_new(state))
        assert tevent_req_get_profile(sub) is None

    def test_later_steal_changes_nothing(self, bench: Bench) -> None:
        """What counts is where the request was made."""
        req, state = bench.make()
        assert tevent_req_set_profile(req)
        outside, outside_state = bench.make()
        talloc_steal(state, outside)
        inner, _ = bench.make(outside_state)
        assert tevent_req_get_profile(outside) is None
        assert tevent_req_get_profile(inner) is None


class TestData:
    def test_state_comes_back(self, bench: Bench) -> None:
        """tevent_req_data gives the state that create gave, in every state but after received."""
        req, state = bench.make()
        assert tevent_req_data(req, job_state) is state
        tevent_req_done(req)
        assert tevent_req_data(req, job_state) is state

    def test_another_type_aborts(self, bench: Bench) -> None:
        """Another type than the state's is talloc's type mismatch."""
        req, _ = bench.make()
        names = r"Type mismatch: name\[struct job_state\] expected\[struct other_state\]"
        with pytest.raises(talloc_abort_error, match=names):
            tevent_req_data(req, other_state)
        with silent_aborts() as reasons:
            assert tevent_req_data(req, other_state) is None
        assert len(reasons) == 1

    def test_names_are_compared_not_classes(self, bench: Bench) -> None:
        """The check is talloc's: another class of the same name matches, a renamed state does not."""
        req, state = bench.make()

        class job_state(TALLOC_CTX):
            pass

        assert tevent_req_data(req, job_state) is state
        talloc_set_name_const(state, "renamed")
        with pytest.raises(talloc_abort_error, match=r"name\[renamed\]"):
            tevent_req_data(req, job_state)

    def test_after_received_aborts(self, bench: Bench) -> None:
        """The state is gone after tevent_req_received: the mismatch of a NULL pointer."""
        req, _ = bench.make()
        tevent_req_received(req)
        with pytest.raises(talloc_abort_error, match=r"name\[NULL\] expected\[struct job_state\]"):
            tevent_req_data(req, job_state)

    def test_state_freed_by_hand_aborts(self, bench: Bench) -> None:
        """A state that somebody has freed is a use after free, not a stale object."""
        req, state = bench.make()
        talloc_free(state)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_data(req, job_state)
        assert talloc_free(req) == 0

    def test_state_moved_away_stays_known(self, bench: Bench) -> None:
        """A state that was stolen still belongs to the request: received frees it."""
        req, state = bench.make()
        talloc_steal(bench.root, state)
        assert tevent_req_data(req, job_state) is state
        tevent_req_received(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            talloc_get_name(state)


class TestCallbackData:
    def test_none_before_it_is_set(self, bench: Bench) -> None:
        """Without a callback there is no data."""
        req, _ = bench.make()
        assert tevent_req_callback_data_void(req) is None
        with pytest.raises(talloc_abort_error, match=r"name\[NULL\]"):
            tevent_req_callback_data(req, job_state)

    def test_checked_like_a_type(self, bench: Bench) -> None:
        """The data is given back to who names its type, and to nobody else."""
        req, state = bench.make()
        outer, _ = bench.make()
        tevent_req_set_callback(req, None, state)
        assert tevent_req_callback_data(req, job_state) is state
        with pytest.raises(talloc_abort_error, match="Type mismatch"):
            tevent_req_callback_data(req, tevent_req)
        tevent_req_set_callback(req, None, outer)
        assert tevent_req_callback_data(req, tevent_req) is outer
        with pytest.raises(talloc_abort_error, match="Type mismatch"):
            tevent_req_callback_data(req, job_state)

    def test_data_that_is_no_chunk(self, bench: Bench) -> None:
        """Any object can be data; the unchecked function gives it back, the checked one refuses it."""
        req, _ = bench.make()
        anything = {"any": "thing"}
        tevent_req_set_callback(req, None, anything)
        assert tevent_req_callback_data_void(req) is anything
        with pytest.raises(TypeError):
            tevent_req_callback_data(req, job_state)

    def test_freed_data_aborts(self, bench: Bench) -> None:
        """Data freed in the meantime is a use after free."""
        req, _ = bench.make()
        for name in ("tevent_req", "state"):
            outer, state = bench.make()
            tevent_req_set_callback(req, None, outer if name == "tevent_req" else state)
            talloc_free(outer)
            with pytest.raises(talloc_abort_error, match="access after free"):
                tevent_req_callback_data(req, tevent_req if name == "tevent_req" else job_state)

    def test_renamed_request_does_not_match(self, bench: Bench) -> None:
        """A request as data is checked by its name, as every chunk is."""
        req, _ = bench.make()
        outer, _ = bench.make()
        tevent_req_set_callback(req, None, outer)
        talloc_set_name_const(outer, "something else")
        with pytest.raises(talloc_abort_error, match=r"name\[something else\]"):
            tevent_req_callback_data(req, tevent_req)

    def test_stays_after_received(self, bench: Bench) -> None:
        """The callback's data outlives the state."""
        req, _ = bench.make()
        tevent_req_set_callback(req, None, bench)
        tevent_req_received(req)
        assert tevent_req_callback_data_void(req) is bench


class TestSetCallback:
    def test_never_fires_by_itself(self, bench: Bench) -> None:
        """Setting a callback on a finished request calls nothing until something else fires."""
        req, _ = bench.make()
        tevent_req_done(req)
        bench.watch(req, "a")
        assert bench.drain() == 0
        assert bench.take() == []
        tevent_req_notify_callback(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]

    def test_the_one_set_when_it_fires_counts(self, bench: Bench) -> None:
        """Function and data are replaced together, also between a post and its immediate."""
        req, _ = bench.make()
        tevent_req_done(req)
        tevent_req_post(req, bench.ev)
        bench.watch(req, "first")
        bench.watch(req, "second")
        assert bench.drain() == 1
        assert bench.take() == [("second", TEVENT_REQ_DONE)]

    def test_none_calls_nothing(self, bench: Bench) -> None:
        """A function of None switches the callback off; the data is set all the same."""
        req, _ = bench.make(name="a")
        tevent_req_set_callback(req, None, "data")
        tevent_req_done(req)
        assert bench.take() == []
        assert tevent_req_callback_data_void(req) == "data"

    def test_may_be_set_inside_the_callback(self, bench: Bench) -> None:
        """A callback may put another one into its place."""
        req, _ = bench.make()

        def first(req: tevent_req) -> None:
            bench.log.append("first")
            bench.watch(req, "second")

        tevent_req_set_callback(req, first, None)
        tevent_req_done(req)
        tevent_req_done(req)
        assert bench.take() == ["first", ("second", TEVENT_REQ_DONE)]

    @pytest.mark.parametrize("fn", ["text", 5])
    def test_uncallable_is_refused(self, bench: Bench, fn: object) -> None:
        """A callback that cannot be called is refused when it is set, not when it would fire."""
        req, _ = bench.make(name="a")
        for setter in (tevent_req_set_cancel_fn, tevent_req_set_cleanup_fn, tevent_req_set_print_fn):
            with pytest.raises(TypeError):
                setter(req, fn)
        with pytest.raises(TypeError):
            tevent_req_set_callback(req, fn, None)
        tevent_req_done(req)
        assert bench.take() == [("a", TEVENT_REQ_DONE)]


class TestDestructor:
    """The request's own destructor does what received does; a user's takes its place."""

    def test_replaced_destructor_runs_and_nothing_else(self, bench: Bench) -> None:
        """With a destructor of the user's, freeing calls that, no cleanup; state and children go all the same."""
        req, state = bench.make(name="a")
        tevent_req_set_cleanup_fn(req, lambda req, req_state: bench.log.append(("cleanup", int(req_state))))
        talloc_set_destructor(state, lambda state: bench.log.append("state"))
        talloc_set_destructor(req, lambda req: bench.log.append("destructor"))
        assert talloc_free(req) == 0
        assert bench.take() == ["destructor", "state"]

    def test_received_drops_a_users_destructor(self, bench: Bench) -> None:
        """tevent_req_received clears the destructor, whosever it is."""
        req, _ = bench.make()
        talloc_set_destructor(req, lambda req: bench.log.append("destructor"))
        tevent_req_received(req)
        assert talloc_free(req) == 0
        assert bench.take() == []

    def test_a_pending_post_dies_with_the_request(self, bench: Bench) -> None:
        """Also with a user's destructor the immediate of a freed request never runs."""
        for fn in (lambda req: 0, None):
            req, _ = bench.make(name="a")
            tevent_req_post(req, bench.ev)
            talloc_set_destructor(req, fn)
            assert talloc_free(req) == 0
            assert bench.drain() == 0
            assert bench.take() == []

    def test_a_post_while_it_dies_is_dropped(self, bench: Bench) -> None:
        """With a user's destructor a request can be posted by what dies with it, which leaves no immediate behind."""
        req, state = bench.make(name="a")
        below = talloc_named_const(state, 0, "below")
        talloc_set_destructor(req, lambda req: 0)
        talloc_set_destructor(below, lambda below: tevent_req_post(req, bench.ev) and None)
        assert talloc_free(req) == 0
        assert bench.drain() == 0
        assert bench.take() == []

    def test_a_pending_post_dies_last(self, bench: Bench) -> None:
        """With a user's destructor the state goes first, and a loop that runs there still finds the post."""
        req, state = bench.make(name="a")
        below = talloc_named_const(state, 0, "below")
        talloc_set_destructor(req, lambda req: 0)
        talloc_set_destructor(below, lambda below: bench.log.append(bench.drain()))
        tevent_req_post(req, bench.ev)
        assert talloc_free(req) == 0
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS), 1]

    def test_a_timer_and_an_entry_die_with_the_request(self, bench: Bench) -> None:
        """Also with a user's destructor endtime and queue entries go with the request."""
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        req, _ = bench.make(name="a")
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        tevent_queue_add_entry(queue, bench.ev, req, lambda req, pd: bench.log.append("trigger"), None)
        talloc_set_destructor(req, lambda req: 0)
        assert talloc_free(req) == 0
        bench.drain()
        assert bench.take() == []
        assert tevent_queue_length(queue) == 0

    def test_a_veto_keeps_everything(self, bench: Bench) -> None:
        """A user's destructor that refuses leaves the request as it was."""
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        talloc_set_destructor(req, lambda req: -1)
        assert talloc_free(req) == -1
        assert bench.drain() == 1
        assert bench.take() == [("a", TEVENT_REQ_IN_PROGRESS)]
        tevent_req_received(req)
        assert talloc_free(req) == 0


def _noop(*args: object) -> None:
    """Nothing."""


#: Every function that takes a request, called with it and a live context.
CALLS = {
    "data": lambda req, ev: tevent_req_data(req, job_state),
    "callback_data": lambda req, ev: tevent_req_callback_data(req, job_state),
    "callback_data_void": lambda req, ev: tevent_req_callback_data_void(req),
    "set_callback": lambda req, ev: tevent_req_set_callback(req, _noop, None),
    "set_print_fn": lambda req, ev: tevent_req_set_print_fn(req, None),
    "set_cancel_fn": lambda req, ev: tevent_req_set_cancel_fn(req, None),
    "set_cleanup_fn": lambda req, ev: tevent_req_set_cleanup_fn(req, None),
    "cancel": lambda req, ev: tevent_req_cancel(req),
    "done": lambda req, ev: tevent_req_done(req),
    "error": lambda req, ev: tevent_req_error(req, 5),
    "error_0": lambda req, ev: tevent_req_error(req, 0),
    "nomem": lambda req, ev: tevent_req_nomem(None, req),
    "nomem_something": lambda req, ev: tevent_req_nomem("something", req),
    "oom": lambda req, ev: tevent_req_oom(req),
    "notify_callback": lambda req, ev: tevent_req_notify_callback(req),
    "post": lambda req, ev: tevent_req_post(req, ev),
    "defer_callback": lambda req, ev: tevent_req_defer_callback(req, ev),
    "defer_callback_none": lambda req, ev: tevent_req_defer_callback(req, None),
    "set_endtime": lambda req, ev: tevent_req_set_endtime(req, ev, timeval(1, 0)),
    "reset_endtime": lambda req, ev: tevent_req_reset_endtime(req),
    "is_in_progress": lambda req, ev: tevent_req_is_in_progress(req),
    "is_error": lambda req, ev: tevent_req_is_error(req),
    "received": lambda req, ev: tevent_req_received(req),
    "poll": lambda req, ev: tevent_req_poll(req, ev),
}


@pytest.mark.parametrize("name", CALLS)
class TestBadRequests:
    def test_freed_request_aborts(self, bench: Bench, name: str) -> None:
        """Every call on a freed request is talloc's use after free."""
        req, _ = bench.make(name="a")
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            CALLS[name](req, bench.ev)

    def test_nothing_happens_if_the_abort_function_returns(self, bench: Bench, name: str) -> None:
        """Where the abort function returns, the call does nothing and gives its failure value."""
        req, _ = bench.make(name="a")
        talloc_free(req)
        with silent_aborts() as reasons:
            result = CALLS[name](req, bench.ev)
        assert reasons == ["Bad talloc magic value - access after free"]
        assert result in (None, False, req, (True, None, None))
        assert bench.drain() == 0
        assert bench.take() == []

    @pytest.mark.parametrize("wrong", [None, "text", 5, object(), tevent_req])
    def test_what_is_no_request_is_refused(self, bench: Bench, name: str, wrong: object) -> None:
        """Another type than a request, None included, is a TypeError that names what is needed."""
        with pytest.raises(TypeError, match="tevent_req"):
            CALLS[name](wrong, bench.ev)

    def test_another_chunk_is_refused(self, bench: Bench, name: str) -> None:
        """A chunk of another kind is refused too."""
        with pytest.raises(TypeError, match="tevent_req"):
            CALLS[name](bench.root, bench.ev)

    def test_a_copy_is_no_chunk(self, bench: Bench, name: str) -> None:
        """A copy of a request is an object that talloc does not know."""
        req, _ = bench.make()
        with pytest.raises(talloc_abort_error, match="unknown value"):
            CALLS[name](copy.copy(req), bench.ev)


@pytest.mark.parametrize(
    "call",
    [
        lambda req, ev: tevent_req_post(req, ev),
        lambda req, ev: tevent_req_set_endtime(req, ev, timeval(1, 0)),
        lambda req, ev: tevent_req_poll(req, ev),
        lambda req, ev: tevent_req_defer_callback(req, ev),
    ],
    ids=["post", "set_endtime", "poll", "defer"],
)
class TestBadContexts:
    def test_wrong_type(self, bench: Bench, call: object) -> None:
        """What is no context is refused."""
        req, _ = bench.make()
        for wrong in ("ev", 5, bench.root, req):
            with pytest.raises(TypeError, match="tevent_context"):
                call(req, wrong)  # type: ignore[operator]

    def test_freed(self, bench: Bench, call: object) -> None:
        """A freed context is a use after free, and nothing happens if the abort function returns."""
        req, _ = bench.make(name="a")
        ev = tevent_context_init(None)
        talloc_free(ev)
        with pytest.raises(talloc_abort_error, match="access after free"):
            call(req, ev)  # type: ignore[operator]
        with silent_aborts() as reasons:
            assert call(req, ev) in (None, False, req)  # type: ignore[operator]
        assert len(reasons) == 1
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS
        assert bench.take() == []


class TestObject:
    def test_repr_tells_the_state(self, bench: Bench) -> None:
        """repr names the request's state and its type, also of a request that was freed."""
        req, _ = bench.make()
        assert "job_state" in repr(req)
        assert "IN_PROGRESS" in repr(req)
        tevent_req_error(req, 5)
        assert "USER_ERROR" in repr(req)
        tevent_req_received(req)
        assert "RECEIVED" in repr(req)
        talloc_free(req)
        assert "freed" in repr(req)

    def test_a_freed_request_is_collected(self) -> None:
        """Nothing in the library holds a request after it was freed."""
        bench = Bench()
        req, _ = bench.make(name="a")
        tevent_req_post(req, bench.ev)
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        gone = weakref.ref(req)
        talloc_free(req)
        del req
        gc.collect()
        assert gone() is None
        bench.close()

    def test_cannot_be_pickled_into_a_chunk(self, bench: Bench) -> None:
        """A pickled request comes back as a plain object, if at all."""
        req, _ = bench.make()
        try:
            plain = pickle.loads(pickle.dumps(req))
        except (TypeError, pickle.PicklingError):
            return
        with pytest.raises(talloc_abort_error, match="unknown value"):
            tevent_req_is_in_progress(plain)

    def test_other_chunks_may_hang_on_a_request(self, bench: Bench) -> None:
        """What is allocated on the request goes with it, and is not touched by received."""
        req, _ = bench.make()
        mine = talloc_named_const(req, 0, "mine")
        tevent_req_received(req)
        assert talloc_get_name(mine) == "mine"
        assert talloc_total_blocks(req) == 2
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            talloc_get_name(mine)

    def test_type_check_as_a_chunk(self, bench: Bench) -> None:
        """A request passes talloc's type check under its C name."""
        req, _ = bench.make()
        assert talloc_get_type_abort(req, tevent_req) is req
        assert tevent_abort_error is not talloc_abort_error
        assert state_of(req) is not TEVENT_REQ_RECEIVED
