# SPDX-License-Identifier: LGPL-3.0-or-later
"""The registry of backends, and backends of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tevent_kit import UNTOUCHED, Recorder, context, turns

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent, talloc_set_memlimit
from tevent import (
    TEVENT_FD_READ,
    backend,
    get_errno,
    set_errno,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_backend_list,
    tevent_common_add_fd,
    tevent_common_add_timer_v2,
    tevent_common_check_signal,
    tevent_common_fd_destructor,
    tevent_common_fd_get_flags,
    tevent_common_fd_set_close_fn,
    tevent_common_fd_set_flags,
    tevent_common_invoke_fd_handler,
    tevent_common_loop_immediate,
    tevent_common_loop_timer_delay,
    tevent_common_loop_wait,
    tevent_common_schedule_immediate,
    tevent_common_threaded_activate_immediate,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_context_init_ops,
    tevent_create_immediate,
    tevent_fd_get_flags,
    tevent_fd_set_close_fn,
    tevent_fd_set_flags,
    tevent_find_ops_byname,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_ops,
    tevent_register_backend,
    tevent_schedule_immediate,
    tevent_set_default_backend,
    tevent_signal_support,
    tevent_timeval_is_zero,
    tevent_timeval_zero,
    timeval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context, tevent_fd


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry that nobody has used yet, as in a fresh process."""
    monkeypatch.setattr(backend, "_known", backend._registry())
    yield
    tevent_set_default_backend(None)


class TestList:
    def test_order_in_a_fresh_process(self, top: TALLOC_CTX) -> None:
        """The newest registration first; Python's own backend behind C's."""
        names = tevent_backend_list(top)
        assert list(names) == ["standard", "epoll", "poll_mt", "poll", "selectors"]

    def test_is_a_chunk(self, top: TALLOC_CTX) -> None:
        """The list belongs to mem_ctx."""
        names = tevent_backend_list(top)
        assert isinstance(names, list)
        assert talloc_parent(names) is top
        assert talloc_free(names) == 0

    def test_memory_limit(self) -> None:
        """The one way not to get a list."""
        tight = talloc_new(None)
        assert tight is not None
        talloc_set_memlimit(tight, 1)
        assert tevent_backend_list(tight) is None
        talloc_free(tight)

    def test_later_names_come_first(self, top: TALLOC_CTX) -> None:
        """A registration after the first look stands in front."""
        tevent_backend_list(top)
        assert tevent_register_backend("mine", tevent_ops()) is True
        assert list(tevent_backend_list(top))[:2] == ["mine", "standard"]


class TestRegister:
    def test_known_name_keeps_the_old_operations(self) -> None:
        """True, and nothing changes."""
        epoll = tevent_find_ops_byname("epoll")
        assert tevent_register_backend("epoll", tevent_ops()) is True
        assert tevent_find_ops_byname("epoll") is epoll

    @pytest.mark.parametrize("name", ["standard", "epoll", "poll"])
    def test_before_the_first_use_the_built_in_ones_can_be_overloaded(self, name: str, top: TALLOC_CTX) -> None:
        """Registering does not load the built-in backends: who comes first wins."""
        mine = tevent_ops()
        assert tevent_register_backend(name, mine) is True
        assert tevent_find_ops_byname(name) is mine
        assert list(tevent_backend_list(top)).count(name) == 1

    def test_wrong_types(self) -> None:
        """A name is a str, operations are a tevent_ops."""
        with pytest.raises(TypeError, match="name must be a str, not int"):
            tevent_register_backend(1, tevent_ops())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="ops must be a tevent_ops, not dict"):
            tevent_register_backend("x", {})  # type: ignore[arg-type]


class TestFind:
    def test_none_is_the_default(self) -> None:
        """The default, at first standard."""
        assert tevent_find_ops_byname(None) is tevent_find_ops_byname("standard") is not None
        tevent_set_default_backend("poll")
        assert tevent_find_ops_byname(None) is tevent_find_ops_byname("poll")
        tevent_set_default_backend(None)
        assert tevent_find_ops_byname(None) is tevent_find_ops_byname("standard")

    @pytest.mark.parametrize("name", ["select", "", "EPOLL"])
    def test_unknown(self, name: str, top: TALLOC_CTX) -> None:
        """None, and errno is left alone."""
        set_errno(UNTOUCHED)
        assert tevent_find_ops_byname(name) is None
        assert tevent_context_init_byname(top, name) is None
        assert get_errno() == UNTOUCHED

    def test_default_is_not_checked(self, top: TALLOC_CTX) -> None:
        """Any string is taken; the context that needs it is not made."""
        tevent_set_default_backend("nonsense")
        assert tevent_context_init(top) is None
        assert tevent_context_init_byname(top, None) is None
        ev = tevent_context_init_byname(top, "poll")
        assert ev is not None

    def test_wrong_types(self) -> None:
        """Names are strings."""
        with pytest.raises(TypeError, match="name must be a str or None"):
            tevent_find_ops_byname(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="backend must be a str or None"):
            tevent_set_default_backend(b"poll")  # type: ignore[arg-type]


