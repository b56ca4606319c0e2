# SPDX-License-Identifier: LGPL-3.0-or-later
"""Profiles of requests: recording, the tree of subprofiles, text, packing."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from req_kit import Bench, children, job_state, opened, other_state, silent_aborts

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_set_name_const,
    talloc_total_blocks,
    talloc_total_size,
)
from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_INIT,
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_USER_ERROR,
    _sys,
    tevent_abort_error,
    tevent_queue_create,
    tevent_queue_wait_send,
    tevent_req,
    tevent_req_create,
    tevent_req_done,
    tevent_req_error,
    tevent_req_get_profile,
    tevent_req_is_error,
    tevent_req_move_profile,
    tevent_req_post,
    tevent_req_profile,
    tevent_req_profile_append_sub,
    tevent_req_profile_create,
    tevent_req_profile_get_name,
    tevent_req_profile_get_start,
    tevent_req_profile_get_status,
    tevent_req_profile_get_stop,
    tevent_req_profile_get_subprofiles,
    tevent_req_profile_next,
    tevent_req_profile_pack,
    tevent_req_profile_set_name,
    tevent_req_profile_set_start,
    tevent_req_profile_set_status,
    tevent_req_profile_set_stop,
    tevent_req_profile_string,
    tevent_req_profile_unpack,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
    tevent_req_set_profile,
    tevent_req_state,
    tevent_wakeup_send,
    timeval,
)

bench = pytest.fixture(opened, name="bench")

NEVER = timeval(0, 0)


@pytest.fixture(name="clock")
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A clock that stands still until the test moves it: its one item is the time in microseconds."""
    now = [1_000_000_000_000_007]
    monkeypatch.setattr(_sys, "time_ns", lambda: now[0] * 1000)
    return now


@pytest.fixture(name="utc")
def local_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is UTC while the test runs."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def profiled(bench: Bench) -> tuple[tevent_req, job_state, tevent_req_profile]:
    """A request with a profile."""
    req, state = bench.make()
    assert tevent_req_set_profile(req) is True
    profile = tevent_req_get_profile(req)
    assert profile is not None
    return req, state, profile


def subprofiles(profile: tevent_req_profile) -> list[tevent_req_profile]:
    """The list of subprofiles."""
    found = []
    sub = tevent_req_profile_get_subprofiles(profile)
    while sub is not None:
        found.append(sub)
        sub = tevent_req_profile_next(sub)
    return found


def names(profile: tevent_req_profile) -> list[str | None]:
    """The names of the subprofiles."""
    return [tevent_req_profile_get_name(sub) for sub in subprofiles(profile)]


def named(ctx: TALLOC_CTX | None, name: str | None, *subs: tevent_req_profile) -> tevent_req_profile:
    """A profile made by hand, with subprofiles."""
    profile = tevent_req_profile_create(ctx)
    if name is not None:
        assert tevent_req_profile_set_name(profile, name) is True
    for sub in subs:
        tevent_req_profile_append_sub(profile, sub)
    return profile


class TestSetProfile:
    def test_begins_with_the_request(self, bench: Bench, clock: list[int]) -> None:
        """Name of the state, place of creation, the present time; nothing about the end."""
        req, _ = tevent_req_create(bench.root, job_state); line = sys._getframe().f_lineno  # fmt: skip # noqa: E702
        assert req is not None
        assert tevent_req_get_profile(req) is None
        clock[0] += 5
        assert tevent_req_set_profile(req) is True
        profile = tevent_req_get_profile(req)
        assert type(profile) is tevent_req_profile
        assert talloc_parent(profile) is req
        assert tevent_req_profile_get_name(profile) == "struct job_state"
        assert tevent_req_profile_get_start(profile) == (f"{__file__}:{line}", timeval(1_000_000_000, 12))
        assert tevent_req_profile_get_stop(profile) == (None, NEVER)
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_INIT, 0)
        assert tevent_req_profile_get_subprofiles(profile) is None
        assert tevent_req_profile_next(profile) is None
        assert talloc_total_blocks(profile) == 1

    def test_twice_is_an_error_of_the_request(self, bench: Bench) -> None:
        """A second profile lets the request fail with EINVAL, through its callback, and is False."""
        req, _, profile = profiled(bench)
        bench.watch(req, "a")
        assert tevent_req_set_profile(req) is False
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, errno.EINVAL)
        assert tevent_req_get_profile(req) is profile
        location = tevent_req_profile_get_stop(profile)[0]
        assert location is not None
        assert location.startswith(__file__)

    def test_memlimit(self, bench: Bench) -> None:
        """Where a memory limit forbids the profile the request ends with NO_MEMORY."""
        limited = talloc_new(bench.root)
        req, _ = bench.make(limited, name="a")
        talloc_set_memlimit(limited, talloc_total_size(limited) + 96 * talloc_total_blocks(limited))
        assert tevent_req_set_profile(req) is False
        assert bench.take() == [("a", TEVENT_REQ_NO_MEMORY)]
        assert tevent_req_get_profile(req) is None

    def test_memlimit_of_a_subrequest(self, bench: Bench) -> None:
        """A subrequest whose profile finds no memory is not made at all."""
        limited = talloc_new(bench.root)
        _req, state = bench.make(limited)
        assert tevent_req_set_profile(_req)
        sub, _ = bench.make(state)
        profile = tevent_req_get_profile(sub)
        assert profile is not None
        one = talloc_total_size(profile) + 96
        talloc_free(sub)
        before = talloc_total_blocks(limited)
        talloc_set_memlimit(limited, 1)
        assert tevent_req_create(state, job_state) == (None, None)
        # room for all of the request but the profile
        talloc_set_memlimit(limited, 0)
        sub, _ = bench.make(state)
        full = talloc_total_size(limited) + 96 * talloc_total_blocks(limited)
        talloc_free(sub)
        for short in range(1, one, 16):
            talloc_set_memlimit(limited, full - short)
            assert tevent_req_create(state, job_state) == (None, None)
            assert talloc_total_blocks(limited) == before

    def test_name_follows_the_state_chunk(self, bench: Bench) -> None:
        """It is the name the state's chunk has when the profile is set."""
        req, state = bench.make()
        talloc_set_name_const(state, "special")
        assert tevent_req_set_profile(req)
        profile = tevent_req_get_profile(req)
        assert profile is not None
        talloc_set_name_const(state, "later")
        assert tevent_req_profile_get_name(profile) == "special"


