# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What every pair of connected streams must do, whatever carries the bytes.

Each check is a plain function of *make_pair*, which takes an event context and an owner and returns two connected
streams, and of *make_loop*, which makes a loop below an owner (`stream_kit.Loop`, or one of a simulated world).
`CHECKS` has them all.  Nothing here knows how many turns of the loop an exchange takes, nor which errno a dead
connection gives: that belongs to the backend.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from errno import EALREADY, EBUSY, ECONNABORTED, EINVAL, EIO, EMSGSIZE, ENOTCONN, EPIPE, ETIMEDOUT
from typing import Any

from stream_kit import (
    LengthPrefixed,
    Loop,
    disconnect,
    finished_with,
    framed,
    monitor,
    pdu,
    read_now,
    readv,
    write_now,
    writev,
)

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent, talloc_steal
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_queue_create,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    iovec,
    tstream_context,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
)

MakePair = Any
MakeLoop = Any

#: Every check of this module, by name.
CHECKS: dict[str, Callable[..., None]] = {}

#: More than any of the streams under test buffers.
BLOCKING = 16 * 1024 * 1024


def check(function: Callable[[TALLOC_CTX, Loop, tstream_context, tstream_context], None]) -> Callable[..., None]:
    """Turn a check of two streams into a function of *make_pair*, and list it."""

    @functools.wraps(function)
    def run(make_pair: MakePair, make_loop: MakeLoop = Loop) -> None:
        top = talloc_new(None)
        assert top is not None
        try:
            loop = make_loop(top)
            one, two = make_pair(loop.ev, top)
            function(top, loop, one, two)
        finally:
            talloc_free(top)

    CHECKS[function.__name__] = run
    return run


def transfer(loop: Loop, source: tstream_context, target: tstream_context, data: bytes) -> bytes:
    """Write *data* at one end while the other reads as many bytes; returns what was read."""
    buf = bytearray(len(data))
    reading = loop.watch(readv(loop, None, target, buf), tstream_readv_recv, free=True)
    writing = loop.watch(writev(loop, None, source, data), tstream_writev_recv, free=True)
    loop.until(lambda: reading.calls and writing.calls)
    assert reading.result == (len(data), 0)
    assert writing.result == (len(data), 0)
    return bytes(buf)


def failure(loop: Loop, req: tevent_req, recv: Callable[[tevent_req], tuple[int, int]]) -> int:
    """The errno that *req* fails with."""
    seen = loop.watch(req, recv, free=True)
    loop.until(lambda: seen.calls)
    ret, err = seen.result
    assert ret == -1
    return err


@check
def bytes_go_both_ways(top, loop, one, two):
    """What is written at one end is read at the other."""
    assert transfer(loop, one, two, b"there") == b"there"
    assert transfer(loop, two, one, b"and back") == b"and back"


@check
def a_read_gathers_pieces(top, loop, one, two):
    """A read completes when its whole vector is full, and not before."""
    bufs = [bytearray(3), bytearray(), bytearray(4)]
    seen = loop.watch(readv(loop, top, two, *bufs), tstream_readv_recv)
    for piece in (b"a", b"bcd", b"ef"):
        assert write_now(loop, one, piece) == (len(piece), 0)
        loop.settle()
        assert seen.calls == 0
    assert write_now(loop, one, b"g") == (1, 0)
    loop.until(lambda: seen.calls)
    assert seen.result == (7, 0)
    assert [bytes(buf) for buf in bufs] == [b"abc", b"", b"defg"]


@check
def a_write_of_several_elements_keeps_their_order(top, loop, one, two):
    """The elements of a vector are sent one after the other, empty ones as nothing."""
    seen = loop.watch(writev(loop, top, one, b"a", b"", iovec(b"bcx", 2), iovec(None, 0), b"d"), tstream_writev_recv)
    assert read_now(loop, two, 4) == ((4, 0), b"abcd")
    loop.until(lambda: seen.calls)
    assert seen.result == (4, 0)


@check
def large_transfers_in_both_directions_at_once(top, loop, one, two):
    """More than the connection buffers, both ways, interleaved."""
    data = bytes(range(256)) * 4096
    back = data[::-1]
    bufs = bytearray(len(data)), bytearray(len(back))
    seen = [
        loop.watch(writev(loop, top, one, data), tstream_writev_recv),
        loop.watch(writev(loop, top, two, back), tstream_writev_recv),
        loop.watch(readv(loop, top, two, bufs[0]), tstream_readv_recv),
        loop.watch(readv(loop, top, one, bufs[1]), tstream_readv_recv),
    ]
    loop.until(lambda: all(s.calls for s in seen))
    assert [s.result for s in seen] == [(len(data), 0)] * 4
    assert bufs == (data, back)


