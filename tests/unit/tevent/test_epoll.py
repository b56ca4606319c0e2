# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is special about the backend epoll: order, groups, refusals of the kernel, forks."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import Recorder, context, turns

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_memlimit, talloc_total_blocks
from tevent import (
    TEVENT_DEBUG_TRACE,
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    _sys,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_context,
    tevent_context_init_byname,
    tevent_fd,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_set_debug,
    tevent_set_max_debug_level,
)
from tevent.epoll import epoll_event_context

if TYPE_CHECKING:
    from pathlib import Path

R, W = TEVENT_FD_READ, TEVENT_FD_WRITE
Pipe = tuple[int, int]


@pytest.fixture
def ev(epoll_ev: tevent_context) -> tevent_context:
    """The context, briefly."""
    return epoll_ev


def state_of(ev: tevent_context) -> epoll_event_context:
    """What the backend keeps."""
    state = ev.additional_data
    assert isinstance(state, epoll_event_context)
    state._check_invariants()
    return state


def add(ev: tevent_context, fd: int, flags: int, handler: Any, private_data: Any = None) -> tevent_fd:
    """An fd event that is there."""
    fde = tevent_add_fd(ev, None, fd, flags, handler, private_data)
    assert fde is not None
    return fde


class Kernel:
    """Stands before the kernel's set: counts the calls, and refuses what it is told to refuse."""

    def __init__(self, ev: tevent_context) -> None:
        self.state = state_of(ev)
        self.real = self.state.ep
        self.calls: list[str] = []
        self.refuse: dict[str, int] = {}
        self.state.ep = self

    def _call(self, name: str, *args: Any) -> Any:
        self.calls.append(name)
        number = self.refuse.get(name)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return getattr(self.real, name)(*args)

    def register(self, *args: Any) -> Any:
        return self._call("register", *args)

    def modify(self, *args: Any) -> Any:
        return self._call("modify", *args)

    def unregister(self, *args: Any) -> Any:
        return self._call("unregister", *args)

    def close(self) -> None:
        self.real.close()

    def take(self) -> list[str]:
        calls, self.calls = self.calls, []
        return calls


class TestOrder:
    def test_round_robin_of_descriptors(self, ev: tevent_context, log: Recorder) -> None:
        """Ready when added: A B C A B C."""
        pairs = [socket.socketpair() for _ in range(3)]
        for name, (one, two) in zip("ABC", pairs, strict=True):
            two.send(b"x")
            add(ev, one.fileno(), R, log.fd, name)
        turns(ev, 6)
        assert "".join(name for name, _ in log.take()) == "ABCABC"
        for one, two in pairs:
            one.close()
            two.close()

    def test_group_takes_turns(self, ev: tevent_context, log: Recorder) -> None:
        """Events on one descriptor: in order of adding, each with what is ready and wanted."""
        one, two = socket.socketpair()
        two.send(b"x")
        for flags in (R, W, R | W):
            add(ev, one.fileno(), flags, log.fd)
        turns(ev, 7)
        assert [flags for _, flags in log.take()] == [R, W, R | W, R, W, R | W, R]
        one.close()
        two.close()

    def test_member_without_interest_is_passed_over(self, ev: tevent_context, log: Recorder, pipe: Pipe) -> None:
        """Its turn is kept for later."""
        os.write(pipe[1], b"x")
        add(ev, pipe[0], R, log.fd, "a")
        b = add(ev, pipe[0], R, log.fd, "b")
        add(ev, pipe[0], R, log.fd, "c")
        tevent_fd_set_flags(b, 0)
        turns(ev, 4)
        assert "".join(name for name, _ in log.take()) == "acac"


