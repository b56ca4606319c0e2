# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Helpers for the tests of TLS: certificates of every sort, both sides of a handshake, and a peer of another make.

The certificates are made once a session, by the package cryptography, with keys on an elliptic curve, which takes no
time. `OtherSide` is TLS by the standard library over a raw socket, driven by hand: nothing of ours is in it.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import pathlib
import select
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from stream_kit import Loop, Seen, drain

from talloc_py import TALLOC_CTX, talloc_free, talloc_steal
from tevent import NT_STATUS_OK, tevent_context, tevent_req
from tsocket import (
    TLS_VERIFY_PEER_CA_AND_NAME,
    tstream_context,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
    tstream_tls_params,
    tstream_tls_params_client,
    tstream_tls_params_server,
    tstream_unix_socketpair,
)
from tsocket.testing import stream_traits

x509: Any = pytest.importorskip("cryptography.x509", reason="needs the distribution cryptography")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402
from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: E402
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand  # noqa: E402
from cryptography.x509.oid import NameOID  # noqa: E402

#: The name in the good certificate.
HOST = "server.peer.test"
#: Streams of TLS look at the plain stream only when they read, and a disconnect ends one direction.
TRAITS = stream_traits(pending_before_read=False, half_closed=True)
TLS12, TLS13 = "NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["TLS 1.2", "TLS 1.3"])

_DAY = datetime.timedelta(days=1)
_NOW = datetime.datetime.now(datetime.UTC)
_LONG = (_NOW - _DAY, _NOW + 1000 * _DAY)


def _name(text: str) -> Any:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_key(kind: str = "ec") -> Any:
    """A private key."""
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "ec384" else ec.SECP256R1())


