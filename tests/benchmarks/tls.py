# SPDX-License-Identifier: LGPL-3.0-or-later
"""
TLS 1.3 over TCP on the loopback interface: the round trip of `pdu.py` and the transfer of `bulk.py`, encrypted.

Everybody has the same certificate, which the client verifies, and the same cipher; the handshake is not measured. The
loop around a bare epoll object has an `ssl.SSLSocket` at each end.

The certificate is made when it is first used, into a temporary folder, by the package cryptography.
"""

from __future__ import annotations

import asyncio
import datetime
import functools
import os
import select
import ssl
import tempfile
from functools import partial
from pathlib import Path

import bulk
import pdu
from connections import sockets
from harness import Cost, Group, main, per_item, spread

HOST = "server.peer.test"
PRIORITY = "NORMAL:-VERS-ALL:+VERS-TLS1.3"
# What one read of OpenSSL's returns at most.
RECORD = 16384


# -- certificate ------------------------------------------------------------------------------------------------------


def make_certificate() -> bytes:
    """A key, and a certificate that vouches for itself, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)


@functools.cache
def certificate_file() -> str:
    """The file with both, made anew every day."""
    folder = Path(tempfile.gettempdir()) / f"tsocket-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"certificate-{datetime.date.today().isoformat()}.pem"
    if not file.exists():
        unfinished = file.with_suffix(f".{os.getpid()}")
        unfinished.touch(0o600)
        unfinished.write_bytes(make_certificate())
        unfinished.replace(file)
    return str(file)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What the standard library has for a client and for a server."""
    client = ssl.create_default_context(cafile=certificate_file())
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate_file())
    for context in (client, server):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    return client, server


# -- tsocket ----------------------------------------------------------------------------------------------------------


def tls_streams(top, ev, connections: int) -> list:
    """`tstream_tls_connect_send` and `tstream_tls_accept_send` on both ends of each connection."""
    from talloc_py import TALLOC_FREE
    from tevent import tevent_req_poll
    from tsocket import (
        TLS_VERIFY_PEER_CA_AND_NAME,
        tstream_tls_accept_recv,
        tstream_tls_accept_send,
        tstream_tls_connect_recv,
        tstream_tls_connect_send,
        tstream_tls_params_client,
        tstream_tls_params_server,
    )

    file = certificate_file()
    verify = TLS_VERIFY_PEER_CA_AND_NAME
    _, client_params = tstream_tls_params_client(top, False, None, file, None, PRIORITY, verify, HOST)
    _, server_params = tstream_tls_params_server(top, HOST, None, True, file, file, None, None, None, PRIORITY)
    made = []
    for client, server in pdu.plain_streams(top, ev, connections):
        connecting = tstream_tls_connect_send(top, ev, client, client_params)
        accepting = tstream_tls_accept_send(top, ev, server, server_params)
        pair = []
        for req, recv in ((connecting, tstream_tls_connect_recv), (accepting, tstream_tls_accept_recv)):
            assert tevent_req_poll(req, ev)
            ret, err, stream = recv(req, top)
            TALLOC_FREE(req)
            if ret == -1:
                raise OSError(err, "TLS")
            pair.append(stream)
        made.append(pair)
    return made


# -- asyncio and uvloop -----------------------------------------------------------------------------------------------


async def shake_hands(ends, client, server) -> None:
    """Put two protocols behind transports that encrypt."""
    loop = asyncio.get_running_loop()
    client_context, server_context = contexts()
    await asyncio.gather(
        loop.create_connection(lambda: client, sock=ends[0], ssl=client_context, server_hostname=HOST),
        loop.connect_accepted_socket(lambda: server, ends[1], ssl=server_context),
    )


async def tls_protocols(client, server, connections: int) -> list:
    """A protocol for each end. What uvloop returns for a server's is not it, so they are made here."""
    made = [(client(), server()) for _ in range(connections)]
    for ends, pair in zip(sockets(connections), made, strict=True):
        await shake_hands(ends, *pair)
    return made


async def tls_readers(connections: int) -> list:
    """A reader and a writer for each end. The two of a connection do the same, whichever is the client's."""

    def protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), lambda *both: ends[-1].append(both))

    ends: list[list] = []
    for _ in range(connections):
        ends.append([])
        await tls_protocols(protocol, protocol, 1)
    return ends


# -- Trio -------------------------------------------------------------------------------------------------------------


async def tls_trio(connections: int) -> list:
    """`trio.SSLStream` at each end."""
    import trio

    client_context, server_context = contexts()
    made = []
    for client, server in await pdu.trio_streams(connections):
        pair = (
            trio.SSLStream(client, client_context, server_hostname=HOST),
            trio.SSLStream(server, server_context, server_side=True),
        )
        async with trio.open_nursery() as nursery:
            for stream in pair:
                nursery.start_soon(stream.do_handshake)
        made.append(pair)
    return made


# -- Twisted ----------------------------------------------------------------------------------------------------------


