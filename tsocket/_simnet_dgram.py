# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Datagram sockets of a simulated network, over the public interface for backends.

Errors are those of the system: one that concerns a single call does not stay, a socket that was disconnected is
ENOTCONN, and a connected UDP socket hears with ECONNREFUSED that nobody is at its peer's address.  Sockets with a unix
address lose nothing: there a sender waits while the receiver has no room.
"""

from __future__ import annotations

from bisect import insort
from errno import ECONNREFUSED, EDESTADDRREQ, EIO, EMSGSIZE, ENOTCONN
from typing import NamedTuple

from talloc_py import TALLOC_CTX, talloc_memdup, talloc_set_destructor
from tevent import tevent_req_create, tevent_req_data

from ._simnet_op import begin, operation, operation_recv, refused, start
from ._sys import AF_UNIX
from .address import sockaddr
from .bsd_address import bsd_address_abort, tsocket_address_bsd_from_sockaddr
from .dgram import tdgram_context_create, tdgram_context_data, tdgram_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tevent import tevent_context, tevent_req

    from ._simnet import network
    from ._simnet_way import way
    from .address import tsocket_address
    from .dgram import tdgram_context

__all__ = ["SIMULATED_DGRAM", "dgram_end", "new_dgram"]

# The most that fits behind the headers of IP and UDP.
_SIZE_MAX = 65507
# Datagrams that wait in a unix socket before a sender has to.
_UNIX_BACKLOG = 11


class parcel(NamedTuple):
    """
    A datagram on its way.

    Attributes:
        due_us: When it arrives.

        serial: Its number in the network.

        data: The bytes; None for the news that nobody is there.

        source: Where it came from.
    """

    due_us: int
    serial: int
    data: bytes | None
    source: sockaddr


class dgram_end:
    """
    A datagram socket.

    Attributes:
        name: What the story calls it.

        address: What it is bound to.

        peer: What it is connected to; None: to nothing.

        inbox: The datagrams on their way to it, and those that have arrived, by the time of arrival.
    """

    __slots__ = ("_dropped", "address", "error", "inbox", "name", "net", "operations", "peer", "waiting")

    def __init__(self, net: network, name: str, address: sockaddr, peer: sockaddr | None) -> None:
        self.net: network = net
        self.name: str = name
        self.address: sockaddr = address
        self.peer: sockaddr | None = peer
        self.error: int = 0
        self.inbox: list[parcel] = []
        self.waiting: list[dgram_end] = []  # who waits for room here
        self.operations: dict[str, operation] = {}
        net.opened(self, f"datagram socket {name}")

    @property
    def lossless(self) -> bool:
        """Whether it is a unix socket."""
        return self.address.sa_family == AF_UNIX

    def arm(self) -> None:
        """Say for each operation when it can go on."""
        now = self.net.world.elapsed_us
        reader, writer = self.operations.get("recvfrom"), self.operations.get("sendto")
        if reader is not None:
            reader.wait(now if self.error else self.inbox[0].due_us if self.inbox else None)
        if writer is not None:
            target = self.net.dgram_at(writer.more)
            full = target is not None and target.full
            writer.wait(None if full and not self.error else now)
        closing = self.operations.get("disconnect")
        if closing is not None:
            closing.wait(now)

    @property
    def full(self) -> bool:
        """Whether a sender has to wait."""
        return self.lossless and len(self.inbox) >= _UNIX_BACKLOG

    def failed(self, op: operation) -> None:
        """Errors do not stay; a descriptor is closed also where close(2) fails."""
        if op.what == "disconnect":
            self.close()

    def close(self) -> None:
        """It is gone, and what was on its way to it too."""
        if self.net.closed(self):
            self.error = ENOTCONN
            self.inbox.clear()
            self._let_go()

    def _let_go(self) -> None:
        waiting, self.waiting = self.waiting, []
        for other in waiting:
            other.arm()

    # -- attempts -----------------------------------------------------------------------------------------------------

    def receive(self, op: operation) -> bool:
        """Take the next datagram that has arrived."""
        self._drop_excess()
        if not self.inbox or self.inbox[0].due_us > self.net.world.elapsed_us:
            return False
        got = self.inbox.pop(0)
        self._let_go()
        if got.data is None:
            op.ret, op.err = -1, ECONNREFUSED
            return True
        self.net.world.tell(f"{self.name} receives {len(got.data)} bytes")
        op.ret, op.more = len(got.data), got
        return True

    def _drop_excess(self) -> None:
        """What arrives while the buffer is full is lost; the last to arrive first."""
        if self.lossless:
            return
        room = self.net.default_link.buffer
        kept: list[parcel] = []
        for each in self.inbox:
            room -= len(each.data or b"")
            if room >= 0 or not kept or each.due_us > self.net.world.elapsed_us:
                kept.append(each)
            else:
                self.net.world.tell(f"{self.name} has no room: a datagram of {len(each.data or b'')} bytes is lost")
        self.inbox = kept

    def send(self, op: operation) -> bool:
        """Send the datagram, or wait for room."""
        data = bytes(op.buffers[0])
        target = self.net.dgram_at(op.more)
        err = 0
        if op.more is None:
            err = EDESTADDRREQ
        elif len(data) > _SIZE_MAX:
            err = EMSGSIZE
        elif target is None and self.lossless:
            err = ECONNREFUSED
        elif target is not None and target.full:
            if self not in target.waiting:
                target.waiting.append(self)
            return False
        elif self._bad_news():
            err = ECONNREFUSED
        else:
            self._send(data, op.more)
        op.ret, op.err = (-1, err) if err else (len(data), 0)
        return True

    def _bad_news(self) -> bool:
        """Whether the news has arrived that nobody is at the peer's address; it is told once."""
        now = self.net.world.elapsed_us
        for number, each in enumerate(self.inbox):
            if each.data is None and each.due_us <= now:
                del self.inbox[number]
                return True
        return False

    def _send(self, data: bytes, to: sockaddr) -> None:
        net = self.net
        self.net.world.tell(f"{self.name} sends {len(data)} bytes to {net.text(to)}")
        target = net.dgram_at(to)
        along = net.way_between(net.host_of(self.address), net.host_of(to))
        if target is None:
            if self.peer is not None and along.passes(net.world.elapsed_us) == net.world.elapsed_us:
                self._put(net.world.elapsed_us + 2 * along.link.latency_us, None, to)
            return
        if target.peer is not None and target.peer != self.address:
            return  # it listens to somebody else
        for late_us in self._fates(along):
            due = net.world.elapsed_us + along.link.latency_us + late_us
            if along.passes(due) == due:
                target._put(due, data, self.address)
            else:
                net.world.tell("the datagram is lost in an outage")

    def _fates(self, along: way) -> list[int]:
        """What becomes of a datagram: how late each copy of it arrives."""
        plan = self.net.ask(self.name, "datagram", None, fails=False)
        if plan is not None:
            return [] if plan.lost else [plan.delay_us] * plan.copies
        link = along.link
        if not self.lossless and along.chance(link.loss, f"{self.name}: the datagram is lost"):
            return []
        late_us = along.jitter_us(f"{self.name}: jitter of the datagram")
        if not self.lossless and along.chance(link.reorder, f"{self.name}: the datagram is overtaken"):
            late_us += link.reorder_us
        twice = not self.lossless and along.chance(link.duplicate, f"{self.name}: the datagram arrives twice")
        return [late_us] * (1 + twice)

    def _put(self, due_us: int, data: bytes | None, source: sockaddr) -> None:
        """A datagram is on its way to this socket."""
        if self.lossless and self.inbox:
            due_us = max(due_us, self.inbox[-1].due_us)
        insort(self.inbox, parcel(due_us, self.net.next_serial(), data, source))
        self.arm()

    def disconnect(self, op: operation) -> bool:
        """Close the socket."""
        self.close()
        return True


