# SPDX-License-Identifier: LGPL-3.0-or-later
"""TLS with programs that somebody else wrote: OpenSSL, GnuTLS, socat, Samba."""

from __future__ import annotations

import functools
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from errno import EINVAL, EIO, EPIPE
from typing import Any

import peers
import pytest
from stream_kit import Loop, disconnect, read_now, write_now
from tls_kit import TLS12, TLS13

from talloc_py import TALLOC_CTX, talloc_free, talloc_steal
from tevent import NT_STATUS_OK
from tsocket import (
    TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE,
    TLS_VERIFY_PEER_CA_AND_NAME,
    TLS_VERIFY_PEER_CA_ONLY,
    TLS_VERIFY_PEER_NO_CHECK,
    tsocket_address_inet_from_strings,
    tstream_bsd_existing_socket,
    tstream_context,
    tstream_disconnect_recv,
    tstream_inet_tcp_connect_recv,
    tstream_inet_tcp_connect_send,
    tstream_tls_accept_recv,
    tstream_tls_accept_send,
    tstream_tls_channel_bindings,
    tstream_tls_connect_recv,
    tstream_tls_connect_send,
    tstream_tls_params_client,
    tstream_tls_params_server,
)

pytestmark = pytest.mark.peer
REVERSING = ["OPENSSL", "OPENSSL_TLS12", "OPENSSL_TLS13"]
ECHOING = ["OPENSSL_ECHO", "GNUTLS", "GNUTLS_TLS12", "GNUTLS_TLS13"]


def receive(recv: Any, mem_ctx: TALLOC_CTX, req: Any) -> Any:
    return recv(req, mem_ctx)


def tcp(loop: Loop, top: TALLOC_CTX, host: str, port: str) -> tstream_context:
    """A TCP connection."""
    _, local = tsocket_address_inet_from_strings(top, "ip", None, 0)
    _, remote = tsocket_address_inet_from_strings(top, "ip", host, int(port))
    assert local is not None
    assert remote is not None
    req = tstream_inet_tcp_connect_send(top, loop.ev, local, remote)
    seen = loop.watch(req, functools.partial(receive, tstream_inet_tcp_connect_recv, top), free=True)
    loop.until(lambda: seen.calls)
    ret, _, stream, _ = seen.result
    assert ret == 0
    return stream  # type: ignore[no-any-return]


def connect(
    loop: Loop,
    top: TALLOC_CTX,
    env: dict[str, str],
    server: str,
    *,
    verify: int = TLS_VERIFY_PEER_CA_AND_NAME,
    priority: str = "",
    crl: bool = False,
    ca: str = "TLS_CA",
) -> Any:
    """``(ret, errno, stream)`` of a handshake with one of the servers."""
    status, params = tstream_tls_params_client(
        top, False, None, env[ca], env["TLS_CRL"] if crl else None, priority, verify, env["TLS_NAME"]
    )
    assert status == NT_STATUS_OK
    assert params is not None
    plain = tcp(loop, top, env["TLS_HOST"], env[f"TLS_{server}_PORT"])
    req = tstream_tls_connect_send(top, loop.ev, plain, params)
    seen = loop.watch(req, functools.partial(receive, tstream_tls_connect_recv, top), free=True)
    loop.until(lambda: seen.calls)
    # Some servers take one client at a time: the next one must not wait for this.
    if seen.result[0] == -1:
        talloc_free(plain)
    else:
        talloc_steal(seen.result[2], plain)
    return seen.result


def agreed(stream: tstream_context) -> tuple[str, str]:
    """The version and the cipher."""
    tls: Any = stream.private_data.engine._tls  # type: ignore[attr-defined]
    return tls.version(), tls.cipher()[0]


