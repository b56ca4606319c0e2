# SPDX-License-Identifier: LGPL-3.0-or-later
"""The handshake of TLS: who is let through, who is not, and what becomes of the requests."""

from __future__ import annotations

import hashlib
import pathlib
import ssl
from errno import ECONNRESET, EINVAL, EIO, EPIPE, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from stream_backends import ScriptedStream, memory_pair
from stream_kit import Loop, Wire, drain, read_now, write_now
from tls_kit import (
    HOST,
    TLS12,
    TLS13,
    VERSIONS,
    Authority,
    OtherSide,
    Pair,
    Server,
    connected,
    drive,
    handshake_with,
    world,
)

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_DEBUG_ERROR,
    TEVENT_DEBUG_WARNING,
    tevent_abort_error,
    tevent_context_init,
    tevent_req_is_in_progress,
    tevent_req_set_endtime,
    tevent_set_abort_fn,
    tevent_set_debug,
    timeval,
)
from tsocket import (
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE,
    TLS_VERIFY_PEER_CA_ONLY,
    TLS_VERIFY_PEER_NO_CHECK,
    tls_verify_peer_state,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_channel_bindings,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
    tstream_tls_params_server,
    tstream_unix_socketpair,
)

if TYPE_CHECKING:
    pass

LEVELS = [
    TLS_VERIFY_PEER_NO_CHECK,
    TLS_VERIFY_PEER_CA_ONLY,
    TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
]
EACH_LEVEL = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
SENDS = pytest.mark.parametrize(
    ("send", "recv", "server"),
    [
        (tstream_tls_connect_send, tstream_tls_connect_recv, False),
        (tstream_tls_accept_send, tstream_tls_accept_recv, True),
    ],
    ids=["connect", "accept"],
)


def outcome(
    loop: Loop, top: TALLOC_CTX, files: Server | None = None, priority: str = "", **client: Any
) -> tuple[int, int]:
    """What the client says after a handshake with a server that has *files*."""
    w = world()
    if "level" in client:
        client["verify"] = client.pop("level")
    pair = Pair(loop, top, w.client(top, priority=priority, **client), w.server(top, files))
    ret, err, stream = pair.results()[0]
    assert (stream is None) is (ret == -1)
    return ret, err


REFUSED = (-1, EINVAL)
FINE = (0, 0)