@functools.cache
def twisted_options() -> tuple:
    """What makes the connections of a client and of a server. Both shake hands in the warm-up."""
    from twisted.internet import ssl as twisted_ssl

    pem = Path(certificate_file()).read_bytes()
    own = twisted_ssl.PrivateCertificate.loadPEM(pem)
    lowest = twisted_ssl.TLSVersion.TLSv1_3
    trusted = twisted_ssl.Certificate.loadPEM(pem)
    more = {"raiseMinimumTo": lowest}
    client = twisted_ssl.optionsForClientTLS(HOST, trustRoot=trusted, extraCertificateOptions=more)
    server = twisted_ssl.CertificateOptions(
        privateKey=own.privateKey.original, certificate=own.original, raiseMinimumTo=lowest
    )
    return client, server


def tls_adopt(reactor, pair, client, server) -> None:
    """Give both ends of a connection to Twisted, with TLS between."""
    from twisted.protocols.tls import TLSMemoryBIOFactory

    client_options, server_options = twisted_options()
    pdu.adopt(reactor, pair[0], client, partial(TLSMemoryBIOFactory, client_options, True))
    pdu.adopt(reactor, pair[1], server, partial(TLSMemoryBIOFactory, server_options, False))


# -- a loop by hand ---------------------------------------------------------------------------------------------------


def ssl_sockets() -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of a connection, after the handshake: client, server."""
    client_context, server_context = contexts()
    [(client, server)] = sockets(1)
    ends = (
        client_context.wrap_socket(client, do_handshake_on_connect=False, server_hostname=HOST),
        server_context.wrap_socket(server, do_handshake_on_connect=False, server_side=True),
    )
    left = set(ends)
    while left:
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            left.discard(end)
    return ends


def epoll_pdu(count: int) -> Cost:
    """As in `pdu.py`. A read takes a whole record, so that epoll knows of all that is left."""
    ends = ssl_sockets()
    poll = select.epoll()
    buffers = {sock.fileno(): (sock, bytearray()) for sock in ends}
    for sock in ends:
        poll.register(sock.fileno(), select.EPOLLIN)
    client = ends[0]

    def run(total):
        left = total
        client.send(pdu.PDU)
        while left:
            for fd, _ in poll.poll():
                sock, buffer = buffers[fd]
                try:
                    buffer += sock.recv(RECORD)
                except ssl.SSLWantReadError:
                    continue
                while len(buffer) >= 4:
                    end = 4 + int.from_bytes(buffer[:4], "big")
                    if len(buffer) < end:
                        break
                    one = bytes(buffer[:end])
                    del buffer[:end]
                    if sock is client:
                        left -= 1
                        if not left:
                            break
                    sock.send(one)

    run(pdu.WARM_UP)
    return per_item(partial(run, count), count)


def epoll_bulk(count: int) -> Cost:
    """As in `bulk.py`."""
    client, server = ssl_sockets()
    poll = select.epoll()
    poll.register(client, select.EPOLLOUT)
    poll.register(server, select.EPOLLIN)
    buffer = bytearray(RECORD)
    block = memoryview(bulk.BLOCK)

    def run(total):
        to_send = total
        to_read = total * bulk.SIZE
        rest = block
        poll.modify(client, select.EPOLLOUT)
        while to_read:
            for fd, _ in poll.poll():
                try:
                    if fd == server.fileno():
                        to_read -= server.recv_into(buffer)
                        continue
                    rest = rest[client.send(rest) :]
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                if not rest:
                    to_send -= 1
                    rest = block
                    if not to_send:
                        poll.modify(client, 0)

    run(bulk.WARM_UP)
    return per_item(partial(run, count), count)


def units(module, by_hand, **more: int) -> dict:
    """Everyone's way of *module*'s work, with TLS below."""
    return {
        "tsocket": partial(module.tsocket_unit, streams=tls_streams, **more),
        "asyncio streams": partial(module.streams_unit, readers=tls_readers, **more),
        "asyncio Protocol": partial(module.protocol_unit, protocols=tls_protocols, **more),
        "uvloop streams": partial(module.streams_unit, readers=tls_readers, uvloop=True, **more),
        "uvloop Protocol": partial(module.protocol_unit, protocols=tls_protocols, uvloop=True, **more),
        "Trio": partial(module.trio_unit, streams=tls_trio, **more),
        "Twisted": partial(module.twisted_unit, adopt_pair=tls_adopt, **more),
        "epoll by hand": by_hand,
    }


GROUPS = [
    Group(
        "PDU over TLS 1.3, 1 connection",
        "µs of CPU a round trip",
        "asyncio streams, round trip",
        spread(units(pdu, epoll_pdu, connections=1, active=1), 10_000, ", round trip"),
    ),
    Group(
        "Bulk over TLS 1.3, 256 MiB in writes of 64 KiB",
        "µs of CPU a write",
        "asyncio streams, bulk",
        spread(units(bulk, epoll_bulk), (256 << 20) // bulk.SIZE, ", bulk"),
    ),
]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
