# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_unix_connect_send`` and ``_recv``."""

from __future__ import annotations

import os
import socket
from errno import EADDRINUSE, EAGAIN, ECONNREFUSED, EINVAL, ENOENT, EPROTOTYPE

import pytest
from req_kit import children
from stream_kit import open_fds, opened_by, write_now

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_free, talloc_new, talloc_parent
from tevent import tevent_abort_error, tevent_req_is_in_progress
from tsocket import (
    tsocket_address_create,
    tsocket_address_inet_from_strings,
    tsocket_address_ops,
    tsocket_address_unix_from_path,
    tstream_unix_connect_recv,
    tstream_unix_connect_send,
)


def path_address(top, path):
    """A Unix address."""
    ret, addr = tsocket_address_unix_from_path(top, str(path))
    assert ret == 0
    return addr


@pytest.fixture
def listener(tmp_path):
    """A listening socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "server"))
        sock.listen(5)
        yield sock


@pytest.fixture
def remote(top, listener):
    """Its address."""
    return path_address(top, listener.getsockname())


def connect(loop, top, local, remote):
    """The request of a connect."""
    req = tstream_unix_connect_send(top, loop.ev, local, remote)
    assert req is not None
    return req


def fails_at_once(loop, top, req, error):
    """Assert that the request was finished inside ``_send``, is posted, and has this errno."""
    assert not tevent_req_is_in_progress(req)
    seen = loop.watch(req, lambda r: tstream_unix_connect_recv(r, top))
    assert loop.turn()
    assert seen.result == (-1, error, None)


class TestSuccess:
    def test_it_is_finished_inside_send_and_posted(self, top, loop, listener, remote):
        """A Unix connect does not wait; the callback comes in the next turn."""
        owner = talloc_new(top)
        req = connect(loop, top, path_address(top, ""), remote)
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, lambda r: tstream_unix_connect_recv(r, owner))
        assert seen.calls == 0
        assert loop.turn()
        ret, err, stream = seen.result
        assert (ret, err) == (0, 0)
        assert talloc_parent(stream) is owner
        peer, _ = listener.accept()
        with peer:
            assert write_now(loop, stream, b"hi") == (2, 0)
            assert peer.recv(2) == b"hi"

    def test_it_can_be_received_at_once(self, top, loop, listener, remote):
        """Without a turn of the loop; the callback does not come any more."""
        req = connect(loop, top, path_address(top, ""), remote)
        seen = loop.watch(req)
        assert tstream_unix_connect_recv(req, top)[:2] == (0, 0)
        assert loop.settle() == 0
        assert seen.calls == 0

    def test_its_owner_gets_the_stream_and_nothing_else(self, top, loop, listener, remote):
        """The own address, for which nobody asks, goes with the request."""
        owner = talloc_new(top)
        req = connect(loop, top, path_address(top, ""), remote)
        _, _, stream = tstream_unix_connect_recv(req, owner)
        assert talloc_parent(stream) is owner
        assert children(owner) == ["struct tstream_context"]

    def test_a_local_path_is_bound_and_stays_on_disk(self, top, loop, listener, remote, tmp_path):
        """The peer sees the path; freeing the stream does not remove it."""
        req = connect(loop, top, path_address(top, tmp_path / "client"), remote)
        _, _, stream = tstream_unix_connect_recv(req, top)
        peer, address = listener.accept()
        peer.close()
        assert address == str(tmp_path / "client")
        talloc_free(stream)
        assert (tmp_path / "client").exists()

    def test_the_descriptor_has_the_usual_flags(self, top, loop, listener, remote):
        """Non-blocking and closed on exec."""
        req, (fd,) = opened_by(lambda: connect(loop, top, path_address(top, ""), remote))
        assert tstream_unix_connect_recv(req, top)[0] == 0
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)


class TestFailure:
    def test_an_inet_local_address_is_einval(self, top, loop, remote):
        """Only Unix addresses are local here."""
        _, local = tsocket_address_inet_from_strings(top, "ip", None, 0)
        fails_at_once(loop, top, connect(loop, top, local, remote), EINVAL)

    def test_an_inet_remote_address_is_einval(self, top, loop):
        """Also with an unnamed local address: it is no unspecific one."""
        _, remote = tsocket_address_inet_from_strings(top, "ip", "127.0.0.1", 9)
        fails_at_once(loop, top, connect(loop, top, path_address(top, ""), remote), EINVAL)

    def test_no_such_file(self, top, loop, tmp_path):
        """ENOENT."""
        req = connect(loop, top, path_address(top, ""), path_address(top, tmp_path / "none"))
        fails_at_once(loop, top, req, ENOENT)

    def test_no_socket(self, top, loop, tmp_path):
        """A regular file refuses."""
        (tmp_path / "file").touch()
        req = connect(loop, top, path_address(top, ""), path_address(top, tmp_path / "file"))
        fails_at_once(loop, top, req, ECONNREFUSED)

    def test_nobody_listens(self, top, loop, tmp_path):
        """A bound socket that does not listen refuses."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            req = connect(loop, top, path_address(top, ""), path_address(top, tmp_path / "s"))
            fails_at_once(loop, top, req, ECONNREFUSED)

    def test_an_empty_remote_path(self, top, loop):
        """It is an abstract name that nobody has."""
        fails_at_once(loop, top, connect(loop, top, path_address(top, ""), path_address(top, "")), ECONNREFUSED)

    def test_a_datagram_socket(self, top, loop, tmp_path):
        """EPROTOTYPE."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(str(tmp_path / "s"))
            req = connect(loop, top, path_address(top, ""), path_address(top, tmp_path / "s"))
            fails_at_once(loop, top, req, EPROTOTYPE)

    def test_a_full_backlog_is_eagain(self, top, loop, tmp_path):
        """There is no waiting for room."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            sock.listen(0)
            remote = path_address(top, tmp_path / "s")
            local = path_address(top, "")
            results = [tstream_unix_connect_recv(connect(loop, top, local, remote), top)[:2] for _ in range(4)]
            assert results[0] == (0, 0)
            assert results[-1] == (-1, EAGAIN)

    def test_a_local_path_that_exists(self, top, loop, remote, tmp_path):
        """EADDRINUSE."""
        (tmp_path / "there").touch()
        fails_at_once(loop, top, connect(loop, top, path_address(top, tmp_path / "there"), remote), EADDRINUSE)

    def test_a_local_path_in_no_directory(self, top, loop, remote, tmp_path):
        """ENOENT."""
        fails_at_once(loop, top, connect(loop, top, path_address(top, tmp_path / "no" / "where"), remote), ENOENT)

    def test_a_bound_path_stays_after_a_failed_connect(self, top, loop, tmp_path):
        """The library never removes socket files."""
        local = path_address(top, tmp_path / "client")
        fails_at_once(loop, top, connect(loop, top, local, path_address(top, tmp_path / "none")), ENOENT)
        assert (tmp_path / "client").exists()

    def test_failures_leave_no_descriptor(self, top, loop, remote, tmp_path):
        """The descriptor is closed when the connect fails, not when it is received."""
        before = open_fds()
        connect(loop, top, path_address(top, ""), path_address(top, tmp_path / "none"))
        connect(loop, top, path_address(top, tmp_path / "no" / "where"), remote)
        assert open_fds() == before

    def test_a_foreign_address_aborts(self, top, loop, remote):
        """Addresses of another backend have no socket address."""

        class other_state(TALLOC_CTX):
            pass

        foreign, _ = tsocket_address_create(top, tsocket_address_ops(name="other"), other_state)
        with pytest.raises((talloc_abort_error, tevent_abort_error)):
            connect(loop, top, foreign, remote)
        with pytest.raises((talloc_abort_error, tevent_abort_error)):
            connect(loop, top, path_address(top, ""), foreign)


class TestLifetime:
    def test_freed_before_recv_it_closes_the_descriptor(self, top, loop, listener, remote):
        """The peer sees the end."""
        before = open_fds()
        talloc_free(connect(loop, top, path_address(top, ""), remote))
        assert open_fds() == before
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(1) == b""

    def test_the_callback_comes_once_without_recv(self, top, loop, listener, remote):
        """Nothing spins while nobody receives."""
        req = connect(loop, top, path_address(top, ""), remote)
        seen = loop.watch(req)
        assert loop.settle() == 1
        assert seen.calls == 1
        assert tstream_unix_connect_recv(req, top)[0] == 0

    def test_second_recv_aborts(self, top, loop, listener, remote):
        """The stream was handed out once."""
        req = connect(loop, top, path_address(top, ""), remote)
        tstream_unix_connect_recv(req, top)
        with pytest.raises(talloc_abort_error):
            tstream_unix_connect_recv(req, top)