# -- the backend ------------------------------------------------------------------------------------------------------


class simulated_dgram(TALLOC_CTX):
    """The state of a datagram context: the socket that it owns."""

    __slots__ = ("end",)

    end: dgram_end


def _destroy(state: simulated_dgram) -> int:
    state.end.close()
    return 0


def _end_of(dgram: tdgram_context) -> dgram_end:
    return tdgram_context_data(dgram, simulated_dgram).end


def _recvfrom_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    end = _end_of(dgram)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "recvfrom", end.receive)
    return begin(op, False)


def _recvfrom_recv(req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[int, int, bytearray | None, tsocket_address | None]:
    got: parcel | None = tevent_req_data(req, operation).more
    ret, err = operation_recv(req)
    if ret == -1 or got is None or got.data is None:
        return -1, err or EIO, None, None
    _, source = tsocket_address_bsd_from_sockaddr(mem_ctx, got.source)
    return ret, 0, talloc_memdup(mem_ctx, got.data), source


def _sendto_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context, buf: Any, dst: tsocket_address | None
) -> tevent_req | None:
    end = _end_of(dgram)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "sendto", end.send)
    op.buffers = [memoryview(buf).cast("B")]
    address = None if dst is None else bsd_address_abort(dst)
    op.more = end.peer if address is None else address.sockaddr()
    return begin(op, True)


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    end = _end_of(dgram)
    if end.error:
        return refused(mem_ctx, ev, end.error)
    req, op = tevent_req_create(mem_ctx, operation)
    if req is None:
        return None
    start(op, req, ev, end, "disconnect", end.disconnect)
    return begin(op, True)


SIMULATED_DGRAM = tdgram_context_ops(
    "simulated",
    _recvfrom_send,
    _recvfrom_recv,
    _sendto_send,
    operation_recv,
    _disconnect_send,
    operation_recv,
)


def new_dgram(mem_ctx: TALLOC_CTX | None, end: dgram_end) -> tdgram_context | None:
    """A datagram context that owns *end*; None where a memory limit forbids it, *end* is the caller's then."""
    dgram, state = tdgram_context_create(mem_ctx, SIMULATED_DGRAM, simulated_dgram)
    if dgram is None:
        return None
    state.end = end
    talloc_set_destructor(state, _destroy)
    return dgram