class TestRecording:
    @pytest.mark.parametrize(
        ("finish", "state", "error"),
        [
            (tevent_req_done, TEVENT_REQ_DONE, 0),
            (lambda req: tevent_req_error(req, 2**64 - 1), TEVENT_REQ_USER_ERROR, 2**64 - 1),
        ],
    )
    def test_finish(
        self, bench: Bench, clock: list[int], finish: Callable[[tevent_req], object], state: int, error: int
    ) -> None:
        """A finish stores place, time, state and error."""
        req, _, profile = profiled(bench)
        clock[0] += 1_000_000
        finish(req)
        location, when = tevent_req_profile_get_stop(profile)
        assert location is not None
        assert location.startswith(__file__)
        assert when == timeval(1_000_000_001, 7)
        assert tevent_req_profile_get_status(profile) == (0, state, error)
        assert tevent_req_get_profile(req) is profile

    def test_a_later_finish_updates_it(self, bench: Bench, clock: list[int]) -> None:
        """A top-level profile stays with its request; the trigger of a post is a finish too."""
        req, _, profile = profiled(bench)
        tevent_req_error(req, 5)
        clock[0] += 10
        tevent_req_done(req)
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_DONE, 5)
        assert tevent_req_profile_get_stop(profile)[1] == timeval(1_000_000_000, 17)
        tevent_req_post(req, bench.ev)
        clock[0] += 10
        bench.drain()
        assert tevent_req_profile_get_stop(profile)[1] == timeval(1_000_000_000, 27)

    def test_a_finish_inside_the_cleanup_function(self, bench: Bench) -> None:
        """What is recorded in the end is the outer finish, though the request is in the state of the inner one."""
        req, _, profile = profiled(bench)
        tevent_req_set_cleanup_fn(req, lambda req, req_state: tevent_req_done(req))
        tevent_req_error(req, 5); line = sys._getframe().f_lineno  # fmt: skip # noqa: E702
        assert tevent_req_is_error(req)[0] is False
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_USER_ERROR, 5)
        assert tevent_req_profile_get_stop(profile)[0] == f"{__file__}:{line}"

    def test_received_does_not_stop_it(self, bench: Bench) -> None:
        """received records nothing."""
        req, _, profile = profiled(bench)
        tevent_req_received(req)
        assert tevent_req_profile_get_stop(profile) == (None, NEVER)
        assert tevent_req_get_profile(req) is profile

    def test_set_after_received(self, bench: Bench) -> None:
        """A request without a state has no name to give: the abort function."""
        req, _ = bench.make()
        tevent_req_received(req)
        with pytest.raises(tevent_abort_error, match="received"):
            tevent_req_set_profile(req)
        with silent_aborts() as reasons:
            assert tevent_req_set_profile(req) is False
        assert len(reasons) == 1
        assert tevent_req_get_profile(req) is None


