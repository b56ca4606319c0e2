# SPDX-License-Identifier: LGPL-3.0-or-later
"""The LDAP example: answers of every shape, servers that lie, each kind of protection, and a real directory."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import peers
import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

SUCCESS, BIND_IN_PROGRESS, INVALID_CREDENTIALS, REFERRAL = 0, 14, 49, 10
BIND_RESPONSE, SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE, EXTENDED_RESPONSE = 0x61, 0x64, 0x65, 0x73, 0x78


# ----------------------------------------------------------------------------------------------- messages of our own


def ber(tag: int, *parts: bytes) -> bytes:
    """An element of BER."""
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 0x80 else b"\x84" + len(body).to_bytes(4, "big")
    return bytes([tag]) + size + body


def message(number: int, tag: int, *parts: bytes) -> bytes:
    """A message of a server."""
    return ber(0x30, ber(0x02, bytes([number])), ber(tag, *parts))


def result(number: int, tag: int, code: int = SUCCESS, *more: bytes) -> bytes:
    """The end of an operation."""
    return message(number, tag, ber(0x0A, bytes([code])), ber(0x04), ber(0x04, b"why"), *more)


def entry(number: int, name: bytes = b"CN=x", /, **attributes: list[bytes]) -> bytes:
    """An entry."""
    pairs = [
        ber(0x30, ber(0x04, key.encode()), ber(0x31, *(ber(0x04, value) for value in values)))
        for key, values in attributes.items()
    ]
    return message(number, SEARCH_ENTRY, ber(0x04, name), ber(0x30, *pairs))


# --------------------------------------------------------------------------------------------------- a fake server


class Plain:
    """A connection of the fake server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: list[bytes] = []

    def exactly(self, size: int) -> bytes:
        """The next *size* bytes."""
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionError("the client has gone")
            data += piece
        return data

    def hear(self) -> bytes:
        """The next message of the client; the client writes lengths of one byte or of four."""
        head = self.exactly(2)
        size = head[1] if head[1] < 0x80 else int.from_bytes(self.exactly(4), "big")
        self.heard.append(self.exactly(size))
        return self.heard[-1]

    def say(self, data: bytes) -> None:
        """Send *data*."""
        self.sock.sendall(data)


