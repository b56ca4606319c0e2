# SPDX-License-Identifier: LGPL-3.0-or-later
"""``tstream_inet_tcp_connect_send`` and ``_recv``."""

from __future__ import annotations

import os
import socket
from errno import EADDRINUSE, EADDRNOTAVAIL, ECONNREFUSED, EINPROGRESS, EINVAL, EIO, EMFILE, EOPNOTSUPP, ETIMEDOUT

import pytest
from stream_kit import Loop, at_most_more_descriptors, finished_with, open_fds, opened_by, read_now, write_now

from talloc_py import TALLOC_CTX, talloc_abort_error, talloc_free, talloc_new, talloc_parent
from tevent import tevent_abort_error, tevent_req_cancel, tevent_req_is_in_progress, tevent_req_set_endtime, timeval
from tsocket import (
    tsocket_address_create,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_is_inet,
    tsocket_address_ops,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_readv_pdu_recv,
    tstream_readv_recv,
)


def inet(top, text, port=0, fam="ip"):
    """An inet address."""
    ret, addr = tsocket_address_inet_from_strings(top, fam, text, port)
    assert ret == 0
    return addr


def connect(loop, top, local, remote):
    """The request of a connect."""
    req = tstream_inet_tcp_connect_send(top, loop.ev, local, remote)
    assert req is not None
    return req


def outcome(loop, top, req):
    """What ``_recv`` says once the request has called back."""
    seen = loop.watch(req, lambda r: tstream_inet_tcp_connect_recv(r, top))
    loop.until(lambda: seen.calls)
    return seen.result


@pytest.fixture
def listener():
    """A listening socket on the IPv4 loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def remote(top, listener):
    """The address of the listening socket."""
    return inet(top, *listener.getsockname())


@pytest.fixture
def refused_port():
    """A port of 127.0.0.1 that is bound, but where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


