# SPDX-License-Identifier: LGPL-3.0-or-later
"""fd events: flags, order, errors, freeing, close functions, closed descriptors."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest
from tevent_kit import UNTOUCHED, Recorder, context, turns

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
)
from tevent import (
    TEVENT_FD_ERROR,
    TEVENT_FD_NOT_READABLE,
    TEVENT_FD_NOT_WANTERROR,
    TEVENT_FD_NOT_WRITEABLE,
    TEVENT_FD_READ,
    TEVENT_FD_READABLE,
    TEVENT_FD_WANTERROR,
    TEVENT_FD_WRITE,
    TEVENT_FD_WRITEABLE,
    get_errno,
    set_errno,
    tevent_abort_error,
    tevent_add_fd,
    tevent_common_add_fd,
    tevent_common_fd_disarm,
    tevent_common_fd_set_close_fn,
    tevent_common_fd_set_flags,
    tevent_common_invoke_fd_handler,
    tevent_context,
    tevent_fd,
    tevent_fd_get_flags,
    tevent_fd_get_tag,
    tevent_fd_set_auto_close,
    tevent_fd_set_close_fn,
    tevent_fd_set_flags,
    tevent_fd_set_tag,
    tevent_loop_once,
    tevent_re_initialise,
    tevent_set_trace_fd_callback,
)

R, W, E = TEVENT_FD_READ, TEVENT_FD_WRITE, TEVENT_FD_ERROR
Pair = tuple[socket.socket, socket.socket]
Pipe = tuple[int, int]


def add(ev: tevent_context, fd: int, flags: int, handler: Any, private_data: Any = None, ctx: Any = None) -> tevent_fd:
    """An fd event that is there."""
    fde = tevent_add_fd(ev, ctx, fd, flags, handler, private_data)
    assert fde is not None
    return fde


def settle(ev: tevent_context, log: Recorder) -> None:
    """Let poll_mt drain its wakeups, which take iterations, without anybody looking."""
    turns(ev, 4)
    log.take()


def one_call(ev: tevent_context, log: Recorder) -> Any:
    """The next handler call, or None if nothing happens in a few iterations."""
    log.take()
    for _ in range(4):
        tevent_loop_once(ev)
        if log.calls:
            assert len(log.calls) == 1, "one handler an iteration"
            return log.take()[0]
    return None


def no_hup(backend: str) -> bool:
    """Whether a backend knows nothing of HUP, ERR and half-close by itself."""
    return backend == "selectors"


class TestAdd:
    def test_owner(self, ev: tevent_context, top: TALLOC_CTX, pipe: Pipe, log: Recorder) -> None:
        """mem_ctx, or the context itself."""
        assert talloc_parent(add(ev, pipe[0], 0, log.fd)) is ev
        fde = add(ev, pipe[0], 0, log.fd, None, top)
        assert talloc_parent(fde) is top
        assert talloc_get_name(fde) == "struct tevent_fd"

    @pytest.mark.parametrize("fd", [-1, -(2**31)])
    def test_negative_descriptor(self, ev: tevent_context, log: Recorder, fd: int) -> None:
        """None, errno untouched."""
        set_errno(UNTOUCHED)
        assert tevent_add_fd(ev, None, fd, R, log.fd, None) is None
        assert get_errno() == UNTOUCHED

    def test_fields(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """What a backend finds in it."""
        fde = add(ev, pipe[0], R, log.fd, "private")
        assert (fde.fd, fde.flags, fde.event_ctx, fde.private_data) == (pipe[0], R, ev, "private")
        assert fde.handler == log.fd
        assert fde.handler_name == "fd"
        assert (fde.close_fn, fde.additional_data, fde.tag, fde.name) == (None, None, 0, None)
        assert (fde.busy, fde.destroyed) == (False, False)
        assert fde.rare is None

    def test_rare_fields(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """What few events have takes a record as soon as one of them is set, and the others stay as they were."""
        fde = add(ev, pipe[0], R, log.fd)
        fde.additional_data = None
        assert fde.rare is None
        fde.additional_data = "mine"
        assert (fde.close_fn, fde.additional_data, fde.tag, fde.handler_name) == (None, "mine", 0, "fd")
        fde.tag = 7
        fde.additional_data = None
        assert (fde.additional_data, fde.tag) == (None, 7)

    def test_memory_limit(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """None where a limit forbids it."""
        tight = talloc_new(None)
        assert tight is not None
        talloc_set_memlimit(tight, 1)
        assert tevent_add_fd(ev, tight, pipe[0], R, log.fd, None) is None
        talloc_free(tight)

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ((None, "0", 0, None, None), "fd must be a int, not str"),
            ((None, 0, None, None, None), "flags must be a int, not NoneType"),
            ((None, 0, 0, "handler", None), "handler must be callable or None, not str"),
            (("owner", 0, 0, None, None), "talloc chunk"),
        ],
    )
    def test_wrong_types(self, ev: tevent_context, args: Any, message: str) -> None:
        """Each is named."""
        with pytest.raises(TypeError, match=message):
            tevent_add_fd(ev, *args)

    def test_class_is_not_called(self) -> None:
        """Only the function makes events."""
        with pytest.raises(TypeError, match=r"^a tevent_fd is made by tevent_add_fd\(\), not by calling the class$"):
            tevent_fd()

    def test_repr(self, ev: tevent_context, pipe: Pipe) -> None:
        """It tells what it waits for, and when that is over."""
        fde = add(ev, pipe[0], R, None)
        at = f"at {id(fde):#x}"
        assert repr(fde) == f"<tevent_fd NULL on descriptor {pipe[0]} {at}, flags 1>"
        tevent_common_fd_disarm(fde)
        assert repr(fde) == f"<tevent_fd NULL on descriptor {pipe[0]} {at}, detached>"
        talloc_free(fde)
        assert repr(fde) == f"<tevent_fd {at}, freed>"

    def test_a_detached_one_keeps_no_others(self, ev: tevent_context, pipe: Pipe) -> None:
        """What was before and behind it in the list may go."""
        first, fde, last = (add(ev, pipe[0], 0, None) for _ in range(3))
        tevent_common_fd_disarm(fde)
        assert (fde.fd_prev, fde.fd_next) == (None, None)
        assert (last.fd_next, first.fd_prev) == (first, last)

    def test_handler_names(self, ev: tevent_context, pipe: Pipe) -> None:
        """__name__, else the name of the type."""

        class Callable:
            def __call__(self, *_: Any) -> None: ...

        assert add(ev, pipe[0], 0, print).handler_name == "print"
        assert add(ev, pipe[0], 0, Callable()).handler_name == "Callable"
        odd = Callable()
        odd.__name__ = 5  # type: ignore[attr-defined]
        assert add(ev, pipe[0], 0, odd).handler_name == "Callable"


class TestFlags:
    def test_only_what_is_wanted(self, ev: tevent_context, pair: Pair, log: Recorder) -> None:
        """Ready and wanted, never 0."""
        pair[1].send(b"x")
        fde = add(ev, pair[0].fileno(), R, log.fd)
        for flags in (R, W, R | W):
            tevent_fd_set_flags(fde, flags)
            assert one_call(ev, log) == (None, flags)
        tevent_fd_set_flags(fde, 0)
        assert one_call(ev, log) is None

    def test_level_triggered(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Again and again until it is no longer ready."""
        os.write(pipe[1], b"x")
        add(ev, pipe[0], R, log.fd)
        for _ in range(3):
            assert one_call(ev, log) == (None, R)
        os.read(pipe[0], 1)
        assert one_call(ev, log) is None

    def test_silent_until_set(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Flags 0: registered but silent."""
        os.write(pipe[1], b"x")
        fde = add(ev, pipe[0], 0, log.fd)
        assert one_call(ev, log) is None
        tevent_fd_set_flags(fde, R)
        assert one_call(ev, log) == (None, R)

    def test_unknown_bits(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Kept, and ignored."""
        os.write(pipe[1], b"x")
        fde = add(ev, pipe[0], 0x40, log.fd)
        assert tevent_fd_get_flags(fde) == 0x40
        assert one_call(ev, log) is None
        tevent_fd_set_flags(fde, 0x41)
        assert tevent_fd_get_flags(fde) == 0x41
        assert one_call(ev, log) == (None, R)

    def test_set_in_its_own_handler(self, ev: tevent_context, pair: Pair) -> None:
        """From the next wait on."""
        calls: list[int] = []

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            calls.append(flags)
            tevent_fd_set_flags(fde, 0 if flags == R else R)

        pair[1].send(b"x")
        add(ev, pair[0].fileno(), W, handler)
        turns(ev, 8)
        assert calls == [W, R]

    def test_macros(self, ev: tevent_context, pipe: Pipe) -> None:
        """Each sets or clears one bit and returns nothing."""
        fde = add(ev, pipe[0], 0, None)
        seen = []
        for macro in (
            TEVENT_FD_READABLE, TEVENT_FD_WRITEABLE, TEVENT_FD_WANTERROR,
            TEVENT_FD_NOT_READABLE, TEVENT_FD_NOT_WRITEABLE, TEVENT_FD_NOT_WANTERROR,
        ):  # fmt: skip
            assert macro(fde) is None
            seen.append(tevent_fd_get_flags(fde))
            assert macro(None) is None
        assert seen == [1, 3, 7, 6, 4, 0]

    def test_none(self) -> None:
        """No event: flags 0, and nothing happens."""
        assert tevent_fd_get_flags(None) == 0
        tevent_fd_set_flags(None, R)
        tevent_fd_set_close_fn(None, None)
        tevent_fd_set_auto_close(None)

    @pytest.mark.parametrize(
        "call",
        [
            tevent_fd_get_flags,
            tevent_fd_get_tag,
            tevent_fd_set_auto_close,
            lambda fde: tevent_fd_set_flags(fde, 1),
            lambda fde: tevent_fd_set_tag(fde, 1),
            lambda fde: tevent_fd_set_close_fn(fde, None),
        ],
    )
    def test_wrong_and_dead_events(self, epoll_ev: tevent_context, pipe: Pipe, call: Any) -> None:
        """Another type is a TypeError; a freed event goes to talloc's abort function."""
        for wrong in (5, epoll_ev):
            with pytest.raises(TypeError, match="fde must be a tevent_fd"):
                call(wrong)
        fde = add(epoll_ev, pipe[0], 0, None)
        talloc_free(fde)
        with pytest.raises(RuntimeError, match="access after free"):
            call(fde)

    def test_wrong_values(self, epoll_ev: tevent_context, pipe: Pipe) -> None:
        """Flags are an int, a close function is callable or None."""
        fde = add(epoll_ev, pipe[0], 0, None)
        with pytest.raises(TypeError, match="flags must be a int"):
            tevent_fd_set_flags(fde, "r")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="close_fn must be callable or None"):
            tevent_fd_set_close_fn(fde, 1)  # type: ignore[arg-type]

    def test_tags(self, ev: tevent_context, pipe: Pipe) -> None:
        """A 64-bit number, 0 at first; survives re-initialising."""
        fde = add(ev, pipe[0], 0, None)
        assert tevent_fd_get_tag(fde) == 0
        tevent_fd_set_tag(fde, 2**64 + 5)
        tevent_re_initialise(ev)
        assert tevent_fd_get_tag(fde) == 5
        tevent_fd_set_tag(None, 1)
        assert tevent_fd_get_tag(None) == 0


