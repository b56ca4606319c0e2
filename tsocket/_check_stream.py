# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The conformance checks of streams; `tsocket.testing` is the way in.

A check is a function of a bench: two connected streams, their owner, their loop, and what their backend may do in one
way or in another.  It knows neither how many turns of the loop an exchange takes nor what carries the bytes: only what
every stream owes its users.
"""

from __future__ import annotations

from errno import EALREADY, EBUSY, ECONNABORTED, EINVAL, EIO, EMSGSIZE, ENOTCONN, EPIPE, ETIMEDOUT

from talloc_py import talloc_free, talloc_new, talloc_parent, talloc_steal, talloc_total_blocks
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)

from ._check_kit import equal, fail, grow, holds, new_queue, outcome
from ._check_stream_kit import MIB, framed, pdu_reader, stream_bench, writer
from .address import iovec
from .helpers import (
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
)
from .stream import (
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[stream_bench], None]

#: Every check, by name, in the order in which they run.
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """List a check."""
    CHECKS[function.__name__] = function
    return function


# -- bytes ------------------------------------------------------------------------------------------------------------


@check
def bytes_go_both_ways(w: stream_bench) -> None:
    """What is written at one end is read at the other."""
    w.transfer(w.one, w.two, b"there")
    w.transfer(w.two, w.one, b"and back")


@check
def a_read_gathers_pieces(w: stream_bench) -> None:
    """A read ends when its whole vector is full, and not before."""
    bufs = [bytearray(3), bytearray(), bytearray(4)]
    seen = w.reading(w.two, *bufs)
    for piece in (b"a", b"bcd", b"ef"):
        w.write(w.one, piece)
        w.loop.settle()
        equal(seen.calls, 0, "callbacks of a read whose vector is not full")
    w.write(w.one, b"g")
    w.loop.until(lambda: seen.calls, "the end of a read whose bytes were written")
    equal(seen.result, (7, 0), "result of a read")
    equal([bytes(buf) for buf in bufs], [b"abc", b"", b"defg"], "the vector")


@check
def a_read_takes_no_more_than_it_wants(w: stream_bench) -> None:
    """What follows stays for the next read, and a buffer is filled as far as its ``iov_len``."""
    w.write(w.one, b"abcdefghij")
    buf = bytearray(b"......")
    equal(w.loop.result_of(w.readv(w.two, iovec(buf, 4)), "read", tstream_readv_recv), (4, 0), "result of a read")
    equal(bytes(buf), b"abcd..", "a buffer of which four bytes were to be filled")
    for want in (b"e", b"fgh", b"ij"):
        equal(w.read(w.two, len(want)), ((len(want), 0), want), "the next read")


@check
def a_write_of_several_elements_keeps_their_order(w: stream_bench) -> None:
    """The elements of a vector are sent one after the other, empty ones as nothing."""
    vector = (b"a", b"", iovec(b"bcx", 2), iovec(None, 0), bytearray(b"d"), memoryview(b"xef")[1:])
    seen = w.writing(w.one, *vector)
    equal(w.read(w.two, 6), ((6, 0), b"abcdef"), "what was written in several elements")
    w.loop.until(lambda: seen.calls, "the end of a write that was read")
    equal(seen.result, (6, 0), "result of a write")


@check
def bytes_arrive_however_they_are_cut(w: stream_bench) -> None:
    """Many small writes and one large read, one write and many small reads."""
    data = bytes(range(100)) * 3
    buf = bytearray(len(data))
    reading = w.reading(w.two, buf)
    for byte in data:
        w.write(w.one, bytes([byte]))
    w.loop.until(lambda: reading.calls, "the end of a read whose bytes were written one by one")
    equal(bytes(buf), data, "bytes that were written one by one")
    w.write(w.one, data)
    parts = [w.read(w.two, size)[1] for size in (1, 1, 2, 7, 64, 1, 100, 124)]
    equal(b"".join(parts), data, "bytes that were read in pieces")


@check
def pending_bytes_counts(w: stream_bench) -> None:
    """What came and was not read."""
    equal(tstream_pending_bytes(w.two), 0, "pending bytes of a new stream")
    w.write(w.one, b"abcde")
    if w.traits.pending_before_read:
        w.loop.until(lambda: tstream_pending_bytes(w.two) == 5, "five pending bytes")
    equal(w.read(w.two, 3), ((3, 0), b"abc"), "the read")
    equal(tstream_pending_bytes(w.two), 2, "pending bytes after three of five were read")
    equal(w.read(w.two, 2), ((2, 0), b"de"), "the read of the rest")
    equal(tstream_pending_bytes(w.two), 0, "pending bytes after all was read")


@check
def large_transfers_in_both_directions_at_once(w: stream_bench) -> None:
    """More than the connection buffers, both ways, none waits for the other."""
    data = bytes(range(256)) * 4096
    back = data[::-1]
    bufs = bytearray(len(data)), bytearray(len(back))
    writers = [writer(w, w.one, data), writer(w, w.two, back)]
    seen = [
        w.reading(w.two, bufs[0]),
        w.reading(w.one, bufs[1]),
    ]
    w.loop.until(
        lambda: all(s.calls for s in seen) and all(w.done for w in writers), "the end of transfers in both directions"
    )
    equal([s.result for s in seen], [(len(data), 0)] * 2, "results of the reads")
    holds(bytes(bufs[0]) == data and bytes(bufs[1]) == back, "what was read is not what was written")


@check
def a_write_that_is_not_read_waits(w: stream_bench) -> None:
    """It ends when the other side reads."""
    _, writing, left = w.clog(w.one)
    while left:
        size = min(left, MIB)
        equal(w.read(w.two, size)[0], (size, 0), "result of a read")
        left -= size
    w.loop.until(lambda: writing.calls, "the end of a write that was read")
    equal(writing.result[1], 0, "errno of a write that was read")


@check
def reading_goes_on_while_a_write_waits(w: stream_bench) -> None:
    """A peer that does not read can still be heard."""
    _, writing, _ = w.clog(w.one)
    for part in (b"heard", b"all the same"):
        w.transfer(w.two, w.one, part)
    equal(writing.calls, 0, "callbacks of a write that nobody reads")


# -- arguments and requests -------------------------------------------------------------------------------------------


@check
def arguments_are_refused_inside_send(w: stream_bench) -> None:
    """Nothing to transfer is EINVAL, too many elements EMSGSIZE; the callback comes from the loop."""
    sends: list[tuple[Any, Any, str]] = [
        (w.readv, tstream_readv_recv, "read"),
        (w.writev, tstream_writev_recv, "write"),
    ]
    for send, recv, what in sends:
        w.loop.refused(send(w.one), what, recv, EINVAL)
        w.loop.refused(send(w.one, bytearray(), bytearray()), what, recv, EINVAL)
        w.loop.refused(send(w.one, *[bytearray(1)] * 1025), what, recv, EMSGSIZE)
    w.transfer(w.one, w.two, b"fine")


@check
def one_operation_in_each_direction(w: stream_bench) -> None:
    """A second read or write is EBUSY, so is a disconnect; the first ones are not disturbed."""
    buf = bytearray(2)
    reading = w.reading(w.one, buf)
    w.loop.refused(w.readv(w.one, bytearray(1)), "second read", tstream_readv_recv, EBUSY)
    _, writing, _ = w.clog(w.one)
    refused: tuple[tuple[tevent_req, Any, str], ...] = (
        (w.writev(w.one, b"x"), tstream_writev_recv, "second write"),
        (w.disconnect(w.one), tstream_disconnect_recv, "disconnect of a busy stream"),
    )
    for req, recv, what in refused:
        holds(not tevent_req_is_in_progress(req), f"a {what} is not refused at once")
        equal(recv(req), (-1, EBUSY), f"result of a {what}")
    w.write(w.two, b"ok")
    w.loop.until(lambda: reading.calls, "the end of the first read")
    equal((reading.result, bytes(buf)), ((2, 0), b"ok"), "the first read")
    equal(writing.calls, 0, "callbacks of a write that nobody reads")


@check
def callbacks_come_from_the_loop(w: stream_bench) -> None:
    """No callback runs inside a ``_send``, also when everything is at hand; operations can be chained for ever."""
    waiting = w.reading(w.two, bytearray(1))
    writing = w.writing(w.one, b"x")
    equal((waiting.calls, writing.calls), (0, 0), "callbacks of a read and a write inside tstream_writev_send()")
    w.loop.until(lambda: waiting.calls and writing.calls, "the end of a read and a write")
    w.write(w.one, b"x" * 500)
    inside = False
    left = 500
    depth = 0

    def start() -> None:
        nonlocal inside
        inside = True
        tevent_req_set_callback(w.readv(w.two, bytearray(1)), done, None)
        inside = False

    def done(req: tevent_req) -> None:
        nonlocal left, depth
        holds(not inside, "a callback ran inside tstream_readv_send()")
        depth += 1
        equal(depth, 1, "callbacks inside each other")
        equal(tstream_readv_recv(req), (1, 0), "result of a read")
        talloc_free(req)
        left -= 1
        if left:
            start()
        depth -= 1

    start()
    w.loop.until(lambda: not left, "the end of 500 chained reads")


@check
def a_freed_read_is_forgotten(w: stream_bench) -> None:
    """Its callback never runs, and the next read gets the bytes that come."""
    req = w.readv(w.two, bytearray(4))
    seen = w.loop.watch(req, "read")
    talloc_free(req)
    w.transfer(w.one, w.two, b"data")
    talloc_free(w.readv(w.two, bytearray(4)))
    w.write(w.one, b"more")
    w.loop.settle()
    equal(w.read(w.two, 4), ((4, 0), b"more"), "a read of what came after another was freed")
    equal(seen.calls, 0, "callbacks of a freed read")


@check
def a_read_received_early_is_cancelled(w: stream_bench) -> None:
    """``_recv`` in progress is EIO, the stream is free at once."""
    req = w.readv(w.two, bytearray(4))
    seen = w.loop.watch(req, "read")
    equal(tstream_readv_recv(req), (-1, EIO), "result of a read in progress")
    w.transfer(w.one, w.two, b"data")
    equal(seen.calls, 0, "callbacks of a received read")


@check
def a_freed_write_lets_the_next_one_go(w: stream_bench) -> None:
    """What was taken stays written, in order, and nothing of the rest follows."""
    if not w.traits.write_abortable:
        return
    req, seen, total = w.clog(w.one)
    talloc_free(req)
    writing = w.writing(w.one, b"\xff")
    got = bytearray()
    while not got.endswith(b"\xff"):
        size = max(1, tstream_pending_bytes(w.two))
        result, data = w.read(w.two, size)
        equal(result, (size, 0), "result of a read")
        got += data
    w.loop.until(lambda: writing.calls, "the end of the write that followed")
    equal(writing.result, (1, 0), "result of the write that followed")
    holds(not any(got[:-1]), "bytes arrived that were not written")
    holds(len(got) <= total, "a freed write went on")
    equal(seen.calls, 0, "callbacks of a freed write")


@check
def an_end_time_ends_a_read(w: stream_bench) -> None:
    """ETIMEDOUT, and the stream goes on."""
    req = w.readv(w.two, bytearray(2))
    holds(tevent_req_set_endtime(req, w.loop.ev, timeval(0, 1)), "tevent_req_set_endtime() failed")
    equal(w.failure(req, "read", tstream_readv_recv), ETIMEDOUT, "errno of a read whose time is up")
    w.transfer(w.one, w.two, b"on")


@check
def buffers_are_released_before_the_callback(w: stream_bench) -> None:
    """A bytearray that was read into or written from can be resized by the callback."""
    buf, data = bytearray(3), bytearray(b"abc")
    reading = w.reading(w.two, buf, then=lambda: grow(buf))
    writing = w.writing(w.one, data, then=lambda: grow(data))
    w.loop.until(lambda: reading.calls and writing.calls, "the end of a transfer")
    equal((bytes(buf), bytes(data)), (b"abc\0", b"abc\0"), "the buffers")


@check
def buffers_are_released_when_a_request_is_freed(w: stream_bench) -> None:
    """As before the callback."""
    buf = bytearray(3)
    talloc_free(w.readv(w.two, buf))
    grow(buf)


@check
def an_exception_of_a_callback_leaves_the_loop(w: stream_bench) -> None:
    """The request can be received, the streams go on."""

    class Marked(Exception):
        pass

    def raise_it(req: tevent_req) -> None:
        raise Marked

    reading = w.readv(w.two, bytearray(2))
    tevent_req_set_callback(reading, raise_it, None)
    writing = w.writing(w.one, b"ab")
    raised = 0

    def finished() -> bool:
        return raised > 0 and writing.calls > 0

    while not finished():
        try:
            w.loop.until(finished, "an exception of a callback that leaves the loop")
        except Marked:
            raised += 1
    equal(raised, 1, "exceptions that left the loop")
    equal(writing.result, (2, 0), "result of the write")
    equal(tstream_readv_recv(reading), (2, 0), "result of a read whose callback raised")
    w.transfer(w.one, w.two, b"cd")
    w.transfer(w.two, w.one, b"ef")


@check
def requests_leave_nothing_behind(w: stream_bench) -> None:
    """After each transfer the tree is as large as before it."""
    blocks: list[int] = []
    for _ in range(20):
        w.transfer(w.one, w.two, b"some")
        w.transfer(w.two, w.one, b"more")
        talloc_free(w.readv(w.two, bytearray(1)))
        w.loop.settle()
        blocks.append(talloc_total_blocks(w.top))
    # What the first use of a stream makes for good is not counted.
    holds(blocks[-1] <= blocks[1], f"{blocks[-1] - blocks[1]} chunks more after 36 transfers")


# -- the end ----------------------------------------------------------------------------------------------------------


@check
def the_end_of_the_other_side(w: stream_bench) -> None:
    """Data before the end can be read, then reads fail with EPIPE; part of a vector is a failure too."""
    w.write(w.one, b"abcde")
    talloc_free(w.one)
    equal(w.read(w.two, 3), ((3, 0), b"abc"), "a read before the end")
    result, buf = w.read(w.two, 3)
    equal(result, (-1, EPIPE), "result of a read beyond the end")
    equal(buf, b"de\0", "the buffer of a read beyond the end")
    equal(w.read(w.two, 1)[0][0], -1, "return value of another read")


@check
def a_waiting_read_hears_of_the_end(w: stream_bench) -> None:
    """A stream that is freed ends the read that waits at the other side, with EPIPE."""
    seen = w.reading(w.two, bytearray(1))
    w.loop.settle()
    equal(seen.calls, 0, "callbacks of a read of nothing")
    talloc_free(w.one)
    w.loop.until(lambda: seen.calls, "the end of a read whose stream has ended")
    equal(seen.result, (-1, EPIPE), "result of a read whose stream has ended")


@check
def disconnecting(w: stream_bench) -> None:
    """The other side reads EPIPE; nothing can be written any more, and no second disconnect succeeds."""
    reading = w.reading(w.two, bytearray(1))
    closing = w.closing(w.one)
    w.loop.until(lambda: closing.calls, "the end of a disconnect")
    equal(closing.result, (0, 0), "result of a disconnect")
    if w.traits.disconnect_heard:
        w.loop.until(lambda: reading.calls, "the end of a read whose stream was disconnected at the other side")
        equal(reading.result, (-1, EPIPE), "result of that read")
    gone = EIO if w.traits.half_closed else ENOTCONN
    if not w.traits.half_closed:
        err = w.failure(w.readv(w.one, bytearray(1)), "read", tstream_readv_recv)
        equal(err, gone, "errno of a read after a disconnect")
    err = w.failure(w.writev(w.one, b"x"), "write", tstream_writev_recv)
    equal(err, gone, "errno of a write after a disconnect")
    err = w.failure(w.disconnect(w.one), "second disconnect", tstream_disconnect_recv)
    equal(err, gone, "errno of a second disconnect")
    equal(tstream_pending_bytes(w.one), -1, "pending bytes after that")


@check
def reading_after_a_disconnect(w: stream_bench) -> None:
    """Where a disconnect ends writing alone, the other side can go on until it ends too."""
    if not w.traits.half_closed:
        return
    equal(w.loop.result_of(w.disconnect(w.one), "disconnect", tstream_disconnect_recv), (0, 0), "disconnect")
    equal(tstream_pending_bytes(w.one), 0, "pending bytes after a disconnect")
    w.transfer(w.two, w.one, b"still here")
    equal(w.loop.result_of(w.disconnect(w.two), "disconnect", tstream_disconnect_recv), (0, 0), "disconnect")
    for stream in (w.one, w.two):
        err = w.failure(w.readv(stream, bytearray(1)), "read", tstream_readv_recv)
        equal(err, EPIPE, "errno of a read after both sides have disconnected")


@check
def operations_during_a_disconnect(w: stream_bench) -> None:
    """While it is outstanding reads, writes and monitors are ECONNABORTED, another disconnect EALREADY."""
    closing = w.closing(w.one)
    refused: tuple[tuple[tevent_req, Any, int, str], ...] = (
        (w.readv(w.one, bytearray(1)), tstream_readv_recv, ECONNABORTED, "read"),
        (w.writev(w.one, b"x"), tstream_writev_recv, ECONNABORTED, "write"),
        (w.monitor(w.one), tstream_monitor_recv, ECONNABORTED, "monitor"),
        (w.disconnect(w.one), tstream_disconnect_recv, EALREADY, "disconnect"),
    )
    for req, recv, error, what in refused:
        holds(not tevent_req_is_in_progress(req), f"a {what} during a disconnect is not refused at once")
        equal(recv(req), (-1, error), f"result of a {what} during a disconnect")
    w.loop.until(lambda: closing.calls, "the end of the disconnect")
    equal(closing.result, (0, 0), "result of the disconnect")


@check
def a_monitor_hears_of_failed_operations(w: stream_bench) -> None:
    """It keeps quiet while the stream works, ends with an operation's error, and after it."""
    watching = w.monitoring(w.two)
    w.loop.refused(w.monitor(w.two), "second monitor", tstream_monitor_recv, EALREADY)
    w.transfer(w.one, w.two, b"fine")
    w.loop.settle()
    equal(watching.calls, 0, "callbacks of a monitor while all is well")
    reading = w.reading(w.two, bytearray(1))
    talloc_free(w.one)
    w.loop.until(lambda: watching.calls and reading.calls, "the end of a monitor and a read of an ended stream")
    equal(reading.result, (-1, EPIPE), "result of the read")
    equal(watching.result, (-1, EPIPE), "result of the monitor")
    holds(reading.turn < watching.turn, "the monitor was called back before the read, or in its turn")


