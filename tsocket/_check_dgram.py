# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The conformance checks of datagram sockets; `tsocket.testing` is the way in.

A check is a function of a bench: two sockets that send to each other, their owner, their loop, and what their backend
may do in one way or in another.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL, EIO, ENOTCONN, ETIMEDOUT

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_parent, talloc_steal, talloc_total_blocks
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_req,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)

from ._check_kit import equal, fail, grow, holds, new_queue, outcome, stepped_loop
from .address import tsocket_address
from .dgram import (
    tdgram_context,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
)
from .helpers import tdgram_sendto_queue_recv, tdgram_sendto_queue_send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[["dgram_bench"], None]
    Received = tuple[int, int, bytearray | None, tsocket_address | None]

__all__ = ["dgram_traits"]

#: Every check, by name, in the order in which they run.
CHECKS: dict[str, Check] = {}

# Datagrams that are sent to a socket that does not read, before a lossless one must let the sender wait.
_CLOG_MAX = 5000


class dgram_traits:
    """
    What datagram sockets may do in one way or in another.

    Args:
        size_max: The size of the largest datagram that is tried, in bytes.

        answerable: The source of a datagram is an address that an answer can be sent to. False where the other socket
            has no name.

        lossless: Nothing is dropped: a sender waits while the receiver has no room, as with unix sockets.
    """

    __slots__ = ("answerable", "lossless", "size_max")

    def __init__(self, *, size_max: int = 9000, answerable: bool = True, lossless: bool = False) -> None:
        self.size_max: int = size_max
        self.answerable: bool = answerable
        self.lossless: bool = lossless


class dgram_bench:
    """Two sockets connected to each other, their owner, their loop and their traits."""

    def __init__(
        self, top: TALLOC_CTX, loop: stepped_loop, one: tdgram_context, two: tdgram_context, traits: dgram_traits
    ) -> None:
        self.top: TALLOC_CTX = top
        self.loop: stepped_loop = loop
        self.one: tdgram_context = one
        self.two: tdgram_context = two
        self.traits: dgram_traits = traits

    def recvfrom(self, dgram: tdgram_context, owner: TALLOC_CTX | None = None) -> tevent_req:
        """A receive below *owner*, or the owner of all."""
        req = tdgram_recvfrom_send(self.top if owner is None else owner, self.loop.ev, dgram)
        return fail("tdgram_recvfrom_send() returned None") if req is None else req

    def sendto(
        self, dgram: tdgram_context, data: Any, dst: tsocket_address | None = None, owner: TALLOC_CTX | None = None
    ) -> tevent_req:
        """A send."""
        req = tdgram_sendto_send(self.top if owner is None else owner, self.loop.ev, dgram, data, dst)
        return fail("tdgram_sendto_send() returned None") if req is None else req

    def disconnect(self, dgram: tdgram_context) -> tevent_req:
        """A disconnect."""
        req = tdgram_disconnect_send(self.top, self.loop.ev, dgram)
        return fail("tdgram_disconnect_send() returned None") if req is None else req

    def take(self, req: tevent_req) -> tuple[int, int, bytes | None]:
        """The result of a receive; buffer and source are freed with the request."""
        ret, err, buf, _ = tdgram_recvfrom_recv(req, req)
        return ret, err, None if buf is None else bytes(buf)

    def receiving(self, dgram: tdgram_context, then: Callable[[], object] | None = None) -> outcome:
        """A receive whose end is recorded."""
        return self.loop.watch(self.recvfrom(dgram), "receive", self.take, then=then)

    def receive(self, dgram: tdgram_context) -> tuple[int, int, bytes | None]:
        """The next datagram: size, errno, content."""
        result: tuple[int, int, bytes | None] = self.loop.result_of(self.recvfrom(dgram), "receive", self.take)
        return result

    def send(self, dgram: tdgram_context, data: bytes, dst: tsocket_address | None = None) -> None:
        """Send *data*, which nobody need receive for that."""
        result = self.loop.result_of(self.sendto(dgram, data, dst), "send", tdgram_sendto_recv)
        equal(result, (len(data), 0), "result of a send")

    def transfer(self, source: tdgram_context, target: tdgram_context, data: bytes) -> None:
        """Send *data* and receive it."""
        self.send(source, data)
        equal(self.receive(target), (len(data), 0, data), "the datagram received")


def check(function: Check) -> Check:
    """List a check."""
    CHECKS[function.__name__] = function
    return function


# -- datagrams --------------------------------------------------------------------------------------------------------


@check
def datagrams_go_both_ways(w: dgram_bench) -> None:
    """What is sent by one is received by the other."""
    w.transfer(w.one, w.two, b"there")
    w.transfer(w.two, w.one, b"and back")


