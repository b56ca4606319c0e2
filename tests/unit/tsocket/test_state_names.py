# SPDX-License-Identifier: LGPL-3.0-or-later
"""What requests on sockets are called when they are printed."""

from __future__ import annotations

import re
import socket

import pytest

from tevent import tevent_queue_create, tevent_req_default_print
from tsocket import (
    tdgram_bsd_existing_socket,
    tdgram_disconnect_send,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_send,
    tdgram_sendto_send,
    tstream_disconnect_send,
    tstream_monitor_send,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_send,
    tstream_readv_send,
    tstream_writev_queue_send,
    tstream_writev_send,
)


def never(stream, private_data, mem_ctx):
    """Read on for ever."""
    return 0, [bytearray(1)]


STREAMS = {
    "readv": lambda top, ev, stream, queue: tstream_readv_send(top, ev, stream, [bytearray(1)]),
    "writev": lambda top, ev, stream, queue: tstream_writev_send(top, ev, stream, [b"x"]),
    "disconnect": lambda top, ev, stream, queue: tstream_disconnect_send(top, ev, stream),
    "monitor": lambda top, ev, stream, queue: tstream_monitor_send(top, ev, stream),
    "readv_pdu": lambda top, ev, stream, queue: tstream_readv_pdu_send(top, ev, stream, never, None),
    "readv_pdu_queue": lambda top, ev, stream, queue: tstream_readv_pdu_queue_send(top, ev, stream, queue, never, None),
    "writev_queue": lambda top, ev, stream, queue: tstream_writev_queue_send(top, ev, stream, queue, [b"x"]),
}
DATAGRAMS = {
    "recvfrom": lambda top, ev, dgram, queue: tdgram_recvfrom_send(top, ev, dgram),
    "sendto": lambda top, ev, dgram, queue: tdgram_sendto_send(top, ev, dgram, b"x", None),
    "sendto_queue": lambda top, ev, dgram, queue: tdgram_sendto_queue_send(top, ev, dgram, queue, b"x", None),
    "disconnect": lambda top, ev, dgram, queue: tdgram_disconnect_send(top, ev, dgram),
}


@pytest.mark.parametrize("name", STREAMS)
def test_of_streams(top, loop, unix, name):
    """They bear the name of C's state."""
    req = STREAMS[name](top, loop.ev, unix.stream, tevent_queue_create(top, "line"))
    assert re.search(rf"\bstruct tstream_{name}_state\b", tevent_req_default_print(req, top))


@pytest.mark.parametrize("name", DATAGRAMS)
def test_of_datagrams(top, loop, name):
    """They bear the name of C's state."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with other:
        ret, dgram = tdgram_bsd_existing_socket(top, one.detach())
        assert ret == 0
        req = DATAGRAMS[name](top, loop.ev, dgram, tevent_queue_create(top, "line"))
        assert re.search(rf"\bstruct tdgram_{name}_state\b", tevent_req_default_print(req, top))