class TestSubrequests:
    def test_get_profiles_in_order_of_creation(self, bench: Bench) -> None:
        """Each subrequest has its own profile at once, in the list of the parent's, in order of creation."""
        _, state, profile = profiled(bench)
        first, _ = bench.make(state)
        second, second_state = tevent_req_create(state, other_state)
        assert second is not None
        inner, _ = bench.make(second_state)
        mine = [tevent_req_get_profile(req) for req in (first, second)]
        assert subprofiles(profile) == mine
        assert names(profile) == ["struct job_state", "struct other_state"]
        assert talloc_parent(mine[1]) is second
        assert children(second) == ["struct tevent_req_profile", "struct other_state", "struct tevent_immediate"]
        assert mine[1] is not None
        assert subprofiles(mine[1]) == [tevent_req_get_profile(inner)]

    def test_finished_ones_move_below_the_parent(self, bench: Bench) -> None:
        """A finished subrequest gives its profile away; the order in the list stays."""
        _, state, profile = profiled(bench)
        first, _ = bench.make(state)
        second, _ = bench.make(state)
        mine = subprofiles(profile)
        tevent_req_done(second)
        assert tevent_req_get_profile(second) is None
        assert talloc_parent(mine[1]) is profile
        tevent_req_error(first, 7)
        assert tevent_req_get_profile(first) is None
        assert subprofiles(profile) == mine
        assert [tevent_req_profile_get_status(sub) for sub in mine] == [(0, 3, 7), (0, 2, 0)]
        assert children(profile) == ["struct tevent_req_profile", "struct tevent_req_profile"]
        tevent_req_error(second, 9)
        assert tevent_req_profile_get_status(mine[1]) == (0, 2, 0)

    def test_freed_before_the_end(self, bench: Bench) -> None:
        """A subrequest freed in progress takes its profile along, a finished one leaves it behind."""
        _, state, profile = profiled(bench)
        first, second, third = (bench.make(state)[0] for _ in range(3))
        mine = subprofiles(profile)
        tevent_req_done(first)
        talloc_free(first)
        talloc_free(second)
        assert subprofiles(profile) == [mine[0], mine[2]]
        talloc_free(third)
        assert subprofiles(profile) == [mine[0]]

    def test_none_without_a_profile_of_the_parent(self, bench: Bench) -> None:
        """A parent whose profile was moved out, or never set, gives none to new subrequests."""
        req, state, _ = profiled(bench)
        moved = tevent_req_move_profile(req, bench.root)
        sub, _ = bench.make(state)
        assert tevent_req_get_profile(sub) is None
        assert moved is not None
        assert subprofiles(moved) == []
        _, state = bench.make()
        sub, _ = bench.make(state)
        assert tevent_req_get_profile(sub) is None

    def test_on_a_request_that_hangs_on_another(self, bench: Bench) -> None:
        """A request is a subrequest of what owns its context: also where that context is a request, not a state."""
        req, _, profile = profiled(bench)
        beside, _ = bench.make(req)
        assert tevent_req_get_profile(beside) is None
        below, _ = bench.make(beside)
        assert subprofiles(profile) == [tevent_req_get_profile(below)]

    def test_of_the_library(self, bench: Bench) -> None:
        """The library's own requests are subrequests like any other."""
        _, state, profile = profiled(bench)
        queue = tevent_queue_create(bench.root, "queue")
        assert queue is not None
        tevent_wakeup_send(state, bench.ev, timeval(1, 0))
        tevent_queue_wait_send(state, bench.ev, queue)
        assert names(profile) == ["struct tevent_wakeup_state", "struct tevent_queue_wait_state"]
        bench.drain()
        assert [tevent_req_profile_get_status(sub)[1] for sub in subprofiles(profile)] == [4, 2]

    def test_parent_received(self, bench: Bench) -> None:
        """received frees the subrequests, finished or not; what has finished is still in the profile."""
        req, state, profile = profiled(bench)
        first, _ = bench.make(state)
        bench.make(state)
        tevent_req_done(first)
        tevent_req_received(req)
        assert len(subprofiles(profile)) == 1


class TestMove:
    def test_moves_and_forgets(self, bench: Bench) -> None:
        """The profile is mem_ctx's, the request has none and records nothing any more."""
        req, _, profile = profiled(bench)
        owner = talloc_new(bench.root)
        assert tevent_req_move_profile(req, owner) is profile
        assert talloc_parent(profile) is owner
        assert tevent_req_get_profile(req) is None
        assert tevent_req_move_profile(req, owner) is None
        tevent_req_done(req)
        assert tevent_req_profile_get_stop(profile) == (None, NEVER)
        talloc_free(req)
        assert tevent_req_profile_get_name(profile) == "struct job_state"

    def test_running_subrequests_still_report(self, bench: Bench) -> None:
        """A subrequest begun before records its end in the moved profile."""
        req, state, profile = profiled(bench)
        sub, _ = bench.make(state)
        tevent_req_move_profile(req, None)
        tevent_req_done(sub)
        assert [tevent_req_profile_get_status(sub)[1] for sub in subprofiles(profile)] == [2]
        assert talloc_free(profile) == 0

    def test_a_new_one_after_moving(self, bench: Bench) -> None:
        """A request whose profile was moved out can have another."""
        req, _, profile = profiled(bench)
        tevent_req_move_profile(req, bench.root)
        assert tevent_req_set_profile(req) is True
        assert tevent_req_get_profile(req) is not profile

    def test_without_a_profile(self, bench: Bench) -> None:
        """None if there is nothing to move."""
        req, _ = bench.make()
        assert tevent_req_move_profile(req, bench.root) is None

    def test_in_a_recv_function(self, bench: Bench) -> None:
        """The purpose: take the profile out, receive and free the request, keep the profile."""
        req, _, profile = profiled(bench)
        tevent_req_done(req)
        kept = tevent_req_move_profile(req, bench.root)
        tevent_req_received(req)
        talloc_free(req)
        assert kept is profile
        assert tevent_req_profile_get_status(profile)[1] is TEVENT_REQ_DONE