@check
def a_monitor_hears_of_a_disconnect(w: stream_bench) -> None:
    """ECONNABORTED, after the disconnect itself was called back."""
    watching = w.monitoring(w.one)
    closing = w.closing(w.one)
    w.loop.until(lambda: watching.calls, "the end of a monitor of a disconnected stream")
    equal(closing.result, (0, 0), "result of the disconnect")
    equal(watching.result, (-1, ECONNABORTED), "result of the monitor")


# -- freeing ----------------------------------------------------------------------------------------------------------


@check
def freeing_the_stream_silences_its_requests(w: stream_bench) -> None:
    """They become received, are never called back, and stay with their owner."""
    writing, written, _ = w.clog(w.one)
    reqs = [w.readv(w.one, bytearray(1)), writing, w.monitor(w.one)]
    seen = [w.loop.watch(reqs[0], "read"), written, w.loop.watch(reqs[2], "monitor")]
    w.loop.settle()
    talloc_free(w.one)
    for req in reqs:
        equal(tevent_req_is_error(req)[:2], (True, TEVENT_REQ_RECEIVED), "state of a request of a freed stream")
        holds(talloc_parent(req) is w.top, "a request of a freed stream has lost its owner")
    w.loop.settle()
    equal([s.calls for s in seen], [0, 0, 0], "callbacks of requests of a freed stream")
    for req in reqs:
        equal(talloc_free(req), 0, "result of freeing such a request")


