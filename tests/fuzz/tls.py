# SPDX-License-Identifier: LGPL-3.0-or-later
"""
TLS, fed with hostile bytes.

Bytes made up get no further than OpenSSL's first check, so there are other ways in, as a client and as a server: a
handshake with nothing but such bytes; a real one in which some bytes were changed; one that stops; and records with a
forged content under the real keys, which is as far as a peer that means harm can go.
"""

from __future__ import annotations

import pathlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from errno import EINVAL, EIO, EPIPE, ETIMEDOUT
from typing import Any

from tls_kit import TLS13, Forger, OtherSide, world

from talloc_py import TALLOC_CTX
from tevent import tevent_req_is_in_progress, tevent_req_set_endtime, timeval
from tsocket import *

from .formats import among, bed, fed, holds, pieces

_ROUNDS_MAX = 8
#: No handshake of these certificates has more bytes from one side.
FLIGHTS_BYTES = 1500
_SIDES: Any = (
    (tstream_tls_connect_send, tstream_tls_connect_recv),
    (tstream_tls_accept_send, tstream_tls_accept_recv),
)


def _params(server: bool, priority: str = "") -> Any:
    """Made once: they are costly, and do not change."""
    key = server, priority
    if key not in _made:
        _made[key] = world().server(None) if server else world().client(None, priority=priority)
    return _made[key]


_made: dict[tuple[bool, str], Any] = {}


def _raw(top: TALLOC_CTX, server: bool, data: bytes) -> None:
    stream, this = fed(top, data)
    send, recv = _SIDES[server]
    _, err, _ = bed().result(send(top, bed().ev, stream, _params(server)), recv, top)
    among(err, (EPIPE, EIO, EINVAL))
    holds(this.asked_max <= 16384 + 2048, "more was reserved than a record has")


class Talk:
    """One of our streams, and TLS of another make at the other end of a socket pair."""

    def __init__(self, top: TALLOC_CTX, server: bool, keys: pathlib.Path | None = None) -> None:
        self.top = top
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _, self.plain = tstream_bsd_existing_socket(top, ours.detach())
        self.other = OtherSide(theirs, server=not server, keys=keys)
        send, self.recv = _SIDES[server]
        self.req = send(top, bed().ev, self.plain, _params(server, TLS13 if keys else ""))

    def flight(self) -> bytes:
        """What the other side says next."""
        bed().settle()
        self.other.receive()
        if not self.other.shaken:
            try:
                self.other.tls.do_handshake()
                self.other.shaken = True
            except ssl.SSLWantReadError:
                pass
            except OSError:
                return b""
        return self.other.outgoing.read()

    def result(self) -> Any:
        """The result of the handshake, after which nothing more comes."""
        self.other.sock.close()
        return bed().result(self.req, self.recv, self.top)


def _changed(top: TALLOC_CTX, server: bool, data: bytes) -> None:
    """A handshake with changes: two bytes of offset, one to be combined with what is there."""
    changes = {int.from_bytes(data[i : i + 2], "big") % 4096: data[i + 2] for i in range(0, min(len(data), 30) - 2, 3)}
    talk = Talk(top, server)
    sent = 0
    for _ in range(_ROUNDS_MAX):
        flight = bytearray(talk.flight())
        if not flight and not tevent_req_is_in_progress(talk.req):
            break
        for offset, change in changes.items():
            if sent <= offset < sent + len(flight):
                flight[offset - sent] ^= change
        sent += len(flight)
        talk.other.sock.sendall(flight)
    _, err, stream = talk.result()
    among(err, (0, EPIPE, EIO, EINVAL, 104))
    holds((stream is None) == bool(err), "a stream and an error")