class TestFree:
    def test_unlinks_from_the_parent(self, bench: Bench) -> None:
        """A freed profile leaves its parent's list."""
        subs = [named(None, name) for name in "abc"]
        top = named(bench.root, "top", *subs)
        talloc_free(subs[1])
        assert names(top) == ["a", "c"]
        talloc_free(subs[0])
        talloc_free(subs[2])
        assert names(top) == []
        tevent_req_profile_append_sub(top, named(None, "d"))
        assert names(top) == ["d"]

    def test_running_subrequests_keep_theirs(self, bench: Bench) -> None:
        """Freeing the parent profile makes those of running subrequests parentless; they go on recording."""
        _, state, profile = profiled(bench)
        running, _ = bench.make(state)
        beside, _ = bench.make(state)
        finished, _ = bench.make(state)
        tevent_req_done(finished)
        mine = tevent_req_get_profile(running)
        assert mine is not None
        assert talloc_free(profile) == 0
        assert tevent_req_get_profile(running) is mine
        assert tevent_req_profile_next(mine) is None
        tevent_req_error(running, 3)
        assert tevent_req_get_profile(running) is mine
        assert tevent_req_profile_get_status(mine) == (0, 3, 3)
        talloc_free(beside)

    def test_the_request_forgets_it(self, bench: Bench) -> None:
        """A profile freed under its request is gone: the request has none and goes on."""
        req, _, profile = profiled(bench)
        talloc_free(profile)
        assert tevent_req_get_profile(req) is None
        tevent_req_done(req)
        assert tevent_req_set_profile(req) is True

    def test_with_the_request(self, bench: Bench) -> None:
        """A profile that was not moved goes with its request."""
        req, _, profile = profiled(bench)
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_profile_get_name(profile)


class TestByHand:
    def test_create(self, bench: Bench) -> None:
        """A fresh profile is one chunk and knows nothing."""
        profile = tevent_req_profile_create(bench.root)
        assert type(profile) is tevent_req_profile
        assert talloc_parent(profile) is bench.root
        assert talloc_total_blocks(profile) == 1
        assert tevent_req_profile_get_name(profile) is None
        assert tevent_req_profile_get_start(profile) == (None, NEVER)
        assert tevent_req_profile_get_stop(profile) == (None, NEVER)
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_INIT, 0)
        assert tevent_req_profile_get_subprofiles(profile) is None

    def test_setters_copy_onto_the_profile(self, bench: Bench) -> None:
        """Name and places are copied, each copy a child of the profile; earlier copies stay until it goes."""
        profile = tevent_req_profile_create(bench.root)
        assert tevent_req_profile_set_name(profile, "name") is True
        assert tevent_req_profile_set_start(profile, "start:1", timeval(1, 2)) is True
        assert tevent_req_profile_set_stop(profile, "stop:2", timeval(3, 4)) is True
        assert children(profile) == ["stop:2", "start:1", "name"]
        assert tevent_req_profile_get_name(profile) == "name"
        assert tevent_req_profile_get_start(profile) == ("start:1", timeval(1, 2))
        assert tevent_req_profile_get_stop(profile) == ("stop:2", timeval(3, 4))
        assert tevent_req_profile_set_name(profile, "other") is True
        assert talloc_total_blocks(profile) == 5
        assert tevent_req_profile_get_name(profile) == "other"

    def test_none_is_false(self, bench: Bench) -> None:
        """A text of None cannot be copied: False, no text; times are set all the same."""
        profile = named(bench.root, "name")
        assert tevent_req_profile_set_name(profile, None) is False
        assert tevent_req_profile_set_start(profile, None, timeval(1, 2)) is False
        assert tevent_req_profile_set_stop(profile, None, timeval(3, 4)) is False
        assert tevent_req_profile_get_name(profile) is None
        assert tevent_req_profile_get_start(profile) == (None, timeval(1, 2))
        assert tevent_req_profile_get_stop(profile) == (None, timeval(3, 4))

    def test_memlimit(self, bench: Bench) -> None:
        """False where a memory limit forbids the copy; create gives None."""
        limited = talloc_new(bench.root)
        profile = tevent_req_profile_create(limited)
        talloc_set_memlimit(limited, talloc_total_size(limited) + 2 * 96)
        assert tevent_req_profile_set_name(profile, "name") is False
        assert tevent_req_profile_set_start(profile, "start", NEVER) is False
        assert tevent_req_profile_set_stop(profile, "stop", NEVER) is False
        assert tevent_req_profile_create(limited) is None

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ((7, 2, 5), (7, 2, 5)),
            ((-1, -1, -1), (-1, -1, 2**64 - 1)),
            ((2**31, 2**32 + 3, 2**64 + 5), (-(2**31), 3, 5)),
            ((0, 77, 2**63), (0, 77, 2**63)),
            ((0, 7, 0), (0, 7, 0)),
        ],
    )
    def test_status(self, bench: Bench, given: tuple[int, int, int], kept: tuple[int, int, int]) -> None:
        """pid and state are 32-bit numbers, the error an unsigned 64-bit one; unknown states stay plain ints."""
        profile = tevent_req_profile_create(bench.root)
        assert tevent_req_profile_set_status(profile, *given) is None
        status = tevent_req_profile_get_status(profile)
        assert status == kept
        assert type(status[1]) is (tevent_req_state if 0 <= kept[1] <= 6 else int)

    def test_append_moves_to_the_end(self, bench: Bench) -> None:
        """append_sub moves the chunk below the parent and the profile to the end of its list."""
        top = tevent_req_profile_create(bench.root)
        for name in "abc":
            sub = named(None, name)
            assert tevent_req_profile_append_sub(top, sub) is None
            assert talloc_parent(sub) is top
        assert names(top) == ["a", "b", "c"]

    def test_append_again_moves(self, bench: Bench) -> None:
        """A profile that stands somewhere leaves that place."""
        subs = [named(None, name) for name in "abc"]
        top = named(bench.root, "top", *subs)
        other = named(bench.root, "other")
        tevent_req_profile_append_sub(top, subs[0])
        assert names(top) == ["b", "c", "a"]
        tevent_req_profile_append_sub(other, subs[2])
        assert names(top) == ["b", "a"]
        assert names(other) == ["c"]
        assert talloc_parent(subs[2]) is other

    def test_no_profile_below_itself(self, bench: Bench) -> None:
        """A loop of profiles would have no end: the abort function, and nothing changes."""
        low = named(None, "low")
        middle = named(None, "middle", low)
        top = named(bench.root, "top", middle)
        for parent, sub in ((top, top), (low, top), (middle, middle), (low, middle)):
            with pytest.raises(tevent_abort_error, match="below itself"):
                tevent_req_profile_append_sub(parent, sub)
        with silent_aborts() as reasons:
            tevent_req_profile_append_sub(low, top)
        assert len(reasons) == 1
        assert names(top) == ["middle"]
        assert names(middle) == ["low"]
        assert names(low) == []


