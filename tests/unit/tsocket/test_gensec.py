# SPDX-License-Identifier: LGPL-3.0-or-later
"""Signed and sealed streams, over a toy mechanism and over pyspnego's NTLM."""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Iterator
from errno import EIO, EMSGSIZE, ENOMEM, ENOTCONN, EPIPE
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talloc_py import (
    TALLOC_CTX,
    talloc_free,
    talloc_get_size,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_size,
    talloc_zero,
)
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_OK,
    NT_STATUS_UNSUCCESSFUL,
    get_errno,
    tevent_context,
    tevent_context_init,
    tevent_req_poll,
)
from tsocket import (
    iovec,
    tstream_context,
    tstream_disconnect_recv,
    tstream_disconnect_send,
    tstream_pending_bytes,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)
from tsocket.gensec import (
    GENSEC_FEATURE_SEAL,
    GENSEC_FEATURE_SIGN,
    gensec_create_tstream,
    gensec_from_gssapi,
    gensec_from_spnego,
    gensec_have_feature,
    gensec_max_input_size,
    gensec_max_wrapped_size,
    gensec_security,
    gensec_unwrap,
    gensec_wrap,
)
from tsocket.testing import check_tstream, stream_traits


class toy(gensec_security):
    """Turns each byte around, and puts a check sum before them; what depends on the order is a counter."""

    features: int
    limit: int
    sent: int
    got: int
    fails: bool

    def have_feature(self, feature: int) -> bool:
        return bool(self.features & feature)

    def max_input_size(self) -> int:
        return self.limit

    def wrap(self, data: bytes) -> Any:
        if self.fails:
            return NT_STATUS_UNSUCCESSFUL, None
        self.sent += 1
        return NT_STATUS_OK, struct.pack(">HB", self.sent, sum(data) & 0xFF) + bytes(b ^ 0xFF for b in data)

    def unwrap(self, data: bytes) -> Any:
        if data == b"raise":
            raise ValueError("the mechanism is broken")
        if len(data) < 3:
            return NT_STATUS_ACCESS_DENIED, None
        self.got += 1
        plain = bytes(b ^ 0xFF for b in data[3:])
        if struct.unpack(">HB", data[:3]) != (self.got, sum(plain) & 0xFF):
            return NT_STATUS_ACCESS_DENIED, None
        return NT_STATUS_OK, plain


def new_toy(mem_ctx: TALLOC_CTX, limit: int = 1 << 17, features: int = GENSEC_FEATURE_SEAL) -> toy:
    """A toy mechanism."""
    security = talloc_zero(mem_ctx, toy)
    security.features, security.limit, security.sent, security.got, security.fails = features, limit, 0, 0, False
    return security


class Bench:
    """A loop, a plain pair of streams, and a secured stream over one of them."""

    def __init__(self, limit: int = 1 << 17) -> None:
        self.top = talloc_new(None)
        self.ev: tevent_context = tevent_context_init(self.top)
        ret, plain, self.far = tstream_unix_socketpair(self.top, self.top)
        assert ret == 0
        self.plain: tstream_context = plain
        self.security = new_toy(self.top, limit)
        status, stream = gensec_create_tstream(self.top, self.security, self.plain)
        assert status == NT_STATUS_OK
        self.stream: tstream_context = stream

    def read(self, stream: tstream_context, *sizes: int) -> Any:
        """What a read into buffers of these sizes gives: its result and the bytes."""
        buffers = [bytearray(size) for size in sizes]
        req = tstream_readv_send(self.top, self.ev, stream, buffers)
        assert tevent_req_poll(req, self.ev)
        result = tstream_readv_recv(req)
        talloc_free(req)
        return result, b"".join(buffers)

    def write(self, stream: tstream_context, *parts: Any) -> Any:
        """The result of a write."""
        req = tstream_writev_send(self.top, self.ev, stream, list(parts))
        assert tevent_req_poll(req, self.ev)
        result = tstream_writev_recv(req)
        talloc_free(req)
        return result

    def disconnect(self, stream: tstream_context) -> Any:
        """The result of a disconnect."""
        req = tstream_disconnect_send(self.top, self.ev, stream)
        assert tevent_req_poll(req, self.ev)
        result = tstream_disconnect_recv(req)
        talloc_free(req)
        return result