class TestVerification:
    @VERSIONS
    @EACH_LEVEL
    def test_a_good_server(self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, version: str) -> None:
        """It passes, whatever is verified."""
        assert outcome(loop, top, priority=version, level=level, crl=world().crl) == FINE

    @VERSIONS
    @EACH_LEVEL
    @pytest.mark.parametrize("which", ["expired", "early", "revoked"])
    def test_a_certificate_that_does_not_hold(
        self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, which: str, version: str
    ) -> None:
        """Ended, not yet begun, or revoked: refused unless nothing is verified."""
        files = getattr(world(), which)
        wanted = REFUSED if level else FINE
        assert outcome(loop, top, files, version, level=level, crl=world().crl) == wanted

    @VERSIONS
    @EACH_LEVEL
    def test_an_unknown_authority(
        self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, version: str
    ) -> None:
        """Nobody that is trusted has issued the certificate."""
        result = outcome(loop, top, None, version, level=level, ca=world().other_ca.file, crl=world().crl)
        assert result == (REFUSED if level else FINE)

    def test_revoked_is_fine_without_a_list(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Nobody can know."""
        assert outcome(loop, top, world().revoked) == FINE

    def test_a_list_of_another_authority(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Where there are lists the one of the issuer must be among them."""
        assert outcome(loop, top, crl=world().other_ca.revoke("other-crl", [])) == REFUSED

    def test_an_old_list(self, top: TALLOC_CTX, loop: Loop) -> None:
        """One that should have been replaced says nothing."""
        assert outcome(loop, top, crl=world().ca.revoke("old-crl", [], until=world().expired_at)) == REFUSED

    def test_a_list_that_somebody_else_has_signed(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A list in the name of the issuer is not the issuer's."""
        impostor = Authority(world().folder, "impostor")
        impostor.name = "ca"
        assert outcome(loop, top, crl=impostor.revoke("impostor-crl", [])) == REFUSED

    def test_a_certificate_in_the_file_of_lists(self, top: TALLOC_CTX, loop: Loop, tmp_path: pathlib.Path) -> None:
        """It is not trusted for that, and the list counts."""
        path = tmp_path / "both"
        other, lists = pathlib.Path(world().ca.file).read_bytes(), pathlib.Path(world().crl).read_bytes()
        path.write_bytes(other + lists)
        assert outcome(loop, top, ca=world().other_ca.file, crl=str(path)) == REFUSED
        assert outcome(loop, top, crl=str(path)) == FINE
        assert outcome(loop, top, world().revoked, crl=str(path)) == REFUSED

    @VERSIONS
    def test_chains(self, top: TALLOC_CTX, loop: Loop, version: str) -> None:
        """The server's file has the certificates in between; one of those may be all that is trusted."""
        assert outcome(loop, top, world().chained, version) == FINE
        assert outcome(loop, top, world().chained, version, ca=world().between.file) == FINE
        assert outcome(loop, top, world().chained, version, ca=world().other_ca.file) == REFUSED

    def test_a_missing_link(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Without them the certificate comes from nobody."""
        assert outcome(loop, top, world().between.issue("unchained", [HOST])) == REFUSED

    @VERSIONS
    def test_a_revoked_link(self, top: TALLOC_CTX, loop: Loop, tmp_path: pathlib.Path, version: str) -> None:
        """A revoked certificate in the middle of the chain is found, too."""
        w = world()
        path = tmp_path / "lists"
        leaf = pathlib.Path(w.between.revoke("between-crl", []))
        for name, serials, wanted in (("good", [], FINE), ("bad", [w.between.serials["between"]], REFUSED)):
            path.write_bytes(leaf.read_bytes() + pathlib.Path(w.ca.revoke(f"ca-{name}-crl", serials)).read_bytes())
            assert outcome(loop, top, w.chained, version, crl=str(path)) == wanted
        # The list of the issuer of the first certificate will do.
        assert outcome(loop, top, w.chained, version, crl=str(leaf)) == FINE

    def test_a_chain_that_is_kept_secret(self) -> None:
        """Where `ssl` does not tell the chain, nothing passes that should be held against a revocation list."""
        from tsocket._tls_engine import engine
        from tsocket._tls_record import TlsError

        class secretive:
            _tls = object()

        with pytest.raises(TlsError) as caught:
            engine._chain(secretive())  # type: ignore[arg-type]
        assert caught.value.errno == EIO

    def test_a_server_without_a_chain_to_the_root(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A certificate that is itself trusted is trusted."""
        assert outcome(loop, top, ca=world().good.cert) == FINE


class TestNames:
    @pytest.mark.parametrize("name", [HOST, HOST.upper(), "a.wild.test", "B.Wild.Test"])
    @pytest.mark.parametrize("level", LEVELS[2:4], ids=lambda level: level.name)
    def test_the_right_one(self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, name: str) -> None:
        """Case does not matter; a wildcard stands for one label."""
        assert outcome(loop, top, level=level, name=name) == FINE

    @pytest.mark.parametrize(
        "name",
        [
            *("other.peer.test", "peer.test", "x." + HOST, "a.b.wild.test", "wild.test", HOST + "x", "münchen.test"),
            # What no certificate can have.
            *("", ".dot", "a" * 64 + ".test", "nul\0.test"),
        ],
    )
    @pytest.mark.parametrize("level", LEVELS[:4], ids=lambda level: level.name)
    def test_the_wrong_one(self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, name: str) -> None:
        """It matters from CA_AND_NAME_IF_AVAILABLE on."""
        wanted = REFUSED if level >= TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE else FINE
        assert outcome(loop, top, level=level, name=name) == wanted

    @pytest.mark.parametrize("name", ["127.0.0.1", "::1", "fe80::1%lo"])
    @EACH_LEVEL
    def test_addresses(self, top: TALLOC_CTX, loop: Loop, level: tls_verify_peer_state, name: str) -> None:
        """An address is no name: where one is demanded it never passes, although the certificate has it."""
        import ipaddress

        files = world().ca.issue("addressed", [HOST], addresses=[ipaddress.ip_address("127.0.0.1")])
        wanted = REFUSED if level >= TLS_VERIFY_PEER_CA_AND_NAME else FINE
        assert outcome(loop, top, files, level=level, name=name, crl=world().crl) == wanted

    def test_no_name(self, top: TALLOC_CTX, loop: Loop) -> None:
        """None is not available, so nothing is compared."""
        assert outcome(loop, top, level=TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE, name=None) == FINE

    def test_the_subject_has_no_names(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A name in the certificate's subject alone is not looked at."""
        files = world().ca.issue("subject.peer.test", [])
        assert outcome(loop, top, files, name="subject.peer.test") == REFUSED
        assert outcome(loop, top, files, level=TLS_VERIFY_PEER_CA_ONLY) == FINE

    @EACH_LEVEL
    def test_the_server_is_told_the_name(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, level: tls_verify_peer_state
    ) -> None:
        """Where it is verified, and only there."""
        asked: list[str | None] = []
        other = OtherSide(unix.peer, server=True)
        other.context.sni_callback = lambda tls, name, context: asked.append(name)
        params = world().client(top, level, HOST, crl=world().crl)
        handshake_with(loop, top, unix.stream, other, params, server=False)
        assert asked == [HOST if level >= TLS_VERIFY_PEER_CA_AND_NAME_IF_AVAILABLE else None]


class TestResult:
    @VERSIONS
    def test_both_sides(self, top: TALLOC_CTX, loop: Loop, version: str) -> None:
        """Both get a stream of their own; the plain ones stay whose they are."""
        owner = talloc_new(top)
        pair = Pair(loop, top, world().client(top, priority=version), world().server(top))
        for result in pair.results():
            assert result[:2] == FINE
            assert talloc_parent(result[2]) is top
            assert repr(result[2]) == "<tstream_context tls idle>"
        assert [talloc_parent(plain) for plain in pair.plain] == [top, top]
        talloc_free(owner)

    def test_nothing_is_left_on_the_wire(self, top: TALLOC_CTX, loop: Loop) -> None:
        """After the handshake both plain streams are empty: there are no tickets."""
        for version in (TLS12, TLS13):
            _, one, two = tstream_unix_socketpair(top, top)
            client, server = connected(loop, top, version, (one, two))
            loop.settle()
            from tsocket import tstream_pending_bytes

            assert [tstream_pending_bytes(each) for each in (one, two)] == [0, 0]
            talloc_free(client)
            talloc_free(server)

    def test_parameters_may_go_at_once(self, top: TALLOC_CTX, loop: Loop) -> None:
        """The handshake keeps what it needs."""
        client, server = world().client(top), world().server(top)
        pair = Pair(loop, top, client, server)
        talloc_free(client)
        talloc_free(server)
        # Nothing of it is in a cycle: what has no owner and no stream is gone by now.
        del client, server
        assert [result[:2] for result in pair.results()] == [FINE, FINE]

    def test_parameters_can_be_used_again(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Any number of streams, also at the same time."""
        client, server = world().client(top), world().server(top)
        seen = [each for _ in range(5) for each in Pair(loop, top, client, server).watch()]
        loop.until(lambda: all(each.calls for each in seen))
        assert [each.result[:2] for each in seen] == [FINE] * 10

    def test_the_first_bytes_leave_inside_send(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """A client begins without a turn of the loop, a server waits."""
        req = tstream_tls_connect_send(top, loop.ev, unix.stream, world().client(top))
        hello = unix.drain()
        assert hello[:3] == b"\x16\x03\x01"
        assert len(hello) == 5 + int.from_bytes(hello[3:5], "big")
        talloc_free(req)
        tstream_tls_accept_send(top, loop.ev, unix.stream, world().server(top))
        loop.settle()
        assert unix.drain() == b""

    @SENDS
    def test_recv_takes_the_stream_along(self, top: TALLOC_CTX, loop: Loop, send: Any, recv: Any, server: bool) -> None:
        """A finished request that nobody receives takes the stream with it; the plain one stays."""
        blocks = None
        for _ in range(3):
            pair = Pair(loop, top, world().client(top), world().server(top))
            while tevent_req_is_in_progress(pair.accepting if server else pair.connecting):
                loop.turn()
            talloc_free(pair.accepting)
            talloc_free(pair.connecting)
            for plain in pair.plain:
                assert talloc_parent(plain) is top
                talloc_free(plain)
            blocks = blocks or talloc_total_blocks(top)
        assert talloc_total_blocks(top) == blocks + 4  # the parameters of two rounds

    @SENDS
    def test_recv_of_another_request(self, top: TALLOC_CTX, loop: Loop, send: Any, recv: Any, server: bool) -> None:
        """Goes to the abort function, and so does a second one."""
        from tsocket import tstream_readv_send

        _, one, _ = tstream_unix_socketpair(top, top)
        req = tstream_readv_send(top, loop.ev, one, [bytearray(1)])
        with pytest.raises((talloc_abort_error, tevent_abort_error)):
            recv(req, top)

    @SENDS
    def test_recv_in_progress(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool
    ) -> None:
        """Is EIO, and ends the handshake; the plain stream is free."""
        params = world().server(top) if server else world().client(top)
        req = send(top, loop.ev, unix.stream, params)
        assert recv(req, top) == (-1, EIO, None)
        unix.peer.sendall(b"plain")
        assert read_now(loop, unix.stream, 5) == ((5, 0), b"plain")


class TestFailure:
    @SENDS
    @pytest.mark.parametrize(
        "priority", ["NONE", "NORMAL:", "NORMAL:+NOTHING", "%COMPAT", "NORMAL:-VERS-ALL", "NORMAL:%DISABLE_WILDCARDS"]
    )
    def test_a_priority_that_cannot_be_used(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool, priority: str
    ) -> None:
        """EINVAL, inside ``_send``; nothing is sent, and why is told to the debug function."""
        said: list[tuple[int, str]] = []
        tevent_set_debug(loop.ev, lambda context, level, fmt, ap: said.append((level, fmt % ap)), None)
        w = world()
        params = w.server(top, priority=priority) if server else w.client(top, priority=priority)
        for _ in range(2):
            req = send(top, loop.ev, unix.stream, params)
            assert not tevent_req_is_in_progress(req)
            seen = loop.watch(req, lambda req: recv(req, top))
            assert loop.turn()
            assert seen.result == (-1, EINVAL, None)
        assert unix.drain() == b""
        assert [level for level, _ in said] == [TEVENT_DEBUG_ERROR] * 2
        assert "priority" in said[0][1]

    def test_versions_that_are_not_of_tls(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Such a string is understood, but there is nothing to speak."""
        assert outcome_of_client(loop, top, priority="NORMAL:-VERS-ALL:+VERS-DTLS1.2") == (-1, EIO)

    def test_no_common_version(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Both fail with EIO."""
        pair = Pair(loop, top, world().client(top, priority=TLS12), world().server(top, priority=TLS13))
        assert [result[:2] for result in pair.results()] == [(-1, EIO), (-1, EIO)]

    def test_why_a_certificate_was_refused_is_told(self, top: TALLOC_CTX, loop: Loop) -> None:
        """An errno says little; the debug function hears what OpenSSL says."""
        said: list[tuple[int, str]] = []
        tevent_set_debug(loop.ev, lambda context, level, fmt, ap: said.append((level, fmt % ap)), None)
        assert outcome(loop, top, world().expired) == REFUSED
        assert any(level == TEVENT_DEBUG_WARNING and "expired" in text for level, text in said)

    @SENDS
    def test_an_error_without_a_reason(
        self,
        top: TALLOC_CTX,
        loop: Loop,
        unix: Wire,
        monkeypatch: pytest.MonkeyPatch,
        send: Any,
        recv: Any,
        server: bool,
    ) -> None:
        """A bare OSError with a stale errno, as newer Pythons raise them, is EIO and does not leave the loop."""

        def fail(tls: ssl.SSLObject) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        params = world().server(top) if server else world().client(top)
        monkeypatch.setattr(ssl.SSLObject, "do_handshake", fail)
        seen = loop.watch(send(top, loop.ev, unix.stream, params), lambda req: recv(req, top))
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, EIO, None)

    @SENDS
    @pytest.mark.parametrize(
        "text",
        [
            b"HTTP/1.0 400 No TLS here\r\n",
            b"\x16\x03\x01\xff\xff",
            b"\x17\x03\x03\0\x05hello",
            b"\x16\x03\x01\0\x04\1\xff\xff\xff",
        ],
    )
    def test_what_is_not_tls(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool, text: bytes
    ) -> None:
        """EIO."""
        params = world().server(top) if server else world().client(top)
        seen = loop.watch(send(top, loop.ev, unix.stream, params), lambda req: recv(req, top))
        unix.peer.sendall(text)
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, EIO, None)

    @SENDS
    def test_the_end_of_the_plain_stream(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool
    ) -> None:
        """EPIPE."""
        params = world().server(top) if server else world().client(top)
        seen = loop.watch(send(top, loop.ev, unix.stream, params), lambda req: recv(req, top))
        unix.drain()
        unix.peer.close()
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, EPIPE, None)

    @SENDS
    def test_an_error_of_the_plain_stream(
        self, top: TALLOC_CTX, loop: Loop, send: Any, recv: Any, server: bool
    ) -> None:
        """Its errno, whether it comes from reading or from writing."""
        for operation in ("readv",) if server else ("readv", "writev"):
            plain = ScriptedStream(top)
            params = world().server(top) if server else world().client(top)
            seen = loop.watch(send(top, loop.ev, plain.stream, params), lambda req: recv(req, top))
            plain.answer(operation, -1, ECONNRESET)
            loop.settle()
            assert seen.result == (-1, ECONNRESET, None)
            assert set(plain.freed) <= {"readv", "writev"}
            assert not plain.stream_is_busy()

    @SENDS
    def test_a_plain_stream_without_memory(
        self, top: TALLOC_CTX, loop: Loop, send: Any, recv: Any, server: bool
    ) -> None:
        """ENOMEM of a backend comes through."""
        from errno import ENOMEM

        plain = ScriptedStream(top)
        plain.refuse = {"readv", "writev"}
        params = world().server(top) if server else world().client(top)
        seen = loop.watch(send(top, loop.ev, plain.stream, params), lambda req: recv(req, top))
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ENOMEM, None)

    @SENDS
    def test_time(self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool) -> None:
        """A peer that says nothing is not waited for longer than wanted; the plain stream is free then."""
        params = world().server(top) if server else world().client(top)
        req = send(top, loop.ev, unix.stream, params)
        tevent_req_set_endtime(req, loop.ev, timeval(0, 1))
        seen = loop.watch(req, lambda req: recv(req, top))
        loop.until(lambda: seen.calls)
        assert seen.result == (-1, ETIMEDOUT, None)
        unix.peer.sendall(b"plain")
        assert read_now(loop, unix.stream, 5) == ((5, 0), b"plain")

    @SENDS
    def test_a_freed_request(self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool) -> None:
        """Takes the half-made stream with it, and leaves the plain one to others."""
        params = world().server(top) if server else world().client(top)
        talloc_free(send(top, loop.ev, unix.stream, params))
        blocks = talloc_total_blocks(top)
        req = send(top, loop.ev, unix.stream, params)
        assert talloc_total_blocks(top) > blocks
        talloc_free(req)
        assert talloc_total_blocks(top) == blocks
        unix.drain()
        assert write_now(loop, unix.stream, b"plain") == (5, 0)
        assert drain(unix.peer) == b"plain"

    @SENDS
    def test_memory_limits(self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool) -> None:
        """Where a limit forbids part of it the request fails with ENOMEM, or there is none."""
        from errno import ENOMEM

        params = world().server(top) if server else world().client(top)
        outcomes = set()
        for room in range(1, 6000, 64):
            limited = talloc_new(top)
            talloc_set_memlimit(limited, room)
            req = send(limited, loop.ev, unix.stream, params)
            if req is None:
                outcomes.add("none")
            elif tevent_req_is_in_progress(req):
                outcomes.add("fine")
            else:
                assert recv(req, limited) == (-1, ENOMEM, None)
                outcomes.add("ENOMEM")
            talloc_free(limited)
            loop.settle()
        assert outcomes == {"none", "ENOMEM", "fine"}


def outcome_of_client(loop: Loop, top: TALLOC_CTX, **client: Any) -> tuple[int, int]:
    """The result of a client alone, whose server waits for ever."""
    _, one, _ = tstream_unix_socketpair(top, top)
    req = tstream_tls_connect_send(top, loop.ev, one, world().client(top, **client))
    seen = loop.watch(req, lambda req: tstream_tls_connect_recv(req, top))
    loop.until(lambda: seen.calls)
    ret, err, _ = seen.result
    return ret, err


class TestArguments:
    @SENDS
    def test_parameters_that_are_not_enabled(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool
    ) -> None:
        """Go to the abort function; None where that returns."""
        _, params = tstream_tls_params_server(top, HOST, None, False, None, None, None, None, None, "")
        with pytest.raises(tevent_abort_error, match="not enabled"):
            send(top, loop.ev, unix.stream, params)
        said: list[str] = []
        tevent_set_abort_fn(said.append)
        try:
            assert send(top, loop.ev, unix.stream, params) is None
        finally:
            tevent_set_abort_fn(None)
        assert len(said) == 1

    @SENDS
    def test_parameters_of_the_other_side(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool
    ) -> None:
        """Go there, too."""
        params = world().client(top) if server else world().server(top)
        with pytest.raises(tevent_abort_error, match="other side"):
            send(top, loop.ev, unix.stream, params)

    @SENDS
    def test_types(self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool) -> None:
        """What is no context, no stream or no parameters is a TypeError."""
        params = world().server(top) if server else world().client(top)
        good = [loop.ev, unix.stream, params]
        blocks = talloc_total_blocks(top)
        for number in range(3):
            for bad in (None, top, 1):
                arguments: list[Any] = [*good[:number], bad, *good[number + 1 :]]
                with pytest.raises(TypeError):
                    send(top, *arguments)
        assert talloc_total_blocks(top) == blocks

    @SENDS
    def test_freed_things(self, top: TALLOC_CTX, unix: Wire, send: Any, recv: Any, server: bool) -> None:
        """A freed context, stream or parameters go to the abort function."""
        for number in range(3):
            _, plain, _ = tstream_unix_socketpair(top, top)
            arguments: list[Any] = [
                tevent_context_init(top),
                plain,
                world().server(top) if server else world().client(top),
            ]
            talloc_free(arguments[number])
            with pytest.raises((talloc_abort_error, tevent_abort_error)):
                send(top, *arguments)


class TestOtherMakes:
    """The same with the standard library at the other end."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    @SENDS
    def test_handshake(
        self, top: TALLOC_CTX, loop: Loop, wire: Wire, send: Any, recv: Any, server: bool, version: Any
    ) -> None:
        """Over a unix socket and over TCP."""
        other = OtherSide(wire.peer, server=not server, priority=(version, version))
        params = world().server(top) if server else world().client(top)
        seen = handshake_with(loop, top, wire.stream, other, params, server)
        ret, err, stream = seen.result
        assert (ret, err) == FINE
        other.write(b"hello")
        assert read_now(loop, stream, 5) == ((5, 0), b"hello")
        assert write_now(loop, stream, b"and back") == (8, 0)
        assert other.read() == b"and back"

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    @SENDS
    def test_in_pieces(
        self, top: TALLOC_CTX, loop: Loop, unix: Wire, send: Any, recv: Any, server: bool, size: int
    ) -> None:
        """However the bytes are cut on their way."""
        other = OtherSide(unix.peer, server=not server)
        params = world().server(top) if server else world().client(top)
        seen = loop.watch(send(top, loop.ev, unix.stream, params), lambda req: recv(req, top))

        def step() -> bool:
            other.receive()
            try:
                other.tls.do_handshake()
                other.shaken = True
            except ssl.SSLWantReadError:
                pass
            data = other.outgoing.read()
            for begin in range(0, len(data), size):
                unix.peer.sendall(data[begin : begin + size])
                loop.settle()
            return seen.calls > 0 and other.shaken

        drive(loop, other, step)
        assert seen.result[:2] == FINE

    def test_a_client_with_a_certificate(self, top: TALLOC_CTX, loop: Loop, unix: Wire) -> None:
        """A server neither asks for it nor minds."""
        other = OtherSide(unix.peer, server=False)
        other.context.load_cert_chain(world().expired.cert, world().expired.key)
        assert handshake_with(loop, top, unix.stream, other, world().server(top), True).result[:2] == FINE


class TestChannelBindings:
    @pytest.mark.parametrize(
        ("kind", "digest", "padding", "hashed"),
        [
            ("ec", hashes.SHA256(), None, "sha256"),
            ("ec", hashes.SHA384(), None, "sha384"),
            ("ec", hashes.SHA512(), None, "sha512"),
            ("rsa", hashes.SHA256(), None, "sha256"),
            ("rsa", hashes.SHA512(), None, "sha512"),
            ("rsa", hashes.SHA384(), PSS(MGF1(hashes.SHA384()), 48), "sha384"),
            ("ed25519", None, None, None),
        ],
        ids=["ec 256", "ec 384", "ec 512", "rsa 256", "rsa 512", "pss 384", "ed25519"],
    )
    def test_by_the_hash_of_the_signature(
        self, top: TALLOC_CTX, loop: Loop, kind: str, digest: Any, padding: Any, hashed: str | None
    ) -> None:
        """The same at both ends: the certificate under the hash it was signed with; none for a signature without."""
        authority = Authority(world().folder, f"{kind}-authority", kind=kind)
        files = authority.issue("bound", [HOST], digest=digest, padding=padding)
        client, server = Pair(loop, top, world().client(top, ca=authority.file), world().server(top, files)).streams()
        wanted = b"" if hashed is None else b"tls-server-end-point:" + hashlib.new(hashed, files.der).digest()
        assert tstream_tls_channel_bindings(client) == wanted
        assert tstream_tls_channel_bindings(server) == wanted

    def test_the_first_certificate_of_a_chain(self, top: TALLOC_CTX, loop: Loop) -> None:
        """It is the server's own."""
        files = world().chained
        client, server = Pair(loop, top, world().client(top), world().server(top, files)).streams()
        wanted = b"tls-server-end-point:" + hashlib.sha256(files.der).digest()
        assert tstream_tls_channel_bindings(client) == tstream_tls_channel_bindings(server) == wanted

    def test_a_certificate_that_is_not_verified(self, top: TALLOC_CTX, loop: Loop) -> None:
        """Is bound to all the same."""
        client = world().client(top, TLS_VERIFY_PEER_NO_CHECK, None)
        one, two = Pair(loop, top, client, world().server(top)).streams()
        assert tstream_tls_channel_bindings(one) == tstream_tls_channel_bindings(two) != b""

    def test_after_a_failure(self, top: TALLOC_CTX, loop: Loop) -> None:
        """They stay."""
        client, server = connected(loop, top)
        bindings = tstream_tls_channel_bindings(client)
        talloc_free(server)
        assert read_now(loop, client, 1)[0] == (-1, EPIPE)
        assert tstream_tls_channel_bindings(client) == bindings

    def test_streams_that_are_not_tls(self, top: TALLOC_CTX, unix: Wire) -> None:
        """Have none; what is no stream at all is a TypeError."""
        assert tstream_tls_channel_bindings(unix.stream) is None
        assert tstream_tls_channel_bindings(memory_pair(top)[0]) is None
        with pytest.raises(TypeError):
            tstream_tls_channel_bindings(top)  # type: ignore[arg-type]