@check
def freeing_the_stream_in_a_callback(w: stream_bench) -> None:
    """A read's callback frees the stream while a write waits."""
    _, writing, _ = w.clog(w.one)
    reading = w.reading(w.one, bytearray(1), then=lambda: talloc_free(w.one))
    w.write(w.two, b"x")
    w.loop.until(lambda: reading.calls, "the end of the read")
    w.loop.settle()
    equal(reading.result, (1, 0), "result of the read")
    equal(writing.calls, 0, "callbacks of a write of a freed stream")


@check
def freeing_the_stream_when_it_fails(w: stream_bench) -> None:
    """The callback that hears of the end frees the stream, with a write and a monitor outstanding."""
    seen = [w.loop.watch(w.monitor(w.two), "monitor"), w.clog(w.two)[1]]
    reading = w.loop.watch(w.readv(w.two, bytearray(1)), "read", then=lambda: talloc_free(w.two))
    talloc_free(w.one)
    w.loop.until(lambda: reading.calls, "the end of a read of an ended stream")
    w.loop.settle()
    holds(all(s.calls <= 1 for s in seen), "a request was called back twice")


@check
def the_freed_owner_takes_everything_along(w: stream_bench) -> None:
    """Streams and requests below one context go with it, whatever they were doing."""
    owner = talloc_new(w.top)
    if owner is None:
        fail("talloc_new() returned None")
    for stream in (w.one, w.two):
        talloc_steal(owner, stream)
    clogs = [w.clog(stream, owner) for stream in (w.one, w.two)]
    seen: list[outcome] = [clog[1] for clog in clogs]
    for stream, (_, _, total) in zip((w.two, w.one), clogs, strict=True):
        # More than the other side has written: it cannot end.
        seen += [w.reading(stream, bytearray(total + 1), owner=owner), w.monitoring(stream, owner)]
    w.loop.turn()
    calls = [s.calls for s in seen]
    equal(talloc_free(owner), 0, "result of freeing the owner")
    w.loop.settle()
    equal([s.calls for s in seen], calls, "callbacks after everything was freed")