@check
def datagrams_keep_their_boundaries(w: dgram_bench) -> None:
    """Each receive gets one datagram, whole, in the order of sending."""
    data = [b"a", b"bc" * 100, b"d", bytes(range(256))]
    for each in data:
        w.send(w.one, each)
    equal([w.receive(w.two)[2] for _ in data], data, "the datagrams received")


@check
def large_datagrams_arrive_whole(w: dgram_bench) -> None:
    """Nothing is cut off."""
    data = bytes(n % 251 for n in range(w.traits.size_max))
    w.transfer(w.one, w.two, data)
    w.transfer(w.one, w.two, b"small again")


@check
def a_waiting_receive_gets_the_next_datagram(w: dgram_bench) -> None:
    """It ends when a datagram comes, and not before."""
    seen = w.receiving(w.two)
    w.loop.settle()
    equal(seen.calls, 0, "callbacks of a receive of nothing")
    w.send(w.one, b"data")
    w.loop.until(lambda: seen.calls, "the end of a receive whose datagram was sent")
    equal(seen.result, (4, 0, b"data"), "result of the receive")


@check
def buffer_and_source_belong_to_the_owner_given(w: dgram_bench) -> None:
    """They are children of the ``mem_ctx`` of ``_recv``, and live on without the request."""
    owner = talloc_new(w.top)
    req = w.recvfrom(w.two)
    results: list[Received] = []
    seen = w.loop.watch(req, "receive", lambda subreq: results.append(tdgram_recvfrom_recv(subreq, owner)), free=True)
    w.send(w.one, b"data")
    w.loop.until(lambda: seen.calls, "the end of a receive")
    ret, err, buf, src = results[0]
    equal((ret, err), (4, 0), "result of the receive")
    if buf is None or src is None:
        fail("a successful receive has no buffer or no source")
    holds(talloc_parent(buf) is owner, "the buffer does not belong to mem_ctx")  # type: ignore[arg-type]
    holds(talloc_parent(src) is owner, "the source does not belong to mem_ctx")
    equal(bytes(buf), b"data", "the buffer after the request was freed")


@check
def a_datagram_can_be_answered(w: dgram_bench) -> None:
    """What is sent to the source of a datagram gets there."""
    if not w.traits.answerable:
        return
    w.send(w.one, b"question")
    results: list[Received] = []
    w.loop.result_of(w.recvfrom(w.two), "receive", lambda req: results.append(tdgram_recvfrom_recv(req, w.top)))
    src = results[0][3]
    if src is None:
        fail("a successful receive has no source")
    w.send(w.two, b"answer", src)
    equal(w.receive(w.one), (6, 0, b"answer"), "the answer received")


@check
def a_sender_waits_where_nothing_is_lost(w: dgram_bench) -> None:
    """While the receiver has no room the send waits, the same datagram goes later, and all arrive in order."""
    if not w.traits.lossless:
        return
    count = 0
    while True:
        holds(count < _CLOG_MAX, f"{count} datagrams were sent although nobody receives")
        count += 1
        req = w.sendto(w.one, b"%d" % count)
        seen = w.loop.watch(req, "send", tdgram_sendto_recv)
        w.loop.settle()
        if not seen.calls:
            break
        talloc_free(req)
    for n in range(1, count + 1):
        equal(w.receive(w.two)[2], b"%d" % n, "a datagram received")
    w.loop.until(lambda: seen.calls, "the end of a send that had to wait")
    equal(seen.result, (len(b"%d" % count), 0), "result of the send")


# -- arguments and requests -------------------------------------------------------------------------------------------


@check
def nothing_is_no_datagram(w: dgram_bench) -> None:
    """An empty one is EINVAL inside ``_send``; the callback comes from the loop."""
    for nothing in (b"", None, bytearray()):
        w.loop.refused(w.sendto(w.one, nothing), "send of nothing", tdgram_sendto_recv, EINVAL)
    w.transfer(w.one, w.two, b"fine")


@check
def one_receive_at_a_time(w: dgram_bench) -> None:
    """A second one is EBUSY, so is a disconnect; the first one is not disturbed, and sends are no matter."""
    seen = w.receiving(w.two)
    w.loop.refused(w.recvfrom(w.two), "second receive", w.take, EBUSY)
    w.loop.refused(w.disconnect(w.two), "disconnect of a busy socket", tdgram_disconnect_recv, EBUSY)
    w.transfer(w.two, w.one, b"sent meanwhile")
    equal(seen.calls, 0, "callbacks of a receive of nothing")
    w.send(w.one, b"data")
    w.loop.until(lambda: seen.calls, "the end of the first receive")
    equal(seen.result, (4, 0, b"data"), "result of the first receive")