class TestSuccess:
    def test_it_waits_for_the_loop_and_connects(self, top, loop, listener, remote):
        """In progress after ``_send``; then a stream and its local address, owned by the given context."""
        owner = talloc_new(top)
        req = connect(loop, top, inet(top, None, fam="ipv4"), remote)
        assert tevent_req_is_in_progress(req)
        seen = loop.watch(req, lambda r: tstream_inet_tcp_connect_recv(r, owner), free=True)
        assert seen.calls == 0
        loop.until(lambda: seen.calls)
        ret, err, stream, local = seen.result
        assert (ret, err) == (0, 0)
        assert talloc_parent(stream) is owner
        assert talloc_parent(local) is owner
        peer, address = listener.accept()
        with peer:
            assert tsocket_address_string(local, top) == f"ipv4:127.0.0.1:{address[1]}"
            assert write_now(loop, stream, b"hi") == (2, 0)
            assert peer.recv(2) == b"hi"
            peer.send(b"yo")
            assert read_now(loop, stream, 2) == ((2, 0), b"yo")

    def test_it_calls_back_once(self, top, loop, listener, remote):
        """Also when the callback does not receive it."""
        req = connect(loop, top, inet(top, None), remote)
        seen = loop.watch(req)
        loop.until(lambda: seen.calls)
        assert loop.settle() == 0
        assert seen.calls == 1
        assert tstream_inet_tcp_connect_recv(req, top)[:2] == (0, 0)

    def test_the_addresses_are_not_needed_after_send(self, top, loop, listener, remote):
        """They may be freed at once."""
        local = inet(top, None)
        req = connect(loop, top, local, remote)
        talloc_free(local)
        talloc_free(remote)
        assert outcome(loop, top, req)[:2] == (0, 0)

    def test_the_descriptor_has_the_usual_flags(self, top, loop, listener, remote):
        """Non-blocking, closed on exec, above standard error, and no socket options."""
        req, (fd,) = opened_by(lambda: connect(loop, top, inet(top, None), remote))
        assert outcome(loop, top, req)[:2] == (0, 0)
        assert fd >= 3
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)
        with socket.socket(fileno=os.dup(fd)) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0

    def test_a_local_port_is_bound(self, top, loop, listener, remote):
        """A given local address and port are used, with SO_REUSEADDR."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        req, (fd,) = opened_by(lambda: connect(loop, top, inet(top, "127.0.0.1", port), remote))
        ret, err, _, local = outcome(loop, top, req)
        assert (ret, err) == (0, 0)
        assert tsocket_address_inet_port(local) == port
        with socket.socket(fileno=os.dup(fd)) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        listener.accept()[0].close()

    def test_a_local_address_without_port(self, top, loop, listener, remote):
        """Only the address is bound, the system chooses the port."""
        ret, err, _, local = outcome(loop, top, connect(loop, top, inet(top, "127.0.0.2"), remote))
        assert (ret, err) == (0, 0)
        assert tsocket_address_inet_addr_string(local, top) == "127.0.0.2"
        peer, address = listener.accept()
        peer.close()
        assert address == ("127.0.0.2", tsocket_address_inet_port(local))

    def test_ipv6(self, top, loop):
        """The IPv6 loopback address, with IPV6_V6ONLY."""
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
            req, (fd,) = opened_by(lambda: connect(loop, top, inet(top, None), inet(top, "::1", sock.getsockname()[1])))
            ret, err, _, local = outcome(loop, top, req)
            assert (ret, err) == (0, 0)
            assert tsocket_address_inet_addr_string(local, top) == "::1"
            with socket.socket(fileno=os.dup(fd)) as dup:
                assert dup.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


class TestFamilies:
    def test_unspecific_ipv6_connects_to_ipv4(self, top, loop, listener, remote):
        """A local any address without port takes the remote's family."""
        ret, err, _, local = outcome(loop, top, connect(loop, top, inet(top, "::"), remote))
        assert (ret, err) == (0, 0)
        assert tsocket_address_is_inet(local, "ipv4")

    def test_unspecific_ipv4_connects_to_ipv6(self, top, loop):
        """The same the other way round."""
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
            req = connect(loop, top, inet(top, "0.0.0.0"), inet(top, "::1", sock.getsockname()[1]))
            assert outcome(loop, top, req)[:2] == (0, 0)

    @pytest.mark.parametrize("local", ["::1", "::"])
    def test_a_specific_local_address_of_another_family_is_einval(self, top, loop, remote, local):
        """An address, or a port, makes the local address specific."""
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as unused:
            port = 0 if local == "::1" else unused.getsockname()[1]
        req = connect(loop, top, inet(top, local, port), remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EINVAL)

    def test_a_unix_local_address_is_einval(self, top, loop, remote):
        """Only inet addresses are local to TCP."""
        _, local = tsocket_address_unix_from_path(top, "")
        req = connect(loop, top, local, remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EINVAL)

    def test_a_unix_remote_address_is_connected_to(self, top, loop, tmp_path):
        """With an unspecific IPv4 address as local one the remote's family counts, whatever it is."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            sock.listen()
            _, remote = tsocket_address_unix_from_path(top, str(tmp_path / "s"))
            ret, err, stream, local = outcome(loop, top, connect(loop, top, inet(top, "0.0.0.0"), remote))
            assert (ret, err) == (0, 0)
            assert stream is not None
            assert tsocket_address_string(local, top) == "unix:"

    def test_a_unix_remote_address_with_an_ipv6_local_one_fails(self, top, loop):
        """The option for IPv6 sockets cannot be set on the Unix socket."""
        _, remote = tsocket_address_unix_from_path(top, "/nowhere")
        req = connect(loop, top, inet(top, "::"), remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EOPNOTSUPP)

    def test_a_unix_remote_with_a_specific_local_address_is_einval(self, top, loop):
        """Families differ."""
        _, remote = tsocket_address_unix_from_path(top, "/nowhere")
        req = connect(loop, top, inet(top, "127.0.0.1"), remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EINVAL)

    @pytest.mark.parametrize("which", ["local", "remote"])
    def test_a_foreign_address_aborts(self, top, loop, remote, which):
        """Addresses of another backend have no socket address."""

        class other_state(TALLOC_CTX):
            pass

        foreign, _ = tsocket_address_create(top, tsocket_address_ops(name="other"), other_state)
        local = inet(top, None)
        before = open_fds()
        with pytest.raises((talloc_abort_error, tevent_abort_error)):
            connect(loop, top, *((foreign, remote) if which == "local" else (local, foreign)))
        assert open_fds() == before


class TestFailure:
    def test_a_refused_connection_is_found_by_the_loop(self, top, loop, refused_port):
        """In progress after ``_send``, then ECONNREFUSED; the descriptor is closed when it fails."""
        before = open_fds()
        loop.settle()
        req = connect(loop, top, inet(top, None), inet(top, "127.0.0.1", refused_port))
        assert tevent_req_is_in_progress(req)
        counts = []
        seen = loop.watch(
            req, lambda r: tstream_inet_tcp_connect_recv(r, top), then=lambda _: counts.append(open_fds())
        )
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ECONNREFUSED, None, None)
        assert counts == [before]

    def test_a_failed_request_holds_no_descriptor_before_recv(self, top, loop, refused_port):
        """Nobody has to receive it for the descriptor to go."""
        before = open_fds()
        req = connect(loop, top, inet(top, None), inet(top, "127.0.0.1", refused_port))
        seen = loop.watch(req)
        loop.until(lambda: seen.calls)
        assert open_fds() == before
        assert loop.settle() == 0
        assert seen.calls == 1
        assert tstream_inet_tcp_connect_recv(req, top) == (-1, ECONNREFUSED, None, None)

    def test_port_zero_is_refused(self, top, loop):
        """Nobody can listen there."""
        req = connect(loop, top, inet(top, None), inet(top, "127.0.0.1", 0))
        assert outcome(loop, top, req) == (-1, ECONNREFUSED, None, None)

    @pytest.mark.parametrize("address", ["255.255.255.255", "224.0.0.1", "fe80::1", "ff02::1"])
    def test_unreachable_addresses_give_the_errno_of_connect(self, top, loop, address):
        """What connect(2) says at once is the result, finished inside ``_send``."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            expect = probe.connect_ex((address, 9))
        if expect == EINPROGRESS:
            pytest.skip("this machine has a route to that address")
        req = connect(loop, top, inet(top, None), inet(top, address, 9))
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], expect)

    def test_a_link_local_address_without_scope_is_einval(self, top, loop):
        """The interface is missing."""
        req = connect(loop, top, inet(top, None), inet(top, "fe80::1", 9))
        assert outcome(loop, top, req)[0] == -1

    def test_a_local_address_that_is_not_ours(self, top, loop, remote):
        """bind(2) fails with EADDRNOTAVAIL, inside ``_send``."""
        req = connect(loop, top, inet(top, "192.0.2.1"), remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EADDRNOTAVAIL)

    def test_a_local_port_in_use(self, top, loop, listener, remote):
        """A listening port cannot be bound again: EADDRINUSE."""
        req = connect(loop, top, inet(top, "127.0.0.1", listener.getsockname()[1]), remote)
        finished_with(loop, req, lambda r: tstream_inet_tcp_connect_recv(r, top)[:2], EADDRINUSE)

    def test_no_more_descriptors(self, top, loop, remote):
        """The errno of socket(2)."""
        local = inet(top, None)
        with at_most_more_descriptors(0):
            req = connect(loop, top, local, remote)
        assert tstream_inet_tcp_connect_recv(req, top) == (-1, EMFILE, None, None)

    def test_errors_leave_no_descriptor(self, top, loop, remote):
        """Whatever fails inside ``_send`` closes what it opened."""
        before = open_fds()
        for local in ("192.0.2.1", "::1"):
            connect(loop, top, inet(top, local), remote)
        assert open_fds() == before