@contextlib.contextmanager
def serving(serve: Callable[[Plain], None]) -> Iterator[str]:
    """A server that is a thread which calls *serve* with its one connection; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            sock, _ = listener.accept()
            plain = Plain(sock)
            with contextlib.suppress(OSError):
                serve(plain)
            with contextlib.suppress(OSError):
                plain.sock.shutdown(socket.SHUT_WR)
                plain.sock.recv(1)
            plain.sock.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join()


def search(ldap_search: Any, answers: list[bytes], *options: str) -> int:
    """The exit status of the program against a server that reads a message, gives the next of *answers*, and so on."""

    def serve(plain: Plain) -> None:
        for answer in answers:
            plain.hear()
            plain.say(answer)

    with serving(serve) as address:
        status: int = ldap_search.main([*options, address])
    return status


class TestAnswers:
    def test_entries(self, ldap_search: Any, capsys: Any) -> None:
        """Each value is a line; what a terminal might take for something else is in base 64."""
        first = entry(1, b"CN=x", name=[b"x", b"y y"], raw=[b"\0\xff", b" x", "é".encode(), b""])
        answers = first + message(1, SEARCH_REFERENCE, ber(0x04, b"ldap://")) + entry(1, b"") + result(1, SEARCH_DONE)
        assert search(ldap_search, [answers]) == 0
        lines = [
            "dn: CN=x",
            "name: x",
            "name: y y",
            "raw:: AP8=",
            "raw:: IHg=",
            "raw:: w6k=",
            "raw: ",
            "",
            "dn: ",
            "",
            "",
        ]
        assert capsys.readouterr().out == "\n".join(lines)

    def test_a_large_entry(self, ldap_search: Any, capsys: Any) -> None:
        """Lengths may have several bytes."""
        assert search(ldap_search, [entry(1, big=[b"x" * 100_000]) + result(1, SEARCH_DONE)]) == 0
        assert "x" * 100_000 in capsys.readouterr().out

    def test_an_error_of_the_server(self, ldap_search: Any, capsys: Any) -> None:
        """What was found before it is printed."""
        assert search(ldap_search, [entry(1) + result(1, SEARCH_DONE, 4)]) == 1
        captured = capsys.readouterr()
        assert captured.out == "dn: CN=x\n\n"
        assert captured.err.endswith(": result code 4\n")

    def test_the_question(self, ldap_search: Any) -> None:
        """The request has the base, the scope, the filter and the attributes."""
        heard: list[bytes] = []

        def serve(plain: Plain) -> None:
            heard.append(plain.hear())
            plain.say(result(1, SEARCH_DONE))

        with serving(serve) as address:
            assert ldap_search.main(["--base", "DC=x", "--scope", "sub", address, "(cn=v)", "a", "b"]) == 0
        sizes = bytes.fromhex("020100 020100 010100")
        wanted = ber(0x04, b"DC=x") + b"\x0a\1\2\x0a\1\0" + sizes + ber(0xA3, ber(0x04, b"cn"), ber(0x04, b"v"))
        assert heard == [b"\2\1\1" + ber(0x63, wanted, ber(0x30, ber(0x04, b"a"), ber(0x04, b"b")))]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "Input/output error"),
        (result(1, SEARCH_DONE)[:-1], "Input/output error"),
        (b"\x31" + bytes(20), "Protocol error"),
        (b"\x30\x85" + bytes(20), "Protocol error"),
        (b"\x30\x84\x01\0\0\1" + bytes(20), "Protocol error"),
        (b"\x30\x84\xff\xff\xff\xff" + bytes(20), "Protocol error"),
        (ber(0x30, b"\2\1\1", b"\x65\x7f" + bytes(9)), "Bad message"),
        (ber(0x30, b"\2\1\1", b"\x65\x84" + bytes(1)), "Bad message"),
        (ber(0x30, b"\4\1\1", ber(0x65, bytes(9))), "Bad message"),
        (ber(0x30, b"\2\1\1\0\0"), "Input/output error"),
        (ber(0x30, b"\2\1\1", ber(0x65, b"\x0a\1\0")), "Bad message"),
        (b"\x30\x80\4\0\0\0\0", "Bad message"),
        (result(2, SEARCH_DONE), "Protocol error"),
        (message(1, SEARCH_ENTRY, ber(0x04, b"x"), b"\x30\5") + result(1, SEARCH_DONE), "Bad message"),
        (message(1, SEARCH_ENTRY, ber(0x04, b"x")) + result(1, SEARCH_DONE), "Bad message"),
        (message(1, SEARCH_ENTRY, ber(0x04, b"x"), ber(0x30, ber(0x30, ber(0x04)))) + result(1, SEARCH_DONE), "Bad"),
    ],
)
def test_servers_that_lie(ldap_search: Any, capsys: Any, answer: bytes, words: str) -> None:
    """Whatever a server answers, the program ends with one line."""
    assert search(ldap_search, [answer]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert words in captured.err
    assert captured.err.count("\n") == 1


def test_answers_without_end(ldap_search: Any, capsys: Any, monkeypatch: Any) -> None:
    """Entries that never end are cut off at a limit."""
    monkeypatch.setattr(ldap_search, "ANSWERS_MAX", 10)
    assert search(ldap_search, [entry(1) * 12]) == 1
    assert capsys.readouterr().err.endswith(": Protocol error\n")


def test_silence(run_example: Any) -> None:
    """Run by a user against a server that says nothing, the program ends when its time is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_example("ldap_search", "--timeout", "0", server)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ldap_search: {server}: Connection timed out\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--security", "ldaps", "x"],
        ["--security", "ntlm", "x"],
        ["--security", "kerberos", "x"],
        ["--user", "u", "x"],
        ["x", "no filter"],
        ["x", "(cn=)"],
    ],
)
def test_usage(ldap_search: Any, capsys: Any, arguments: list[str]) -> None:
    """Options that make no sense, or would send a password in clear, are refused."""
    with pytest.raises(SystemExit) as caught:
        ldap_search.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