@pytest.fixture(name="bench")
def new_bench() -> Iterator[Bench]:
    """A bench with pieces of eight bytes."""
    bench = Bench(8)
    yield bench
    talloc_free(bench.top)


def token(sequence: int, data: bytes) -> bytes:
    """What the toy makes of *data*, with its length before it."""
    body = struct.pack(">HB", sequence, sum(data) & 0xFF) + bytes(b ^ 0xFF for b in data)
    return len(body).to_bytes(4, "big") + body


class TestConformance:
    def test_as_every_stream(self) -> None:
        """The checks for all streams hold."""

        def make_pair(ev: tevent_context, owner: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
            ret, one, two = tstream_unix_socketpair(owner, owner)
            assert ret == 0
            streams = []
            for plain in (one, two):
                status, stream = gensec_create_tstream(owner, new_toy(owner), plain)
                assert status == NT_STATUS_OK
                # Freeing the stream shall be the end of the connection.
                from talloc_py import talloc_steal

                talloc_steal(stream, plain)
                streams.append(stream)
            return streams[0], streams[1]

        traits = stream_traits(pending_before_read=False, write_abortable=False, disconnect_heard=False)
        check_tstream(make_pair, traits=traits)


class TestCreate:
    def test_needs_a_feature(self, bench: Bench) -> None:
        """Neither signing nor sealing would be no protection at all."""
        assert gensec_create_tstream(bench.top, new_toy(bench.top, features=0), bench.plain) == (
            NT_STATUS_INVALID_PARAMETER,
            None,
        )

    def test_bad_arguments(self, bench: Bench) -> None:
        """Other objects are named."""
        with pytest.raises(TypeError, match="gensec_security"):
            gensec_create_tstream(bench.top, bench.top, bench.plain)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="tstream_context"):
            gensec_create_tstream(bench.top, bench.security, bench.top)  # type: ignore[arg-type]

    def test_borrows_what_it_works_with(self, bench: Bench) -> None:
        """Freeing it leaves the plain stream usable."""
        talloc_free(bench.stream)
        assert bench.write(bench.plain, b"plain") == (5, 0)
        assert bench.read(bench.far, 5) == ((5, 0), b"plain")


class TestWrite:
    def test_in_pieces(self, bench: Bench) -> None:
        """Twenty bytes with a limit of eight are tokens of 8, 8 and 4, across the parts of the vector."""
        data = bytes(range(20))
        assert bench.write(bench.stream, data[:3], iovec(bytearray(data[3:19]), 16), b"", data[19:]) == (20, 0)
        wire = token(1, data[:8]) + token(2, data[8:16]) + token(3, data[16:])
        assert bench.read(bench.far, len(wire)) == ((len(wire), 0), wire)

    def test_mechanism_fails(self, bench: Bench) -> None:
        """EIO, and it stays."""
        bench.security.fails = True
        assert bench.write(bench.stream, b"x") == (-1, EIO)
        bench.security.fails = False
        assert bench.write(bench.stream, b"x") == (-1, EIO)
        assert bench.read(bench.stream, 1)[0] == (-1, EIO)
        assert tstream_pending_bytes(bench.stream) == -1
        assert get_errno() == EIO

    def test_mechanism_takes_nothing(self) -> None:
        """A limit of 0 is ENOMEM."""
        bench = Bench(0)
        assert bench.write(bench.stream, b"x") == (-1, ENOMEM)
        talloc_free(bench.top)

    def test_broken_pipe(self, bench: Bench) -> None:
        """An error of the plain stream stays."""
        talloc_free(bench.far)
        result = bench.write(bench.stream, b"x")
        assert result[0] == -1
        assert bench.write(bench.stream, b"x") == result


