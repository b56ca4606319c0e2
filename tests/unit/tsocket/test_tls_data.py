# SPDX-License-Identifier: LGPL-3.0-or-later
"""Data over TLS: the conformance suite, and what is TLS's own about reading, writing and ending."""

from __future__ import annotations

import pathlib
import ssl
from errno import ECONNRESET, EIO, ENOMEM, EPIPE
from typing import TYPE_CHECKING, Any

import pytest
from stream_backends import ScriptedStream, forward, memory_pair
from stream_kit import (
    BIG,
    Loop,
    Wire,
    disconnect,
    drain,
    monitor,
    read_now,
    readv,
    tcp_sockets,
    write_now,
    writev,
)
from tls_kit import (
    TLS12,
    TLS13,
    TRAITS,
    Forger,
    OtherSide,
    connected,
    drive,
    handshake_with,
    pair_maker,
    world,
)

from talloc_py import TALLOC_CTX, talloc_free, talloc_parent
from tevent import get_errno, tevent_context, tevent_req_is_in_progress
from tsocket import (
    tstream_bsd_existing_socket,
    tstream_context,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.testing import TSTREAM_CHECKS, check_tstream

if TYPE_CHECKING:
    from collections.abc import Iterator


def over_tcp(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """A TCP connection."""
    streams = []
    for sock in tcp_sockets():
        sock.setblocking(False)
        streams.append(tstream_bsd_existing_socket(mem_ctx, sock.detach())[1])
    return streams


def over_memory(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """A user's streams in memory."""
    return memory_pair(mem_ctx)


def over_another(ev: tevent_context, mem_ctx: TALLOC_CTX) -> Any:
    """A user's streams on top of a socket pair."""
    return [forward(mem_ctx, stream) for stream in tstream_unix_socketpair(mem_ctx, mem_ctx)[1:] if stream is not None]


PAIRS = {
    "unix 1.2": pair_maker(TLS12),
    "unix 1.3": pair_maker(TLS13),
    "tcp": pair_maker("", over_tcp),
    "memory": pair_maker("", over_memory),
    "another": pair_maker("", over_another),
    "tls in tls": pair_maker("", depth=2),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("name", TSTREAM_CHECKS)
def test_conformance(kind: str, name: str) -> None:
    """TLS over every kind of stream does what every stream must do."""
    check_tstream(PAIRS[kind], traits=TRAITS, only=name)


@pytest.fixture(params=[TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])
def pair(request: pytest.FixtureRequest, top: TALLOC_CTX, loop: Loop) -> tuple[tstream_context, tstream_context]:
    """A client's and a server's stream."""
    return connected(loop, top, request.param)


class Link:
    """A stream of ours whose other side is the standard library."""

    def __init__(self, loop: Loop, top: TALLOC_CTX, wire: Wire, *, server: bool, version: Any = None) -> None:
        self.loop = loop
        self.wire = wire
        self.other = OtherSide(wire.peer, server=not server, priority=(version, version) if version else None)
        params = world().server(top) if server else world().client(top)
        ret, err, stream = handshake_with(loop, top, wire.stream, self.other, params, server).result
        assert (ret, err) == (0, 0)
        self.stream: tstream_context = stream

    def write(self, data: bytes) -> None:
        """Let ours write and the other side read."""
        seen = self.loop.watch(writev(self.loop, None, self.stream, data), tstream_writev_recv, free=True)
        got = bytearray()

        def both() -> bool:
            got.extend(self.other.read())
            return seen.calls > 0 and len(got) >= len(data)

        drive(self.loop, self.other, both)
        assert seen.result == (len(data), 0)
        assert got == data


@pytest.fixture(params=["client", "server"])
def link(request: pytest.FixtureRequest, top: TALLOC_CTX, loop: Loop, unix: Wire) -> Iterator[Link]:
    """Our stream, on either side, whose other side is the standard library."""
    return Link(loop, top, unix, server=request.param == "server")


class TestReading:
    def test_pending_bytes(self, loop: Loop, pair: Any) -> None:
        """What is decrypted and not read; what waits in the plain stream does not count."""
        one, two = pair
        assert write_now(loop, one, b"0123456789") == (10, 0)
        loop.settle()
        assert tstream_pending_bytes(two) == 0
        assert read_now(loop, two, 1) == ((1, 0), b"0")
        assert tstream_pending_bytes(two) == 9
        assert read_now(loop, two, 9) == ((9, 0), b"123456789")
        assert tstream_pending_bytes(two) == 0

    def test_no_more_is_read_than_the_record(self, top: TALLOC_CTX, loop: Loop) -> None:
        """The next record stays in the plain stream."""
        _, plain, other = tstream_unix_socketpair(top, top)
        one, two = connected(loop, top, "", (plain, other))  # type: ignore[arg-type]
        for text in (b"first", b"second"):
            assert write_now(loop, one, text) == (len(text), 0)
        waiting = tstream_pending_bytes(other)  # type: ignore[arg-type]
        assert read_now(loop, two, 5) == ((5, 0), b"first")
        assert tstream_pending_bytes(two) == 0
        left = tstream_pending_bytes(other)  # type: ignore[arg-type]
        assert waiting > left > 6
        assert read_now(loop, two, 6) == ((6, 0), b"second")

    def test_pieces_of_several_records(self, link: Link) -> None:
        """A vector is filled across records, and a record serves several vectors."""
        for part in (b"ab", b"c", b"defgh", b"ij"):
            link.other.write(part)
        bufs = [bytearray(1), bytearray(3), bytearray(2)]
        seen = link.loop.watch(readv(link.loop, None, link.stream, *bufs), tstream_readv_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert [bytes(buf) for buf in bufs] == [b"a", b"bcd", b"ef"]
        assert tstream_pending_bytes(link.stream) == 2
        assert read_now(link.loop, link.stream, 4) == ((4, 0), b"ghij")

    def test_a_read_of_what_is_decrypted_needs_no_plain_stream(self, link: Link) -> None:
        """It is finished inside ``_send``, but called back from the loop."""
        link.other.write(b"abc")
        assert read_now(link.loop, link.stream, 1) == ((1, 0), b"a")
        seen = link.loop.watch(readv(link.loop, None, link.stream, bytearray(2)), tstream_readv_recv, free=True)
        assert seen.calls == 0
        link.loop.turn()
        assert seen.result == (2, 0)

    def test_read_only_buffers(self, link: Link) -> None:
        """Are a TypeError, and the stream is free."""
        with pytest.raises(TypeError, match="writable"):
            readv(link.loop, None, link.stream, b"abc")
        link.other.write(b"abc")
        assert read_now(link.loop, link.stream, 3) == ((3, 0), b"abc")


class TestWriting:
    @pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65535, 65536, 65537, 300_000])
    def test_sizes(self, link: Link, size: int) -> None:
        """Around the sizes of a record and of what is encrypted at a time."""
        link.write(bytes(n % 251 for n in range(size)))

    @pytest.mark.parametrize("sizes", [[1] * 1000, [5000] * 9, [100, 20000, 3, 16384, 16384, 7], [0, 1, 0, 2, 0]])
    def test_vectors(self, link: Link, sizes: list[int]) -> None:
        """Small elements share a record, large ones are not copied."""
        parts = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        data = b"".join(parts)
        req = tstream_writev_send(None, link.loop.ev, link.stream, parts)
        seen = link.loop.watch(req, tstream_writev_recv, free=True)
        got = bytearray()

        def both() -> bool:
            got.extend(link.other.read())
            return seen.calls > 0 and len(got) >= len(data)

        drive(link.loop, link.other, both)
        assert (seen.result, bytes(got)) == ((len(data), 0), data)

    def test_small_elements_are_put_together(self, link: Link) -> None:
        """A thousand bytes in a thousand elements are one record."""
        assert tevent_req_is_in_progress(writev(link.loop, None, link.stream, *[b"x"] * 1000))
        link.loop.settle()
        records = drain(link.wire.peer)
        assert len(records) < 1100

    def test_a_write_ends_when_it_is_sent(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Not when it is encrypted: the plain stream has taken all of it."""
        one, two = connected(loop, top)
        seen = loop.watch(writev(loop, None, one, BIG), tstream_writev_recv, free=True)
        loop.settle()
        assert seen.calls == 0
        talloc_free(two)
        loop.until(lambda: seen.calls)
        assert seen.result in [(-1, EPIPE), (-1, ECONNRESET)]

    def test_memory_does_not_grow(self, top: TALLOC_CTX, loop: Loop) -> None:
        """While nobody reads no more than a few records are encrypted ahead."""
        import tracemalloc

        one, _ = connected(loop, top)
        tracemalloc.start()
        try:
            writev(loop, top, one, BIG)
            loop.settle()
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


class TestEnding:
    def test_close_notify_of_the_other_side(self, link: Link) -> None:
        """Ends reading with EPIPE after what came before it; then everything fails with EPIPE."""
        link.other.write(b"abc")
        with pytest.raises(ssl.SSLWantReadError):
            link.other.tls.unwrap()
        link.other.flush()
        assert read_now(link.loop, link.stream, 3) == ((3, 0), b"abc")
        assert read_now(link.loop, link.stream, 1)[0] == (-1, EPIPE)
        assert tstream_pending_bytes(link.stream) == -1
        assert get_errno() == EPIPE
        assert write_now(link.loop, link.stream, b"x") == (-1, EPIPE)
        assert read_now(link.loop, link.stream, 1)[0] == (-1, EPIPE)
        seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert seen.result == (-1, EPIPE)

    @pytest.mark.parametrize("cut", [0, 1, 4, 5, 6, 20])
    def test_a_cut_connection(self, link: Link, cut: int) -> None:
        """Without a close_notify it is an error all the same, in the middle of a record as between records."""
        link.other.tls.write(b"whole")
        whole = link.other.outgoing.read()
        link.other.tls.write(b"never")
        link.wire.peer.sendall(whole + link.other.outgoing.read()[:cut])
        link.wire.peer.close()
        assert read_now(link.loop, link.stream, 5) == ((5, 0), b"whole")
        assert read_now(link.loop, link.stream, 5)[0] == (-1, EPIPE)

    def test_a_read_that_wants_more_than_came(self, link: Link) -> None:
        """Fails as a whole."""
        link.other.write(b"abc")
        link.wire.peer.close()
        assert read_now(link.loop, link.stream, 4) == ((-1, EPIPE), b"abc\0")

    def test_bytes_that_are_decrypted_come_before_the_error(self, link: Link) -> None:
        """What is behind them is not yet known."""
        link.other.write(b"abc")
        assert read_now(link.loop, link.stream, 1) == ((1, 0), b"a")
        link.wire.peer.sendall(b"garbage in place of a record")
        assert read_now(link.loop, link.stream, 2) == ((2, 0), b"bc")
        assert read_now(link.loop, link.stream, 1)[0] == (-1, EIO)

    def test_disconnect_says_so(self, link: Link) -> None:
        """A close_notify is sent, and the answer is not waited for; the plain stream is left alone."""
        seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert seen.result == (0, 0)
        assert link.other.read() == b""
        assert link.other.ended
        assert tstream_pending_bytes(link.wire.stream) == 0
        assert write_now(link.loop, link.wire.stream, b"plain") == (5, 0)
        assert drain(link.wire.peer) == b"plain"

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @pytest.mark.parametrize("server", [False, True])
    def test_reading_after_a_disconnect(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, server: bool, version: Any
    ) -> None:
        """Goes on: with what was decrypted before, what had come, and what still comes, until the other side ends."""
        link = Link(loop, top, unix, server=server, version=version)
        link.other.write(b"0123456789")
        assert read_now(loop, link.stream, 1) == ((1, 0), b"0")
        link.other.write(b"on the way")
        seen = loop.watch(disconnect(loop, None, link.stream), tstream_disconnect_recv, free=True)
        loop.until(lambda: seen.calls)
        assert seen.result == (0, 0)
        assert tstream_pending_bytes(link.stream) == 9
        assert read_now(loop, link.stream, 4) == ((4, 0), b"1234")
        assert tstream_pending_bytes(link.stream) == 5
        assert read_now(loop, link.stream, 15) == ((15, 0), b"56789on the way")
        link.other.write(b"more")
        assert read_now(loop, link.stream, 4) == ((4, 0), b"more")
        link.other.receive()
        link.other.tls.unwrap()
        link.other.flush()
        assert read_now(loop, link.stream, 1)[0] == (-1, EPIPE)

    def test_a_disconnect_after_a_read_was_freed(self, link: Link) -> None:
        """The record that came for it is not lost."""
        talloc_free(readv(link.loop, None, link.stream, bytearray(1)))
        link.other.write(b"abc")
        link.loop.settle()
        seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert seen.result == (0, 0)
        assert tstream_pending_bytes(link.stream) == 3
        assert read_now(link.loop, link.stream, 3) == ((3, 0), b"abc")

    def test_writing_after_a_disconnect(self, link: Link) -> None:
        """Is EIO, and from then on everything is."""
        seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert write_now(link.loop, link.stream, b"x") == (-1, EIO)
        assert read_now(link.loop, link.stream, 1)[0] == (-1, EIO)
        assert tstream_pending_bytes(link.stream) == -1
        assert get_errno() == EIO
        seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
        link.loop.until(lambda: seen.calls)
        assert seen.result == (-1, EIO)

    def test_a_second_disconnect(self, link: Link) -> None:
        """Is EIO, and does not disturb reading."""
        for wanted in ((0, 0), (-1, EIO)):
            seen = link.loop.watch(disconnect(link.loop, None, link.stream), tstream_disconnect_recv, free=True)
            link.loop.settle()
            assert seen.result == wanted
        link.other.write(b"abc")
        assert read_now(link.loop, link.stream, 3) == ((3, 0), b"abc")

    def test_freeing_says_nothing(self, link: Link) -> None:
        """No byte is sent, and the plain stream goes on with the next one."""
        link.other.write(b"a")
        assert read_now(link.loop, link.stream, 1) == ((1, 0), b"a")
        talloc_free(link.stream)
        link.loop.settle()
        assert drain(link.wire.peer) == b""
        link.wire.peer.sendall(b"plain")
        assert read_now(link.loop, link.wire.stream, 5) == ((5, 0), b"plain")

    def test_the_plain_stream_ends_first(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """Using the stream afterwards is a use after free."""
        from talloc_py import talloc_abort_error

        link = Link(loop, top, unix, server=False)
        talloc_free(unix.stream)
        with pytest.raises(talloc_abort_error):
            readv(loop, None, link.stream, bytearray(1))
        with pytest.raises(talloc_abort_error):
            writev(loop, None, link.stream, b"x")


class TestErrors:
    @pytest.mark.parametrize(
        "text",
        [
            b"\x17\x03\x03\0\x20" + bytes(32),  # not encrypted with the key
            b"\x17\x03\x03\x48\x01" + bytes(100),  # longer than a record can be
            b"\x19\x03\x03\0\1x",  # of an unknown type
            b"\x13\x03\x03\0\1x",
            b"\x17\x03\x03\0\0",  # empty
            b"\x16\x03\x03\0\0",
            b"GET / HTTP/1.0\r\n",
        ],
    )
    def test_garbage(self, link: Link, text: bytes) -> None:
        """EIO, for good; a read and a write that are outstanding hear of it, the other side gets an alert."""
        reading = link.loop.watch(readv(link.loop, None, link.stream, bytearray(1)), tstream_readv_recv, free=True)
        watching = link.loop.watch(monitor(link.loop, None, link.stream), tstream_monitor_recv, free=True)
        link.wire.peer.sendall(text)
        link.wire.peer.shutdown(1)
        link.loop.until(lambda: reading.calls and watching.calls)
        assert reading.result == (-1, EIO)
        assert watching.result == (-1, EIO)
        assert write_now(link.loop, link.stream, b"x") == (-1, EIO)
        assert tstream_pending_bytes(link.stream) == -1

    def test_an_alert_of_the_other_side(self, link: Link) -> None:
        """A fatal one is EIO."""
        link.wire.peer.sendall(b"\x17\x03\x03\0\x20" + bytes(32))
        assert read_now(link.loop, link.stream, 1)[0] == (-1, EIO)
        with pytest.raises(ssl.SSLError, match="ALERT"):
            link.other.read()

    @pytest.mark.parametrize("outstanding", ["read", "write", "both"])
    def test_an_error_of_the_plain_stream(self, top: TALLOC_CTX, loop: Loop, outstanding: str) -> None:
        """Whatever has failed, its errno is that of all requests, and stays."""
        one, script = on_script(loop, top)
        reading = writing = None
        if outstanding != "write":
            reading = loop.watch(readv(loop, None, one, bytearray(1)), tstream_readv_recv, free=True)
        if outstanding != "read":
            writing = loop.watch(writev(loop, None, one, b"x"), tstream_writev_recv, free=True)
        script.answer("readv" if writing is None else "writev", -1, ECONNRESET)
        loop.settle()
        for seen in (reading, writing):
            assert seen is None or seen.result == (-1, ECONNRESET)
        assert tstream_pending_bytes(one) == -1
        assert get_errno() == ECONNRESET
        assert write_now(loop, one, b"x") == (-1, ECONNRESET)

    def test_a_failed_write_reaches_a_reader_that_frees_everything(self, top: TALLOC_CTX, loop: Loop) -> None:
        """The first callback may free the stream; the other one is never called then."""
        one, script = on_script(loop, top)
        seen = []
        for req in (readv(loop, top, one, bytearray(1)), writev(loop, top, one, b"x")):
            seen.append(loop.watch(req, then=lambda _: talloc_free(one) if talloc_parent(one) else None))
        script.answer("writev", -1, ECONNRESET)
        loop.settle()
        assert sum(each.calls for each in seen) == 1

    @pytest.mark.parametrize("operation", ["readv", "writev"])
    def test_a_plain_stream_without_memory(self, top: TALLOC_CTX, loop: Loop, operation: str) -> None:
        """ENOMEM, told from the loop."""
        one, script = on_script(loop, top)
        script.refuse = {operation}
        req = readv(loop, None, one, bytearray(1)) if operation == "readv" else writev(loop, None, one, b"x")
        seen = loop.watch(req, tstream_readv_recv if operation == "readv" else tstream_writev_recv, free=True)
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ENOMEM)

    @pytest.mark.parametrize("operation", ["read", "write", "disconnect"])
    def test_an_error_without_a_reason(self, top: TALLOC_CTX, loop: Loop, operation: str) -> None:
        """A bare OSError with a stale errno, as newer Pythons raise them, is EIO and does not leave the loop."""

        class Broken:
            def fail(self, *_: object) -> int:
                raise BlockingIOError(11, "Resource temporarily unavailable")

            read = write = unwrap = fail

            def pending(self) -> int:
                return 0

        one, _ = connected(loop, top)
        one.private_data.engine._tls = Broken()  # type: ignore[attr-defined]
        if operation == "read":
            assert read_now(loop, one, 1)[0] == (-1, EIO)
        elif operation == "write":
            assert write_now(loop, one, b"x") == (-1, EIO)
        else:
            seen = loop.watch(disconnect(loop, None, one), tstream_disconnect_recv, free=True)
            loop.until(lambda: seen.calls)
            assert seen.result == (-1, EIO)

    def test_another_event_context(self, top: TALLOC_CTX, loop: Loop) -> None:
        """From the next request on the plain stream, the stream uses the context of the operation."""
        one, two = connected(loop, top)
        other = Loop(top)
        assert write_now(other, one, b"abc") == (3, 0)
        assert read_now(other, two, 2) == ((2, 0), b"ab")
        assert read_now(loop, two, 1) == ((1, 0), b"c")


def on_script(loop: Loop, top: TALLOC_CTX) -> tuple[tstream_context, ScriptedStream]:
    """A stream after its handshake, over a plain one that then does as it is told."""
    from stream_backends import FORWARD_OPS, forward_state, tstream_context_data

    plain, far = memory_pair(top)
    middle = forward(top, plain)
    one, _ = connected(loop, top, "", (middle, far))
    script = ScriptedStream(top)
    assert middle.ops is FORWARD_OPS
    tstream_context_data(middle, forward_state).inner = script.stream
    return one, script


class Forged:
    """A stream of ours, on either side, whose other side is a `Forger`."""

    def __init__(self, loop: Loop, top: TALLOC_CTX, wire: Wire, keys: pathlib.Path, *, server: bool) -> None:
        self.loop = loop
        self.peer = wire.peer
        tls13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
        self.other = OtherSide(wire.peer, server=not server, priority=tls13, keys=keys)
        params = world().server(top) if server else world().client(top)
        ret, err, stream = handshake_with(loop, top, wire.stream, self.other, params, server).result
        assert (ret, err) == (0, 0)
        self.stream: tstream_context = stream
        self.forger = Forger(self.other, keys)

    def reads(self, *records: bytes, want: bytes) -> None:
        """After *records* ours reads *want*."""
        for record in records:
            self.peer.sendall(record)
        assert read_now(self.loop, self.stream, len(want)) == ((len(want), 0), want)


class TestMessagesInBetween:
    """What TLS 1.3 says besides the data."""

    @pytest.fixture(params=["client", "server"])
    def forged(
        self, request: pytest.FixtureRequest, top: TALLOC_CTX, loop: Loop, unix: Wire, tmp_path: pathlib.Path
    ) -> Forged:
        return Forged(loop, top, unix, tmp_path / "keys", server=request.param == "server")

    def test_data(self, forged: Forged) -> None:
        """The forger is understood."""
        forged.reads(forged.forger.data(b"one"), forged.forger.data(b"two"), want=b"onetwo")

    def test_an_update_of_keys(self, forged: Forged) -> None:
        """Is followed, in the middle of the data; nobody is asked to answer."""
        forger = forged.forger
        for _ in range(3):
            forged.reads(forger.data(b"before"), forger.update(False), forger.data(b"after"), want=b"beforeafter")
        assert drain(forged.peer) == b""

    def test_an_update_that_wants_an_answer(self, forged: Forged) -> None:
        """Is answered with the next record, and what is written from then on is under new keys."""
        forger = forged.forger
        forged.reads(forger.update(True), forger.data(b"after"), want=b"after")
        assert write_now(forged.loop, forged.stream, b"under new keys") == (14, 0)
        records = drain(forged.peer)
        assert int.from_bytes(records[3:5], "big") == 5 + 17
        forged.other.incoming.write(records)
        assert forged.other.read() == b"under new keys"

    def test_an_answer_that_nobody_writes(self, forged: Forged) -> None:
        """Is sent at the next update."""
        forger = forged.forger
        forged.reads(forger.update(True), forger.data(b"one"), want=b"one")
        assert drain(forged.peer) == b""
        forged.reads(forger.update(True), forger.data(b"two"), want=b"two")
        forged.loop.settle()
        assert len(drain(forged.peer)) == 5 + 5 + 17

    def test_answers_that_are_not_taken(
        self, monkeypatch: pytest.MonkeyPatch, top: TALLOC_CTX, loop: Loop, unix: Wire, tmp_path: pathlib.Path
    ) -> None:
        """A peer that demands answer after answer and takes none is not read any further until it does."""
        forged = Forged(loop, top, unix, tmp_path / "keys", server=True)
        monkeypatch.setattr("tsocket.tls._AHEAD_MAX", 500)
        filling = writev(loop, None, forged.stream, BIG)
        loop.settle()
        talloc_free(filling)
        seen = loop.watch(readv(loop, None, forged.stream, bytearray(100)), tstream_readv_recv, free=True)
        for byte in range(100):
            forged.peer.sendall(forged.forger.update(True) + forged.forger.data(bytes([byte])))
            loop.settle()
        assert seen.calls == 0
        unsent = forged.stream.private_data.engine.unsent  # type: ignore[attr-defined]
        assert 500 <= unsent < 600

        def taken() -> bool:
            drain(forged.peer)
            return seen.calls > 0

        drive(loop, forged.other, taken)
        assert seen.result == (100, 0)

    def test_a_message_in_pieces(self, forged: Forged) -> None:
        """A change of keys in two records is followed; a write in between waits for the second, and is not lost."""
        forger = forged.forger
        message = b"\x18\0\0\1\0"
        reading = forged.loop.watch(
            readv(forged.loop, None, forged.stream, bytearray(5)), tstream_readv_recv, free=True
        )
        forged.peer.sendall(forger.record(22, message[:2]))
        forged.loop.settle()
        writing = forged.loop.watch(writev(forged.loop, None, forged.stream, b"hello"), tstream_writev_recv, free=True)
        forged.loop.settle()
        forged.peer.sendall(forger.record(22, message[2:]))
        forger.update(False)
        forged.loop.until(lambda: writing.calls)
        assert writing.result == (5, 0)
        assert forged.other.read() == b"hello"
        forged.peer.sendall(forger.data(b"after"))
        forged.loop.until(lambda: reading.calls)
        assert reading.result == (5, 0)

    def test_a_message_in_pieces_that_nobody_reads(self, forged: Forged) -> None:
        """The write itself reads the second piece."""
        forger = forged.forger
        forged.reads(forger.data(b"a"), want=b"a")
        talloc_free(readv(forged.loop, None, forged.stream, bytearray(1)))
        forged.peer.sendall(forger.record(22, b"\x18\0"))
        forged.loop.settle()
        # A read finds the first piece, and goes.
        talloc_free(readv(forged.loop, None, forged.stream, bytearray(1)))
        writing = forged.loop.watch(writev(forged.loop, None, forged.stream, b"hello"), tstream_writev_recv, free=True)
        forged.loop.settle()
        forged.peer.sendall(forger.record(22, b"\0\1\0"))
        forged.loop.until(lambda: writing.calls)
        assert writing.result == (5, 0)
        assert forged.other.read() == b"hello"

    @pytest.mark.parametrize("count", [1, 30, 200])
    def test_records_of_nothing(self, forged: Forged, count: int) -> None:
        """Some are passed over, very many are not tolerated."""
        for _ in range(count):
            forged.peer.sendall(forged.forger.data(b""))
        forged.peer.sendall(forged.forger.data(b"x"))
        result, buf = read_now(forged.loop, forged.stream, 1)
        assert (result, buf) == ((1, 0), b"x") if count < 33 else result == (-1, EIO)

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            (22, b"\x18\0\0\1\2"),  # an update that wants what there is not
            (22, b"\x01\0\0\4abcd"),  # a hello in the middle
            (22, b"\x63\0\0\0"),  # no known message
            (20, b"\1"),  # a change of ciphers, too late
            (21, b"\2\x28"),  # a fatal alert
            (21, b"\1\x28"),  # a warning that 1.3 does not have
            (21, b"\2"),
            (0, b"padding and nothing else"),
            (99, b"?"),
            (23, bytes(16385)),  # more than a record may carry
        ],
    )
    def test_what_must_not_be(self, forged: Forged, kind: int, content: bytes) -> None:
        """EIO, for good, although the key was right."""
        forged.peer.sendall(forged.forger.record(kind, content))
        assert read_now(forged.loop, forged.stream, 1)[0] == (-1, EIO)
        assert write_now(forged.loop, forged.stream, b"x") == (-1, EIO)

    def test_padding(self, forged: Forged) -> None:
        """Zeros behind the type of a record are its padding."""
        forged.reads(forged.forger.record(0, b"data\x17" + bytes(100)), want=b"data")

    def test_tickets(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """A server that sends some is understood; the client reads them with the first data."""
        other = OtherSide(unix.peer, server=True, priority=(ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3))
        other.context.num_tickets = 2
        other.tls = other.context.wrap_bio(other.incoming, other.outgoing, server_side=True)
        ret, err, stream = handshake_with(loop, top, unix.stream, other, world().client(top), False).result
        assert (ret, err) == (0, 0)
        assert tstream_pending_bytes(stream) == 0
        assert tstream_pending_bytes(unix.stream) > 0
        other.write(b"data")
        assert read_now(loop, stream, 4) == ((4, 0), b"data")