CALLS: dict[str, Callable[[object], object]] = {
    "get_name": lambda profile: tevent_req_profile_get_name(profile),
    "get_start": lambda profile: tevent_req_profile_get_start(profile),
    "get_stop": lambda profile: tevent_req_profile_get_stop(profile),
    "get_status": lambda profile: tevent_req_profile_get_status(profile),
    "get_subprofiles": lambda profile: tevent_req_profile_get_subprofiles(profile),
    "next": lambda profile: tevent_req_profile_next(profile),
    "set_name": lambda profile: tevent_req_profile_set_name(profile, "name"),
    "set_start": lambda profile: tevent_req_profile_set_start(profile, "start", NEVER),
    "set_stop": lambda profile: tevent_req_profile_set_stop(profile, "stop", NEVER),
    "set_status": lambda profile: tevent_req_profile_set_status(profile, 0, 0, 0),
    "append_sub": lambda profile: tevent_req_profile_append_sub(profile, profile),
    "string": lambda profile: tevent_req_profile_string(None, profile, 0, 1),
    "pack": lambda profile: tevent_req_profile_pack(profile, None),
}


@pytest.mark.parametrize("name", CALLS)
class TestBadInput:
    def test_freed(self, bench: Bench, name: str) -> None:
        """A freed profile is a use after free; if the abort function returns nothing is done."""
        profile = named(bench.root, "name")
        talloc_free(profile)
        with pytest.raises(talloc_abort_error, match="access after free"):
            CALLS[name](profile)
        with silent_aborts() as reasons:
            assert CALLS[name](profile) in (None, False, -1, (None, NEVER), (0, TEVENT_REQ_INIT, 0))
        assert reasons == ["Bad talloc magic value - access after free"]

    @pytest.mark.parametrize("wrong", [None, "profile", 5, tevent_req_profile])
    def test_wrong_type(self, name: str, wrong: object) -> None:
        """What is no profile is refused."""
        with pytest.raises(TypeError, match="tevent_req_profile"):
            CALLS[name](wrong)

    def test_never_allocated(self, name: str) -> None:
        """An instance made by calling the class is no chunk."""
        with pytest.raises(talloc_abort_error, match="unknown value"):
            CALLS[name](tevent_req_profile())