class TestRead:
    def test_rest_of_a_token(self, bench: Bench) -> None:
        """What one read leaves is pending for the next."""
        bench.write(bench.far, token(1, b"abcdefgh"))
        assert bench.read(bench.stream, 3) == ((3, 0), b"abc")
        assert tstream_pending_bytes(bench.stream) == 5
        assert bench.read(bench.stream, 2, 3) == ((5, 0), b"defgh")
        assert tstream_pending_bytes(bench.stream) == 0

    def test_over_several_tokens(self, bench: Bench) -> None:
        """Tokens are read until the vector is full; one of no bytes is skipped."""
        bench.write(bench.far, token(1, b"ab"), token(2, b""), token(3, b"cde"))
        assert bench.read(bench.stream, 4) == ((4, 0), b"abcd")

    def test_not_a_byte_too_far(self, bench: Bench) -> None:
        """What follows the last token needed is still in the plain stream."""
        bench.write(bench.far, token(1, b"ab"), b"plain")
        assert bench.read(bench.stream, 2)[0] == (2, 0)
        assert bench.read(bench.plain, 5) == ((5, 0), b"plain")

    @pytest.mark.parametrize("size", [0, 0x10000000, 0xFFFFFFFF])
    def test_impossible_length(self, bench: Bench, size: int) -> None:
        """EMSGSIZE, before memory is asked for, and it stays."""
        bench.write(bench.far, size.to_bytes(4, "big"))
        assert bench.read(bench.stream, 1)[0] == (-1, EMSGSIZE)
        assert bench.read(bench.stream, 1)[0] == (-1, EMSGSIZE)

    def test_a_length_that_is_not_meant(self, bench: Bench) -> None:
        """The longest token costs nothing before its bytes come, and a memory limit refuses it."""
        bench.write(bench.far, (0x0FFFFFFF).to_bytes(4, "big") + b"x")
        owner = talloc_new(bench.top)
        talloc_set_memlimit(owner, 1 << 20)
        req = tstream_readv_send(owner, bench.ev, bench.stream, [bytearray(1)])
        assert tevent_req_poll(req, bench.ev)
        assert tstream_readv_recv(req) == (-1, ENOMEM)
        assert tstream_pending_bytes(bench.stream) == -1
        assert talloc_total_size(bench.top) < 1 << 20

    def test_end_of_the_stream(self, bench: Bench) -> None:
        """Between tokens and within one it is EPIPE."""
        bench.write(bench.far, token(1, b"abc")[:5])
        talloc_free(bench.far)
        assert bench.read(bench.stream, 1)[0] == (-1, EPIPE)

    @given(st.integers(0, 8 * 10 - 1))
    def test_a_flipped_bit(self, bit: int) -> None:
        """Any bit of a token: the read fails, and no exception leaves the loop."""
        bench = Bench()
        wire = bytearray(token(1, b"abc"))
        assert len(wire) == 10
        wire[bit // 8] ^= 1 << bit % 8
        bench.write(bench.far, wire)
        talloc_free(bench.far)
        ret, err = bench.read(bench.stream, 3)[0]
        assert ret == -1
        assert err in (EIO, EPIPE, EMSGSIZE)
        talloc_free(bench.top)

    def test_an_exception_of_the_mechanism(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is a failure, and is reported."""
        seen: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", lambda info: seen.append(info.exc_type))
        bench.write(bench.far, (5).to_bytes(4, "big") + b"raise")
        assert bench.read(bench.stream, 1)[0] == (-1, EIO)
        assert seen == [ValueError]

    @given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.lists(st.integers(1, 40), min_size=1), st.data())
    def test_any_split_gives_the_same_bytes(self, writes: list[int], reads: list[int], data: st.DataObject) -> None:
        """However it is written and read."""
        bench = Bench(data.draw(st.integers(1, 50)))
        status, far = gensec_create_tstream(bench.top, new_toy(bench.top), bench.far)
        assert status == NT_STATUS_OK
        sent = b"".join(bytes([n]) * size for n, size in enumerate(writes))
        at = 0
        for size in writes:
            assert bench.write(bench.stream, sent[at : at + size]) == (size, 0)
            at += size
        got = b""
        while len(got) < len(sent):
            size = min(reads[len(got) % len(reads)], len(sent) - len(got))
            result, part = bench.read(far, size)
            assert result == (size, 0)
            got += part
        assert got == sent
        talloc_free(bench.top)


class TestDisconnect:
    def test_sends_nothing(self, bench: Bench) -> None:
        """The plain stream is forgotten, not closed."""
        assert bench.disconnect(bench.stream) == (0, 0)
        assert bench.disconnect(bench.stream) == (-1, ENOTCONN)
        assert bench.read(bench.stream, 1)[0] == (-1, ENOTCONN)
        assert tstream_pending_bytes(bench.stream) == -1
        assert bench.write(bench.plain, b"x") == (1, 0)


class TestFunctions:
    def test_sizes_by_default(self, bench: Bench) -> None:
        """A signature takes its place from the input, sealed data does not."""

        class signer(gensec_security):
            def have_feature(self, feature: int) -> bool:
                return feature == GENSEC_FEATURE_SIGN

            def sig_size(self) -> int:
                return 16

        class sealer(signer):
            def have_feature(self, feature: int) -> bool:
                return True

        assert gensec_max_input_size(talloc_zero(bench.top, signer)) == 131056
        assert gensec_max_input_size(talloc_zero(bench.top, sealer)) == 131072
        assert gensec_max_wrapped_size(talloc_zero(bench.top, signer)) == 131072

    def test_wrap_and_unwrap(self, bench: Bench) -> None:
        """The results are chunks of their own."""
        one, two = new_toy(bench.top), new_toy(bench.top)
        status, wrapped = gensec_wrap(one, bench.top, b"abc")
        assert status == NT_STATUS_OK
        assert talloc_parent(wrapped) is bench.top
        assert talloc_get_size(wrapped) == 6
        status, plain = gensec_unwrap(two, bench.top, wrapped)
        assert (status, plain) == (NT_STATUS_OK, b"abc")
        assert gensec_unwrap(two, bench.top, wrapped) == (NT_STATUS_ACCESS_DENIED, None)

    def test_features(self, bench: Bench) -> None:
        """Asked of the mechanism; nothing else is accepted."""
        assert gensec_have_feature(bench.security, GENSEC_FEATURE_SEAL)
        assert not gensec_have_feature(bench.security, GENSEC_FEATURE_SIGN)
        with pytest.raises(TypeError):
            gensec_have_feature(bench.top, 2)  # type: ignore[arg-type]


def ntlm_pair(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, seal: bool) -> tuple[Any, Any]:
    """A client and a server of NTLM that have authenticated each other."""
    spnego = pytest.importorskip("spnego")
    users = tmp_path / "users"
    users.write_text("DOM:user:secret\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    flags = spnego.ContextReq.integrity | spnego.ContextReq.sequence_detect | spnego.ContextReq.replay_detect
    if seal:
        flags |= spnego.ContextReq.confidentiality
    client = spnego.client("DOM\\user", "secret", protocol="ntlm", context_req=flags)
    server = spnego.server(protocol="ntlm", context_req=flags)
    challenge = server.step(client.step())
    server.step(client.step(challenge))
    assert client.complete
    assert server.complete
    return client, server


class TestSpnego:
    @pytest.mark.parametrize("seal", [True, False])
    def test_both_ends(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, seal: bool) -> None:
        """Sealed or signed, in both directions, more than one token long."""
        client, server = ntlm_pair(tmp_path, monkeypatch, seal)
        bench = Bench()
        streams = []
        for context, plain in ((client, bench.plain), (server, bench.far)):
            security = gensec_from_spnego(bench.top, context)
            assert gensec_have_feature(security, GENSEC_FEATURE_SIGN)
            assert gensec_have_feature(security, GENSEC_FEATURE_SEAL) == seal
            status, stream = gensec_create_tstream(bench.top, security, plain)
            assert status == NT_STATUS_OK
            streams.append(stream)
        data = os.urandom(150000)
        for one, two in (streams, streams[::-1]):
            buf = bytearray(len(data))
            reading = tstream_readv_send(bench.top, bench.ev, two, [buf])
            assert bench.write(one, data) == (len(data), 0)
            assert tevent_req_poll(reading, bench.ev)
            assert tstream_readv_recv(reading) == (len(data), 0)
            assert buf == data
        talloc_free(bench.top)

    @pytest.mark.parametrize("seal", [True, False])
    def test_tampering(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, seal: bool) -> None:
        """A changed byte of the data or of the signature is found; so is a token that comes twice."""
        for position in (0, 5, 15, 16, 20):
            client, server = ntlm_pair(tmp_path, monkeypatch, seal)
            top = talloc_new(None)
            status, wrapped = gensec_wrap(gensec_from_spnego(top, client), top, b"hello")
            assert status == NT_STATUS_OK
            assert len(wrapped) == 21
            wrapped[position] ^= 1
            security = gensec_from_spnego(top, server)
            assert gensec_unwrap(security, top, wrapped) == (NT_STATUS_ACCESS_DENIED, None), position
            talloc_free(top)


class _Result:
    def __init__(self, message: bytes, encrypted: bool) -> None:
        self.message, self.encrypted = message, encrypted


class FakeGss:
    """What python-gssapi's SecurityContext has of what is used."""

    def __init__(self, flags: int) -> None:
        self.actual_flags = flags
        self.encrypts = True

    def wrap(self, data: bytes, encrypt: bool) -> _Result:
        return _Result(b"gss" + data, encrypt)

    def unwrap(self, data: bytes) -> _Result:
        if not data.startswith(b"gss"):
            raise OSError("a bad token")
        return _Result(data[3:], self.encrypts)

    def get_wrap_size_limit(self, size: int, encrypt: bool) -> int:
        return size - 60


class TestGssapi:
    def test_adapter(self, bench: Bench) -> None:
        """Works on the object it is given, without the package."""
        security = gensec_from_gssapi(bench.top, FakeGss(0x30))
        assert gensec_max_input_size(security) == 65476
        assert gensec_max_wrapped_size(security) == 65536
        status, wrapped = gensec_wrap(security, bench.top, b"x")
        assert (status, wrapped) == (NT_STATUS_OK, b"gssx")
        assert gensec_unwrap(security, bench.top, wrapped) == (NT_STATUS_OK, b"x")
        assert gensec_unwrap(security, bench.top, b"other") == (NT_STATUS_ACCESS_DENIED, None)

    def test_sealing_is_not_taken_away(self, bench: Bench) -> None:
        """A token that is only signed, where sealing was negotiated, is refused."""
        context = FakeGss(0x30)
        context.encrypts = False
        security = gensec_from_gssapi(bench.top, context)
        assert gensec_unwrap(security, bench.top, b"gssx")[0] == NT_STATUS_ACCESS_DENIED
        context.actual_flags = 0x20
        assert gensec_unwrap(security, bench.top, b"gssx") == (NT_STATUS_OK, b"x")
        assert not gensec_have_feature(security, GENSEC_FEATURE_SEAL)


def ber(tag: int, *parts: bytes) -> bytes:
    """An element of BER."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    return bytes([tag, 0x84]) + len(body).to_bytes(4, "big") + body


def elements(data: bytes) -> list[tuple[int, bytes]]:
    """The elements one after the other."""
    found = []
    while data:
        size, start = data[1], 2
        if size & 0x80:
            start = 2 + (size & 0x7F)
            size = int.from_bytes(data[2:start], "big")
        found.append((data[0], data[start : start + size]))
        data = data[start + size :]
    return found


@pytest.mark.peer
class TestRealLdap:
    """A sealed search in a real domain."""

    def test_authenticated_and_sealed(self, samba_ad_dc: dict[str, str]) -> None:
        """NTLM in SPNEGO over LDAP's SASL bind, then a search that only a sealed connection may make."""
        spnego = pytest.importorskip("spnego")
        from tsocket import (
            ldap_full_packet,
            tsocket_address_inet_from_strings,
            tstream_inet_tcp_connect_recv,
            tstream_inet_tcp_connect_send,
            tstream_read_pdu_blob_recv,
            tstream_read_pdu_blob_send,
        )

        top = talloc_new(None)
        ev = tevent_context_init(top)
        _, local = tsocket_address_inet_from_strings(top, "ip", None, 0)
        _, remote = tsocket_address_inet_from_strings(top, "ip", samba_ad_dc["PEER_ADDRESS"], 389)
        connecting = tstream_inet_tcp_connect_send(top, ev, local, remote)
        assert tevent_req_poll(connecting, ev)
        ret, err, plain, _ = tstream_inet_tcp_connect_recv(connecting, top)
        assert (ret, err) == (0, 0)

        def ask(stream: tstream_context, number: int, operation: bytes) -> list[tuple[int, bytes]]:
            """Send a message, and read what comes as its answer, up to the one that ends it."""
            message = ber(0x30, ber(0x02, bytes([number])), operation)
            writing = tstream_writev_send(top, ev, stream, [message])
            answers: list[tuple[int, bytes]] = []
            while not answers or answers[-1][0] == 0x64:
                reading = tstream_read_pdu_blob_send(top, ev, stream, 7, ldap_full_packet, None)
                assert tevent_req_poll(reading, ev)
                status, blob = tstream_read_pdu_blob_recv(reading, top)
                assert status == NT_STATUS_OK
                ((_, body),) = elements(bytes(blob))
                answers.append(elements(body)[1])
            assert tstream_writev_recv(writing)[0] == len(message)
            return answers

        flags = spnego.ContextReq.integrity | spnego.ContextReq.confidentiality | spnego.ContextReq.sequence_detect
        user = f"{samba_ad_dc['PEER_WORKGROUP']}\\{samba_ad_dc['PEER_USER']}"
        context = spnego.client(user, samba_ad_dc["PEER_PASSWORD"], protocol="ntlm", context_req=flags)
        token: bytes | None = None
        for number in (1, 2):
            token = context.step(token)
            credentials = ber(0xA3, ber(0x04, b"GSS-SPNEGO"), ber(0x04, token or b""))
            answer = ask(plain, number, ber(0x60, ber(0x02, b"\x03"), ber(0x04), credentials))
            parts = elements(answer[0][1])
            assert parts[0][1] == (b"\x0e" if number == 1 else b"\0"), "the bind goes on, then has succeeded"
            token = next((value for tag, value in parts if tag == 0x87), None)
        status, sealed = gensec_create_tstream(top, gensec_from_spnego(top, context), plain)
        assert status == NT_STATUS_OK
        base = ",".join(f"DC={part}" for part in samba_ad_dc["PEER_REALM"].lower().split("."))
        numbers = ber(0x0A, b"\0"), ber(0x0A, b"\0"), ber(0x02, b"\0"), ber(0x02, b"\0"), ber(0x01, b"\0")
        search = ber(0x63, ber(0x04, base.encode()), *numbers, ber(0x87, b"objectClass"), ber(0x30, ber(0x04, b"name")))
        entry, done = ask(sealed, 3, search)
        assert b"name" in entry[1]
        assert base.split(",")[0].removeprefix("DC=").encode() in entry[1]
        assert elements(done[1])[0][1] == b"\0"
        talloc_free(top)