class TestSystemCalls:
    def test_one_at_each_real_change(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Add, change, free; none for flags 0 and for flags that stay."""
        kernel = Kernel(ev)
        fde = add(ev, pipe[0], 0, log.fd)
        assert kernel.take() == []
        tevent_fd_set_flags(fde, R)
        assert kernel.take() == ["register"]
        tevent_fd_set_flags(fde, R)
        assert kernel.take() == []
        tevent_fd_set_flags(fde, R | W)
        assert kernel.take() == ["modify"]
        tevent_fd_set_flags(fde, 0)
        assert kernel.take() == ["unregister"]
        talloc_free(fde)
        assert kernel.take() == []
        fde = add(ev, pipe[0], R, log.fd)
        talloc_free(fde)
        assert kernel.take() == ["register", "unregister"]

    def test_second_event_on_a_descriptor(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """The kernel refuses to take it twice; then the interest is made the union."""
        kernel = Kernel(ev)
        first = add(ev, pipe[0], R, log.fd)
        kernel.take()
        second = add(ev, pipe[0], W, log.fd)
        assert kernel.take() == ["register", "modify"]
        state_of(ev)
        talloc_free(first)
        talloc_free(second)
        assert kernel.take() == ["modify", "unregister"]
        assert state_of(ev).table == {}

    def test_one_event_a_wait(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """What is fetched is served."""
        os.write(pipe[1], b"x")
        add(ev, pipe[0], R, log.fd)
        real = state_of(ev).poll
        waits: list[Any] = []

        def poll(*args: Any) -> Any:
            waits.append(args)
            return real(*args)

        ev.additional_data.poll = poll
        turns(ev, 2)
        assert waits == [(0, 1), (0, 1)]


class TestState:
    def test_is_a_chunk_of_the_context(self, top: TALLOC_CTX) -> None:
        """Freed with it."""
        ev = context(top)
        state = state_of(ev)
        assert talloc_total_blocks(ev) == 2
        talloc_free(ev)
        assert state._talloc_chunk.obj is None
        assert state.ep.closed

    def test_re_initialise_makes_a_new_one(self, ev: tevent_context) -> None:
        """The old one is freed."""
        old = state_of(ev)
        assert tevent_re_initialise(ev) == 0
        assert state_of(ev) is not old
        assert old.ep.closed
        assert talloc_total_blocks(ev) == 2
        talloc_free(ev.additional_data)
        assert tevent_re_initialise(ev) == 0

    def test_no_descriptor_left(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch) -> None:
        """No context, with the errno."""

        def failing(flags: int) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(_sys, "epoll", failing)
        set_errno(0)
        assert tevent_context_init_byname(top, "epoll") is None
        assert get_errno() == errno.EMFILE

    def test_memory_limit(self) -> None:
        """A limit that lets the context pass but not its state gives None, and no descriptor stays open."""
        tight = talloc_new(None)
        assert tight is not None
        probe = context(tight)
        size = talloc_total_blocks(probe)
        assert size == 2
        talloc_free(probe)
        before = set(os.listdir("/proc/self/fd"))
        for limit in range(0, 4000, 8):
            talloc_set_memlimit(tight, limit)
            ev = tevent_context_init_byname(tight, "epoll")
            if ev is not None:
                talloc_free(ev)
                break
            assert set(os.listdir("/proc/self/fd")) == before
        else:
            pytest.fail("no limit is enough")
        talloc_free(tight)


class TestRefusals:
    def test_regular_file(self, ev: tevent_context, tmp_path: Path, aborts: list[str], log: Recorder) -> None:
        """The kernel takes no regular file: abort; where that returns the event is detached."""
        tevent_set_debug(ev, log.debug, None)
        with (tmp_path / "file").open("w") as file:
            fde = add(ev, file.fileno(), R, log.fd)
            assert aborts == ["EPOLL_CTL_ADD failed"]
            assert tevent_fd_get_flags(fde) == 0
            assert fde.event_ctx is None
            levels = [level for level, text in log.take()]
            assert levels[0] == 0
            talloc_free(fde)

    def test_regular_file_raises_by_default(self, ev: tevent_context, tmp_path: Path) -> None:
        """And there is no event."""
        with (tmp_path / "file").open("w") as file:
            with pytest.raises(tevent_abort_error, match=r"^EPOLL_CTL_ADD failed$"):
                tevent_add_fd(ev, None, file.fileno(), R, None, None)
            assert not ev.fd_events

    @pytest.mark.parametrize(
        ("name", "reason"), [("modify", "EPOLL_CTL_MOD failed"), ("unregister", "EPOLL_CTL_DEL failed")]
    )
    def test_unexpected_refusal(
        self, ev: tevent_context, pipe: Pipe, aborts: list[str], log: Recorder, name: str, reason: str
    ) -> None:
        """Without a fallback each ends in the abort function."""
        fde = add(ev, pipe[0], R, log.fd)
        kernel = Kernel(ev)
        kernel.refuse[name] = errno.ENOSPC
        tevent_fd_set_flags(fde, R | W)
        talloc_free(fde)
        assert aborts == [reason]

    def test_failing_wait(self, ev: tevent_context, aborts: list[str], log: Recorder) -> None:
        """-1 with the errno, after the abort."""

        def poll(*_: Any) -> Any:
            raise OSError(errno.EINVAL, "Invalid argument")

        state_of(ev).poll = poll
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EINVAL
        assert aborts == ["epoll_wait() failed"]

    @pytest.mark.parametrize("works", [True, False])
    def test_fallback_is_asked_first(
        self, ev: tevent_context, pipe: Pipe, aborts: list[str], log: Recorder, works: bool
    ) -> None:
        """It gets the context and whether the iteration has to go on; only if it fails too there is an abort."""
        asked: list[Any] = []
        state = state_of(ev)
        state.panic_fallback = lambda ev, replay: asked.append((ev, replay)) or works  # type: ignore[func-returns-value]
        kernel = Kernel(ev)
        kernel.refuse["register"] = errno.EPERM
        tevent_set_debug(ev, log.debug, None)
        add(ev, pipe[0], R, log.fd)
        assert asked == [(ev, False)]
        messages = log.take()
        assert messages[0][0] == 1
        assert messages[0][1].endswith("- calling panic_fallback\n")
        assert aborts == ([] if works else ["EPOLL_CTL_ADD failed"])

        def poll(*_: Any) -> Any:
            raise OSError(errno.EBADF, "Bad file descriptor")

        state.poll = poll
        assert tevent_loop_once(ev) == -1
        assert asked[1:] == [(ev, True)]


class TestClosedDescriptors:
    def test_nothing_happens_until_the_next_touch(self, ev: tevent_context, log: Recorder) -> None:
        """Then it is disarmed, with a message."""
        one, two = os.pipe()
        fde = add(ev, one, R, log.fd)
        os.close(one)
        os.close(two)
        turns(ev, 3)
        assert tevent_fd_get_flags(fde) == R
        tevent_set_debug(ev, log.debug, None)
        tevent_fd_set_flags(fde, R | W)
        assert tevent_fd_get_flags(fde) == 0
        [(level, text)] = log.take()
        assert level == 1
        assert text.startswith("epoll: descriptor")
        assert state_of(ev).table == {}

    def test_free_is_worth_a_warning(self, ev: tevent_context, log: Recorder) -> None:
        """And no more."""
        one, two = os.pipe()
        fde = add(ev, one, R, log.fd)
        os.close(one)
        os.close(two)
        tevent_set_debug(ev, log.debug, None)
        assert talloc_free(fde) == 0
        assert [level for level, _ in log.take()] == [2]

    def test_group(self, ev: tevent_context, log: Recorder) -> None:
        """All members are disarmed."""
        one, two = os.pipe()
        events = [add(ev, one, R, log.fd) for _ in range(3)]
        os.close(one)
        os.close(two)
        tevent_fd_set_flags(events[1], R | W)
        assert [fde.event_ctx for fde in events] == [None] * 3
        assert [fde.group for fde in events] == [None] * 3
        assert state_of(ev).table == {}

    def test_number_used_again_and_touched(self, ev: tevent_context, log: Recorder) -> None:
        """An event that is changed after its number has come to mean another file waits on that one."""
        one, two = os.pipe()
        fde = add(ev, one, R, log.fd, "fde")
        os.close(one)
        os.close(two)
        again, other = os.pipe()
        read, write = (again, other) if again == one else (other, again)
        if read != one:  # the numbers came back the other way round
            os.close(again)
            os.close(other)
            pytest.skip("the system gives out numbers in another order")
        tevent_fd_set_flags(fde, R | W)
        os.write(write, b"x")
        turns(ev, 1)
        assert log.take() == [("fde", R)]
        talloc_free(fde)
        os.close(again)
        os.close(other)

    def test_file_outlives_its_number(self, ev: tevent_context, log: Recorder) -> None:
        """A duplicate keeps the file open in the kernel's set; once no event waits on it, it is got rid of."""
        one, two = os.pipe()
        copy = os.dup(one)
        fde = add(ev, one, R, log.fd, "fde")
        other = add(ev, copy, R, log.fd, "copy")
        os.close(one)
        talloc_free(fde)
        os.write(two, b"x")
        calls = []
        for _ in range(4):
            tevent_loop_once(ev)
            calls += log.take()
        assert set(calls) == {("copy", R)}
        talloc_free(other)
        assert turns(ev, 2) == 0
        for fd in (copy, two):
            os.close(fd)

    def test_report_that_nobody_waits_for(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """A descriptor that somebody else has put into the set is taken out."""
        os.write(pipe[1], b"x")
        state_of(ev).ep.register(pipe[0], 1)
        assert turns(ev, 5) == 1

    def test_stale_event_of_a_number_used_again(self, ev: tevent_context, log: Recorder, pipe: Pipe) -> None:
        """Its free does not take the new one's interest away."""
        one, two = os.pipe()
        old = add(ev, one, R, log.fd, "old")
        os.close(one)
        os.dup2(pipe[1], one)
        new = add(ev, one, W, log.fd, "new")
        talloc_free(old)
        turns(ev, 2)
        assert log.take() == [("new", W)] * 2
        talloc_free(new)
        os.close(one)
        os.close(two)


class TestFork:
    """Without a fork: the process id that the set was made by is another one."""

    @pytest.mark.parametrize("touch", ["add", "flags", "free", "wait"])
    def test_new_set_at_the_first_use(self, ev: tevent_context, pipe: Pipe, log: Recorder, touch: str) -> None:
        """With everything that waited before."""
        os.write(pipe[1], b"x")
        one, two = socket.socketpair()
        fde = add(ev, pipe[0], R, log.fd, "pipe")
        group = [add(ev, one.fileno(), flags, log.fd, "socket") for flags in (R, W)]
        state = state_of(ev)
        old = state.ep
        state.pid -= 1
        if touch == "add":
            add(ev, two.fileno(), R, log.fd, "two")
        elif touch == "flags":
            tevent_fd_set_flags(group[0], R | W)
        elif touch == "free":
            talloc_free(group[0])
        turns(ev, 4)
        assert state.ep is not old
        assert old.closed
        assert state.pid == os.getpid()
        assert set(log.take()) == {("pipe", R), ("socket", W)}
        state_of(ev)
        for event in (fde, *group):
            if event._talloc_chunk.obj is not None:
                talloc_free(event)
        one.close()
        two.close()

    def test_descriptor_closed_meanwhile(self, ev: tevent_context, log: Recorder) -> None:
        """Its event is disarmed when the new set is made."""
        one, two = os.pipe()
        fde = add(ev, one, R, log.fd)
        os.close(one)
        os.close(two)
        state_of(ev).pid -= 1
        turns(ev, 1)
        assert fde.event_ctx is None

    @pytest.mark.parametrize("touch", ["add", "flags", "free", "wait"])
    def test_no_new_set(
        self,
        ev: tevent_context,
        pipe: Pipe,
        log: Recorder,
        monkeypatch: pytest.MonkeyPatch,
        aborts: list[str],
        touch: str,
    ) -> None:
        """A reason to fall back, or to abort."""
        fde = add(ev, pipe[0], R, log.fd)
        state = state_of(ev)
        state.pid -= 1

        def failing(flags: int) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(_sys, "epoll", failing)
        if touch == "add":
            add(ev, pipe[1], 0, log.fd)
        elif touch == "flags":
            tevent_fd_set_flags(fde, 0)
        elif touch == "free":
            talloc_free(fde)
        else:
            assert tevent_loop_once(ev) == -1
        assert aborts == ["Failed to recreate epoll handle after fork"]


class TestNotThere:
    def test_registered_where_the_platform_has_it(self) -> None:
        """And only there."""
        assert (tevent_find_ops_byname("epoll") is not None) == (_sys.epoll is not None)

    def test_trace_level_of_group_calls(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Messages of level TRACE do not change what happens."""
        tevent_set_debug(ev, log.debug, None)
        tevent_set_max_debug_level(ev, TEVENT_DEBUG_TRACE)
        os.write(pipe[1], b"x")
        add(ev, pipe[0], R, lambda *_: log.calls.append("ran"))
        turns(ev, 1)
        assert log.take() == ["ran"]
