# SPDX-License-Identifier: LGPL-3.0-or-later
"""What requests and queues say to somebody who has made a mistake, to the letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from req_kit import Bench, job_state, opened, other_state, silent_aborts

from talloc_py import talloc_free, talloc_set_destructor, talloc_set_name_const, talloc_zero
from tevent import req as req_module
from tevent import (
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_create,
    tevent_queue_entry_untrigger,
    tevent_queue_length,
    tevent_queue_stop,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_data,
    tevent_req_poll,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
    tevent_req_set_print_fn,
    tevent_req_state,
    tevent_thread_call_depth_set_callback,
    tevent_wakeup_send,
    timeval,
)

if TYPE_CHECKING:
    from collections.abc import Callable

bench = pytest.fixture(opened, name="bench")


@pytest.mark.parametrize("state", tevent_req_state)
def test_states_of_the_module(state: tevent_req_state) -> None:
    """The module that the functions live in has the states under the same names and with the same values."""
    assert getattr(req_module, state.name) == state


@pytest.mark.parametrize(
    ("what", "setter"),
    [
        ("callback", lambda req: tevent_req_set_callback(req, 5, None)),
        ("print function", lambda req: tevent_req_set_print_fn(req, 5)),
        ("cancel function", lambda req: tevent_req_set_cancel_fn(req, 5)),
        ("cleanup function", lambda req: tevent_req_set_cleanup_fn(req, 5)),
    ],
)
def test_a_function_that_is_none(bench: Bench, what: str, setter: Callable[[Any], None]) -> None:
    """The message says which function it should have been."""
    req, _ = bench.make()
    with pytest.raises(TypeError, match=rf"^the {what} must be callable or None, not int$"):
        setter(req)


def test_data_that_has_its_type_by_name(bench: Bench) -> None:
    """An object that is called like a struct is one."""
    req, _ = bench.make()
    data = talloc_zero(bench.root, other_state)
    assert data is not None
    talloc_set_name_const(data, "struct job_state")
    tevent_req_set_callback(req, None, data)
    assert tevent_req_callback_data(req, job_state) is data


def test_what_is_no_queue_or_entry() -> None:
    """The message says what is needed, and what it is."""
    with pytest.raises(TypeError, match=r"^a tevent_queue is needed, not int$"):
        tevent_queue_length(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^a tevent_queue_entry is needed, not int$"):
        tevent_queue_entry_untrigger(5)  # type: ignore[arg-type]


def test_a_trigger_that_cannot_be_called(bench: Bench) -> None:
    """It is refused, and nothing is queued."""
    queue = tevent_queue_create(bench.root, "queue")
    assert queue is not None
    req, _ = bench.make()
    with pytest.raises(TypeError, match=r"^the trigger must be callable or None, not int$"):
        tevent_queue_add(queue, bench.ev, req, 5, None)  # type: ignore[arg-type]
    assert tevent_queue_length(queue) == 0


def test_untriggering_at_the_wrong_time(bench: Bench) -> None:
    """The abort function hears why."""
    queue = tevent_queue_create(bench.root, "queue")
    assert queue is not None
    first, second = (tevent_queue_add_entry(queue, bench.ev, bench.make()[0], None, None) for _ in range(2))
    assert first is not None
    assert second is not None
    with silent_aborts() as aborts:
        tevent_queue_entry_untrigger(first)
        tevent_queue_stop(queue)
        tevent_queue_entry_untrigger(second)
    assert aborts == [
        "tevent_queue_entry_untrigger() needs a stopped queue",
        "tevent_queue_entry_untrigger() needs the first entry of the queue",
    ]


def test_polling_while_the_flow_of_calls_is_looked_at(bench: Bench) -> None:
    """tevent_req_poll() goes on, and who looks on hears of each iteration."""
    flow: list[str | None] = []
    tevent_thread_call_depth_set_callback(lambda pvt, cmd, req, depth, name: flow.append(name), None)
    try:
        req = tevent_wakeup_send(bench.root, bench.ev, timeval(0, 0))
        assert req is not None
        assert tevent_req_poll(req, bench.ev)
    finally:
        tevent_thread_call_depth_set_callback(None, None)
    assert "_tevent_loop_once" in flow


@pytest.mark.parametrize("levels", [1, 39, 40, 41, 42, 60])
def test_states_of_nested_requests_see_themselves(bench: Bench, levels: int) -> None:
    """A destructor of a state can ask for it, from the outermost to the innermost, however many there are."""
    seen: list[int] = []

    def look(req: tevent_req) -> None:
        seen.append(tevent_req_data(req, job_state).value)

    req, state = bench.make()
    first = req
    for level in range(levels):
        state.value = level
        talloc_set_destructor(state, lambda obj, req=req: look(req))
        req, state = bench.make(state)
    assert talloc_free(first) == 0
    assert seen == list(range(levels))