def _forged(top: TALLOC_CTX, server: bool, data: bytes) -> None:
    """Records with a content of ours, after a real handshake: a kind, and what it carries."""
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder) / "keys"
        talk = Talk(top, server, keys)
        for _ in range(_ROUNDS_MAX):
            talk.other.sock.sendall(talk.flight())
            bed().settle()
            if talk.other.shaken and not tevent_req_is_in_progress(talk.req):
                break
        _, err, stream = talk.recv(talk.req, top)
        holds(err == 0, f"the handshake failed: {err}")
        forger = Forger(talk.other, keys)
    for piece in pieces(data):
        if piece[:1] == b"\xff":
            talk.other.sock.sendall(piece[1:])  # not even encrypted
        elif piece[:2] == b"\x16\x18":
            talk.other.sock.sendall(forger.update(bool(piece[2:3] > b"\x7f")))
        elif piece:
            talk.other.sock.sendall(forger.record(piece[0], piece[1:]))
    talk.other.sock.shutdown(socket.SHUT_WR)
    # Answers are written in between, and a write of ours goes on beside.
    writing = tstream_writev_send(top, bed().ev, stream, [b"meanwhile"])
    for _ in range(5):
        buf = bytearray(16)
        reading = tstream_readv_send(top, bed().ev, stream, [buf])
        among(bed().result(reading, tstream_readv_recv)[1], (0, EPIPE, EIO, 104))
        holds(tstream_pending_bytes(stream) >= -1, "fewer than no bytes are pending")
    among(bed().result(writing, tstream_writev_recv)[1], (0, EPIPE, EIO, 104))
    talk.other.sock.close()


def _stopped(top: TALLOC_CTX, server: bool, data: bytes, silent: bool) -> None:
    """A handshake whose other side goes away, or falls silent, after so many bytes."""
    left = int.from_bytes(data[:2], "big") % FLIGHTS_BYTES
    talk = Talk(top, server)
    while flight := talk.flight():
        talk.other.sock.sendall(flight[:left])
        if left < len(flight):
            break
        left -= len(flight)
    else:
        talk.result()  # it had less to say
        return
    bed().settle()
    if silent:
        tevent_req_set_endtime(talk.req, bed().ev, timeval(1, 0))
        result = bed().result(talk.req, talk.recv, top)
        talk.other.sock.close()
    else:
        result = talk.result()
    holds(result == (-1, ETIMEDOUT if silent else EPIPE, None), f"a handshake that was not finished: {result}")


def tls(data: bytes) -> None:
    """One of the ways in."""
    mode, data = data[0] % 10 if data else 0, data[1:]
    with bed() as top:
        if mode < 2:
            _raw(top, mode == 1, data)
        elif mode < 4:
            _changed(top, mode == 3, data)
        elif mode < 6:
            _forged(top, mode == 5, data)
        else:
            _stopped(top, mode % 2 == 1, data, mode > 7)


def flips() -> Iterator[bytes]:
    """Each bit of what the other side says in a handshake, flipped, and an end at each byte; client and server."""
    for mode in (b"\6", b"\7", b"\x08", b"\x09"):
        for offset in range(FLIGHTS_BYTES):
            yield mode + offset.to_bytes(2, "big")
    for mode in (b"\2", b"\3"):
        for offset in range(FLIGHTS_BYTES):
            for bit in range(8):
                yield mode + offset.to_bytes(2, "big") + bytes([1 << bit])


def seeds() -> list[bytes]:
    """A ClientHello, changes that do something, messages that there are."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outgoing = ssl.MemoryBIO()
    talking = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="server.peer.test")
    try:
        talking.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    return [
        b"\1" + hello,
        b"\0\x15\3\3\0\2\2\x28",
        b"\0\x16\3\3\0\4\2\0\0\0",
        b"\2\0\x05\x01",
        b"\3\0\x50\x80",
        b"\4\x06\x17hello\x03\x16\x18\xff\x06\x17world",
        b"\5\x03\x15\1\0",
        b"\4\x0a\x16\4\0\0\x05\0\0\0\0\0\x02\xff\x17",
    ]
