# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of a PDU, and of each of its vectors."""

from __future__ import annotations

from stream_kit import LengthPrefixed, framed, pdu

from tevent import (
    TEVENT_REQ_DONE,
    TEVENT_REQ_RECEIVED,
    tevent_req_set_cleanup_fn,
    tevent_thread_call_depth_set_callback,
)
from tsocket import tstream_readv_pdu_recv


def test_a_cleanup_function_hears_of_it(top, loop, unix):
    """It is told when the PDU is complete, before the callback, and when it is received."""
    reader, told = LengthPrefixed(), []
    req = pdu(loop, top, unix.stream, reader.next_vector)
    tevent_req_set_cleanup_fn(req, lambda req, state: told.append(state))
    seen = loop.watch(req, tstream_readv_pdu_recv)
    unix.peer.send(framed(b"hello"))
    loop.until(lambda: seen.calls)
    assert seen.result == (9, 0)
    assert told == [TEVENT_REQ_DONE, TEVENT_REQ_RECEIVED]


def test_the_flow_of_calls_has_it(top, loop, unix):
    """Who looks at the flow of calls hears of the callback."""
    reader, flow = LengthPrefixed(), []
    tevent_thread_call_depth_set_callback(lambda pvt, cmd, req, depth, name: flow.append(name), None)
    try:
        seen = loop.watch(pdu(loop, top, unix.stream, reader.next_vector), tstream_readv_pdu_recv)
        flow.clear()
        unix.peer.send(framed(b"hello"))
        loop.until(lambda: seen.calls)
    finally:
        tevent_thread_call_depth_set_callback(None, None)
    assert seen.result == (9, 0)
    assert any(name not in (None, "_tevent_loop_once") for name in flow)


def test_a_buffer_may_grow_once_it_is_full(top, loop, unix):
    """What was read into is the caller's again when the next vector is asked for."""
    buffer, lengths = bytearray(2), []

    def next_vector(stream, private_data, mem_ctx):
        if not lengths:
            lengths.append(len(buffer))
            return 0, [buffer]
        buffer.extend(b"!")
        lengths.append(len(buffer))
        return 0, None

    seen = loop.watch(pdu(loop, top, unix.stream, next_vector), tstream_readv_pdu_recv)
    unix.peer.send(b"a")
    loop.settle()
    unix.peer.send(b"b")
    loop.until(lambda: seen.calls)
    assert (seen.result, buffer, lengths) == ((2, 0), b"ab!", [2, 3])