@check
def a_write_that_is_not_read_waits(top, loop, one, two):
    """It ends when the other side reads."""
    data = bytes(BLOCKING)
    writing = loop.watch(writev(loop, top, one, data), tstream_writev_recv)
    loop.settle()
    assert writing.calls == 0
    left = len(data)
    while left:
        size = min(left, 1024 * 1024)
        assert read_now(loop, two, size)[0] == (size, 0)
        left -= size
    loop.until(lambda: writing.calls)
    assert writing.result == (len(data), 0)


@check
def arguments_are_refused_inside_send(top, loop, one, two):
    """Nothing to transfer is EINVAL, too many elements EMSGSIZE; the callback comes from the loop."""
    for send, recv in ((readv, tstream_readv_recv), (writev, tstream_writev_recv)):
        finished_with(loop, send(loop, top, one), recv, EINVAL)
        finished_with(loop, send(loop, top, one, bytearray(), bytearray()), recv, EINVAL)
        finished_with(loop, send(loop, top, one, *[bytearray(1)] * 1025), recv, EMSGSIZE)


@check
def one_operation_in_each_direction(top, loop, one, two):
    """A second read or write is EBUSY and does not disturb the first."""
    buf = bytearray(2)
    reading = loop.watch(readv(loop, top, one, buf), tstream_readv_recv)
    finished_with(loop, readv(loop, top, one, bytearray(1)), tstream_readv_recv, EBUSY)
    writing = loop.watch(writev(loop, top, one, bytes(BLOCKING)), tstream_writev_recv)
    refused = writev(loop, top, one, b"x")
    assert not tevent_req_is_in_progress(refused)
    assert tstream_writev_recv(refused) == (-1, EBUSY)
    refused = disconnect(loop, top, one)
    assert not tevent_req_is_in_progress(refused)
    assert tstream_disconnect_recv(refused) == (-1, EBUSY)
    write_now(loop, two, b"ok")
    loop.until(lambda: reading.calls)
    assert reading.result == (2, 0)
    assert buf == b"ok"
    assert writing.calls == 0


@check
def callbacks_come_from_the_loop(top, loop, one, two):
    """No callback runs inside a ``_send``, also when everything is at hand; operations can be chained for ever."""
    assert write_now(loop, one, b"x" * 500) == (500, 0)
    inside = False
    left = 500
    depth = 0

    def start() -> None:
        nonlocal inside
        inside = True
        tevent_req_set_callback(readv(loop, top, two, bytearray(1)), done, None)
        inside = False

    def done(req: tevent_req) -> None:
        nonlocal left, depth
        assert not inside
        depth += 1
        assert depth == 1
        assert tstream_readv_recv(req) == (1, 0)
        talloc_free(req)
        left -= 1
        if left:
            start()
        depth -= 1

    start()
    loop.until(lambda: not left)


@check
def a_freed_read_is_forgotten(top, loop, one, two):
    """Its callback never runs, and the next read gets the bytes that come."""
    req = readv(loop, top, two, bytearray(4))
    seen = loop.watch(req)
    talloc_free(req)
    assert transfer(loop, one, two, b"data") == b"data"
    assert seen.calls == 0


@check
def a_read_received_early_is_cancelled(top, loop, one, two):
    """``_recv`` in progress is EIO, the stream is free at once."""
    req = readv(loop, top, two, bytearray(4))
    seen = loop.watch(req)
    assert tstream_readv_recv(req) == (-1, EIO)
    assert transfer(loop, one, two, b"data") == b"data"
    assert seen.calls == 0


@check
def a_freed_write_lets_the_next_one_go(top, loop, one, two):
    """What was taken stays written, in order, and nothing of the rest follows."""
    req = writev(loop, top, one, b"A" * BLOCKING)
    seen = loop.watch(req)
    loop.settle()
    talloc_free(req)
    writing = loop.watch(writev(loop, top, one, b"B"), tstream_writev_recv)
    got = bytearray()
    while not got.endswith(b"B"):
        result, data = read_now(loop, two, 1 if tstream_pending_bytes(two) == 0 else tstream_pending_bytes(two))
        assert result[0] == len(data)
        got += data
    loop.until(lambda: writing.calls)
    assert writing.result == (1, 0)
    assert got == b"A" * (len(got) - 1) + b"B"
    assert len(got) < BLOCKING
    assert seen.calls == 0


@check
def pending_bytes_counts(top, loop, one, two):
    """What came and was not read."""
    assert tstream_pending_bytes(two) == 0
    assert write_now(loop, one, b"abcde") == (5, 0)
    loop.until(lambda: tstream_pending_bytes(two) == 5)
    assert read_now(loop, two, 3) == ((3, 0), b"abc")
    assert tstream_pending_bytes(two) == 2