class TestOrder:
    def test_everyone_is_served(self, ev: tevent_context, log: Recorder) -> None:
        """Each ready descriptor within as many iterations as there are descriptors, again and again."""
        pairs = [socket.socketpair() for _ in range(6)]
        for i, (one, two) in enumerate(pairs):
            two.send(b"x")
            add(ev, one.fileno(), R, log.fd, i)
        settle(ev, log)
        for _ in range(3):
            served = {one_call(ev, log)[0] for _ in pairs}
            assert served == set(range(6))
        for event in list(ev.fd_events):
            if event is not ev.wakeup_fde:
                talloc_free(event)
        for one, two in pairs:
            one.close()
            two.close()

    @pytest.mark.parametrize("way", ["free", "flags"])
    def test_no_call_for_an_old_readiness(self, ev: tevent_context, log: Recorder, pipe: Pipe, way: str) -> None:
        """A handler may free or silence any other event: it is not called any more."""
        one, two = socket.socketpair()
        os.write(pipe[1], b"x")
        two.send(b"x")
        events: list[tevent_fd] = []

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            log.calls.append("call")
            for other in events:
                if other is not fde:
                    if way == "free":
                        talloc_free(other)
                    else:
                        tevent_fd_set_flags(other, 0)
            tevent_fd_set_flags(fde, 0)

        events += [add(ev, pipe[0], R, handler), add(ev, one.fileno(), R, handler)]
        turns(ev, 8)
        assert log.take() == ["call"]
        one.close()
        two.close()