@check
def one_send_at_a_time(w: dgram_bench) -> None:
    """Before the first has ended a second one is EBUSY, so is a disconnect."""
    seen = w.loop.watch(w.sendto(w.one, b"first"), "send", tdgram_sendto_recv)
    refused: tuple[tuple[tevent_req, Any, str], ...] = (
        (w.sendto(w.one, b"second"), tdgram_sendto_recv, "second send"),
        (w.disconnect(w.one), tdgram_disconnect_recv, "disconnect of a busy socket"),
    )
    for req, recv, what in refused:
        holds(not tevent_req_is_in_progress(req), f"a {what} is not refused at once")
        equal(recv(req), (-1, EBUSY), f"result of a {what}")
    equal(w.receive(w.two), (5, 0, b"first"), "the datagram received")
    w.loop.until(lambda: seen.calls, "the end of the first send")
    equal(seen.result, (5, 0), "result of the first send")
    w.transfer(w.one, w.two, b"third")


@check
def callbacks_come_from_the_loop(w: dgram_bench) -> None:
    """No callback runs inside a ``_send``; operations can be chained for ever."""
    waiting = w.receiving(w.two)
    sending = w.loop.watch(w.sendto(w.one, b"x"), "send", tdgram_sendto_recv)
    equal((waiting.calls, sending.calls), (0, 0), "callbacks of a receive and a send inside tdgram_sendto_send()")
    w.loop.until(lambda: waiting.calls and sending.calls, "the end of a receive and a send")
    inside = False
    left = 200
    depth = 0

    def start() -> None:
        nonlocal inside
        inside = True
        tevent_req_set_callback(w.sendto(w.one, b"x"), sent, None)
        inside = False

    def sent(req: tevent_req) -> None:
        nonlocal inside, depth
        holds(not inside, "a callback ran inside tdgram_sendto_send()")
        depth += 1
        equal(depth, 1, "callbacks inside each other")
        equal(tdgram_sendto_recv(req), (1, 0), "result of a send")
        talloc_free(req)
        inside = True
        tevent_req_set_callback(w.recvfrom(w.two), received, None)
        inside = False
        depth -= 1

    def received(req: tevent_req) -> None:
        nonlocal left, depth
        holds(not inside, "a callback ran inside tdgram_recvfrom_send()")
        depth += 1
        equal(depth, 1, "callbacks inside each other")
        equal(w.take(req), (1, 0, b"x"), "result of a receive")
        talloc_free(req)
        left -= 1
        if left:
            start()
        depth -= 1

    start()
    w.loop.until(lambda: not left, "the end of 200 chained datagrams")


@check
def a_freed_receive_is_forgotten(w: dgram_bench) -> None:
    """Its callback never runs, and the next one gets the datagram."""
    req = w.recvfrom(w.two)
    seen = w.loop.watch(req, "receive")
    talloc_free(req)
    w.transfer(w.one, w.two, b"data")
    talloc_free(w.recvfrom(w.two))
    w.send(w.one, b"more")
    w.loop.settle()
    equal(w.receive(w.two), (4, 0, b"more"), "a receive of what came after another was freed")
    equal(seen.calls, 0, "callbacks of a freed receive")


@check
def a_receive_received_early_is_cancelled(w: dgram_bench) -> None:
    """``_recv`` in progress is EIO, the socket is free at once."""
    req = w.recvfrom(w.two)
    seen = w.loop.watch(req, "receive")
    equal(w.take(req), (-1, EIO, None), "result of a receive in progress")
    w.transfer(w.one, w.two, b"data")
    equal(seen.calls, 0, "callbacks of a received receive")


@check
def an_end_time_ends_a_receive(w: dgram_bench) -> None:
    """ETIMEDOUT, and the socket goes on."""
    req = w.recvfrom(w.two)
    holds(tevent_req_set_endtime(req, w.loop.ev, timeval(0, 1)), "tevent_req_set_endtime() failed")
    equal(w.loop.result_of(req, "receive", w.take), (-1, ETIMEDOUT, None), "result of a receive whose time is up")
    w.transfer(w.one, w.two, b"on")


@check
def the_buffer_is_released_before_the_callback(w: dgram_bench) -> None:
    """A bytearray that was sent can be resized by the callback."""
    data = bytearray(b"abc")
    seen = w.loop.watch(w.sendto(w.one, data), "send", tdgram_sendto_recv, then=lambda: grow(data))
    equal(w.receive(w.two), (3, 0, b"abc"), "the datagram received")
    w.loop.until(lambda: seen.calls, "the end of a send")
    equal(bytes(data), b"abc\0", "the buffer")