@check
def the_end_of_the_other_side(top, loop, one, two):
    """Data before the end can be read, then reads fail with EPIPE; part of a vector is a failure too."""
    assert write_now(loop, one, b"abcde") == (5, 0)
    talloc_free(one)
    assert read_now(loop, two, 3) == ((3, 0), b"abc")
    result, buf = read_now(loop, two, 3)
    assert result == (-1, EPIPE)
    assert buf == b"de\0"
    assert read_now(loop, two, 1)[0][0] == -1


@check
def disconnecting(top, loop, one, two):
    """The other side reads EPIPE; all later operations fail, another disconnect with ENOTCONN."""
    reading = loop.watch(readv(loop, top, two, bytearray(1)), tstream_readv_recv)
    closing = loop.watch(disconnect(loop, top, one), tstream_disconnect_recv, free=True)
    loop.until(lambda: closing.calls and reading.calls)
    assert closing.result == (0, 0)
    assert reading.result == (-1, EPIPE)
    assert failure(loop, readv(loop, top, one, bytearray(1)), tstream_readv_recv) == ENOTCONN
    assert failure(loop, writev(loop, top, one, b"x"), tstream_writev_recv) == ENOTCONN
    assert failure(loop, disconnect(loop, top, one), tstream_disconnect_recv) == ENOTCONN
    assert tstream_pending_bytes(one) == -1


@check
def operations_during_a_disconnect(top, loop, one, two):
    """While it is outstanding reads, writes and monitors are ECONNABORTED, another disconnect EALREADY."""
    closing = loop.watch(disconnect(loop, top, one), tstream_disconnect_recv)
    for req, recv, error in (
        (readv(loop, top, one, bytearray(1)), tstream_readv_recv, ECONNABORTED),
        (writev(loop, top, one, b"x"), tstream_writev_recv, ECONNABORTED),
        (monitor(loop, top, one), tstream_monitor_recv, ECONNABORTED),
        (disconnect(loop, top, one), tstream_disconnect_recv, EALREADY),
    ):
        assert not tevent_req_is_in_progress(req)
        assert recv(req) == (-1, error)
    loop.until(lambda: closing.calls)
    assert closing.result == (0, 0)


@check
def a_monitor_hears_of_failed_operations(top, loop, one, two):
    """It keeps quiet while the stream works, ends with an operation's error, and after it."""
    watching = loop.watch(monitor(loop, top, two), tstream_monitor_recv)
    finished_with(loop, monitor(loop, top, two), tstream_monitor_recv, EALREADY)
    assert transfer(loop, one, two, b"fine") == b"fine"
    loop.settle()
    assert watching.calls == 0
    reading = loop.watch(readv(loop, top, two, bytearray(1)), tstream_readv_recv)
    talloc_free(one)
    loop.until(lambda: watching.calls and reading.calls)
    assert reading.result == (-1, EPIPE)
    assert watching.result == (-1, EPIPE)
    assert reading.turn < watching.turn


@check
def a_monitor_hears_of_a_disconnect(top, loop, one, two):
    """ECONNABORTED, after the disconnect itself was called back."""
    watching = loop.watch(monitor(loop, top, one), tstream_monitor_recv)
    closing = loop.watch(disconnect(loop, top, one), tstream_disconnect_recv)
    loop.until(lambda: watching.calls)
    assert closing.result == (0, 0)
    assert watching.result == (-1, ECONNABORTED)


@check
def freeing_the_stream_silences_its_requests(top, loop, one, two):
    """They become received, are never called back, and stay with their owner."""
    reqs = [readv(loop, top, one, bytearray(1)), writev(loop, top, one, bytes(BLOCKING)), monitor(loop, top, one)]
    seen = [loop.watch(req) for req in reqs]
    loop.settle()
    talloc_free(one)
    for req in reqs:
        assert tevent_req_is_error(req)[:2] == (True, TEVENT_REQ_RECEIVED)
        assert talloc_parent(req) is top
    loop.settle()
    assert [s.calls for s in seen] == [0, 0, 0]
    for req in reqs:
        assert talloc_free(req) == 0


@check
def freeing_the_stream_in_a_callback(top, loop, one, two):
    """A read's callback frees the stream while a write waits."""
    writing = loop.watch(writev(loop, top, one, bytes(BLOCKING)))
    reading = loop.watch(readv(loop, top, one, bytearray(1)), tstream_readv_recv, then=lambda _: talloc_free(one))
    assert write_now(loop, two, b"x") == (1, 0)
    loop.until(lambda: reading.calls)
    loop.settle()
    assert reading.result == (1, 0)
    assert writing.calls == 0


@check
def an_end_time_ends_a_read(top, loop, one, two):
    """ETIMEDOUT, and the stream goes on."""
    req = readv(loop, top, two, bytearray(2))
    assert tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
    assert failure(loop, req, tstream_readv_recv) == ETIMEDOUT
    assert transfer(loop, one, two, b"on") == b"on"