# -- PDUs and queues --------------------------------------------------------------------------------------------------


@check
def pdus_arrive_as_they_were_sent(w: stream_bench) -> None:
    """Several PDUs in one write, and one in several, read from a chain of callbacks."""
    bodies = [b"", b"a", b"bc" * 1000, b"", b"d" * 70000]
    got: list[bytes] = []

    def start() -> None:
        reader = pdu_reader()

        def done(req: tevent_req) -> None:
            body = bytes(reader.body or b"")
            equal(tstream_readv_pdu_recv(req), (4 + len(body), 0), "result of the read of a PDU")
            talloc_free(req)
            got.append(body)
            if len(got) < 2 * len(bodies):
                start()

        req = tstream_readv_pdu_send(w.top, w.loop.ev, w.two, reader.next_vector, None)
        if req is None:
            fail("tstream_readv_pdu_send() returned None")
        tevent_req_set_callback(req, done, None)

    start()
    data = b"".join(framed(body) for body in bodies)
    whole = writer(w, w.one, data)
    w.loop.until(lambda: len(got) == len(bodies) and whole.done, "PDUs that were written at once")
    for n in range(0, 42, 7):
        w.write(w.one, data[n : n + 7])
    rest = writer(w, w.one, data[42:])
    w.loop.until(lambda: len(got) == 2 * len(bodies) and rest.done, "PDUs that were written in pieces")
    holds(got == bodies * 2, "the PDUs are not what was written")