class TestLifetime:
    def test_freeing_the_request_closes_the_descriptor(self, top, loop, listener, remote):
        """In progress, or finished and not received."""
        for turns in (0, 3):
            before = open_fds()
            req = connect(loop, top, inet(top, None), remote)
            for _ in range(turns):
                loop.turn()
            seen = loop.watch(req)
            talloc_free(req)
            assert open_fds() == before
            assert loop.settle() == 0
            assert seen.calls == 0

    def test_recv_in_progress_is_eio_and_gives_up(self, top, loop, listener, remote):
        """The descriptor is closed."""
        before = open_fds()
        req = connect(loop, top, inet(top, None), remote)
        assert tstream_inet_tcp_connect_recv(req, top) == (-1, EIO, None, None)
        assert open_fds() == before
        assert loop.settle() == 0

    def test_second_recv_aborts(self, top, loop, listener, remote):
        """The stream was handed out once."""
        req = connect(loop, top, inet(top, None), remote)
        assert outcome(loop, top, req)[0] == 0
        with pytest.raises(talloc_abort_error):
            tstream_inet_tcp_connect_recv(req, top)

    def test_another_requests_recv_aborts(self, top, loop, listener, remote):
        """A TCP connect is no Unix connect and no read."""
        req = connect(loop, top, inet(top, None), remote)
        for recv in (tstream_readv_recv, lambda r: tstream_readv_pdu_recv(r)):
            with pytest.raises(talloc_abort_error):
                recv(req)

    def test_an_end_time(self, top, loop, listener, remote):
        """A connect that times out gives ETIMEDOUT and holds no descriptor after ``_recv``."""
        before = open_fds()
        req = connect(loop, top, inet(top, None), remote)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        assert loop.turn()
        assert tstream_inet_tcp_connect_recv(req, top) == (-1, ETIMEDOUT, None, None)
        assert open_fds() == before
        assert loop.settle() == 0

    def test_cancel_is_refused(self, top, loop, listener, remote):
        """A connect has no cancel function."""
        assert not tevent_req_cancel(connect(loop, top, inet(top, None), remote))

    def test_freeing_the_context_first(self, top, listener, remote):
        """The request never ends, and frees its descriptor when it is freed."""
        before = open_fds()
        loop = Loop(top)
        req = connect(loop, top, inet(top, None), remote)
        talloc_free(loop.ev)
        assert talloc_free(req) == 0
        assert open_fds() == before

    def test_mem_ctx_none(self, loop, listener, remote, top):
        """Request, stream and address without an owner."""
        req = tstream_inet_tcp_connect_send(None, loop.ev, inet(top, None), remote)
        ret, _, stream, local = outcome(loop, None, req)
        assert ret == 0
        for chunk in (req, stream, local):
            assert talloc_parent(chunk) is None
            assert talloc_free(chunk) == 0

    def test_many_connects_at_once(self, top, loop, listener, remote):
        """Each gets its own stream."""
        listener.listen(50)
        reqs = [connect(loop, top, inet(top, None), remote) for _ in range(30)]
        seen = [loop.watch(req, lambda r: tstream_inet_tcp_connect_recv(r, top), free=True) for req in reqs]
        loop.until(lambda: all(s.calls for s in seen))
        ports = {tsocket_address_inet_port(s.result[3]) for s in seen}
        assert len(ports) == 30
        for s in seen:
            talloc_free(s.result[2])