class TestBadArguments:
    def test_times_and_numbers(self, bench: Bench) -> None:
        """Times are timevals, numbers ints, names strings; a refused call changes nothing."""
        profile = named(bench.root, "name")
        for bad in (None, 5, "now"):
            with pytest.raises(TypeError):
                tevent_req_profile_set_start(profile, "place", bad)
            with pytest.raises(TypeError):
                tevent_req_profile_set_stop(profile, "place", bad)
        for bad_status in ((None, 0, 0), (0, "1", 0), (0, 0, 1.5)):
            with pytest.raises(TypeError):
                tevent_req_profile_set_status(profile, *bad_status)
        with pytest.raises(TypeError):
            tevent_req_profile_set_name(profile, 5)
        assert tevent_req_profile_get_start(profile) == (None, NEVER)
        assert tevent_req_profile_get_status(profile) == (0, TEVENT_REQ_INIT, 0)

    def test_second_argument_of_append(self, bench: Bench) -> None:
        """The subprofile is checked like the parent."""
        profile = named(bench.root, "name")
        dead = named(bench.root, "dead")
        talloc_free(dead)
        with pytest.raises(TypeError):
            tevent_req_profile_append_sub(profile, None)
        with pytest.raises(talloc_abort_error):
            tevent_req_profile_append_sub(profile, dead)

    def test_requests(self, bench: Bench) -> None:
        """The functions on requests check the request."""
        req, _ = bench.make()
        talloc_free(req)
        for call in (tevent_req_set_profile, tevent_req_get_profile, lambda req: tevent_req_move_profile(req, None)):
            with pytest.raises(talloc_abort_error):
                call(req)
            with silent_aborts() as reasons:
                assert call(req) in (None, False)
            assert len(reasons) == 1
            for wrong in (None, 5, bench.root):
                with pytest.raises(TypeError):
                    call(wrong)

    def test_move_to_a_bad_context(self, bench: Bench) -> None:
        """A profile that cannot be moved stays with its request."""
        req, _, profile = profiled(bench)
        dead = talloc_new(bench.root)
        talloc_free(dead)
        with pytest.raises(talloc_abort_error):
            tevent_req_move_profile(req, dead)
        with pytest.raises(TypeError):
            tevent_req_move_profile(req, "text")
        assert talloc_parent(profile) is req
        assert tevent_req_get_profile(req) is profile


def example(bench: Bench) -> tevent_req_profile:
    """A profile of one level with fixed contents."""
    profile = named(bench.root, "struct job_state")
    tevent_req_profile_set_start(profile, "a.py:1", timeval(86400, 5))
    tevent_req_profile_set_stop(profile, "b.py:22", timeval(86402, 1))
    tevent_req_profile_set_status(profile, 0, TEVENT_REQ_USER_ERROR, 2**64 - 1)
    return profile


@pytest.mark.usefixtures("utc")
class TestString:
    def test_one_line(self, bench: Bench) -> None:
        """Name, places, local times, duration, state and error, with C's two closing brackets."""
        text = tevent_req_profile_string(bench.root, example(bench), 2, 5)
        assert text == (
            "  [struct job_state] a.py:1 [1970/01/02 00:00:00.000005] b.py:22 [1970/01/02 00:00:02.000001] [1.999996] "
            "-> TEVENT_REQ_USER_ERROR (3 18446744073709551615))\n"
        )
        assert isinstance(text, TALLOC_CTX)
        assert talloc_parent(text) is bench.root

    def test_unknown_things(self, bench: Bench) -> None:
        """What is not there is (null), a duration below zero is zero, a state outside the enum is unknown."""
        profile = tevent_req_profile_create(bench.root)
        tevent_req_profile_set_start(profile, None, timeval(10, 0))
        tevent_req_profile_set_status(profile, 0, 77, 1)
        assert tevent_req_profile_string(bench.root, profile, 0, 1) == (
            "[(null)] (null) [1970/01/01 00:00:10.000000] (null) [1970/01/01 00:00:00.000000] [0.000000] "
            "-> unknown (77 1))\n"
        )

    def test_a_time_that_no_calendar_has(self, bench: Bench) -> None:
        """A time beyond all years is written in seconds; microseconds are not normalised."""
        profile = tevent_req_profile_create(bench.root)
        tevent_req_profile_set_start(profile, None, timeval(0, 3_000_000))
        tevent_req_profile_set_stop(profile, None, timeval(2**60, 1))
        assert tevent_req_profile_string(None, profile, 0, 1) == (
            "[(null)] (null) [1970/01/01 00:00:00.3000000] (null) [1152921504606846976.000001 seconds since the Epoch] "
            "[1152921504606846975.18446744073707551617] -> TEVENT_REQ_INIT (0 0))\n"
        )

    def test_levels(self, bench: Bench) -> None:
        """Subprofiles follow one blank further in; at max_indent they are left out, but never the first line."""
        inner = named(None, "b1", named(None, "b11"))
        top = named(bench.root, "top", named(None, "a"), named(None, "b", inner, named(None, "b2")), named(None, "c"))

        def lines(indent: int, max_indent: int) -> list[str]:
            text = tevent_req_profile_string(bench.root, top, indent, max_indent)
            assert text is not None
            return [line.partition("]")[0] for line in text.splitlines()]

        whole = ["[top", " [a", " [b", "  [b1", "   [b11", "  [b2", " [c"]
        assert lines(0, 10) == whole
        assert lines(0, 4) == whole
        assert lines(0, 3) == [line for line in whole if not line.startswith("   ")]
        assert lines(0, 2) == ["[top", " [a", " [b", " [c"]
        for max_indent in (0, 1):
            assert lines(0, max_indent) == ["[top"]
        assert lines(2, 4) == ["  [top", "   [a", "   [b", "   [c"]
        assert lines(2, 3) == ["  [top"]

    def test_a_request_as_it_runs(self, bench: Bench, clock: list[int]) -> None:
        """The profile of a finished request with a subrequest, end to end."""
        req, state, profile = profiled(bench)
        sub, _ = bench.make(state)
        clock[0] += 250
        tevent_req_error(sub, 5)
        tevent_req_done(req)
        text = tevent_req_profile_string(bench.root, profile, 0, 9)
        assert text is not None
        first, second = text.splitlines()
        assert first.endswith("[0.000250] -> TEVENT_REQ_DONE (2 0))")
        assert second.startswith(" [struct job_state]")
        assert second.endswith("-> TEVENT_REQ_USER_ERROR (3 5))")


