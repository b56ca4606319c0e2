# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_unix_socketpair``."""

from __future__ import annotations

import os
import socket
from errno import EMFILE, EPIPE

import pytest
from stream_kit import (
    BIG,
    MIB,
    at_most_more_descriptors,
    open_fds,
    opened_by,
    read_now,
    readv,
    write_now,
    writev,
)

from talloc_py import talloc_free, talloc_get_name, talloc_get_type_abort, talloc_new, talloc_parent
from tevent import get_errno
from tsocket import tstream_context, tstream_readv_recv, tstream_unix_socketpair, tstream_writev_recv


@pytest.fixture
def pair(top):
    """Two connected streams below the test's context."""
    ret, one, two = tstream_unix_socketpair(top, top)
    assert ret == 0
    return one, two


class TestSocketpair:
    def test_bytes_go_both_ways(self, loop, pair):
        """What one writes the other reads."""
        one, two = pair
        assert write_now(loop, one, b"ping") == (4, 0)
        assert read_now(loop, two, 4) == ((4, 0), b"ping")
        assert write_now(loop, two, b"pong") == (4, 0)
        assert read_now(loop, one, 4) == ((4, 0), b"pong")

    def test_each_belongs_to_its_own_context(self, top, loop):
        """Either end can be freed with its owner; the other one lives and sees the end."""
        first, second = talloc_new(top), talloc_new(top)
        _, one, two = tstream_unix_socketpair(first, second)
        assert talloc_parent(one) is first
        assert talloc_parent(two) is second
        talloc_free(first)
        assert read_now(loop, two, 1)[0] == (-1, EPIPE)

    def test_mem_ctx_may_be_none(self):
        """Two top-level streams."""
        ret, one, two = tstream_unix_socketpair(None, None)
        assert ret == 0
        assert talloc_parent(one) is None
        assert talloc_free(one) == 0
        assert talloc_free(two) == 0

    def test_descriptors_are_nonblocking_and_closed_on_exec(self, top):
        """Both descriptors are stream sockets of the Unix family with the usual flags, above standard error."""
        (ret, _, _), fds = opened_by(lambda: tstream_unix_socketpair(top, top))
        assert ret == 0
        assert len(fds) == 2
        for fd in fds:
            assert fd >= 3
            assert not os.get_blocking(fd)
            assert not os.get_inheritable(fd)
            with socket.socket(fileno=os.dup(fd)) as sock:
                assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)

    def test_no_descriptor_of_standard_streams_is_taken(self, top, loop):
        """Even when 0, 1 or 2 are closed."""
        saved = os.dup(0)
        os.close(0)
        try:
            (_, one, two), fds = opened_by(lambda: tstream_unix_socketpair(top, top))
        finally:
            os.dup2(saved, 0)
            os.close(saved)
        assert min(fds) >= 3
        assert write_now(loop, one, b"x") == (1, 0)
        assert read_now(loop, two, 1) == ((1, 0), b"x")

    def test_no_more_descriptors(self, top):
        """The errno of socketpair(2), no streams, nothing left open."""
        with at_most_more_descriptors(0):
            result = tstream_unix_socketpair(top, top)
            number = get_errno()
        assert result == (-1, None, None)
        assert number == EMFILE

    def test_only_one_more_descriptor(self, top):
        """A failure half way leaves nothing open."""
        before = open_fds()
        with at_most_more_descriptors(1):
            assert tstream_unix_socketpair(top, top) == (-1, None, None)
        assert open_fds() == before

    def test_chunks(self, pair):
        """A stream is named as in C and found by its type."""
        one, two = pair
        assert talloc_get_name(one) == "struct tstream_context"
        assert talloc_get_type_abort(two, tstream_context) is two

    def test_a_deadlock_of_two_big_writes_is_resolved_by_reading(self, top, loop, pair):
        """Both ends write more than the socket holds; both complete once both read."""
        one, two = pair
        data = BIG[: 2 * MIB]
        writes = [loop.watch(writev(loop, top, s, data), tstream_writev_recv) for s in pair]
        assert loop.settle() == 0
        bufs = [bytearray(len(data)) for _ in pair]
        reads = [
            loop.watch(readv(loop, top, s, buf), tstream_readv_recv) for s, buf in zip((one, two), bufs, strict=True)
        ]
        loop.until(lambda: all(s.calls for s in (*writes, *reads)))
        assert [s.result for s in (*writes, *reads)] == [(len(data), 0)] * 4
