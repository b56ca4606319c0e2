# SPDX-License-Identifier: LGPL-3.0-or-later
"""TLS for clients that wait, over two functions of theirs."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from errno import EAGAIN, ECONNRESET, EINTR, EIO, ETIMEDOUT
from typing import Any

import pytest
from tls_kit import HOST, TLS12, TLS13, VERSIONS, world

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import get_errno, set_errno, tevent_abort_error
from tsocket import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_CRYPTO_SYSTEM_INVALID,
    NT_STATUS_IMAGE_CERT_REVOKED,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    map_nt_error_from_unix_common,
    tstream_tls_sync_channel_bindings,
    tstream_tls_sync_pending,
    tstream_tls_sync_read,
    tstream_tls_sync_setup,
    tstream_tls_sync_write,
)


class Peer:
    """
    A server in the same thread: what is sent to it is answered when bytes are asked for.

    Attributes:
        failures: What the next calls fail with: ``("send", errno)`` or ``("recv", errno)``, each once.

        piece: How many bytes go in one call, 0 for no limit.
    """

    def __init__(self, files: Any = None, version: Any = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = files or world().good
        context.load_cert_chain(files.cert, files.key)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.shaken = False
        self.ended = False
        self.piece = 0
        self.failures: list[tuple[str, int]] = []
        self.calls: list[str] = []

    def _fails(self, what: str) -> bool:
        self.calls.append(what)
        if self.failures and self.failures[0][0] == what:
            set_errno(self.failures.pop(0)[1])
            return True
        return False

    def send(self, io_private: object, buf: memoryview) -> int:
        assert io_private is self
        if self._fails("send"):
            return -1
        return self.incoming.write(buf[: self.piece or len(buf)])

    def recv(self, io_private: object, buf: memoryview) -> int:
        assert io_private is self
        if self._fails("recv"):
            return -1
        if not self.shaken:
            try:
                self.tls.do_handshake()
                self.shaken = True
            except (ssl.SSLWantReadError, ssl.SSLError):
                pass
        data = self.outgoing.read(min(self.piece or len(buf), len(buf)))
        if not data and not self.ended:
            set_errno(EAGAIN)
            return -1
        buf[: len(data)] = data
        return len(data)

    def read(self) -> bytes:
        """What the client has written."""
        parts = []
        try:
            while part := self.tls.read(65536):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return b"".join(parts)


def setup(top: TALLOC_CTX | None, peer: Peer, **client: Any) -> Any:
    """Handshake with *peer*: the status and the connection."""
    params = world().client(None, **client)
    try:
        return tstream_tls_sync_setup(params, peer, peer.send, peer.recv, top)
    finally:
        talloc_free(params)


def connected(top: TALLOC_CTX, peer: Peer) -> Any:
    status, tls = setup(top, peer)
    assert status == NT_STATUS_OK
    return tls


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def peer(request: pytest.FixtureRequest) -> Peer:
    return Peer(version=request.param)


class TestSetup:
    def test_the_chunk(self, top: TALLOC_CTX, peer: Peer) -> None:
        """It belongs to who it was made for; the parameters may be gone."""
        tls = connected(top, peer)
        assert talloc_parent(tls) is top
        assert tstream_tls_sync_channel_bindings(tls).startswith(b"tls-server-end-point:")

    @pytest.mark.parametrize("piece", [1, 2, 7])
    def test_in_pieces(self, top: TALLOC_CTX, peer: Peer, piece: int) -> None:
        """However few bytes the functions take and give."""
        peer.piece = piece
        tls = connected(top, peer)
        assert tstream_tls_sync_write(tls, b"hello" * 10) == 50
        assert peer.read() == b"hello" * 10

    def test_an_interruption(self, top: TALLOC_CTX, peer: Peer) -> None:
        """Is no reason to give up."""
        peer.failures = [("send", EINTR), ("recv", EINTR), ("recv", EINTR)]
        connected(top, peer)
        assert peer.failures == []

    @pytest.mark.parametrize("which", ["expired", "nameless"])
    def test_a_certificate_that_is_refused(self, top: TALLOC_CTX, which: str) -> None:
        """Has a status of its own; nothing is left."""
        blocks = talloc_total_blocks(top)
        assert setup(top, Peer(getattr(world(), which))) == (NT_STATUS_IMAGE_CERT_REVOKED, None)
        assert setup(top, Peer(), name="127.0.0.1") == (NT_STATUS_IMAGE_CERT_REVOKED, None)
        assert talloc_total_blocks(top) == blocks

    @pytest.mark.parametrize("priority", ["NONSENSE", "NORMAL:-VERS-TLS-ALL", TLS12])
    def test_other_failures_of_tls(self, top: TALLOC_CTX, priority: str) -> None:
        """A priority that cannot be used, or no common version."""
        peer = Peer(version=ssl.TLSVersion.TLSv1_3)
        assert setup(top, peer, priority=priority) == (NT_STATUS_CRYPTO_SYSTEM_INVALID, None)

    @pytest.mark.parametrize("what", ["send", "recv"])
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (ECONNRESET, map_nt_error_from_unix_common(ECONNRESET)),
            (ETIMEDOUT, NT_STATUS_IO_TIMEOUT),
            (EAGAIN, NT_STATUS_IO_TIMEOUT),
            (0, map_nt_error_from_unix_common(EIO)),
        ],
    )
    def test_failures_of_the_functions(self, top: TALLOC_CTX, peer: Peer, what: str, error: int, status: int) -> None:
        """Their errno decides; a failure without one is EIO."""
        peer.failures = [(what, error)]
        assert setup(top, peer) == (status, None)

    def test_the_end(self, top: TALLOC_CTX, peer: Peer) -> None:
        """A server that goes away is no longer connected."""
        peer.ended = True
        peer.shaken = True
        assert setup(top, peer) == (NT_STATUS_CONNECTION_DISCONNECTED, None)

    def test_what_is_not_tls(self, top: TALLOC_CTX, peer: Peer) -> None:
        """Is a failure of TLS."""
        peer.shaken = True
        peer.outgoing.write(b"220 smtp.test ready\r\n")
        assert setup(top, peer) == (NT_STATUS_CRYPTO_SYSTEM_INVALID, None)

    @pytest.mark.parametrize("count", [-2, 1000000, None, "1"])
    def test_functions_that_return_nonsense(self, top: TALLOC_CTX, peer: Peer, count: Any) -> None:
        """A TypeError; nothing is left."""
        blocks = talloc_total_blocks(top)
        params = world().client(None)
        with pytest.raises(TypeError, match="number of bytes"):
            tstream_tls_sync_setup(params, peer, lambda io_private, buf: count, peer.recv, top)
        talloc_free(params)
        assert talloc_total_blocks(top) == blocks

    def test_parameters_of_a_server(self, top: TALLOC_CTX, peer: Peer) -> None:
        """Go to the abort function."""
        with pytest.raises(tevent_abort_error, match="client"):
            tstream_tls_sync_setup(world().server(top), peer, peer.send, peer.recv, top)

    def test_memory_limit(self, top: TALLOC_CTX, peer: Peer) -> None:
        """Where a limit forbids the chunk there is no connection."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert setup(limited, peer) == (NT_STATUS_NO_MEMORY, None)