@check
def pdus_arrive_as_they_were_sent(top, loop, one, two):
    """Several PDUs in one write, and one in several, read from a chain of callbacks."""
    bodies = [b"", b"a", b"bc" * 1000, b"", b"d" * 70000]
    got: list[bytes] = []

    def start() -> None:
        reader = LengthPrefixed()

        def done(req: tevent_req) -> None:
            ret, err = tstream_readv_pdu_recv(req)
            assert (ret, err) == (4 + len(reader.body or b""), 0)
            talloc_free(req)
            got.append(bytes(reader.body or b""))
            if len(got) < 2 * len(bodies):
                start()

        tevent_req_set_callback(pdu(loop, top, two, reader.next_vector), done, None)

    start()
    data = b"".join(framed(body) for body in bodies)
    whole = loop.watch(writev(loop, top, one, data), tstream_writev_recv)
    loop.until(lambda: len(got) == len(bodies) and whole.calls)
    for n in range(0, 40, 7):
        assert write_now(loop, one, data[n : n + 7]) == (7, 0)
    rest = loop.watch(writev(loop, top, one, data[42:]), tstream_writev_recv)
    loop.until(lambda: len(got) == 2 * len(bodies) and rest.calls)
    assert got == bodies * 2


@check
def queued_writes_keep_their_order(top, loop, one, two):
    """Writes through a queue arrive in the order of ``_send``, one after the other."""
    queue = tevent_queue_create(top, "writes")
    parts = [bytes([65 + n]) * (n * 5000 + 1) for n in range(8)]
    seen = []
    for part in parts:
        req = tstream_writev_queue_send(top, loop.ev, one, queue, [part])
        seen.append(loop.watch(req, tstream_writev_queue_recv, free=True))
    expect = b"".join(parts)
    assert read_now(loop, two, len(expect)) == ((len(expect), 0), expect)
    loop.until(lambda: all(s.calls for s in seen))
    assert [s.result for s in seen] == [(len(part), 0) for part in parts]
    assert [s.turn for s in seen] == sorted(s.turn for s in seen)


@check
def queued_pdus_are_read_in_turn(top, loop, one, two):
    """Each request through a queue gets the next PDU."""
    queue = tevent_queue_create(top, "pdus")
    readers = [LengthPrefixed() for _ in range(5)]
    seen = []
    for reader in readers:
        req = tstream_readv_pdu_queue_send(top, loop.ev, two, queue, reader.next_vector, None)
        seen.append(loop.watch(req, tstream_readv_pdu_queue_recv, free=True))
    data = b"".join(framed(b"%d" % n * n) for n in range(5))
    assert write_now(loop, one, data) == (len(data), 0)
    loop.until(lambda: all(s.calls for s in seen))
    assert [s.result for s in seen] == [(4 + n, 0) for n in range(5)]
    assert [bytes(reader.body or b"") for reader in readers] == [b"%d" % n * n for n in range(5)]


@check
def buffers_are_released_before_the_callback(top, loop, one, two):
    """A bytearray that was read into or written from can be resized by the callback."""
    buf, data = bytearray(3), bytearray(b"abc")
    reading = loop.watch(readv(loop, top, two, buf), tstream_readv_recv, then=lambda _: buf.append(0))
    writing = loop.watch(writev(loop, top, one, data), tstream_writev_recv, then=lambda _: data.append(0))
    loop.until(lambda: reading.calls and writing.calls)
    assert (buf, data) == (b"abc\0", b"abc\0")


@check
def an_exception_of_a_callback_leaves_the_loop(top, loop, one, two):
    """The request can be received, the streams go on."""

    def fail(req: tevent_req) -> None:
        raise ZeroDivisionError

    req = readv(loop, top, two, bytearray(2))
    tevent_req_set_callback(req, fail, None)
    writing = loop.watch(writev(loop, top, one, b"ab"), tstream_writev_recv)
    raised = 0
    while not raised:
        try:
            loop.until(lambda: False, seconds=5)
        except ZeroDivisionError:
            raised += 1
    loop.until(lambda: writing.calls)
    assert writing.result == (2, 0)
    assert tstream_readv_recv(req) == (2, 0)
    assert transfer(loop, one, two, b"cd") == b"cd"


@check
def the_freed_owner_takes_everything_along(top, loop, one, two):
    """Streams and requests below one context go with it, whatever they were doing."""
    owner = talloc_new(top)
    for stream in (one, two):
        talloc_steal(owner, stream)
        readv(loop, owner, stream, bytearray(10))
        writev(loop, owner, stream, bytes(BLOCKING))
        monitor(loop, owner, stream)
    loop.settle()
    assert talloc_free(owner) == 0
    loop.settle()