@check
def queued_writes_keep_their_order(w: stream_bench) -> None:
    """Writes through a queue arrive in the order of ``_send``, one after the other."""
    queue = new_queue(w.top, "writes")
    parts = [bytes([65 + n]) * (n * 5000 + 1) for n in range(8)]
    seen: list[outcome] = []
    for part in parts:
        req = tstream_writev_queue_send(w.top, w.loop.ev, w.one, queue, [part])
        seen.append(w.loop.watch(req, "queued write", tstream_writev_queue_recv, free=True))
    expect = b"".join(parts)
    result, data = w.read(w.two, len(expect))
    equal(result, (len(expect), 0), "result of the read")
    holds(data == expect, "queued writes are not in order")
    w.loop.until(lambda: all(s.calls for s in seen), "the end of all queued writes")
    equal([s.result for s in seen], [(len(part), 0) for part in parts], "results of the queued writes")
    equal([s.turn for s in seen], sorted(s.turn for s in seen), "turns of the queued writes")


@check
def queued_pdus_are_read_in_turn(w: stream_bench) -> None:
    """Each request through a queue gets the next PDU."""
    queue = new_queue(w.top, "pdus")
    readers = [pdu_reader() for _ in range(5)]
    seen: list[outcome] = []
    for reader in readers:
        req = tstream_readv_pdu_queue_send(w.top, w.loop.ev, w.two, queue, reader.next_vector, None)
        seen.append(w.loop.watch(req, "queued PDU", tstream_readv_pdu_queue_recv, free=True))
    w.write(w.one, b"".join(framed(b"%d" % n * n) for n in range(5)))
    w.loop.until(lambda: all(s.calls for s in seen), "the end of all queued PDUs")
    equal([s.result for s in seen], [(4 + n, 0) for n in range(5)], "results of the queued PDUs")
    equal([bytes(reader.body or b"") for reader in readers], [b"%d" % n * n for n in range(5)], "the PDUs")
