# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_bsd_existing_socket``."""

from __future__ import annotations

import os
import socket
import tty
from errno import EBADF, ENOTCONN

import pytest
from stream_kit import disconnect, is_open, monitor, read_now, readv, write_now, writev

from talloc_py import talloc_free, talloc_get_name, talloc_parent
from tevent import get_errno, tevent_req_is_in_progress
from tsocket import (
    tstream_bsd_existing_socket,
    tstream_bsd_optimize_readv,
    tstream_disconnect_recv,
    tstream_monitor_recv,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_writev_recv,
)


class TestExistingSocket:
    def test_it_takes_the_descriptor(self, top):
        """The stream owns it from then on."""
        sock, peer = socket.socketpair()
        fd = sock.detach()
        with peer:
            ret, stream = tstream_bsd_existing_socket(top, fd)
            assert ret == 0
            assert talloc_parent(stream) is top
            assert talloc_get_name(stream) == "struct tstream_context"
            talloc_free(stream)
            assert not is_open(fd)

    def test_it_changes_no_flags(self, top):
        """Blocking and inheritance stay as they were."""
        sock, peer = socket.socketpair()
        os.set_inheritable(sock.fileno(), True)
        fd = sock.detach()
        with peer:
            tstream_bsd_existing_socket(top, fd)
            assert os.get_blocking(fd)
            assert os.get_inheritable(fd)

    def test_minus_one_makes_a_disconnected_stream(self, top, loop):
        """Every operation gives ENOTCONN, one turn later."""
        ret, stream = tstream_bsd_existing_socket(top, -1)
        assert ret == 0
        for start, recv in (
            (lambda: readv(loop, top, stream, bytearray(1)), tstream_readv_recv),
            (lambda: writev(loop, top, stream, b"x"), tstream_writev_recv),
            (lambda: monitor(loop, top, stream), tstream_monitor_recv),
            (lambda: disconnect(loop, top, stream), tstream_disconnect_recv),
        ):
            req = start()
            assert tevent_req_is_in_progress(req)
            seen = loop.watch(req, recv, free=True)
            loop.settle()
            assert seen.result == (-1, ENOTCONN)
        assert (tstream_pending_bytes(stream), get_errno()) == (-1, ENOTCONN)
        assert talloc_free(stream) == 0

    def test_a_closed_descriptor_is_not_checked(self, top, loop):
        """0 all the same; the operations find out."""
        r, w = os.pipe()
        os.close(r)
        os.close(w)
        ret, stream = tstream_bsd_existing_socket(top, w)
        assert ret == 0
        assert write_now(loop, stream, b"x") == (-1, EBADF)
        assert write_now(loop, stream, b"x") == (-1, EBADF)
        assert read_now(loop, stream, 1)[0] == (-1, EBADF)
        assert (tstream_pending_bytes(stream), get_errno()) == (-1, EBADF)
        assert talloc_free(stream) == 0

    def test_pending_bytes_of_a_closed_descriptor(self, top):
        """-1 and EBADF."""
        r, w = os.pipe()
        os.close(r)
        os.close(w)
        _, stream = tstream_bsd_existing_socket(top, w)
        assert (tstream_pending_bytes(stream), get_errno()) == (-1, EBADF)

    def test_a_regular_file_is_written_and_read_in_place(self, top, loop, tmp_path):
        """Whatever readv and writev take; with optimised reads no polling is needed."""
        fd = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
        _, stream = tstream_bsd_existing_socket(top, fd)
        tstream_bsd_optimize_readv(stream, True)
        assert write_now(loop, stream, b"hello") == (5, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        assert read_now(loop, stream, 5) == ((5, 0), b"hello")

    @pytest.mark.parametrize("fd", ["3", 3.0, None, b"3", socket.AF_UNIX.name])
    def test_a_descriptor_is_an_int(self, top, fd):
        """Anything else is a TypeError."""
        with pytest.raises(TypeError):
            tstream_bsd_existing_socket(top, fd)

    def test_a_terminal(self, top, loop):
        """A pseudo terminal is a stream too."""
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        os.set_blocking(slave, False)
        _, one = tstream_bsd_existing_socket(top, master)
        _, two = tstream_bsd_existing_socket(top, slave)
        assert write_now(loop, one, b"typed") == (5, 0)
        assert read_now(loop, two, 5) == ((5, 0), b"typed")
