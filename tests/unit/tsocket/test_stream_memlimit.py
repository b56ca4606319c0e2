# SPDX-License-Identifier: LGPL-3.0-or-later
"""Memory limits, the one way for a ``_send`` to return None: nothing is started, nothing leaks, streams stay free."""

from __future__ import annotations

import socket
from errno import ENOMEM

import pytest
from stream_kit import LengthPrefixed, is_open, open_fds, write_now

from talloc_py import TALLOC_CTX, talloc_free, talloc_new, talloc_set_memlimit, talloc_total_blocks
from tevent import get_errno, tevent_queue_create, tevent_queue_length
from tsocket import (
    tsocket_address_inet_from_strings,
    tsocket_address_unix_from_path,
    tstream_bsd_existing_socket,
    tstream_context_create,
    tstream_context_ops,
    tstream_disconnect_send,
    tstream_inet_tcp_connect_send,
    tstream_monitor_send,
    tstream_pending_bytes,
    tstream_readv_pdu_queue_send,
    tstream_readv_pdu_send,
    tstream_readv_send,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
    tstream_unix_socketpair,
    tstream_writev_queue_send,
    tstream_writev_send,
)


@pytest.fixture
def full(top):
    """A context on which nothing more can be allocated."""
    ctx = talloc_new(top)
    assert talloc_set_memlimit(ctx, 1) == 0
    return ctx


class some_state(TALLOC_CTX):
    """A state of the user's."""

    one: int
    two: int


class TestSends:
    @pytest.mark.parametrize(
        "send",
        [
            lambda ctx, ev, s, q: tstream_readv_send(ctx, ev, s, [bytearray(1)]),
            lambda ctx, ev, s, q: tstream_writev_send(ctx, ev, s, [b"x"]),
            lambda ctx, ev, s, q: tstream_writev_send(ctx, ev, s, []),
            lambda ctx, ev, s, q: tstream_disconnect_send(ctx, ev, s),
            lambda ctx, ev, s, q: tstream_monitor_send(ctx, ev, s),
            lambda ctx, ev, s, q: tstream_readv_pdu_send(ctx, ev, s, LengthPrefixed().next_vector, None),
            lambda ctx, ev, s, q: tstream_readv_pdu_queue_send(ctx, ev, s, q, LengthPrefixed().next_vector, None),
            lambda ctx, ev, s, q: tstream_writev_queue_send(ctx, ev, s, q, [b"x"]),
        ],
        ids=["readv", "writev", "empty", "disconnect", "monitor", "pdu", "pdu_queue", "writev_queue"],
    )
    def test_they_return_none_and_start_nothing(self, top, loop, unix, full, send):
        """No bytes move, no place in a queue is taken, and the stream can be used at once."""
        queue = tevent_queue_create(top, "line")
        assert send(full, loop.ev, unix.stream, queue) is None
        assert tevent_queue_length(queue) == 0
        assert is_open(unix.fd)
        assert unix.drain() == b""
        assert loop.settle() == 0
        assert talloc_total_blocks(full) == 1
        req = send(top, loop.ev, unix.stream, queue)
        assert req is not None

    @pytest.mark.parametrize("connect", [tstream_inet_tcp_connect_send, tstream_unix_connect_send])
    def test_connects(self, top, loop, full, connect):
        """No descriptor is opened."""
        _, inet = tsocket_address_inet_from_strings(top, "ip", None, 0)
        before = open_fds()
        assert connect(full, loop.ev, inet, inet) is None
        assert open_fds() == before


class TestStreams:
    def test_an_existing_socket_stays_the_callers(self, full):
        """-1 and ENOMEM; the descriptor is not closed."""
        sock, peer = socket.socketpair()
        with sock, peer:
            assert tstream_bsd_existing_socket(full, sock.fileno()) == (-1, None)
            assert get_errno() == ENOMEM
            assert is_open(sock.fileno())

    @pytest.mark.parametrize("first", [True, False])
    def test_a_socketpair(self, top, full, first):
        """Both descriptors are closed, whichever of the two contexts is full, and no stream remains."""
        before = open_fds()
        blocks = talloc_total_blocks(top)
        result = tstream_unix_socketpair(full, top) if first else tstream_unix_socketpair(top, full)
        assert result == (-1, None, None)
        assert get_errno() == ENOMEM
        assert open_fds() == before
        assert talloc_total_blocks(top) == blocks

    def test_a_backends_stream(self, full):
        """(None, None)."""
        assert tstream_context_create(full, tstream_context_ops(name="mine"), some_state) == (None, None)
        assert talloc_total_blocks(full) == 1

    def test_a_connected_stream(self, top, loop, full, tmp_path):
        """``_recv`` gives -1 and ENOMEM, and the connection is closed."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            _, local = tsocket_address_unix_from_path(top, "")
            _, remote = tsocket_address_unix_from_path(top, str(tmp_path / "s"))
            before = open_fds()
            req = tstream_unix_connect_send(top, loop.ev, local, remote)
            assert tstream_unix_connect_recv(req, full) == (-1, ENOMEM, None)
            assert open_fds() == before

    @pytest.mark.parametrize("limit", range(16, 1200, 48))
    def test_any_limit_leaves_all_or_nothing(self, top, loop, limit):
        """Whatever step fails, no descriptor is lost: a pair is made and works, or there is none."""
        ctx = talloc_new(top)
        talloc_set_memlimit(ctx, limit)
        before = open_fds()
        ret, one, two = tstream_unix_socketpair(ctx, ctx)
        if ret == -1:
            assert (one, two) == (None, None)
            assert open_fds() == before
            return
        assert write_now(loop, one, b"x") == (1, 0)
        assert tstream_pending_bytes(two) == 1
        for send in (
            lambda: tstream_readv_send(ctx, loop.ev, two, [bytearray(1)]),
            lambda: tstream_monitor_send(ctx, loop.ev, two),
        ):
            req = send()
            seen = None if req is None else loop.watch(req)
            loop.settle()
            assert seen is None or seen.calls <= 1
        talloc_free(ctx)
        assert open_fds() == before
