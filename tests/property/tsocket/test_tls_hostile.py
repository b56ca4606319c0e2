# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a network can do to TLS: cuts, flipped bits, one byte at a time, silence, an end at every point of a handshake.

Whatever comes, a request ends with an errno, nothing raises through the loop, no byte is delivered that was not sent,
and nothing is left behind.
"""

from __future__ import annotations

import functools
import socket
import ssl
from errno import ECONNRESET, EINVAL, EIO, EPIPE, ETIMEDOUT
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stream_kit import Loop, Wire, drain, readv, scratch
from tls_kit import OtherSide, handshake_with, world

from talloc_py import TALLOC_CTX, talloc_free, talloc_total_blocks
from tevent import tevent_req_set_endtime, timeval
from tsocket import (
    tstream_readv_recv,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
)

TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
SIDES = pytest.mark.parametrize("server", [False, True], ids=["connect", "accept"])
VERSIONS = pytest.mark.parametrize("version", TLS)
#: What a handshake may fail with: TLS itself, a certificate, the end of the plain stream.
FAILURES = {EIO, EINVAL, EPIPE, ECONNRESET}


class Attempt:
    """One handshake of ours with the standard library, whose bytes pass through a function on their way to us."""

    def __init__(self, top: TALLOC_CTX, server: bool, version: str) -> None:
        self.loop = Loop(top)
        one, two = socket.socketpair()
        self.wire = Wire(top, one, two)
        self.other = OtherSide(two, server=not server, priority=(TLS[version], TLS[version]))
        self.seen: Any = None
        params = world().server(top) if server else world().client(top)
        send, recv = (
            (tstream_tls_accept_send, tstream_tls_accept_recv)
            if server
            else (tstream_tls_connect_send, tstream_tls_connect_recv)
        )
        self.req = send(top, self.loop.ev, self.wire.stream, params)
        self.recv = functools.partial(self._receive, recv, top)

    @staticmethod
    def _receive(recv: Any, top: TALLOC_CTX, req: Any) -> Any:
        return recv(req, top)

    def flight(self) -> bytes:
        """What the other side says next, before it is sent."""
        self.other.receive()
        if not self.other.shaken:
            try:
                self.other.tls.do_handshake()
                self.other.shaken = True
            except ssl.SSLWantReadError:
                pass
            except OSError:  # an SSLError, or what newer Pythons make of one without a reason
                return b""
        return self.other.outgoing.read()

    def close(self) -> None:
        """Say no more. What is unread at this side is read first, or the end would be a reset."""
        drain(self.wire.peer)
        self.wire.peer.close()


def shake(attempt: Attempt, mangle: Any) -> Any:
    """The result of a handshake whose bytes are given to *mangle*, which returns what goes on, or None for the end."""
    attempt.seen = attempt.loop.watch(attempt.req, attempt.recv, free=True)
    sent = 0
    for _ in range(8):
        attempt.loop.settle()
        data = attempt.flight()
        passed = mangle(sent, data) if data else data
        sent += len(data)
        if passed is None:
            break
        if passed:
            attempt.wire.peer.sendall(passed)
        elif attempt.seen.calls and attempt.other.shaken:
            return attempt.seen.result
    attempt.close()
    attempt.loop.until(lambda: attempt.seen.calls)
    return attempt.seen.result


@functools.cache
def length(server: bool, version: str) -> int:
    """How many bytes the other side sends in a handshake."""
    total = 0

    def count(sent: int, data: bytes) -> bytes:
        nonlocal total
        total += len(data)
        return data

    with scratch() as top:
        attempt = Attempt(top, server, version)
        assert shake(attempt, count)[:2] == (0, 0)
        attempt.wire.peer.close()
    return total


class TestHandshake:
    @SIDES
    @VERSIONS
    def test_an_end_at_every_byte(self, server: bool, version: str) -> None:
        """A handshake that is cut anywhere fails with EPIPE, and leaves nothing behind."""
        for cut in range(0, length(server, version), 7):
            with scratch() as top:
                attempt = Attempt(top, server, version)

                def until(sent: int, data: bytes, cut: int = cut) -> bytes | None:
                    if sent + len(data) < cut:
                        return data
                    attempt.wire.peer.sendall(data[: cut - sent])  # noqa: B023
                    return None

                assert shake(attempt, until) == (-1, EPIPE, None), cut

    @SIDES
    @VERSIONS
    @settings(max_examples=60)
    @given(data=st.data())
    def test_a_flipped_bit(self, server: bool, version: str, data: st.DataObject) -> None:
        """Anywhere in a handshake it is found out, or did not matter; it never hangs, nor raises."""
        where = data.draw(st.integers(0, length(server, version) - 1), label="byte")
        bit = data.draw(st.integers(0, 7), label="bit")
        with scratch() as top:
            attempt = Attempt(top, server, version)

            def flip(sent: int, flight: bytes) -> bytes:
                changed = bytearray(flight)
                if sent <= where < sent + len(flight):
                    changed[where - sent] ^= 1 << bit
                return bytes(changed)

            ret, err, stream = shake(attempt, flip)
            assert (ret == 0 and stream is not None) or (ret == -1 and err in FAILURES)
            attempt.wire.peer.close()

    @SIDES
    @settings(max_examples=100)
    @given(garbage=st.binary(min_size=1, max_size=600))
    @example(b"\x16\x03\x01\0\0" * 50)
    @example(b"\x16\x03\x03\x40\0" + bytes(300))
    @example(b"\x15\x03\x03\0\2\1\0")
    @example(b"\x80\x2e\1\0\2")
    def test_garbage(self, server: bool, garbage: bytes) -> None:
        """Whatever a peer sends instead of a handshake, it fails."""
        with scratch() as top:
            attempt = Attempt(top, server, "1.3")
            seen = attempt.loop.watch(attempt.req, attempt.recv, free=True)
            attempt.wire.peer.sendall(garbage)
            attempt.loop.settle()
            attempt.close()
            attempt.loop.until(lambda: seen.calls)
            ret, err, stream = seen.result
            assert (ret, stream) == (-1, None)
            assert err in FAILURES

    @SIDES
    @VERSIONS
    def test_one_byte_at_a_time(self, server: bool, version: str) -> None:
        """Takes long, but works."""
        with scratch() as top:
            attempt = Attempt(top, server, version)

            def slowly(sent: int, data: bytes) -> bytes:
                for byte in data[:-1]:
                    attempt.wire.peer.sendall(bytes([byte]))
                    attempt.loop.settle()
                return data[-1:]

            assert shake(attempt, slowly)[:2] == (0, 0)
            attempt.wire.peer.close()

    @SIDES
    @VERSIONS
    def test_a_peer_that_is_silent(self, server: bool, version: str) -> None:
        """After any flight: a time limit ends the request, and frees everything below it."""
        for flights in range(3):
            with scratch() as top:
                attempt = Attempt(top, server, version)
                before = talloc_total_blocks(top)
                seen = attempt.loop.watch(attempt.req, attempt.recv, free=True)
                for _ in range(flights):
                    attempt.loop.settle()
                    attempt.wire.peer.sendall(attempt.flight()[:-1])
                attempt.loop.settle()
                tevent_req_set_endtime(attempt.req, attempt.loop.ev, timeval(0, 1))
                attempt.loop.until(lambda seen=seen: seen.calls)
                assert seen.result == (-1, ETIMEDOUT, None)
                assert talloc_total_blocks(top) < before
                attempt.wire.peer.close()

    @SIDES
    @VERSIONS
    @pytest.mark.parametrize("flights", [0, 1, 2])
    def test_a_request_freed_at_every_point(self, server: bool, version: str, flights: int) -> None:
        """Its callback never runs, and the stream below is nobody's again."""
        with scratch() as top:
            attempt = Attempt(top, server, version)
            seen = attempt.loop.watch(attempt.req)
            for _ in range(flights):
                attempt.loop.settle()
                attempt.wire.peer.sendall(attempt.flight()[:-1])
            attempt.loop.settle()
            if seen.calls == 0:
                talloc_free(attempt.req)
            attempt.loop.settle()
            assert not [name for name in ("read_req", "write_req") if getattr(attempt.wire.stream, name) is not None]
            attempt.wire.peer.close()