class TestData:
    @pytest.mark.parametrize("size", [0, 1, 16384, 16385, 65536, 200_000])
    def test_writing(self, top: TALLOC_CTX, peer: Peer, size: int) -> None:
        """All of it, whatever the size."""
        tls = connected(top, peer)
        data = bytes(n % 251 for n in range(size))
        assert tstream_tls_sync_write(tls, data) == size
        assert peer.read() == data

    def test_reading(self, top: TALLOC_CTX, peer: Peer) -> None:
        """What there is, as far as the buffer goes; the rest is pending."""
        tls = connected(top, peer)
        assert tstream_tls_sync_pending(tls) == 0
        peer.tls.write(b"0123456789")
        buf = bytearray(4)
        assert tstream_tls_sync_read(tls, buf) == 4
        assert buf == b"0123"
        assert tstream_tls_sync_pending(tls) == 6
        big = bytearray(100)
        assert tstream_tls_sync_read(tls, big) == 6
        assert big[:6] == b"456789"
        assert tstream_tls_sync_read(tls, bytearray()) == 0

    def test_no_more_is_received_than_the_record(self, top: TALLOC_CTX, peer: Peer) -> None:
        """The next one stays where it is."""
        tls = connected(top, peer)
        tstream_tls_sync_write(tls, b"x")
        peer.tls.write(b"one")
        left = peer.outgoing.pending
        peer.tls.write(b"two")
        second = peer.outgoing.pending - left
        assert tstream_tls_sync_read(tls, bytearray(100)) == 3
        assert peer.outgoing.pending == second

    @pytest.mark.parametrize("error", [EAGAIN, EINTR])
    def test_a_read_can_be_repeated(self, top: TALLOC_CTX, peer: Peer, error: int) -> None:
        """Nothing is lost, in the middle of a record either."""
        tls = connected(top, peer)
        peer.tls.write(b"hello")
        peer.piece = 3
        buf = bytearray(5)
        for _ in range(4):
            peer.failures = [("recv", error)]
            count = tstream_tls_sync_read(tls, buf)
            if count != -1:
                break
            assert get_errno() == error
            # One piece more arrives before the next failure.
            good = peer.recv

            def once(io_private: object, view: memoryview, good: Callable[..., int] = good) -> int:
                peer.failures = [("recv", error)] if peer.calls.count("recv") % 2 else []
                return good(io_private, view)

            tls.io_recv_fn = once
        peer.failures = []
        tls.io_recv_fn = peer.recv
        if count == -1:
            count = tstream_tls_sync_read(tls, buf)
        assert (count, buf) == (5, b"hello")

    @pytest.mark.parametrize("error", [EAGAIN, EINTR])
    @pytest.mark.parametrize("size", [5, 150_000])
    def test_a_write_can_be_repeated(self, top: TALLOC_CTX, peer: Peer, error: int, size: int) -> None:
        """With the same bytes, which are sent once."""
        tls = connected(top, peer)
        data = bytes(n % 251 for n in range(size))
        peer.failures = [("send", error)] * 3
        for _ in range(3):
            assert tstream_tls_sync_write(tls, data) == -1
            assert get_errno() == error
        assert tstream_tls_sync_write(tls, data) == size
        assert peer.read() == data
        assert tstream_tls_sync_write(tls, b"next") == 4
        assert peer.read() == b"next"

    def test_close_notify(self, top: TALLOC_CTX, peer: Peer) -> None:
        """Is the end: 0, as often as one asks."""
        tls = connected(top, peer)
        peer.tls.write(b"last")
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.unwrap()
        assert tstream_tls_sync_read(tls, bytearray(10)) == 4
        for _ in range(2):
            assert tstream_tls_sync_read(tls, bytearray(10)) == 0

    @pytest.mark.parametrize("cut", [0, 3, 5, 9])
    def test_a_cut_connection(self, top: TALLOC_CTX, peer: Peer, cut: int) -> None:
        """Is no end, but EIO, for good."""
        tls = connected(top, peer)
        peer.outgoing.read()
        peer.tls.write(b"hello")
        peer.outgoing, rest = ssl.MemoryBIO(), peer.outgoing.read()
        peer.outgoing.write(rest[:cut])
        peer.ended = True
        for _ in range(2):
            assert tstream_tls_sync_read(tls, bytearray(10)) == -1
            assert get_errno() == EIO
        assert tstream_tls_sync_write(tls, b"x") == -1
        assert tstream_tls_sync_pending(tls) == 0

    @pytest.mark.parametrize("text", [b"\x17\x03\x03\0\x20" + bytes(32), b"plain text"])
    def test_garbage(self, top: TALLOC_CTX, peer: Peer, text: bytes) -> None:
        """EIO, for good."""
        tls = connected(top, peer)
        peer.outgoing.read()
        peer.outgoing.write(text)
        assert tstream_tls_sync_read(tls, bytearray(10)) == -1
        assert get_errno() == EIO
        assert tstream_tls_sync_write(tls, b"x") == -1

    @pytest.mark.parametrize("what", ["send", "recv"])
    def test_other_errors_of_the_functions(self, top: TALLOC_CTX, peer: Peer, what: str) -> None:
        """Are EIO here, and stay."""
        tls = connected(top, peer)
        peer.outgoing.read()
        peer.failures = [(what, ECONNRESET)]
        result = tstream_tls_sync_write(tls, b"x") if what == "send" else tstream_tls_sync_read(tls, bytearray(1))
        assert (result, get_errno()) == (-1, EIO)
        assert tstream_tls_sync_write(tls, b"x") == -1

    def test_freed_and_wrong_things(self, top: TALLOC_CTX, peer: Peer) -> None:
        """A freed connection goes to the abort function, what is none is a TypeError."""
        tls = connected(top, peer)
        talloc_free(tls)
        calls: list[Callable[[Any], Any]] = [
            lambda tls: tstream_tls_sync_read(tls, bytearray(1)),
            lambda tls: tstream_tls_sync_write(tls, b"x"),
            tstream_tls_sync_pending,
            tstream_tls_sync_channel_bindings,
        ]
        for call in calls:
            with pytest.raises(talloc_abort_error):
                call(tls)
            with pytest.raises((TypeError, AttributeError)):
                call(object())


@VERSIONS
def test_versions(top: TALLOC_CTX, version: str) -> None:
    """The priority of the parameters counts."""
    peer = Peer()
    status, tls = setup(top, peer, priority=version)
    assert status == NT_STATUS_OK
    assert tls.engine._tls.version() == ("TLSv1.2" if version == TLS12 else "TLSv1.3")
    assert version in (TLS12, TLS13)
    assert tls.engine.settings.peer_name == HOST
