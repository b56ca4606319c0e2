# SPDX-License-Identifier: LGPL-3.0-or-later
"""Sequences of datagram operations against a model that knows what C does."""

from __future__ import annotations

import os
import socket
from collections import deque
from errno import EBUSY, EINVAL, ENOMEM, ENOTCONN
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stream_kit import Loop, Seen

from talloc_py import TALLOC_CTX, talloc_free, talloc_new
from tevent import tevent_req, tevent_req_is_in_progress
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_bsd_optimize_recvfrom,
    tdgram_context,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_inet_udp_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tsocket_address,
    tsocket_address_inet_from_strings,
    tsocket_address_string,
)

payloads = st.binary(max_size=40)


class DatagramMachine(RuleBasedStateMachine):
    """One context over a socket pair, its peer raw: what is queued, who waits, what each one is told."""

    def __init__(self) -> None:
        super().__init__()
        self.top = talloc_new(None)
        self.loop = Loop(self.top)
        sock, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        self.peer.setblocking(False)
        _, dgram = tdgram_bsd_existing_socket(self.top, sock.detach())
        assert dgram is not None
        self.dgram: tdgram_context = dgram
        self.queued: deque[bytes] = deque()
        self.sent: deque[bytes] = deque()
        self.waiting: tuple[tevent_req, Seen] | None = None
        self.open = True
        # How many more looks at an empty datagram the waiting receive takes before it is received.
        self.looks = 0

    def teardown(self) -> None:
        talloc_free(self.top)
        self.peer.close()

    def take(self, req: tevent_req) -> Any:
        ret, err, buf, _ = tdgram_recvfrom_recv(req, self.top)
        return ret if ret != -1 else -err, None if buf is None else bytes(buf)

    def settle(self) -> None:
        """Let everything happen that can, in the library and in the model."""
        assert self.loop.settle() < 50
        if self.waiting is None or not self.queued:
            return
        req, seen = self.waiting
        head = self.queued.popleft()
        assert seen.result == ((len(head), head) if head else (-ENOMEM, None))
        self.waiting = None
        talloc_free(req)

    @rule(data=payloads)
    def peer_sends(self, data: bytes) -> None:
        if self.open and len(self.queued) < 5:
            self.peer.send(data)
            self.queued.append(data)
            self.settle()

    @rule(optimize=st.booleans())
    def receive(self, optimize: bool) -> None:
        tdgram_bsd_optimize_recvfrom(self.dgram, optimize)
        req = tdgram_recvfrom_send(self.top, self.loop.ev, self.dgram)
        assert req is not None
        seen = self.loop.watch(req, self.take)
        if self.waiting is not None:
            assert not tevent_req_is_in_progress(req)
            self.loop.settle()
            assert seen.result == (-EBUSY, None)
            talloc_free(req)
        elif not self.open:
            assert not tevent_req_is_in_progress(req)
            self.loop.settle()
            assert seen.result == (-ENOTCONN, None)
            talloc_free(req)
        else:
            at_once = optimize and bool(self.queued) and self.queued[0] != b""
            assert tevent_req_is_in_progress(req) is not at_once
            assert seen.calls == 0
            self.waiting = req, seen
            self.settle()

    @precondition(lambda self: self.waiting is not None)
    @rule(received=st.booleans())
    def give_up(self, received: bool) -> None:
        assert self.waiting is not None
        req, seen = self.waiting
        if received:
            assert self.take(req)[1] is None
        talloc_free(req)
        self.waiting = None
        self.loop.settle()
        assert seen.calls == 0

    @rule(data=payloads, free=st.booleans())
    def send(self, data: bytes, free: bool) -> None:
        req = tdgram_sendto_send(self.top, self.loop.ev, self.dgram, data, None)
        assert req is not None
        if data and self.open:
            self.sent.append(data)
        if free:
            talloc_free(req)
            self.loop.settle()
            return
        seen = self.loop.watch(req, tdgram_sendto_recv, free=True)
        self.loop.settle()
        if not data:
            assert seen.result == (-1, EINVAL)
        elif not self.open:
            assert seen.result == (-1, ENOTCONN)
        else:
            assert seen.result == (len(data), 0)

    @rule()
    def disconnect(self) -> None:
        req = tdgram_disconnect_send(self.top, self.loop.ev, self.dgram)
        seen = self.loop.watch(req, tdgram_disconnect_recv, free=True)
        self.loop.settle()
        if self.waiting is not None:
            assert seen.result == (-1, EBUSY)
        elif not self.open:
            assert seen.result == (-1, ENOTCONN)
        else:
            assert seen.result == (0, 0)
            self.open = False
            self.queued.clear()

    @invariant()
    def peer_gets_what_was_sent(self) -> None:
        while self.sent:
            assert self.peer.recv(100) == self.sent.popleft()

    @invariant()
    def nothing_happens_by_itself(self) -> None:
        assert self.loop.settle() <= 2
        assert self.waiting is None or self.waiting[1].calls == 0


TestDatagrams = DatagramMachine.TestCase
TestDatagrams.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def loopback(top: TALLOC_CTX) -> tdgram_context:
    _, local = tsocket_address_inet_from_strings(top, "ipv4", "127.0.0.1", 0)
    assert local is not None
    ret, dgram = tdgram_inet_udp_socket(local, None, top)
    assert ret == 0
    assert dgram is not None
    return dgram


def address_of(top: TALLOC_CTX, dgram: tdgram_context) -> tsocket_address:
    sock = socket.socket(fileno=os.dup(dgram.private_data.fd))  # type: ignore[attr-defined]
    with sock:
        port = sock.getsockname()[1]
    _, addr = tsocket_address_inet_from_strings(top, "ipv4", "127.0.0.1", port)
    assert addr is not None
    return addr


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.binary(min_size=1, max_size=2000)), max_size=12),
    st.booleans(),
)
def test_udp_over_loopback(plan: list[tuple[int, int, bytes]], optimize: bool) -> None:
    """Whoever sends to whom: each gets its datagrams whole, in each sender's order, with the right source."""
    top = talloc_new(None)
    loop = Loop(top)
    nodes = [loopback(top) for _ in range(3)]
    addresses = [address_of(top, node) for node in nodes]
    texts = [tsocket_address_string(addr, top) for addr in addresses]
    got: list[list[tuple[str | None, bytes]]] = [[], [], []]

    def listen(number: int) -> None:
        def take(req: tevent_req) -> None:
            ret, err, buf, src = tdgram_recvfrom_recv(req, req)
            assert (ret > 0, err) == (True, 0)
            got[number].append((tsocket_address_string(src, top), bytes(buf or b"")))

        loop.watch(tdgram_recvfrom_send(top, loop.ev, nodes[number]), take, free=True, then=lambda _: listen(number))

    for number, node in enumerate(nodes):
        tdgram_bsd_optimize_recvfrom(node, optimize)
        listen(number)
    for sender, receiver, data in plan:
        req = tdgram_sendto_send(top, loop.ev, nodes[sender], data, addresses[receiver])
        seen = loop.watch(req, tdgram_sendto_recv, free=True)
        loop.until(lambda seen=seen: seen.calls)
        assert seen.result == (len(data), 0)
    loop.until(lambda: sum(map(len, got)) == len(plan))
    for receiver in range(3):
        for sender in range(3):
            expected = [data for frm, to, data in plan if (frm, to) == (sender, receiver)]
            assert [data for text, data in got[receiver] if text == texts[sender]] == expected
    talloc_free(top)