class TestPack:
    def test_layout(self, bench: Bench) -> None:
        """Number of subprofiles, three texts, the numbers; each part ends in NUL."""
        profile = example(bench)
        packed = b"0 struct job_state\0a.py:1\0b.py:22\x0086400 5 86402 1 0 3 18446744073709551615\0"
        assert tevent_req_profile_pack(profile, None) == len(packed)
        for spare in (0, 1, 7):
            buf = bytearray(b"\xff" * (len(packed) + spare))
            assert tevent_req_profile_pack(profile, buf) == len(packed)
            assert buf == packed + b"\xff" * spare

    def test_subprofiles_follow(self, bench: Bench) -> None:
        """Depth first, each in the same form."""
        top = named(bench.root, "t", named(None, "a", named(None, "b")), named(None, "c"))
        buf = bytearray(tevent_req_profile_pack(top, None))
        tevent_req_profile_pack(top, memoryview(buf))
        rest = b"\0\0\x000 0 0 0 0 0 0\0"
        assert buf == b"2 t" + rest + b"1 a" + rest + b"0 b" + rest + b"0 c" + rest

    def test_negative_numbers(self, bench: Bench) -> None:
        """pid and state are signed, times and the error unsigned 64-bit numbers."""
        profile = named(bench.root, "n")
        tevent_req_profile_set_start(profile, "s", timeval(-5, 3))
        tevent_req_profile_set_status(profile, -1, -2, -3)
        buf = bytearray(tevent_req_profile_pack(profile, None))
        tevent_req_profile_pack(profile, buf)
        assert buf == b"0 n\0s\0\x0018446744073709551611 3 0 0 -1 -2 18446744073709551613\0"
        used, back = tevent_req_profile_unpack(buf, bench.root)
        assert used == len(buf)
        assert back is not None
        assert tevent_req_profile_get_start(back) == ("s", timeval(-5, 3))
        assert tevent_req_profile_get_status(back) == (-1, -2, 2**64 - 3)

    def test_unfinished_profile(self, bench: Bench) -> None:
        """A profile without an end is packed with an empty place."""
        _, _, profile = profiled(bench)
        buf = bytearray(tevent_req_profile_pack(profile, None))
        tevent_req_profile_pack(profile, buf)
        _, back = tevent_req_profile_unpack(buf, bench.root)
        assert back is not None
        assert tevent_req_profile_get_stop(back) == ("", NEVER)
        assert tevent_req_profile_get_name(back) == "struct job_state"

    def test_too_small(self, bench: Bench) -> None:
        """A buffer that is too small gives the same length."""
        profile = example(bench)
        size = tevent_req_profile_pack(profile, None)
        for length in range(size):
            assert tevent_req_profile_pack(profile, bytearray(length)) == size

    @pytest.mark.parametrize("buf", [b"bytes", "text", 5, memoryview(b"read-only")])
    def test_buffer_must_be_writable(self, bench: Bench, buf: object) -> None:
        """What cannot be written into is refused."""
        with pytest.raises(TypeError):
            tevent_req_profile_pack(example(bench), buf)

    def test_other_encodings(self, bench: Bench) -> None:
        """Texts are UTF-8, bytes that are none survive."""
        profile = named(bench.root, "n\u00e4me \udcff")
        buf = bytearray(tevent_req_profile_pack(profile, None))
        tevent_req_profile_pack(profile, buf)
        assert buf.startswith(b"0 n\xc3\xa4me \xff\0")
        _, back = tevent_req_profile_unpack(buf, None)
        assert back is not None
        assert tevent_req_profile_get_name(back) == "n\u00e4me \udcff"
        talloc_free(back)


REST = b"\0\0\0" + b"0 0 0 0 0 0 0\0"