class TestDecoding:
    @given(st.binary(max_size=100))
    def test_any_bytes(self, ldap_search: Any, data: bytes) -> None:
        """Messages and entries of any content are decoded or refused."""
        for decode in (ldap_search.decode_entry, ldap_search.elements):
            with contextlib.suppress(ldap_search.MalformedMessage):
                decode(data)

    @given(st.integers(0, 2**31 - 1))
    def test_numbers(self, ldap_search: Any, number: int) -> None:
        """A number is written so that it does not look negative."""
        ((tag, content),) = ldap_search.elements(ldap_search.integer(number))
        assert (tag, int.from_bytes(content, "big", signed=True)) == (2, number)


# ------------------------------------------------------------------------------------------------------- protection


class TestTls:
    @pytest.fixture(name="context")
    def new_context(self) -> ssl.SSLContext:
        """The fake server's side."""
        import tls_kit

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls_kit.world().good.cert, tls_kit.world().good.key)
        return context

    def options(self, security: str, name: str = "server.peer.test") -> list[str]:
        """How the program is told to be careful."""
        import tls_kit

        return ["--security", security, "--ca", tls_kit.world().ca.file, "--name", name, "--user", "someone"]

    @pytest.mark.parametrize("security", ["ldaps", "starttls"])
    def test_a_password_is_sent_encrypted(
        self, ldap_search: Any, capsys: Any, monkeypatch: Any, context: ssl.SSLContext, security: str
    ) -> None:
        """StartTLS turns a connection in use into one of TLS, where it stands."""
        monkeypatch.setenv("LDAP_PASSWORD", "geheim")
        heard: list[bytes] = []

        def serve(plain: Plain) -> None:
            number = 1
            if security == "starttls":
                assert b"1.3.6.1.4.1.1466.20037" in plain.hear()
                plain.say(result(number, EXTENDED_RESPONSE))
                number += 1
            plain.sock = context.wrap_socket(plain.sock, server_side=True, suppress_ragged_eofs=True)
            heard.append(plain.hear())
            plain.say(result(number, BIND_RESPONSE))
            plain.hear()
            plain.say(entry(number + 1) + result(number + 1, SEARCH_DONE))

        with serving(serve) as address:
            assert ldap_search.main([*self.options(security), address]) == 0
        assert capsys.readouterr().out == "dn: CN=x\n\n"
        assert heard[0].endswith(b"\4\7someone\x80\6geheim")

    @pytest.mark.parametrize("security", ["ldaps", "starttls"])
    def test_another_server(self, ldap_search: Any, capsys: Any, context: ssl.SSLContext, security: str) -> None:
        """A server that cannot prove its name never sees the password."""
        heard: list[bytes] = []

        def serve(plain: Plain) -> None:
            if security == "starttls":
                plain.hear()
                plain.say(result(1, EXTENDED_RESPONSE))
            plain.sock = context.wrap_socket(plain.sock, server_side=True)
            heard.append(plain.hear())

        with serving(serve) as address:
            assert ldap_search.main([*self.options(security, "other.peer.test"), address]) == 1
        assert heard == []
        assert capsys.readouterr().err.endswith(": Invalid argument\n")

    def test_a_server_without_tls(self, ldap_search: Any, capsys: Any) -> None:
        """A refused StartTLS is the end: nothing goes on in clear."""
        assert search(ldap_search, [result(1, EXTENDED_RESPONSE, 2)], *self.options("starttls")) == 1
        assert capsys.readouterr().err.endswith(": Protocol error\n")

    def test_bytes_that_were_put_in_before(self, ldap_search: Any, capsys: Any, context: ssl.SSLContext) -> None:
        """What comes in clear behind the answer to StartTLS is taken for TLS, which it is not, and never for LDAP."""
        injected = entry(2) + result(2, SEARCH_DONE)
        assert search(ldap_search, [result(1, EXTENDED_RESPONSE) + injected], *self.options("starttls")) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.endswith(": Input/output error\n")

    def test_no_authority(self, ldap_search: Any, capsys: Any, context: ssl.SSLContext) -> None:
        """A file that is not there is an error before anything is sent."""
        arguments = ["--security", "ldaps", "--ca", "/absent", "--name", "x.test", "127.0.0.1:1"]
        assert ldap_search.main(arguments) == 1
        assert capsys.readouterr().err == "ldap_search: 127.0.0.1:1: Invalid argument\n"