class TestOps:
    def test_attributes_default_to_none(self) -> None:
        """An operation that is not given is missing."""
        ops = tevent_ops()
        names = (
            "context_init", "add_fd", "set_fd_close_fn", "get_fd_flags", "set_fd_flags", "add_timer",
            "schedule_immediate", "add_signal", "loop_once", "loop_wait",
        )  # fmt: skip
        assert [getattr(ops, name) for name in names] == [None] * 10
        for name in names:
            setattr(ops, name, len)
            assert getattr(ops, name) is len

    def test_each_call_looks_at_the_operations(self, top: TALLOC_CTX, pipe: tuple[int, int]) -> None:
        """Operations copied from a backend work, and each replaced one is called."""
        base = tevent_find_ops_byname("epoll")
        assert base is not None
        calls: list[str] = []

        def spy(name: str) -> Any:
            real = getattr(base, name)

            def operation(*args: Any) -> Any:
                calls.append(name)
                return real(*args)

            return operation

        names = [
            "context_init", "add_fd", "set_fd_close_fn", "get_fd_flags", "set_fd_flags", "add_timer",
            "schedule_immediate", "add_signal", "loop_once", "loop_wait",
        ]  # fmt: skip
        ops = tevent_ops(**{name: spy(name) for name in names})
        ev = tevent_context_init_ops(top, ops, None)
        assert ev is not None
        assert calls.pop() == "context_init"
        fde = tevent_add_fd(ev, None, pipe[0], 0, None, None)
        assert calls.pop() == "add_fd"
        tevent_fd_set_flags(fde, TEVENT_FD_READ)
        assert calls.pop() == "set_fd_flags"
        assert tevent_fd_get_flags(fde) == TEVENT_FD_READ
        assert calls.pop() == "get_fd_flags"
        tevent_fd_set_close_fn(fde, None)
        assert calls.pop() == "set_fd_close_fn"
        talloc_free(fde)
        log = Recorder()
        tevent_add_timer(ev, None, tevent_timeval_zero(), log.timer, "timer")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "immediate")
        assert calls == ["add_timer", "schedule_immediate"]
        calls.clear()
        assert tevent_loop_once(ev) == 0
        assert calls == ["loop_once"]
        calls.clear()
        assert tevent_loop_wait(ev) == 0
        assert calls == ["loop_wait", "loop_once"]
        assert log.take() == ["immediate", "timer"]
        tevent_add_signal(ev, None, 0, 0, lambda *_: None, None)
        assert "add_signal" in calls

    def test_replaced_while_the_loop_runs(self, top: TALLOC_CTX) -> None:
        """A handler may give its context other operations: the next iteration uses them."""
        base = tevent_find_ops_byname("epoll")
        assert base is not None
        ev = context(top)
        log = Recorder()
        turns_seen: list[str] = []

        def loop_once(ev: tevent_context) -> int:
            turns_seen.append("turn")
            result: int = base.loop_once(ev)
            return result

        other = tevent_ops(schedule_immediate=base.schedule_immediate, loop_once=loop_once, loop_wait=base.loop_wait)

        def switching(ev: tevent_context, im: Any, private_data: object) -> None:
            ev.ops = other

        im1, im2 = tevent_create_immediate(ev), tevent_create_immediate(ev)
        assert im1 is not None
        assert im2 is not None
        tevent_schedule_immediate(im1, ev, switching, None)
        tevent_schedule_immediate(im2, ev, log.immediate, "second")
        assert tevent_loop_wait(ev) == 0
        assert log.take() == ["second"]
        assert turns_seen == ["turn"]

    def test_no_signal_support(self, top: TALLOC_CTX) -> None:
        """A backend without add_signal says so."""
        ops = tevent_ops(context_init=lambda ev: 0)
        ev = tevent_context_init_ops(top, ops, None)
        assert ev is not None
        assert tevent_signal_support(ev) is False

    def test_failing_context_init(self, top: TALLOC_CTX) -> None:
        """A result other than 0: no context, and nothing left behind."""
        seen: list[tevent_context] = []

        def context_init(ev: tevent_context) -> int:
            seen.append(ev)
            return 5

        assert tevent_context_init_ops(top, tevent_ops(context_init=context_init), None) is None
        assert seen[0]._talloc_chunk.obj is None

    def test_raising_context_init(self, top: TALLOC_CTX) -> None:
        """An exception passes, and nothing is left behind."""
        seen: list[tevent_context] = []

        def context_init(ev: tevent_context) -> int:
            seen.append(ev)
            raise LookupError

        with pytest.raises(LookupError):
            tevent_context_init_ops(top, tevent_ops(context_init=context_init), None)
        assert seen[0]._talloc_chunk.obj is None

    def test_context_init_sees_the_context_ready(self, top: TALLOC_CTX) -> None:
        """Operations, additional data and the wait timeout of 30 seconds are set before."""
        seen: list[Any] = []

        def context_init(ev: tevent_context) -> int:
            seen.append((ev.ops, ev.additional_data, ev.wait_timeout))
            return 0

        ops = tevent_ops(context_init=context_init)
        mark = object()
        assert tevent_context_init_ops(top, ops, mark) is not None
        assert seen == [(ops, mark, (30, 0))]

    def test_wrong_type(self, top: TALLOC_CTX) -> None:
        """Operations are a tevent_ops."""
        with pytest.raises(TypeError, match="ops must be a tevent_ops, not NoneType"):
            tevent_context_init_ops(top, None, None)  # type: ignore[arg-type]