@check
def an_exception_of_a_callback_leaves_the_loop(w: dgram_bench) -> None:
    """The request can be received, the sockets go on."""

    class Marked(Exception):
        pass

    def raise_it(req: tevent_req) -> None:
        raise Marked

    req = w.recvfrom(w.two)
    tevent_req_set_callback(req, raise_it, None)
    seen = w.loop.watch(w.sendto(w.one, b"ab"), "send", tdgram_sendto_recv)
    raised = 0

    def finished() -> bool:
        return raised > 0 and seen.calls > 0

    while not finished():
        try:
            w.loop.until(finished, "an exception of a callback that leaves the loop")
        except Marked:
            raised += 1
    equal(raised, 1, "exceptions that left the loop")
    equal(w.take(req), (2, 0, b"ab"), "result of a receive whose callback raised")
    w.transfer(w.one, w.two, b"cd")


@check
def requests_leave_nothing_behind(w: dgram_bench) -> None:
    """After each transfer the tree is as large as before it."""
    blocks: list[int] = []
    for _ in range(20):
        w.transfer(w.one, w.two, b"some")
        w.transfer(w.two, w.one, b"more")
        talloc_free(w.recvfrom(w.two))
        w.loop.settle()
        blocks.append(talloc_total_blocks(w.top))
    # What the first use of a socket makes for good is not counted.
    holds(blocks[-1] <= blocks[1], f"{blocks[-1] - blocks[1]} chunks more after 36 transfers")


@check
def queued_sends_keep_their_order(w: dgram_bench) -> None:
    """Datagrams through a queue arrive in the order of ``_send``."""
    queue = new_queue(w.top, "sends")
    data = [b"%d" % n * (n + 1) for n in range(8)]
    seen: list[outcome] = []
    for each in data:
        req = tdgram_sendto_queue_send(w.top, w.loop.ev, w.one, queue, each, None)
        seen.append(w.loop.watch(req, "queued send", tdgram_sendto_queue_recv, free=True))
    equal([w.receive(w.two)[2] for _ in data], data, "the datagrams received")
    w.loop.until(lambda: all(s.calls for s in seen), "the end of all queued sends")
    equal([s.result for s in seen], [(len(each), 0) for each in data], "results of the queued sends")


# -- the end ----------------------------------------------------------------------------------------------------------


@check
def disconnecting(w: dgram_bench) -> None:
    """Every later operation is ENOTCONN."""
    result = w.loop.result_of(w.disconnect(w.one), "disconnect", tdgram_disconnect_recv)
    equal(result, (0, 0), "result of a disconnect")
    later: tuple[tuple[Callable[[], tevent_req], Any, str], ...] = (
        (lambda: w.recvfrom(w.one), w.take, "receive"),
        (lambda: w.sendto(w.one, b"x"), tdgram_sendto_recv, "send"),
        (lambda: w.disconnect(w.one), tdgram_disconnect_recv, "second disconnect"),
    )
    for start, recv, what in later:
        equal(w.loop.result_of(start(), what, recv)[:2], (-1, ENOTCONN), f"result of a {what} after a disconnect")


@check
def freeing_the_socket_silences_its_requests(w: dgram_bench) -> None:
    """They become received, are never called back, and stay with their owner."""
    req = w.recvfrom(w.one)
    seen = w.loop.watch(req, "receive")
    talloc_free(w.one)
    equal(tevent_req_is_error(req)[:2], (True, TEVENT_REQ_RECEIVED), "state of a receive of a freed socket")
    holds(talloc_parent(req) is w.top, "a receive of a freed socket has lost its owner")
    w.loop.settle()
    equal(seen.calls, 0, "callbacks of a receive of a freed socket")
    equal(talloc_free(req), 0, "result of freeing it")


@check
def freeing_the_socket_in_a_callback(w: dgram_bench) -> None:
    """A receive's callback frees the socket."""
    seen = w.receiving(w.one, then=lambda: talloc_free(w.one))
    w.send(w.two, b"x")
    w.loop.until(lambda: seen.calls, "the end of a receive")
    w.loop.settle()
    equal(seen.result, (1, 0, b"x"), "result of the receive")


@check
def the_freed_owner_takes_everything_along(w: dgram_bench) -> None:
    """Sockets and requests below one context go with it."""
    owner = talloc_new(w.top)
    if owner is None:
        fail("talloc_new() returned None")
    seen: list[outcome] = []
    for dgram in (w.one, w.two):
        talloc_steal(owner, dgram)
        seen.append(w.loop.watch(w.recvfrom(dgram, owner), "receive"))
        seen.append(w.loop.watch(w.sendto(dgram, b"x", owner=owner), "send"))
    equal(talloc_free(owner), 0, "result of freeing the owner")
    w.loop.settle()
    equal([s.calls for s in seen], [0] * 4, "callbacks after everything was freed")
