# SPDX-License-Identifier: LGPL-3.0-or-later
"""The backend standard: epoll, and poll once the kernel has refused something."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from backend_kit import BACKENDS, context, debug_of, pipe

from talloc_py import talloc_free, talloc_new
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    _sys,
    get_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_context_init_ops,
    tevent_context_set_wait_timeout,
    tevent_create_immediate,
    tevent_fd_get_flags,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_ops,
    tevent_re_initialise,
    tevent_schedule_immediate,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
)
from tevent.epoll import epoll_event_context
from tevent.poll import poll_state
from tevent.standard import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context

READ = TEVENT_FD_READ
WRITE = TEVENT_FD_WRITE


@pytest.fixture
def regular() -> Iterator[int]:
    """A descriptor of a regular file, which epoll refuses."""
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


@pytest.fixture
def std() -> Iterator[tevent_context]:
    with context("standard") as ev:
        yield ev


def with_poll(ev: tevent_context) -> bool:
    return type(ev.additional_data) is poll_state


class FailingEpoll:
    """An epoll object of which one method fails as no sane kernel lets it."""

    def __init__(self, real: Any, method: str) -> None:
        self.real = real
        self.method = method

    def __getattr__(self, name: str) -> Any:
        if name != self.method:
            return getattr(self.real, name)

        def fail(*args: Any) -> Any:
            raise OSError(errno.ENOSPC, "no space")

        return fail


def break_epoll(ev: tevent_context, method: str) -> None:
    state = ev.additional_data
    state.ep = FailingEpoll(state.ep, method)
    state.poll = state.ep.poll


class TestFallback:
    def test_it_starts_with_epoll(self, std: tevent_context) -> None:
        """As long as nothing is refused it is epoll."""
        assert type(std.additional_data) is epoll_event_context

    def test_a_regular_file(self, std: tevent_context, regular: int) -> None:
        """The whole context moves to poll with a message of level ERROR; the file is always ready."""
        messages = debug_of(std)
        log: list[Any] = []
        with pipe() as (_reader, writer):
            tevent_add_fd(std, None, writer, WRITE, lambda *args: log.append("pipe"), None)
            tevent_loop_once(std)
            tevent_add_fd(std, None, regular, READ, lambda *args: log.append("file"), None)
            assert with_poll(std)
            assert any(level == 1 and text.endswith("calling panic_fallback\n") for level, text in messages)
            for _ in range(4):
                assert tevent_loop_once(std) == 0
        assert log == ["pipe", "file", "pipe", "file", "pipe"]

    def test_epoll_alone_aborts(self, regular: int) -> None:
        """The backend epoll has nothing to fall back on."""
        with context("epoll") as ev, pytest.raises(tevent_abort_error, match="EPOLL_CTL_ADD failed"):
            tevent_add_fd(ev, None, regular, READ, None, None)

    def test_no_descriptor_stays_open(self, std: tevent_context, regular: int) -> None:
        """The kernel's set is closed by the move."""
        epfd = std.additional_data.ep.fileno()
        tevent_add_fd(std, None, regular, READ, None, None)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(epfd)

    def test_poll_stays_when_initialised_again(self, std: tevent_context, regular: int) -> None:
        """The move is for good."""
        fde = tevent_add_fd(std, None, regular, READ, None, None)
        assert tevent_re_initialise(std) == 0
        assert with_poll(std)
        assert talloc_free(fde) == 0

    def test_epoll_stays_when_initialised_again(self, std: tevent_context) -> None:
        """Without a refusal it is epoll again, and can still fall back."""
        assert tevent_re_initialise(std) == 0
        assert type(std.additional_data) is epoll_event_context
        with tempfile.TemporaryFile() as file:
            tevent_add_fd(std, None, file.fileno(), READ, None, None)
            assert with_poll(std)

    def test_change_refused(self, std: tevent_context) -> None:
        """A change of flags moves the context, and holds."""
        log: list[Any] = []
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(std, None, writer, READ, lambda *args: log.append(args[2]), None)
            break_epoll(std, "modify")
            tevent_fd_set_flags(fde, WRITE)
            assert with_poll(std)
            assert tevent_fd_get_flags(fde) == WRITE
            tevent_loop_once(std)
            tevent_fd_set_flags(fde, 0)
            assert tevent_fd_get_flags(fde) == 0
        assert log == [WRITE]

    def test_removal_refused(self, std: tevent_context) -> None:
        """An event whose removal is refused is freed all the same; the others go on."""
        log: list[Any] = []
        with pipe() as (reader, writer):
            tevent_add_fd(std, None, writer, WRITE, lambda *args: log.append("other"), None)
            fde = tevent_add_fd(std, None, reader, READ, lambda *args: log.append("never"), None)
            break_epoll(std, "unregister")
            assert talloc_free(fde) == 0
            assert with_poll(std)
            assert len(std.fd_events) == 1
            os.write(writer, b"x")
            tevent_loop_once(std)
            tevent_loop_once(std)
        assert log == ["other", "other"]

    def test_wait_refused(self, std: tevent_context) -> None:
        """The same iteration goes on with poll."""
        log: list[Any] = []
        with pipe() as (_reader, writer):
            tevent_add_fd(std, None, writer, WRITE, lambda *args: log.append("ran"), None)
            break_epoll(std, "poll")
            assert tevent_loop_once(std) == 0
            assert log == ["ran"]
            assert with_poll(std)

    def test_wait_refused_without_anything_to_fall_back_on(self) -> None:
        """The backend epoll aborts; where that returns the iteration has failed."""
        from backend_kit import aborts

        with context("epoll") as ev:
            break_epoll(ev, "poll")
            with aborts() as reasons:
                assert tevent_loop_once(ev) == -1
            assert reasons == ["epoll_wait() failed"]
            assert get_errno() == errno.ENOSPC

    def test_several_events_on_one_descriptor(self, std: tevent_context, regular: int) -> None:
        """A group falls apart into single events of poll."""
        log: list[Any] = []
        with pipe() as (_reader, writer):
            for name in "ab":
                tevent_add_fd(std, None, writer, WRITE, lambda ev, fde, fl, p: log.append(p), name)
            tevent_add_fd(std, None, regular, 0, None, None)
            tevent_add_fd(std, None, regular, READ, None, None)
            assert with_poll(std)
            for fde in std.fd_events:
                assert fde.group is None
                if fde.fd == regular:
                    tevent_fd_set_flags(fde, 0)
            for _ in range(4):
                tevent_loop_once(std)
        assert log == ["b", "a", "b", "a"]

    def test_in_a_handler(self, std: tevent_context, regular: int) -> None:
        """A handler may cause the move, and free its own event after it."""
        log: list[Any] = []
        with pipe() as (_reader, writer):

            def handler(ev: Any, fde: Any, flags: int, private_data: Any) -> None:
                tevent_add_fd(ev, None, regular, 0, None, None)
                tevent_add_fd(ev, None, regular, READ, lambda *args: log.append("file"), None)
                log.append(talloc_free(fde))

            tevent_add_fd(std, None, writer, WRITE, handler, None)
            tevent_loop_once(std)
            tevent_loop_once(std)
        assert log == [-1, "file"]

    def test_threads_still_wake_it(self, std: tevent_context, regular: int) -> None:
        """The internal wakeup moves with the rest."""
        tctx = tevent_threaded_context_create(std, std)
        im = tevent_create_immediate(std)
        assert tctx is not None
        assert im is not None
        fde = tevent_add_fd(std, None, regular, READ, None, None)
        talloc_free(fde)
        log: list[Any] = []
        tevent_threaded_schedule_immediate(tctx, im, lambda *args: log.append("ran"), None)
        tevent_loop_once(std)
        assert log == ["ran"]

    def test_no_epoll_at_run_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where epoll cannot be opened the context is with poll from the beginning."""

        def fail(*args: object, **options: object) -> Any:
            raise OSError(errno.ENOSYS, "no epoll")

        monkeypatch.setattr(_sys, "epoll", fail)
        with context("standard") as ev:
            assert with_poll(ev)


class TestCopies:
    """Operations taken from this backend work before and after the move."""

    def test_one_replaced(self, regular: int) -> None:
        """Ops built of it with one callable replaced: that one is called, also after the move."""
        std = tevent_find_ops_byname("standard")
        assert std is not None
        calls: list[str] = []

        def loop_once(ev: tevent_context) -> int:
            calls.append("loop_once")
            result: int = std.loop_once(ev)
            return result

        ops = tevent_ops(
            context_init=std.context_init,
            add_fd=std.add_fd,
            set_fd_close_fn=std.set_fd_close_fn,
            get_fd_flags=std.get_fd_flags,
            set_fd_flags=std.set_fd_flags,
            add_timer=std.add_timer,
            schedule_immediate=std.schedule_immediate,
            add_signal=std.add_signal,
            loop_once=loop_once,
            loop_wait=std.loop_wait,
        )
        owner = talloc_new(None)
        ev = tevent_context_init_ops(owner, ops, None)
        assert ev is not None
        log: list[Any] = []
        with pipe() as (_reader, writer):
            fde = tevent_add_fd(ev, None, writer, WRITE, lambda *args: log.append("pipe"), None)
            tevent_loop_once(ev)
            tevent_add_fd(ev, None, regular, READ, lambda *args: log.append("file"), None)
            tevent_loop_once(ev)
            tevent_fd_set_flags(fde, 0)
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, lambda *args: log.append("immediate"), None)
            tevent_loop_once(ev)
            talloc_free(owner)
        assert log == ["pipe", "file", "immediate"]
        assert calls == ["loop_once"] * 3
        assert ev.ops is ops


class TestPlatforms:
    """What stands behind the name on platforms that lack something."""

    def names(self) -> dict[str, Any]:
        from tevent.backend import builtin_backends

        return {name: ops.loop_once for name, ops in builtin_backends.items()}

    def test_no_epoll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Poll."""
        monkeypatch.setattr(_sys, "epoll", None)
        assert choose().loop_once is self.names()["poll"]

    def test_no_poll(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Epoll, which has nothing to fall back on then."""
        monkeypatch.setattr(_sys, "poll", None)
        assert choose().loop_once is self.names()["epoll"]
        assert choose().context_init is tevent_find_ops("epoll").context_init

    def test_neither(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The backend over the standard library's selectors."""
        monkeypatch.setattr(_sys, "epoll", None)
        monkeypatch.setattr(_sys, "poll", None)
        assert choose().loop_once is self.names()["selectors"]


def tevent_find_ops(name: str) -> tevent_ops:
    ops = tevent_find_ops_byname(name)
    assert ops is not None
    return ops


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("secs", [2147484, 2**31 - 2, 2**31 - 1, 2**32 - 1])
def test_very_long_waits(backend: str, secs: int) -> None:
    """A wait timeout that no system call takes is as good as one that it takes."""
    log: list[str] = []
    with context(backend) as ev, pipe() as (_reader, writer):
        tevent_context_set_wait_timeout(ev, secs)
        tevent_add_fd(ev, None, writer, WRITE, lambda *args: log.append("ran"), None)
        assert tevent_loop_once(ev) == 0
    assert log == ["ran"]