class TestData:
    @SIDES
    @VERSIONS
    @settings(max_examples=40)
    @given(data=st.data())
    def test_changed_records(self, server: bool, version: str, data: st.DataObject) -> None:
        """A changed bit, a missing, repeated or swapped record: never wrong bytes, always an end with an errno."""
        parts = data.draw(st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=5), label="parts")
        one, two = socket.socketpair()
        # Drawing may end an example at any time.
        with scratch() as top, two:
            loop = Loop(top)
            wire = Wire(top, one, two)
            other = OtherSide(two, server=not server, priority=(TLS[version], TLS[version]))
            params = world().server(top) if server else world().client(top)
            ret, err, stream = handshake_with(loop, top, wire.stream, other, params, server).result
            assert (ret, err) == (0, 0)
            records = []
            for part in parts:
                other.tls.write(part)
                records.append(other.outgoing.read())
            sent = mangled(records, data)
            wire.peer.sendall(b"".join(sent))
            wire.peer.close()
            whole, got = b"".join(parts), b""
            while True:
                buf = bytearray(1)
                seen = loop.watch(readv(loop, None, stream, buf), tstream_readv_recv, free=True)
                loop.until(lambda seen=seen: seen.calls)
                if seen.result != (1, 0):
                    break
                got += buf
            assert seen.result[0] == -1
            assert seen.result[1] in FAILURES
            assert whole.startswith(got)
            assert got == whole or sent != records


def mangled(records: list[bytes], data: st.DataObject) -> list[bytes]:
    """The records, with something done to them, or nothing."""
    sent = list(records)
    index = data.draw(st.integers(0, len(sent) - 1), label="record")
    how = data.draw(st.sampled_from(["flip", "drop", "repeat", "swap", "cut", "nothing"]), label="how")
    if how == "flip":
        changed = bytearray(sent[index])
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        sent[index] = bytes(changed)
    elif how == "drop":
        del sent[index]
    elif how == "repeat":
        sent.insert(index, sent[index])
    elif how == "swap":
        sent[index], sent[index - 1] = sent[index - 1], sent[index]
    elif how == "cut":
        sent[index] = sent[index][: data.draw(st.integers(0, len(sent[index]) - 1))]
        del sent[index + 1 :]
    return sent