class Authority:
    """A certificate authority, and what it issues, in files of a folder."""

    def __init__(self, folder: pathlib.Path, name: str, issuer: Authority | None = None, kind: str = "ec") -> None:
        self.folder = folder
        self.name = name
        self.key = make_key(kind)
        self.serials: dict[str, int] = {}
        self.certificate = self.sign(issuer or self, name, self.key, authority=True)
        self.file = self.write(name, pem(self.certificate))

    def sign(
        self,
        issuer: Authority,
        name: str,
        key: Any,
        *,
        authority: bool = False,
        names: list[str] | None = None,
        addresses: list[Any] | None = None,
        valid: tuple[Any, Any] = _LONG,
        digest: Any = None,
        padding: Any = None,
    ) -> Any:
        """A certificate for *key*, signed by *issuer*."""
        serial = x509.random_serial_number()
        self.serials[name] = serial
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(issuer.name))
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(valid[0])
            .not_valid_after(valid[1])
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        alternatives = [x509.DNSName(each) for each in names or ()]
        alternatives += [x509.IPAddress(each) for each in addresses or ()]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        if isinstance(issuer.key, ed25519.Ed25519PrivateKey):
            return builder.sign(issuer.key, None)
        return builder.sign(issuer.key, digest or hashes.SHA256(), rsa_padding=padding)

    def issue(
        self, file: str, names: list[str], *, kind: str = "ec", chain: tuple[Authority, ...] = (), **how: Any
    ) -> Server:
        """A server's key and certificate in files called *file*; *chain* goes into the file of the certificate."""
        key = make_key(kind)
        certificate = self.sign(self, file, key, names=names, **how)
        key_file = self.write(f"{file}.key", key_pem(key), 0o600)
        text = pem(certificate) + b"".join(pem(each.certificate) for each in chain)
        return Server(key_file, self.write(file, text), certificate)

    def revoke(self, file: str, serials: list[int], until: Any = _LONG[1]) -> str:
        """A revocation list in a file called *file*."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(_name(self.name))
        builder = builder.last_update(_NOW - 20 * _DAY).next_update(until)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_LONG[0]).build()
            builder = builder.add_revoked_certificate(revoked)
        return self.write(file, pem(builder.sign(self.key, hashes.SHA256())))

    def write(self, name: str, content: bytes, mode: int = 0o644) -> str:
        """Write a file and return its path."""
        path = self.folder / f"{name}.pem"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)


class Server:
    """The files of a server."""

    def __init__(self, key: str, cert: str, certificate: Any) -> None:
        self.key = key
        self.cert = cert
        self.certificate = certificate
        self.der: bytes = certificate.public_bytes(serialization.Encoding.DER)


def pem(thing: Any) -> bytes:
    """A certificate or a revocation list as text."""
    text: bytes = thing.public_bytes(serialization.Encoding.PEM)
    return text


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    """A private key as text."""
    hiding: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    text: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hiding)
    return text


class World:
    """All certificates that tests need."""

    def __init__(self) -> None:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tsocket-tls-"))
        atexit.register(shutil.rmtree, folder)
        self.folder = folder
        self.ca = Authority(folder, "ca")
        self.other_ca = Authority(folder, "other-ca")
        self.good = self.ca.issue("good", [HOST, "*.wild.test"])
        self.revoked = self.ca.issue("revoked", [HOST])
        self.expired = self.ca.issue("expired", [HOST], valid=(_NOW - 20 * _DAY, _NOW - 10 * _DAY))
        self.expired_at = _NOW - 10 * _DAY
        self.early = self.ca.issue("early", [HOST], valid=(_NOW + 10 * _DAY, _NOW + 20 * _DAY))
        self.nameless = self.ca.issue("nameless", [])
        self.crl = self.ca.revoke("crl", [self.ca.serials["revoked"]])
        self.between = Authority(folder, "between", self.ca)
        self.chained = self.between.issue("chained", [HOST], chain=(self.between,))

    def server(self, mem_ctx: TALLOC_CTX | None, files: Server | None = None, priority: str = "") -> tstream_tls_params:
        """Parameters of a server."""
        files = files or self.good
        status, params = tstream_tls_params_server(
            mem_ctx, HOST, None, True, files.key, files.cert, None, None, None, priority
        )
        assert status == NT_STATUS_OK
        assert params is not None
        return params

    def client(
        self,
        mem_ctx: TALLOC_CTX | None,
        verify: int = TLS_VERIFY_PEER_CA_AND_NAME,
        name: str | None = HOST,
        *,
        ca: str | None = None,
        crl: str | None = None,
        priority: str = "",
    ) -> tstream_tls_params:
        """Parameters of a client."""
        status, params = tstream_tls_params_client(
            mem_ctx, False, None, ca or self.ca.file, crl, priority, verify, name
        )
        assert status == NT_STATUS_OK
        assert params is not None
        return params


@functools.cache
def world() -> World:
    """The certificates, made when the first test asks for them."""
    return World()


# -- handshakes -------------------------------------------------------------------------------------------------------


class Pair:
    """Both sides of a handshake over a socket pair, ours."""

    def __init__(
        self,
        loop: Loop,
        top: TALLOC_CTX,
        client: tstream_tls_params,
        server: tstream_tls_params,
        plain: tuple[tstream_context, tstream_context] | None = None,
    ) -> None:
        self.loop = loop
        self.top = top
        if plain is None:
            _, one, two = tstream_unix_socketpair(top, top)
            assert one is not None
            assert two is not None
            plain = one, two
        self.plain = plain
        self.connecting = tstream_tls_connect_send(top, loop.ev, plain[0], client)
        self.accepting = tstream_tls_accept_send(top, loop.ev, plain[1], server)

    def watch(self) -> tuple[Seen, Seen]:
        """Receive both requests when they end."""
        return (
            self.loop.watch(
                self.connecting, functools.partial(_receive, tstream_tls_connect_recv, self.top), free=True
            ),
            self.loop.watch(self.accepting, functools.partial(_receive, tstream_tls_accept_recv, self.top), free=True),
        )

    def results(self) -> tuple[Any, Any]:
        """``(ret, errno, stream)`` of the client and of the server."""
        seen = self.watch()
        self.loop.until(lambda: all(each.calls for each in seen))
        return seen[0].result, seen[1].result

    def streams(self) -> tuple[tstream_context, tstream_context]:
        """The streams of a handshake that must succeed; the plain ones go with them."""
        client, server = self.results()
        assert (client[:2], server[:2]) == ((0, 0), (0, 0))
        for tls, plain in zip((client[2], server[2]), self.plain, strict=True):
            talloc_steal(tls, plain)
        return client[2], server[2]


def _receive(recv: Callable[..., Any], mem_ctx: TALLOC_CTX, req: tevent_req) -> Any:
    return recv(req, mem_ctx)


def connected(
    loop: Loop,
    top: TALLOC_CTX,
    priority: str = "",
    plain: tuple[tstream_context, tstream_context] | None = None,
) -> tuple[tstream_context, tstream_context]:
    """A client's and a server's stream, each with its plain stream below it."""
    client, server = world().client(top, priority=priority), world().server(top)
    try:
        return Pair(loop, top, client, server, plain).streams()
    finally:
        talloc_free(client)
        talloc_free(server)


class WaitingLoop(Loop):
    """A loop around a context that somebody else made."""

    def __init__(self, ev: tevent_context) -> None:
        self.ev = ev
        self.count = 0


def pair_maker(
    priority: str = "", carrier: Callable[[tevent_context, TALLOC_CTX], Any] | None = None, depth: int = 1
) -> Callable[[tevent_context, TALLOC_CTX], tuple[tstream_context, tstream_context]]:
    """A *make_pair* for the conformance suite: TLS over what *carrier* makes, *depth* times."""

    def make_pair(ev: tevent_context, mem_ctx: TALLOC_CTX) -> tuple[tstream_context, tstream_context]:
        plain: tuple[tstream_context, tstream_context] | None = None if carrier is None else carrier(ev, mem_ctx)
        for _ in range(depth):
            plain = connected(WaitingLoop(ev), mem_ctx, priority, plain)
        assert plain is not None
        return plain

    return make_pair


# -- the other side, of another make ----------------------------------------------------------------------------------


class OtherSide:
    """TLS by the standard library over a raw socket."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        server: bool,
        priority: tuple[Any, Any] | None = None,
        keys: pathlib.Path | None = None,
    ) -> None:
        self.sock = sock
        self.server = server
        sock.setblocking(False)
        if server:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(world().good.cert, world().good.key)
            context.num_tickets = 0
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(world().ca.file)
        if priority is not None:
            context.minimum_version, context.maximum_version = priority
        if keys is not None:
            context.keylog_filename = str(keys)
        self.context = context
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server, server_hostname=None if server else HOST
        )
        self.shaken = False
        self.ended = False

    def receive(self) -> None:
        """Take what has come."""
        self.incoming.write(drain(self.sock))

    def flush(self) -> None:
        """Send what waits; the socket has room for it."""
        data = self.outgoing.read()
        if data:
            self.sock.sendall(data)

    def step(self) -> bool:
        """Go on with the handshake; True when it is done."""
        self.receive()
        if not self.shaken:
            try:
                self.tls.do_handshake()
                self.shaken = True
            except ssl.SSLWantReadError:
                pass
        self.flush()
        return self.shaken

    def write(self, data: bytes) -> None:
        """Send *data*, encrypted."""
        self.tls.write(data)
        self.flush()

    def read(self) -> bytes:
        """All that has come, decrypted."""
        self.receive()
        parts: list[bytes] = []
        try:
            while part := self.tls.read(65536):
                parts.append(part)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        self.flush()
        return b"".join(parts)