class TestConnect:
    @pytest.mark.parametrize("server", REVERSING)
    def test_openssl(self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str], server: str) -> None:
        """s_server sends each line back from its end."""
        ret, err, stream = connect(loop, top, tls_servers, server, crl=True)
        assert (ret, err) == (0, 0)
        for line in (b"hello", b"x" * 5000, b"bye"):
            assert write_now(loop, stream, line + b"\n") == (len(line) + 1, 0)
            assert read_now(loop, stream, len(line) + 1) == ((len(line) + 1, 0), line[::-1] + b"\n")
        if server[-1].isdigit():
            assert agreed(stream)[0] == f"TLSv1.{server[-1]}"

    @pytest.mark.parametrize("server", ECHOING)
    def test_echoes(self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str], server: str) -> None:
        """GnuTLS, and socat on OpenSSL, send back what they get."""
        ret, err, stream = connect(loop, top, tls_servers, server, crl=True)
        assert (ret, err) == (0, 0)
        for line in (b"hello\n", b"y" * 1000 + b"\n", b"bye\n"):
            assert write_now(loop, stream, line) == (len(line), 0)
            assert read_now(loop, stream, len(line)) == ((len(line), 0), line)
        if server.startswith("GNUTLS_"):
            assert agreed(stream)[0] == f"TLSv1.{server[-1]}"

    def test_megabytes(self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str]) -> None:
        """Both ways at once."""
        from stream_kit import readv, writev

        from tsocket import tstream_readv_recv, tstream_writev_recv

        ret, _, stream = connect(loop, top, tls_servers, "OPENSSL_ECHO")
        assert ret == 0
        data = bytes(range(256)) * 8192
        buf = bytearray(len(data))
        seen = [
            loop.watch(readv(loop, top, stream, buf), tstream_readv_recv),
            loop.watch(writev(loop, top, stream, data), tstream_writev_recv),
        ]
        loop.until(lambda: all(each.calls for each in seen))
        assert [each.result for each in seen] == [(len(data), 0)] * 2
        assert buf == data

    @pytest.mark.parametrize("server", ["OPENSSL_BADNAME", "OPENSSL_BADCA", "OPENSSL_EXPIRED", "OPENSSL_REVOKED"])
    @pytest.mark.parametrize("priority", [TLS12, TLS13])
    def test_bad_certificates(
        self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str], server: str, priority: str
    ) -> None:
        """Each is refused, but for a name that nobody looks at; unverified each will do."""
        strict = connect(
            loop, top, tls_servers, server, crl=True, priority=priority, verify=TLS_VERIFY_PEER_AS_STRICT_AS_POSSIBLE
        )
        assert strict == (-1, EINVAL, None)
        by_ca = connect(loop, top, tls_servers, server, crl=True, priority=priority, verify=TLS_VERIFY_PEER_CA_ONLY)
        assert by_ca[:2] == ((0, 0) if server == "OPENSSL_BADNAME" else (-1, EINVAL))
        if by_ca[2] is not None:
            assert write_now(loop, by_ca[2], b"ok\n") == (3, 0)
            talloc_free(by_ca[2])
        ret, _, stream = connect(loop, top, tls_servers, server, priority=priority, verify=TLS_VERIFY_PEER_NO_CHECK)
        assert ret == 0
        assert write_now(loop, stream, b"hello\n") == (6, 0)
        assert read_now(loop, stream, 6) == ((6, 0), b"olleh\n")

    @pytest.mark.parametrize("server", ["OPENSSL_MTLS", "GNUTLS_MTLS"])
    def test_a_server_that_demands_a_certificate(
        self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str], server: str
    ) -> None:
        """Fails in the handshake of 1.2; in 1.3 the alert comes after it, with the first read."""
        assert connect(loop, top, tls_servers, server, priority=TLS12)[0] == -1
        ret, _, stream = connect(loop, top, tls_servers, server, priority=TLS13)
        assert ret == 0
        assert read_now(loop, stream, 1)[0] in [(-1, EIO), (-1, EPIPE)]

    @pytest.mark.parametrize(
        ("server", "version"), [("OPENSSL_TLS12", TLS13), ("OPENSSL_TLS13", TLS12), ("GNUTLS_TLS12", TLS13)]
    )
    def test_no_common_version(
        self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str], server: str, version: str
    ) -> None:
        """EIO."""
        assert connect(loop, top, tls_servers, server, priority=version) == (-1, EIO, None)

    def test_a_disconnect_is_answered(self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str]) -> None:
        """After our close_notify GnuTLS sends its own, which ends reading."""
        ret, _, stream = connect(loop, top, tls_servers, "GNUTLS")
        assert ret == 0
        assert write_now(loop, stream, b"line\n") == (5, 0)
        seen = loop.watch(disconnect(loop, top, stream), tstream_disconnect_recv, free=True)
        loop.until(lambda: seen.calls)
        assert seen.result == (0, 0)
        assert read_now(loop, stream, 5) == ((5, 0), b"line\n")
        assert read_now(loop, stream, 1)[0] == (-1, EPIPE)

    def test_a_server_that_is_not_tls(self, top: TALLOC_CTX, loop: Loop, tls_servers: dict[str, str]) -> None:
        """An echo server sends the client its own hello."""
        env = tls_servers | {"TLS_PLAIN_PORT": tls_servers["ECHO_TCP_PORT"]}
        assert connect(loop, top, env, "PLAIN") == (-1, EIO, None)

    def test_samba(self, top: TALLOC_CTX, loop: Loop, samba_ad_dc: dict[str, str]) -> None:
        """An LDAP search of the root DSE over LDAPS, in both versions, with the certificate verified."""
        for priority in (TLS12, TLS13, "NORMAL:-VERS-SSL3.0"):
            status, params = tstream_tls_params_client(
                top,
                False,
                None,
                samba_ad_dc["PEER_CA_FILE"],
                None,
                priority,
                TLS_VERIFY_PEER_CA_AND_NAME,
                "peerdc.peer.test",
            )
            assert status == NT_STATUS_OK
            assert params is not None
            plain = tcp(loop, top, samba_ad_dc["PEER_ADDRESS"], "636")
            req = tstream_tls_connect_send(top, loop.ev, plain, params)
            seen = loop.watch(req, functools.partial(receive, tstream_tls_connect_recv, top), free=True)
            loop.until(lambda seen=seen: seen.calls)
            ret, err, stream = seen.result
            assert (ret, err) == (0, 0)
            assert write_now(loop, stream, ROOT_DSE) == (len(ROOT_DSE), 0)
            result, head = read_now(loop, stream, 6)
            assert result == (6, 0)
            assert head[0] == 0x30
            bindings = tstream_tls_channel_bindings(stream)
            assert bindings is not None
            assert bindings.startswith(b"tls-server-end-point:")
            talloc_free(stream)
            talloc_free(plain)


