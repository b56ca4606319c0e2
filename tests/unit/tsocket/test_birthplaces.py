# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a use after free says: which chunk, where it was freed, and where it was made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_free
from tevent import (
    tevent_add_fd,
    tevent_add_timer,
    tevent_context,
    tevent_context_init,
    tevent_fd_get_flags,
    tevent_loop_once,
    tevent_queue_create,
    tevent_queue_length,
    tevent_req_create,
    tevent_req_done,
    tevent_req_set_callback,
    tevent_thread_call_depth_set_callback,
    tevent_update_timer,
    tevent_wakeup_send,
    timeval,
)
from tsocket import (
    tdgram_inet_udp_socket,
    tdgram_recvfrom_send,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tstream_pending_bytes,
    tstream_readv_send,
    tstream_unix_socketpair,
)


class some_state(TALLOC_CTX):
    """A state without fields."""


def udp(ev: tevent_context) -> Any:
    """A datagram context."""
    _, local = tsocket_address_inet_from_strings(ev, "ip", "127.0.0.1", 0)
    assert local is not None
    return tdgram_inet_udp_socket(local, None, ev)[1]


MADE: list[tuple[str, Callable[[tevent_context], Any], Callable[[Any, tevent_context], object]]] = [
    ("tevent_req", lambda ev: tevent_req_create(ev, some_state)[0], lambda req, ev: tevent_req_done(req)),
    (
        "tevent_fd",
        lambda ev: tevent_add_fd(ev, ev, 0, 0, lambda *_: None, None),
        lambda fde, ev: tevent_fd_get_flags(fde),
    ),
    (
        "tevent_timer",
        lambda ev: tevent_add_timer(ev, ev, timeval(2**40, 0), lambda *_: None, None),
        lambda te, ev: tevent_update_timer(te, timeval(1, 0)),
    ),
    ("tevent_queue", lambda ev: tevent_queue_create(ev, "q"), lambda queue, ev: tevent_queue_length(queue)),
    (
        "tstream_context",
        lambda ev: tstream_unix_socketpair(ev, ev)[1],
        lambda stream, ev: tstream_pending_bytes(stream),
    ),
    ("tdgram_context", udp, lambda dgram, ev: tdgram_recvfrom_send(ev, ev, dgram)),
    (
        "tsocket_address",
        lambda ev: tsocket_address_inet_from_strings(ev, "ip", "::1", 1)[1],
        lambda addr, ev: tsocket_address_inet_port(addr),
    ),
    (
        "tevent_req",
        lambda ev: tevent_wakeup_send(ev, ev, timeval(1, 0)),
        lambda r, _: tevent_req_set_callback(r, None, 0),
    ),
]


@pytest.mark.parametrize(("name", "make", "use"), MADE)
def test_use_after_free_names_the_chunk_and_both_places(
    name: str,
    make: Callable[[tevent_context], Any],
    use: Callable[[Any, tevent_context], object],
    context: tevent_context,
) -> None:
    """The message has the chunk's name, the line that freed it, and the line that made it."""
    thing = make(context)
    assert talloc_free(thing) == 0
    with pytest.raises(talloc_abort_error) as caught:
        use(thing, context)
    here = re.escape(__file__)
    assert re.search(rf"chunk 'struct {name}' was freed at {here}:\d+, made at \S+:\d+", str(caught.value))


def test_context_says_where_it_was_made() -> None:
    """The place is that of the program, however many functions of the library lie between."""
    ev = tevent_context_init(None)
    assert ev is not None
    talloc_free(ev)
    with pytest.raises(talloc_abort_error, match=rf"made at {re.escape(__file__)}:\d+"):
        tevent_loop_once(ev)


@pytest.fixture
def context() -> Any:
    """A context that goes with the test."""
    ev = tevent_context_init(None)
    yield ev
    talloc_free(ev)


def test_flow_of_calls_names_the_function_that_creates(context: tevent_context) -> None:
    """As in C it is the ``_send`` function, also where the place of birth is that of who has called it."""
    told: list[str | None] = []
    _, stream, _ = tstream_unix_socketpair(context, context)
    tevent_thread_call_depth_set_callback(lambda data, cmd, req, depth, name: told.append(name), None)
    try:
        tstream_readv_send(context, context, stream, [bytearray(1)])
    finally:
        tevent_thread_call_depth_set_callback(None, None)
    assert told[0] == "tstream_readv_send"