class Forger:
    """
    Records of TLS 1.3 as no library would send them, under the keys of an `OtherSide` that has written them down.

    The other side's own stream must not be used for writing any more: it does not know of the records forged.
    """

    def __init__(self, other: OtherSide, keys: pathlib.Path, *, sent: int = 0) -> None:
        self.other = other
        whose = "SERVER" if other.server else "CLIENT"
        cipher = other.tls.cipher()
        assert cipher is not None
        assert cipher[0] == "TLS_AES_256_GCM_SHA384"
        lines = [line.split() for line in keys.read_text().splitlines()]
        (self.secret,) = [bytes.fromhex(line[2]) for line in lines if line[0] == f"{whose}_TRAFFIC_SECRET_0"]
        self.sequence = sent
        other.context.keylog_filename = None  # type: ignore[assignment]  # closes it

    def _expand(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label of RFC 8446."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(hashes.SHA384(), size, info).derive(self.secret)

    def record(self, kind: int, content: bytes, outer: int = 23) -> bytes:
        """A record that carries *content* as of the type *kind*."""
        header = bytes([outer, 3, 3]) + (len(content) + 17).to_bytes(2, "big")
        nonce = int.from_bytes(self._expand(b"iv", 12), "big") ^ self.sequence
        self.sequence += 1
        sealed = AESGCM(self._expand(b"key", 32)).encrypt(nonce.to_bytes(12, "big"), content + bytes([kind]), header)
        return header + sealed

    def data(self, content: bytes) -> bytes:
        """Application data."""
        return self.record(23, content)

    def update(self, answer: bool) -> bytes:
        """A change of keys, which the other side is to follow if *answer*; what comes next is under the new ones."""
        record = self.record(22, b"\x18\0\0\1" + bytes([answer]))
        self.secret = self._expand(b"traffic upd", 48)
        self.sequence = 0
        return record


def handshake_with(
    loop: Loop, top: TALLOC_CTX, stream: tstream_context, other: OtherSide, params: Any, server: bool
) -> Seen:
    """Our side of a handshake with *other*, which is driven until both have ended."""
    send, recv = (
        (tstream_tls_accept_send, tstream_tls_accept_recv)
        if server
        else (tstream_tls_connect_send, tstream_tls_connect_recv)
    )
    seen = loop.watch(send(top, loop.ev, stream, params), functools.partial(_receive, recv, top), free=True)

    drive(loop, other, lambda: other.step() and seen.calls)
    return seen


def drive(loop: Loop, other: OtherSide, condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Turn the loop and ask *condition*, which drives *other*, in turns, until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the awaited condition did not come"
        if not loop.turn():
            # Bytes of a TCP connection take their time.
            select.select([other.sock], [], [], 0.001)