def tagged(tag: int, content: bytes) -> bytes:
    """An element of BER."""
    return bytes([tag, len(content)]) + content


#: An LDAP search: base "", scope base, filter (objectClass=*), attribute currentTime.
ROOT_DSE = tagged(
    0x30,
    b"\2\1\1"
    + tagged(
        0x63,
        b"\4\0\x0a\1\0\x0a\1\0\2\1\0\2\1\0\1\1\0"
        + tagged(0x87, b"objectClass")
        + tagged(0x30, tagged(4, b"currentTime")),
    ),
)


class Running:
    """A client program, connected to a listener of ours."""

    def __init__(self, loop: Loop, top: TALLOC_CTX, env: dict[str, str], command: Callable[[int], list[str]]) -> None:
        self.loop = loop
        status, params = tstream_tls_params_server(
            top, env["TLS_NAME"], None, True, env["TLS_KEY"], env["TLS_CERT"], None, None, None, ""
        )
        assert status == NT_STATUS_OK
        assert params is not None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.program = subprocess.Popen(
                command(listener.getsockname()[1]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            listener.settimeout(20)
            sock, _ = listener.accept()
        sock.setblocking(False)
        _, plain = tstream_bsd_existing_socket(top, sock.detach())
        assert plain is not None
        self.plain: tstream_context = plain
        req = tstream_tls_accept_send(top, loop.ev, plain, params)
        seen = loop.watch(req, functools.partial(receive, tstream_tls_accept_recv, top), free=True)
        loop.until(lambda: seen.calls)
        self.result = seen.result
        self.stream: Any = seen.result[2]

    def say(self, text: bytes) -> None:
        """Type *text* to the program."""
        assert self.program.stdin is not None
        self.program.stdin.write(text)
        self.program.stdin.flush()

    def heard(self, text: bytes) -> None:
        """Wait until the program has printed *text*."""
        import os
        import select

        assert self.program.stdout is not None
        got = b""
        end = time.monotonic() + 20
        while text not in got:
            assert time.monotonic() < end, got
            ready, _, _ = select.select([self.program.stdout], [], [], 0.2)
            if ready:
                part = os.read(self.program.stdout.fileno(), 65536)
                assert part, got
                got += part

    def end(self) -> None:
        """Close everything."""
        self.program.kill()
        self.program.communicate()


@pytest.fixture
def run(loop: Loop, top: TALLOC_CTX, tls_servers: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """Starts client programs, and ends them after the test."""
    running: list[Running] = []

    def start(*words: str) -> Running:
        if shutil.which(words[0]) is None:
            peers.missing(f"{words[0]} is not installed")

        def command(port: int) -> list[str]:
            return [word.format(port=port, **tls_servers) for word in words]

        running.append(Running(loop, top, tls_servers, command))
        return running[-1]

    yield start
    for each in running:
        each.end()


S_CLIENT = ("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-CAfile", "{TLS_CA}", "-verify_return_error")
S_CLIENT += ("-verify_hostname", "{TLS_NAME}", "-servername", "{TLS_NAME}")
GNUTLS_CLI = (
    "gnutls-cli",
    "--x509cafile",
    "{TLS_CA}",
    "--verify-hostname",
    "{TLS_NAME}",
    "--sni-hostname",
    "{TLS_NAME}",
)
CLIENTS = {
    "openssl 1.2": (*S_CLIENT, "-quiet", "-no_ign_eof", "-tls1_2"),
    "openssl 1.3": (*S_CLIENT, "-quiet", "-no_ign_eof", "-tls1_3"),
    "gnutls 1.2": (*GNUTLS_CLI, "--priority", TLS12, "-p", "{port}", "127.0.0.1"),
    "gnutls 1.3": (*GNUTLS_CLI, "--priority", TLS13, "-p", "{port}", "127.0.0.1"),
}


class TestAccept:
    @pytest.mark.parametrize("name", CLIENTS)
    def test_clients(self, loop: Loop, run: Callable[..., Running], name: str) -> None:
        """They verify our certificate, talk, and end with a close_notify or without one."""
        client = run(*CLIENTS[name])
        assert client.result[:2] == (0, 0)
        client.say(b"hello\n")
        assert read_now(loop, client.stream, 6) == ((6, 0), b"hello\n")
        assert write_now(loop, client.stream, b"and back\n") == (9, 0)
        client.heard(b"and back")
        assert client.program.stdin is not None
        client.program.stdin.close()
        client.program.stdin = None
        assert read_now(loop, client.stream, 1)[0] == (-1, EPIPE)

    def test_a_client_with_a_certificate(self, loop: Loop, run: Callable[..., Running]) -> None:
        """Nobody asks for it."""
        client = run(*CLIENTS["openssl 1.3"], "-cert", "{TLS_CLIENT_CERT}", "-key", "{TLS_CLIENT_KEY}")
        assert client.result[:2] == (0, 0)

    @pytest.mark.parametrize("command", ["k", "K"])
    def test_an_update_of_keys(self, loop: Loop, run: Callable[..., Running], command: str) -> None:
        """s_client changes its key, or both; the data goes on in both directions."""
        client = run(*S_CLIENT, "-tls1_3")
        assert client.result[:2] == (0, 0)
        for number in range(3):
            client.say(f"{command}\n".encode())
            client.heard(b"KEYUPDATE")
            client.say(b"line %d\n" % number)
            assert read_now(loop, client.stream, 7) == ((7, 0), b"line %d\n" % number)
            assert write_now(loop, client.stream, b"answer %d\n" % number) == (9, 0)
            client.heard(b"answer %d" % number)

    def test_a_renegotiation_is_refused(self, loop: Loop, run: Callable[..., Running]) -> None:
        """A client that starts one gets a warning; it is not done, and nothing raises."""
        client = run(*S_CLIENT, "-tls1_2")
        assert client.result[:2] == (0, 0)
        client.say(b"R\n")
        result, _ = read_now(loop, client.stream, 1)
        # OpenSSL's client gives up then.
        assert result in [(-1, EIO), (-1, EPIPE)]

    def test_tls_1_1(self, loop: Loop, run: Callable[..., Running]) -> None:
        """An old version is not spoken unless it is asked for."""
        client = run("gnutls-cli", "--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.1", "-p", "{port}", "127.0.0.1")
        assert client.result == (-1, EIO, None)