class TestFree:
    def test_outside_a_handler(self, ev: tevent_context, log: Recorder, pipe: Pipe) -> None:
        """Detached at once; the descriptor stays open."""
        os.write(pipe[1], b"x")
        fde = add(ev, pipe[0], R, log.fd)
        assert talloc_free(fde) == 0
        assert one_call(ev, log) is None
        os.fstat(pipe[0])

    def test_in_its_handler(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """-1; trace and close function run inside the free, the chunk goes when the handler returns."""
        os.write(pipe[1], b"x")

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            log.take()
            log.calls.append(talloc_free(fde))
            log.calls.append(tevent_fd_get_flags(fde))
            log.calls.append(fde._talloc_chunk.obj is fde)

        fde = add(ev, pipe[0], R, handler, "private")
        tevent_fd_set_close_fn(fde, log.close)
        tevent_set_trace_fd_callback(ev, lambda fde, point, _: log.calls.append(point.name[19:]), None)
        turns(ev, 4)
        calls = log.take()
        assert calls[:5] == ["DETACH", ("close", ev, pipe[0], "private"), -1, 0, True]
        assert fde._talloc_chunk.obj is None

    def test_parent_in_its_handler(self, ev: tevent_context, top: TALLOC_CTX, pipe: Pipe, log: Recorder) -> None:
        """The close function runs at once, the busy chunk moves up and goes when the handler returns."""
        os.write(pipe[1], b"x")
        parent = talloc_new(top)
        assert parent is not None

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            log.calls.append(talloc_free(parent))
            log.calls.append(talloc_parent(fde) is top)

        fde = add(ev, pipe[0], R, handler, "private", parent)
        tevent_fd_set_close_fn(fde, log.close)
        turns(ev, 4)
        assert log.take() == [("close", ev, pipe[0], "private"), 0, True]
        assert fde._talloc_chunk.obj is None

    def test_twice_in_its_handler(self, ev: tevent_context, pipe: Pipe, aborts: list[str]) -> None:
        """The second one aborts."""
        os.write(pipe[1], b"x")

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            assert talloc_free(fde) == -1
            assert talloc_free(fde) == -1

        fde = add(ev, pipe[0], R, handler)
        turns(ev, 4)
        assert aborts == ["tevent_fd double free"]
        assert fde._talloc_chunk.obj is None

    def test_twice_raises_by_default(self, ev: tevent_context, pipe: Pipe) -> None:
        """The error leaves the second talloc_free()."""
        os.write(pipe[1], b"x")

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            talloc_free(fde)
            talloc_free(fde)

        fde = add(ev, pipe[0], R, handler)
        with pytest.raises(tevent_abort_error, match="tevent_fd double free"):
            for _ in range(4):
                tevent_loop_once(ev)
        assert fde._talloc_chunk.obj is None

    def test_first_itself_then_its_parent(
        self, ev: tevent_context, top: TALLOC_CTX, pipe: Pipe, aborts: list[str]
    ) -> None:
        """Being reached once more through a dying parent is fine."""
        os.write(pipe[1], b"x")
        parent = talloc_new(top)
        assert parent is not None

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            assert talloc_free(fde) == -1
            assert talloc_free(parent) == 0

        fde = add(ev, pipe[0], R, handler, None, parent)
        turns(ev, 4)
        assert aborts == []
        assert fde._talloc_chunk.obj is None


class TestCloseFunction:
    def test_runs_once_when_freed(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """With the main context, the event, the number and the private data."""
        fde = add(ev, pipe[0], R, log.fd, "private")
        tevent_fd_set_close_fn(fde, lambda *_: log.calls.append("replaced"))
        tevent_fd_set_close_fn(fde, log.close)
        tevent_fd_set_flags(fde, 0)
        assert log.take() == []
        talloc_free(fde)
        assert log.take() == [("close", ev, pipe[0], "private")]

    def test_none_clears(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Then the descriptor stays open."""
        fde = add(ev, pipe[0], R, log.fd)
        tevent_fd_set_auto_close(fde)
        tevent_fd_set_close_fn(fde, None)
        talloc_free(fde)
        os.fstat(pipe[0])

    def test_auto_close(self, ev: tevent_context, pipe: Pipe) -> None:
        """The descriptor is closed; that it is closed already does not matter."""
        fde = add(ev, pipe[0], R, None)
        tevent_fd_set_auto_close(fde)
        talloc_free(fde)
        with pytest.raises(OSError) as caught:
            os.fstat(pipe[0])
        assert caught.value.errno == errno.EBADF
        other = add(ev, pipe[1], 0, None)
        tevent_fd_set_auto_close(other)
        os.close(pipe[1])
        assert talloc_free(other) == 0

    def test_not_called_by_a_disarm(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Only the free calls it, then without a context."""
        fde = add(ev, pipe[0], R, log.fd)
        tevent_fd_set_close_fn(fde, log.close)
        tevent_common_fd_disarm(fde)
        tevent_common_fd_disarm(fde)
        assert log.take() == []
        talloc_free(fde)
        assert log.take() == [("close", None, pipe[0], None)]

    def test_may_free_the_context(self, top: TALLOC_CTX, backend: str, pipe: Pipe) -> None:
        """Nothing is touched after it."""
        ev = context(top, backend)
        fde = add(ev, pipe[0], R, None, None, top)
        tevent_fd_set_close_fn(fde, lambda ev, *_: talloc_free(ev))
        assert talloc_free(fde) == 0
        assert ev._talloc_chunk.obj is None


class TestErrors:
    def test_peer_of_a_socket_gone(self, ev: tevent_context, pair: Pair, log: Recorder) -> None:
        """READ for who wants to read, WRITE with it where wanted."""
        fde = add(ev, pair[0].fileno(), R, log.fd)
        pair[1].close()
        assert one_call(ev, log) == (None, R)
        tevent_fd_set_flags(fde, R | W)
        assert one_call(ev, log) == (None, R | W)

    def test_writer_of_a_pipe_gone(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """READ, also where WRITE is wanted too."""
        fde = add(ev, pipe[0], R, log.fd)
        os.close(pipe[1])
        assert one_call(ev, log) == (None, R)
        tevent_fd_set_flags(fde, R | W)
        assert one_call(ev, log)[1] & R

    def test_reader_of_a_pipe_gone(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """READ for 1, READ and WRITE for 3."""
        fde = add(ev, pipe[1], R, log.fd)
        os.close(pipe[0])
        assert one_call(ev, log) == (None, R)
        tevent_fd_set_flags(fde, R | W)
        assert one_call(ev, log) == (None, R | W)

    def test_only_write_goes_silent(self, ev: tevent_context, backend: str, pipe: Pipe, log: Recorder) -> None:
        """Who only wants to write is not told of an error: the flag is taken away."""
        if no_hup(backend):
            pytest.skip("a selector cannot tell an error from room to write")
        fde = add(ev, pipe[1], W, log.fd)
        os.close(pipe[0])
        assert one_call(ev, log) is None
        assert tevent_fd_get_flags(fde) == 0
        tevent_fd_set_flags(fde, W)
        assert one_call(ev, log) is None
        tevent_fd_set_flags(fde, R)
        assert one_call(ev, log) == (None, R)

    @pytest.mark.parametrize("before", [R, R | W, R | W | E])
    def test_half_close(self, ev: tevent_context, backend: str, pair: Pair, log: Recorder, before: int) -> None:
        """Read sees it; waiting only for room to write goes on, also after it was seen."""
        if no_hup(backend):
            before &= R | W
        fde = add(ev, pair[0].fileno(), W, log.fd)
        pair[1].shutdown(socket.SHUT_WR)
        assert one_call(ev, log) == (None, W)
        tevent_fd_set_flags(fde, before)
        assert one_call(ev, log) == (None, before)
        tevent_fd_set_flags(fde, W)
        for _ in range(2):
            assert one_call(ev, log) == (None, W)

    def test_want_error(self, ev: tevent_context, backend: str, pair: Pair, log: Recorder) -> None:
        """Never for plain data, only for HUP, ERR and half-close."""
        if no_hup(backend):
            pytest.skip("a selector knows no half-close")
        fde = add(ev, pair[0].fileno(), E, log.fd)
        pair[1].send(b"x")
        assert one_call(ev, log) is None
        pair[1].shutdown(socket.SHUT_WR)
        assert one_call(ev, log) == (None, E)
        tevent_fd_set_flags(fde, R | W | E)
        assert one_call(ev, log) == (None, R | W | E)
        tevent_fd_set_flags(fde, W | E)
        assert one_call(ev, log) == (None, W | E)
        pair[1].close()
        tevent_fd_set_flags(fde, E)
        assert one_call(ev, log) == (None, E)


class TestClosedDescriptors:
    def test_closed_before_the_event(self, ev: tevent_context, log: Recorder) -> None:
        """Never a crash, never the handler; free is fine."""
        one, two = os.pipe()
        os.write(two, b"x")
        fde = add(ev, one, R, log.fd)
        settle(ev, log)
        os.close(one)
        assert one_call(ev, log) is None
        assert talloc_free(fde) == 0
        os.close(two)

    def test_closed_then_touched(self, ev: tevent_context, log: Recorder) -> None:
        """The event ends up disarmed."""
        one, two = os.pipe()
        fde = add(ev, one, R, log.fd)
        os.close(one)
        os.close(two)
        tevent_fd_set_flags(fde, R | W)
        assert one_call(ev, log) is None
        assert tevent_fd_get_flags(fde) == 0
        assert fde.event_ctx is None
        assert talloc_free(fde) == 0

    def test_never_open(self, ev: tevent_context, log: Recorder) -> None:
        """An event, which is disarmed at the latest by the next wait."""
        one, two = os.pipe()
        os.close(one)
        os.close(two)
        fde = add(ev, one, R, log.fd)
        assert one_call(ev, log) is None
        assert tevent_fd_get_flags(fde) == 0
        assert talloc_free(fde) == 0

    def test_number_used_again(self, ev: tevent_context, log: Recorder) -> None:
        """The event of the new file works; that of the old one may be freed at any time."""
        one, two = os.pipe()
        old = add(ev, one, R, log.fd, "old")
        settle(ev, log)
        os.close(one)
        os.close(two)
        again, other = os.pipe()
        assert {one, two} == {again, other}
        new = add(ev, again, R, log.fd, "new")
        os.write(other, b"x")
        calls = {one_call(ev, log) for _ in range(4)}
        assert ("new", R) in calls
        talloc_free(old)
        assert one_call(ev, log) == ("new", R)
        talloc_free(new)
        os.close(again)
        os.close(other)


class TestSeveralOnOneDescriptor:
    def test_independent_flags(self, ev: tevent_context, pair: Pair, log: Recorder) -> None:
        """Any number, each with its own flags and handler, one handler an iteration, all served."""
        pair[1].send(b"x")
        fd = pair[0].fileno()
        for flags, name in ((R, "r"), (W, "w"), (R | W, "rw"), (0, "silent")):
            add(ev, fd, flags, log.fd, name)
        settle(ev, log)
        for _ in range(3):
            served = sorted(one_call(ev, log) for _ in range(3))
            assert served == [("r", R), ("rw", R | W), ("w", W)]

    @pytest.mark.parametrize("victim", range(3))
    def test_freeing_one_leaves_the_others(self, ev: tevent_context, pipe: Pipe, log: Recorder, victim: int) -> None:
        """Whichever it is."""
        os.write(pipe[1], b"x")
        events = [add(ev, pipe[0], R, log.fd, i) for i in range(3)]
        settle(ev, log)
        talloc_free(events[victim])
        settle(ev, log)
        assert {one_call(ev, log)[0] for _ in range(2)} == {0, 1, 2} - {victim}

    def test_silenced_and_back(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """A member set to flags 0 and back keeps working, also when all were silent."""
        os.write(pipe[1], b"x")
        events = [add(ev, pipe[0], R, log.fd, i) for i in range(2)]
        tevent_fd_set_flags(events[0], 0)
        settle(ev, log)
        assert {one_call(ev, log)[0] for _ in range(2)} == {1}
        tevent_fd_set_flags(events[1], 0)
        settle(ev, log)
        assert one_call(ev, log) is None
        for event in events:
            tevent_fd_set_flags(event, R)
        settle(ev, log)
        assert {one_call(ev, log)[0] for _ in range(2)} == {0, 1}

    def test_error_is_for_who_can_be_told(self, ev: tevent_context, backend: str, pipe: Pipe, log: Recorder) -> None:
        """A member that only wants to write is passed over while another one wants to read."""
        if no_hup(backend):
            pytest.skip("a selector cannot tell an error from room to write")
        writer = add(ev, pipe[1], W, log.fd, "w")
        reader = add(ev, pipe[1], R, log.fd, "r")
        os.close(pipe[0])
        settle(ev, log)
        assert {one_call(ev, log) for _ in range(4)} == {("r", R)}
        talloc_free(reader)
        settle(ev, log)
        assert one_call(ev, log) is None
        assert tevent_fd_get_flags(writer) == 0

    def test_freed_in_each_other_s_handlers(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """The one that runs frees the other two."""
        os.write(pipe[1], b"x")
        events: list[tevent_fd] = []

        def handler(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            log.calls.append("call")
            for other in events:
                talloc_free(other)

        events += [add(ev, pipe[0], R, handler) for _ in range(3)]
        turns(ev, 6)
        assert log.take() == ["call"]
        assert all(event._talloc_chunk.obj is None for event in events)


class TestWithoutHandler:
    def test_silent_events_are_fine(self, ev: tevent_context, pipe: Pipe) -> None:
        """A handler of None is accepted, and harmless while nothing happens."""
        add(ev, pipe[0], R, None)
        turns(ev, 3)

    def test_firing_aborts(self, ev: tevent_context, pipe: Pipe, aborts: list[str]) -> None:
        """C would crash."""
        os.write(pipe[1], b"x")
        fde = add(ev, pipe[0], R, None)
        for _ in range(4):
            tevent_loop_once(ev)
            if aborts:
                break
        assert aborts == ["event without a handler"]
        assert not fde.busy


class TestReturningAborts:
    def test_dead_events(self, epoll_ev: tevent_context, pipe: Pipe) -> None:
        """Where talloc's abort function returns, a dead event is like none."""
        reasons: list[str] = []
        fde = add(epoll_ev, pipe[0], R, None)
        talloc_free(fde)
        talloc_set_abort_fn(reasons.append)
        try:
            assert tevent_fd_get_flags(fde) == 0
            assert tevent_fd_get_tag(fde) == 0
            tevent_fd_set_tag(fde, 1)
            tevent_fd_set_flags(fde, R)
            tevent_fd_set_close_fn(fde, None)
        finally:
            talloc_set_abort_fn(None)
        assert len(reasons) == 5


class TestForBackends:
    def test_common_functions_touch_fields_only(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """Nothing else follows from them."""
        fde = tevent_common_add_fd(ev, None, pipe[0], 0, log.fd, "p", "a name")
        assert fde is not None
        assert fde.handler_name == "a name"
        tevent_common_fd_set_flags(fde, 9)
        assert fde.flags == 9
        tevent_common_fd_set_close_fn(fde, log.close)
        assert fde.close_fn == log.close
        fde.flags = 0
        fde.close_fn = None

    def test_negative_descriptor(self, ev: tevent_context) -> None:
        """None."""
        assert tevent_common_add_fd(ev, None, -1, 0, None, None, "x") is None

    def test_invoke(self, ev: tevent_context, pipe: Pipe, log: Recorder) -> None:
        """0 and whether it is gone."""
        fde = add(ev, pipe[0], 0, log.fd, "p")
        assert tevent_common_invoke_fd_handler(fde, W) == (0, False)
        assert log.take() == [("p", W)]
        freeing = add(ev, pipe[0], 0, lambda ev, fde, flags, p: talloc_free(fde))
        assert tevent_common_invoke_fd_handler(freeing, R) == (0, True)
        tevent_common_fd_disarm(fde)
        assert tevent_common_invoke_fd_handler(fde, R) == (0, False)
        assert log.take() == []