class TestNtlm:
    @pytest.fixture(name="accept")
    def new_acceptor(self, tmp_path: pathlib.Path, monkeypatch: Any) -> Any:
        """The fake server's side of NTLM, which knows one user."""
        spnego = pytest.importorskip("spnego")
        users = tmp_path / "users"
        users.write_text("DOMAIN:someone:geheim\n")
        monkeypatch.setenv("NTLM_USER_FILE", str(users))
        monkeypatch.setenv("LDAP_PASSWORD", "geheim")
        return lambda: spnego.server(protocol="ntlm")

    def bind(self, plain: Plain, context: Any) -> None:
        """Both halves of the authentication."""
        for number, code in ((1, BIND_IN_PROGRESS), (2, SUCCESS)):
            heard = plain.hear()
            token = context.step(heard[heard.index(b"NTLMSSP\0") :])
            plain.say(result(number, BIND_RESPONSE, code, ber(0x87, token or b"")))

    def test_sealed(self, ldap_search: Any, capsys: Any, accept: Any) -> None:
        """After the bind every message is sealed, in both directions."""

        def serve(plain: Plain) -> None:
            context = accept()
            self.bind(plain, context)
            asked = context.unwrap(plain.exactly(int.from_bytes(plain.exactly(4), "big"))).data
            assert b"objectClass" in asked
            for part in (entry(3), result(3, SEARCH_DONE)):
                sealed = context.wrap(part).data
                assert b"CN=x" not in sealed
                plain.say(len(sealed).to_bytes(4, "big") + sealed)

        with serving(serve) as address:
            assert ldap_search.main(["--security", "ntlm", "--user", "DOMAIN\\someone", address]) == 0
        assert capsys.readouterr().out == "dn: CN=x\n\n"

    def test_answers_in_clear(self, ldap_search: Any, capsys: Any, accept: Any) -> None:
        """A server that answers in clear after all is not believed."""

        def serve(plain: Plain) -> None:
            self.bind(plain, accept())
            plain.exactly(int.from_bytes(plain.exactly(4), "big"))
            plain.say(entry(3) + result(3, SEARCH_DONE))

        with serving(serve) as address:
            assert ldap_search.main(["--security", "ntlm", "--user", "DOMAIN\\someone", address]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1

    def test_a_refusal(self, ldap_search: Any, capsys: Any, accept: Any) -> None:
        """So is one that refuses the bind reported as that."""
        answers = [result(1, BIND_RESPONSE, INVALID_CREDENTIALS)]
        assert search(ldap_search, answers, "--security", "ntlm", "--user", "DOMAIN\\someone") == 1
        assert capsys.readouterr().err.endswith(": Permission denied\n")

    def test_a_server_that_never_has_enough(self, ldap_search: Any, capsys: Any, accept: Any) -> None:
        """A token that is none ends the bind, whatever the server wants next."""
        answers = [result(1, BIND_RESPONSE, BIND_IN_PROGRESS, ber(0x87, b"NTLMSSP\0" + bytes(50)))]
        assert search(ldap_search, answers, "--security", "ntlm", "--user", "DOMAIN\\someone") == 1
        assert capsys.readouterr().err.endswith(": Permission denied\n")


# ------------------------------------------------------------------------------------------------- a real directory


@pytest.mark.peer
class TestRealServer:
    """Samba's AD DC."""

    def check(self, run_example: Any, peer: dict[str, str], *options: str) -> None:
        """Search for the container of users as the domain's administrator."""
        base = ["--base", peer["PEER_BASE_DN"], "--scope", "one"]
        done = run_example("ldap_search", *options, *base, peer["PEER_ADDRESS"], "(cn=Users)", "name")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"dn: CN=Users,{peer['PEER_BASE_DN']}\nname: Users\n\n"

    def test_root(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """Anybody may ask the server for its name."""
        done = run_example("ldap_search", samba_ad_dc["PEER_ADDRESS"], "(objectClass=*)", "dnsHostName")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"dn: \ndnsHostName: {samba_ad_dc['PEER_DNS_HOST']}\n\n"

    def test_nothing_else_without_a_name(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """... and nothing more."""
        done = run_example("ldap_search", "--base", samba_ad_dc["PEER_BASE_DN"], samba_ad_dc["PEER_ADDRESS"])
        assert (done.returncode, done.stdout) == (1, "")
        assert "result code 1" in done.stderr

    @pytest.mark.parametrize("security", ["ldaps", "starttls"])
    def test_over_tls(self, run_example: Any, monkeypatch: Any, samba_ad_dc: dict[str, str], security: str) -> None:
        """A simple bind over TLS, from the first byte on and in the middle of a connection."""
        monkeypatch.setenv("LDAP_PASSWORD", samba_ad_dc["PEER_PASSWORD"])
        user = f"{samba_ad_dc['PEER_WORKGROUP']}\\{samba_ad_dc['PEER_USER']}"
        who = ["--ca", samba_ad_dc["PEER_CA_FILE"], "--name", samba_ad_dc["PEER_DNS_HOST"], "--user", user]
        self.check(run_example, samba_ad_dc, "--security", security, *who)

    @pytest.mark.parametrize("security", ["ldaps", "starttls"])
    def test_another_name(self, run_example: Any, samba_ad_dc: dict[str, str], security: str) -> None:
        """The certificate must have the name."""
        who = ["--ca", samba_ad_dc["PEER_CA_FILE"], "--name", "other.peer.test"]
        done = run_example("ldap_search", "--security", security, *who, samba_ad_dc["PEER_ADDRESS"])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(": Invalid argument\n")

    def test_over_ntlm(self, run_example: Any, monkeypatch: Any, samba_ad_dc: dict[str, str]) -> None:
        """Signed and sealed."""
        pytest.importorskip("spnego")
        monkeypatch.setenv("LDAP_PASSWORD", samba_ad_dc["PEER_PASSWORD"])
        user = f"{samba_ad_dc['PEER_WORKGROUP']}\\{samba_ad_dc['PEER_USER']}"
        self.check(run_example, samba_ad_dc, "--security", "ntlm", "--user", user)

    def test_a_wrong_password(self, run_example: Any, monkeypatch: Any, samba_ad_dc: dict[str, str]) -> None:
        """The server refuses."""
        pytest.importorskip("spnego")
        monkeypatch.setenv("LDAP_PASSWORD", "wrong")
        user = f"{samba_ad_dc['PEER_WORKGROUP']}\\{samba_ad_dc['PEER_USER']}"
        done = run_example("ldap_search", "--security", "ntlm", "--user", user, samba_ad_dc["PEER_ADDRESS"])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(": Permission denied\n")

    def test_over_kerberos(
        self, run_example: Any, monkeypatch: Any, tmp_path: pathlib.Path, samba_ad_dc: dict[str, str]
    ) -> None:
        """Signed and sealed with a ticket of the domain's own."""
        pytest.importorskip("gssapi", reason="needs the distribution gssapi, which is built with libkrb5-dev")
        monkeypatch.setenv("KRB5_CONFIG", samba_ad_dc["KRB5_CONFIG"])
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/tickets")
        self.get_ticket(samba_ad_dc)
        self.check(run_example, samba_ad_dc, "--security", "kerberos", "--name", samba_ad_dc["PEER_DNS_HOST"])
        tickets = subprocess.run(["klist"], capture_output=True, text=True, env=dict(os.environ), check=True).stdout
        assert f"ldap/{samba_ad_dc['PEER_DNS_HOST']}@{samba_ad_dc['PEER_REALM']}" in tickets

    def get_ticket(self, peer: dict[str, str]) -> None:
        """Log on. The service's name is what a controller registers by itself some minutes after its first start."""
        name = ["samba-tool", "spn", "add", f"ldap/{peer['PEER_DNS_HOST']}", f"{peer['PEER_NETBIOS']}$"]
        added = subprocess.run([*name, f"--configfile={peer['PEER_SMB_CONF']}"], capture_output=True, text=True)
        if added.returncode and "already" not in added.stderr:
            peers.missing(f"samba-tool: {added.stderr}")
        user = f"{peer['PEER_USER']}@{peer['PEER_REALM']}"
        logged_on = subprocess.run(
            ["kinit", user], input=f"{peer['PEER_PASSWORD']}\n", capture_output=True, text=True, env=dict(os.environ)
        )
        if logged_on.returncode:
            peers.missing(f"kinit: {logged_on.stderr}")
