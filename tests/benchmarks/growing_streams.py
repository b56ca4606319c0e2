# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scenarios for `growth.py`: streams, datagrams and addresses."""

from __future__ import annotations

import os
import socket

from connections import allow_descriptors
from growing import Steps, scenario

from talloc_py import TALLOC_FREE, talloc_free, talloc_new
from tevent import tevent_context_init, tevent_loop_once, tevent_queue_create, tevent_req_set_callback
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tsocket_address_inet_from_strings,
    tsocket_address_string,
    tstream_bsd_existing_socket,
    tstream_readv_pdu_recv,
    tstream_readv_pdu_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_writev_queue_recv,
    tstream_writev_queue_send,
    tstream_writev_recv,
    tstream_writev_send,
)

SMALL = b"eight by"


class Ends:
    """A context, two connected streams in it, and how many requests are under way."""

    def __init__(self, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        self.top = talloc_new(None)
        self.ev = tevent_context_init(self.top)
        self.left = 0
        self.ends = []
        for sock in socket.socketpair(socket.AF_UNIX, kind):
            sock.setblocking(False)
            make = tstream_bsd_existing_socket if kind == socket.SOCK_STREAM else tdgram_bsd_existing_socket
            self.ends.append(make(self.top, sock.detach())[1])

    def start(self, req, recv) -> None:
        """Wait for *req*, too."""
        self.left += 1
        tevent_req_set_callback(req, self.done, recv)

    def done(self, req) -> None:
        ret, err, *_ = req_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "failed")
        self.left -= 1

    def run(self) -> None:
        """Until nothing is under way."""
        while self.left:
            tevent_loop_once(self.ev)


def req_recv(req):
    """What the receive function that the callback has been given says."""
    from tevent import tevent_req_callback_data_void

    return tevent_req_callback_data_void(req)(req)


@scenario()
def writes(steps: Steps, size: int) -> None:
    """Small writes queued on one stream."""
    ends = Ends()
    one, two = ends.ends
    line = tevent_queue_create(ends.top, "line")
    with steps("queued"):
        for _ in range(size):
            req = tstream_writev_queue_send(ends.top, ends.ev, one, line, [SMALL])
            ends.start(req, tstream_writev_queue_recv)
    into = bytearray(size * len(SMALL))
    with steps("written and read"):
        ends.start(tstream_readv_send(ends.top, ends.ev, two, [into]), tstream_readv_recv)
        ends.run()
    talloc_free(ends.top)


@scenario()
def vectors(steps: Steps, size: int) -> None:
    """Buffers of one vector."""
    ends = Ends()
    one, two = ends.ends
    most = os.sysconf("SC_IOV_MAX")
    with steps("written and read"):
        left = size
        while left:
            count = min(left, most)
            left -= count
            buffers = [bytearray(len(SMALL)) for _ in range(count)]
            ends.start(tstream_readv_send(ends.top, ends.ev, two, buffers), tstream_readv_recv)
            ends.start(tstream_writev_send(ends.top, ends.ev, one, [SMALL] * count), tstream_writev_recv)
            ends.run()
    talloc_free(ends.top)


@scenario()
def trickle(steps: Steps, size: int) -> None:
    """Bytes of one buffer, arriving one by one."""
    ends = Ends()
    one, two = ends.ends
    into = bytearray(size)
    ends.start(tstream_readv_send(ends.top, ends.ev, two, [into]), tstream_readv_recv)
    with steps("written and read"):
        for _ in range(size):
            ends.start(tstream_writev_send(ends.top, ends.ev, one, [b"x"]), tstream_writev_recv)
            while ends.left > 1:
                tevent_loop_once(ends.ev)
        ends.run()
    talloc_free(ends.top)


@scenario()
def pdu(steps: Steps, size: int) -> None:
    """Pieces of one PDU."""
    ends = Ends()
    one, two = ends.ends
    pieces = size
    buffer = bytearray(len(SMALL))

    def next_vector(stream, private_data, mem_ctx):
        nonlocal pieces
        pieces -= 1
        return 0, [buffer] if pieces >= 0 else None

    with steps("written and read"):
        ends.start(tstream_readv_pdu_send(ends.top, ends.ev, two, next_vector, None), tstream_readv_pdu_recv)
        ends.start(tstream_writev_send(ends.top, ends.ev, one, [SMALL * size]), tstream_writev_recv)
        ends.run()
    talloc_free(ends.top)


@scenario()
def datagrams(steps: Steps, size: int) -> None:
    """Datagrams queued on one socket."""
    ends = Ends(socket.SOCK_DGRAM)
    one, two = ends.ends
    line = tevent_queue_create(ends.top, "line")
    with steps("queued"):
        for _ in range(size):
            req = tdgram_sendto_queue_send(ends.top, ends.ev, one, line, SMALL, None)
            ends.start(req, tdgram_sendto_queue_recv)

    def receive():
        tevent_req_set_callback(tdgram_recvfrom_send(ends.top, ends.ev, two), received, None)

    def received(req):
        nonlocal left
        ret, err, buf, src = tdgram_recvfrom_recv(req, ends.top)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "receive")
        TALLOC_FREE(buf)
        TALLOC_FREE(src)
        left -= 1
        if left:
            receive()

    left = size
    receive()
    with steps("sent and received"):
        while left or ends.left:
            tevent_loop_once(ends.ev)
    talloc_free(ends.top)


@scenario(500, 2_000, 4_000, 8_000)
def streams(steps: Steps, size: int) -> None:
    """Connections, both ends."""
    allow_descriptors()
    top = talloc_new(None)
    ev = tevent_context_init(top)
    left = 0

    def was_read(req):
        nonlocal left
        ret, err = tstream_readv_recv(req)
        TALLOC_FREE(req)
        if ret == -1:
            raise OSError(err, "read")
        left -= 1

    def written(req):
        tstream_writev_recv(req)
        TALLOC_FREE(req)

    pairs = []
    for _ in range(size):
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
        pairs.append([sock.detach() for sock in pair])
    with steps("made"):
        ends = [[tstream_bsd_existing_socket(top, fd)[1] for fd in pair] for pair in pairs]
    with steps("asked to read"):
        for _, server in ends:
            req = tstream_readv_send(server, ev, server, [bytearray(len(SMALL))])
            tevent_req_set_callback(req, was_read, None)
    left = size
    with steps("one after the other written and read"):
        for client, _ in ends:
            tevent_req_set_callback(tstream_writev_send(client, ev, client, [SMALL]), written, None)
            before = left
            while left == before:
                tevent_loop_once(ev)
    with steps("freed with their owner"):
        talloc_free(top)


@scenario()
def addresses(steps: Steps, size: int) -> None:
    """Addresses."""
    top = talloc_new(None)
    with steps("made"):
        made = [tsocket_address_inet_from_strings(top, "ip", "127.0.0.1", 445)[1] for _ in range(size)]
    with steps("written"):
        for address in made:
            tsocket_address_string(address, top)
    with steps("freed with their owner"):
        talloc_free(top)