class TestMinimalBackend:
    """A backend written with the documented helpers only, over a set of descriptors that are simply called ready."""

    @staticmethod
    def make(top: TALLOC_CTX, ready: list[int]) -> tevent_context:
        def context_init(ev: tevent_context) -> int:
            ev.additional_data = set()
            return 0

        def destructor(fde: tevent_fd) -> int:
            if fde.event_ctx is not None:
                fde.event_ctx.additional_data.discard(fde)
            return tevent_common_fd_destructor(fde)

        def add_fd(ev: tevent_context, *args: Any) -> tevent_fd | None:
            fde = tevent_common_add_fd(ev, *args)
            if fde is not None:
                ev.additional_data.add(fde)
                fde._talloc_chunk.destructor = destructor
            return fde

        def loop_once(ev: tevent_context) -> int:
            if ev.signal_events and tevent_common_check_signal(ev):
                return 0
            if ev.threaded_contexts:
                tevent_common_threaded_activate_immediate(ev)
            if ev.immediate_events and tevent_common_loop_immediate(ev):
                return 0
            if tevent_timeval_is_zero(tevent_common_loop_timer_delay(ev)):
                return 0
            for fde in ev.fd_events:
                if fde.fd in ready and fde.flags:
                    ready.remove(fde.fd)
                    return tevent_common_invoke_fd_handler(fde, fde.flags)[0]
            return 0

        ev = tevent_context_init_ops(
            top,
            tevent_ops(
                context_init=context_init,
                add_fd=add_fd,
                set_fd_close_fn=tevent_common_fd_set_close_fn,
                get_fd_flags=tevent_common_fd_get_flags,
                set_fd_flags=tevent_common_fd_set_flags,
                add_timer=tevent_common_add_timer_v2,
                schedule_immediate=tevent_common_schedule_immediate,
                loop_once=loop_once,
                loop_wait=tevent_common_loop_wait,
            ),
            None,
        )
        assert ev is not None
        return ev

    def test_runs_all_kinds_of_events(self, top: TALLOC_CTX, log: Recorder) -> None:
        """Immediates, then timers, then descriptors."""
        ready = [77, 78]
        ev = self.make(top, ready)

        def last(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
            log.fd(ev, fde, flags, private_data)
            talloc_free(fde)

        tevent_add_fd(ev, None, 77, 1, last, "77")
        tevent_add_fd(ev, None, 78, 2, last, "78")
        tevent_add_fd(ev, None, 79, 0, last, "silent")
        tevent_add_timer(ev, None, timeval(1, 0), log.timer, "timer")
        im = tevent_create_immediate(ev)
        assert im is not None
        tevent_schedule_immediate(im, ev, log.immediate, "immediate")
        assert tevent_loop_wait(ev) == 0
        assert log.take() == ["immediate", "timer", ("78", 2), ("77", 1)]
        assert [fde.private_data for fde in ev.additional_data] == ["silent"]

    def test_own_loop_is_called_for_immediates_too(self, top: TALLOC_CTX, log: Recorder) -> None:
        """The shortcut for immediates is only for loops that begin like the built-in ones."""
        ev = self.make(top, [])
        seen: list[int] = []
        inner = ev.ops.loop_once

        def counting(ev: tevent_context) -> int:
            seen.append(1)
            return inner(ev)  # type: ignore[no-any-return]

        ev.ops.loop_once = counting
        for name in "ab":
            im = tevent_create_immediate(ev)
            assert im is not None
            tevent_schedule_immediate(im, ev, log.immediate, name)
        assert tevent_loop_wait(ev) == 0
        assert log.take() == ["a", "b"]
        assert len(seen) == 2
        assert turns(ev, 1) == 1