class TestUnpack:
    def test_into_a_context(self, bench: Bench) -> None:
        """The result is a profile on mem_ctx with copies of the texts; the length used is that of the profile."""
        packed = b"1 t\0start\0stop\x001 2 3 4 5 6 7\0" + b"0 s" + REST
        used, profile = tevent_req_profile_unpack(packed + b"rest\0", bench.root)
        assert used == len(packed)
        assert type(profile) is tevent_req_profile
        assert talloc_parent(profile) is bench.root
        assert tevent_req_profile_get_name(profile) == "t"
        assert tevent_req_profile_get_start(profile) == ("start", timeval(1, 2))
        assert tevent_req_profile_get_stop(profile) == ("stop", timeval(3, 4))
        assert tevent_req_profile_get_status(profile) == (5, TEVENT_REQ_RECEIVED, 7)
        assert names(profile) == ["s"]
        assert children(profile) == ["struct tevent_req_profile", "stop", "start", "t"]
        assert talloc_total_blocks(profile) == 8

    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
    def test_any_buffer(self, bench: Bench, wrap: Callable[[bytes], bytes]) -> None:
        """Every bytes-like object will do."""
        assert tevent_req_profile_unpack(wrap(b"0 " + REST), bench.root)[0] == 2 + len(REST)

    @pytest.mark.parametrize(
        "packed",
        [
            b"",
            b"\0",
            b"0 \0",
            b"0 \0\0",
            b"0 \0\0\0",
            b"0 " + REST[:-1],
            b"0 " + REST + b"x",
            b"x " + REST,
            b"0x" + REST,
            b"1 " + REST,
            b"2 " + REST + b"0 " + REST,
            b"1 " + REST + b"0 \0",
            b"0 \0\0\x000 0 0 0 0 0\0",
            b"0 \0\0\x000 0 0 0 0 0 0 \0",
            b"0 \0\0\x000 0 0 0 0 0 x\0",
            b"0 \0\0\x000,0 0 0 0 0 0\0",
            b"0 \0\0\x000 0 0 0 0 0 18446744073709551616\0",
            b"0 \0\0\x000 0 0 0 0 0 -18446744073709551616\0",
            b"0 \0\0\x000 0 0 0 0 0 99999999999999999999999\0",
            b"18446744073709551616 " + REST,
            b"18446744073709551615 " + REST,
        ],
    )
    def test_refused(self, bench: Bench, packed: bytes) -> None:
        """Whatever is missing, no number or in the wrong place is -1, and nothing is left on mem_ctx."""
        before = talloc_total_blocks(bench.root)
        assert tevent_req_profile_unpack(packed, bench.root) == (-1, None)
        assert talloc_total_blocks(bench.root) == before

    @pytest.mark.parametrize(
        ("numbers", "status", "start"),
        [
            (b" 1  2 0 0 +3 \t4 \n5", (3, 4, 5), timeval(1, 2)),
            (b"-1 0 0 0 -1 -1 -1", (-1, -1, 2**64 - 1), timeval(-1, 0)),
            (b"      ", (0, 0, 0), timeval(0, 0)),
            (b"0 0 0 0 4294967297 8589934594 0000000000000000000000000000000009", (1, 2, 9), timeval(0, 0)),
            (b"18446744073709551615 9223372036854775808 0 0 0 0 0", (0, 0, 0), timeval(-1, -(2**63))),
            (b"0 0 0 0 4294967295 4294967295 -18446744073709551615", (-1, -1, 1), timeval(0, 0)),
        ],
    )
    def test_numbers_as_c_reads_them(
        self, bench: Bench, numbers: bytes, status: tuple[int, int, int], start: timeval
    ) -> None:
        """Leading blanks and signs are allowed, an empty number is 0, wide numbers are cut to C's types."""
        packed = b"0 \0\0\0" + numbers + b"\0"
        used, profile = tevent_req_profile_unpack(packed, bench.root)
        assert used == len(packed)
        assert profile is not None
        assert tevent_req_profile_get_status(profile) == status
        assert tevent_req_profile_get_start(profile)[1] == start

    def test_a_thousand_levels(self, bench: Bench) -> None:
        """Depth is no matter, neither in packets nor in text."""
        depth = 3000
        packed = (b"1 " + REST) * depth + b"0 " + REST
        used, profile = tevent_req_profile_unpack(packed, bench.root)
        assert used == len(packed)
        assert profile is not None
        buf = bytearray(len(packed))
        assert tevent_req_profile_pack(profile, buf) == len(packed)
        assert buf == packed
        text = tevent_req_profile_string(bench.root, profile, 0, depth + 1)
        assert text is not None
        assert text.count("\n") == depth + 1
        assert talloc_free(profile) == 0

    @pytest.mark.parametrize("buf", ["text", 5, None])
    def test_wrong_buffer(self, bench: Bench, buf: object) -> None:
        """What is no buffer is refused."""
        with pytest.raises(TypeError):
            tevent_req_profile_unpack(buf, bench.root)

    def test_memlimit(self, bench: Bench) -> None:
        """Where memory ends on the way the result is -1 and nothing is left."""
        packed = b"1 t\0start\0stop\x001 2 3 4 5 6 7\0" + b"0 s" + REST
        _, profile = tevent_req_profile_unpack(packed, bench.root)
        assert profile is not None
        whole = talloc_total_size(profile) + 96 * talloc_total_blocks(profile)
        limited = talloc_new(bench.root)
        for room in range(1, whole, 48):
            talloc_set_memlimit(limited, 96 + room)
            assert tevent_req_profile_unpack(packed, limited) == (-1, None)
            assert talloc_total_blocks(limited) == 1
        talloc_set_memlimit(limited, 96 + whole)
        assert tevent_req_profile_unpack(packed, limited)[0] == len(packed)

    def test_bad_context(self, bench: Bench) -> None:
        """A freed mem_ctx is a use after free."""
        dead = talloc_new(bench.root)
        talloc_free(dead)
        with pytest.raises(talloc_abort_error):
            tevent_req_profile_unpack(b"0 " + REST, dead)
        with silent_aborts():
            assert tevent_req_profile_unpack(b"0 " + REST, dead) == (-1, None)
