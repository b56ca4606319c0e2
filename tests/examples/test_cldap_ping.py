# SPDX-License-Identifier: LGPL-3.0-or-later
"""The CLDAP example: answers of every shape, datagrams from strangers, silence, and a real domain controller."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GUID = UUID("12345778-1234-abcd-ef00-0123456789ab")


def ber(tag: int, *parts: bytes) -> bytes:
    """An element of BER."""
    body = b"".join(parts)
    size = bytes([len(body)]) if len(body) < 0x80 else b"\x82" + len(body).to_bytes(2, "big")
    return bytes([tag]) + size + body


def name(*labels: bytes) -> bytes:
    """A name as DNS writes it."""
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def controller(names: bytes | None = None, command: int = 23) -> bytes:
    """The value of the attribute "netlogon"."""
    head = struct.pack("<HHI", command, 0, 0x1FD) + GUID.bytes_le
    if names is None:
        # forest, domain, host, NetBIOS domain, NetBIOS name, user, both sites
        names = name(b"x", b"test") + b"\xc0\x18" + b"\2dc\xc0\x18" + name(b"X") + name(b"DC") + b"\0"
        names += name(b"Site") + b"\xc0\x2f"
    return head + names


def answer(number: bytes, value: bytes | None) -> bytes:
    """The answer in one datagram, as a controller sends it."""
    done = ber(0x30, ber(0x02, number), ber(0x65, ber(0x0A, b"\0"), ber(0x04), ber(0x04)))
    if value is None:
        return done
    attribute = ber(0x30, ber(0x04, b"Netlogon"), ber(0x31, ber(0x04, value)))
    return ber(0x30, ber(0x02, number), ber(0x64, ber(0x04), ber(0x30, attribute))) + done


def number_of(question: bytes) -> bytes:
    """The number of a question; the program writes it in four bytes."""
    offset = question.index(b"\2\4") + 2
    return question[offset : offset + 4]


@contextlib.contextmanager
def serving(*answers: Callable[[bytes], list[bytes]]) -> Iterator[str]:
    """A server that answers each question it gets with the next of *answers*; gives its address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)

        def serve() -> None:
            for each in answers:
                question, client = sock.recvfrom(4096)
                for datagram in each(question):
                    sock.sendto(datagram, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{sock.getsockname()[1]}"
        thread.join()


def good(question: bytes) -> list[bytes]:
    """The right answer."""
    return [answer(number_of(question), controller())]


LINE = f"dc.x.test (DC) of x.test (X), forest x.test, site Site, domain {GUID}: "


class TestAnswers:
    def test_a_controller(self, cldap_ping: Any, capsys: Any) -> None:
        """What it says of itself is one line."""
        with serving(good) as server:
            assert cldap_ping.main(["--domain", "x.test", server]) == 0
        assert capsys.readouterr().out == f"{server}: {LINE}PDC GC LDAP DS KDC TIMESERV CLOSEST WRITABLE\n"

    def test_several(self, cldap_ping: Any, capsys: Any) -> None:
        """All are asked at once, by one socket: the answers come in any order."""
        seen: list[bytes] = []

        def remember(question: bytes) -> list[bytes]:
            seen.append(question)
            return good(question)

        with serving(remember) as one, serving(remember) as two:
            assert cldap_ping.main(["--domain", "x.test", one, two]) == 0
        assert {line.split(": ")[0] for line in capsys.readouterr().out.splitlines()} == {one, two}
        assert len({number_of(question) for question in seen}) == 2
        for question in seen:
            assert b"\4\x09DnsDomain\4\6x.test" in question
            assert b"\4\5NtVer\4\4\6\0\0\0" in question

    def test_another_domain(self, cldap_ping: Any, capsys: Any) -> None:
        """A server that has no such domain says so by an answer without an entry."""
        with serving(lambda question: [answer(number_of(question), None)]) as server:
            assert cldap_ping.main(["--domain", "x.test", server]) == 1
        assert capsys.readouterr().err == f"cldap_ping: {server}: no controller of that domain\n"

    def test_a_lost_datagram(self, cldap_ping: Any, capsys: Any) -> None:
        """A question that is not answered is asked again."""
        with serving(lambda _: [], good) as server:
            assert cldap_ping.main(["--domain", "x.test", "--interval", "0.01", "--tries", "2000", server]) == 0
        assert LINE in capsys.readouterr().out

    def test_silence(self, run_example: Any) -> None:
        """Run by a user, a server that stays silent is one line and exit status 1."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            server = f"127.0.0.1:{silent.getsockname()[1]}"
            done = run_example("cldap_ping", "--domain", "x.test", "--interval", "0.01", "--tries", "2", server)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"cldap_ping: {server}: Connection timed out\n"

    @pytest.mark.parametrize(
        "noise",
        [
            b"",
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            ber(0x30),
            ber(0x30, b"\2\1\1"),
            ber(0x30, b"\2\1\1", ber(0x78)),
            answer(b"\0\0\0\0", controller()),
            ber(0x30, b"\2\1\1", ber(0x64)),
        ],
    )
    def test_noise(self, cldap_ping: Any, capsys: Any, noise: bytes) -> None:
        """What is no answer to a question that is open is passed over."""
        with serving(lambda question: [noise, *good(question)]) as server:
            assert cldap_ping.main(["--domain", "x.test", server]) == 0
        assert LINE in capsys.readouterr().out

    def test_a_stranger(self, cldap_ping: Any, capsys: Any) -> None:
        """An answer that comes from somebody else is noise, even if it has the right number."""
        client: list[Any] = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))

            def serve() -> None:
                question, address = sock.recvfrom(4096)
                client.append(address)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(answer(number_of(question), controller(name(b"evil") * 8)), address)
                sock.sendto(good(question)[0], address)

            thread = threading.Thread(target=serve)
            thread.start()
            server = f"127.0.0.1:{sock.getsockname()[1]}"
            assert cldap_ping.main(["--domain", "x.test", server]) == 0
            thread.join()
        captured = capsys.readouterr()
        assert LINE in captured.out
        assert "evil" not in captured.out

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            controller(b""),
            controller(command=21),
            controller(b"\xc0\xff"),
            controller(b"\xc0\x18"),
            controller()[:-1],
        ],
    )
    def test_a_controller_that_lies(self, cldap_ping: Any, capsys: Any, value: bytes) -> None:
        """An answer whose value cannot be read is an error of that server."""
        with serving(lambda question: [answer(number_of(question), value)]) as server:
            assert cldap_ping.main(["--domain", "x.test", server]) == 1
        assert capsys.readouterr().err == f"cldap_ping: {server}: Protocol error\n"

    def test_an_address_that_is_none(self, cldap_ping: Any, capsys: Any) -> None:
        """Names are not looked up."""
        assert cldap_ping.main(["--domain", "x.test", "localhost"]) == 1
        assert capsys.readouterr().err == "cldap_ping: Invalid argument\n"

    @pytest.mark.parametrize("arguments", [["127.0.0.1"], ["--domain", "x"], ["--domain", "x", "--tries", "0", "::"]])
    def test_usage(self, cldap_ping: Any, capsys: Any, arguments: list[str]) -> None:
        """Options that make no sense are refused."""
        with pytest.raises(SystemExit) as caught:
            cldap_ping.main(arguments)
        assert caught.value.code == 2
        assert "usage:" in capsys.readouterr().err


class TestDecoding:
    @given(st.binary(max_size=200))
    def test_any_bytes(self, cldap_ping: Any, data: bytes) -> None:
        """Datagrams and values of any content are decoded or refused."""
        for decode in (cldap_ping.decode_answer, cldap_ping.decode_controller):
            with contextlib.suppress(cldap_ping.MalformedMessage):
                decode(data)

    def test_every_cut_and_flipped_bit(self, cldap_ping: Any) -> None:
        """So is a good answer that was damaged on its way."""
        whole = answer(b"\0\0\0\1", controller())
        damaged = [whole[:cut] for cut in range(len(whole))]
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            damaged.append(bytes(flipped))
        for datagram in damaged:
            with contextlib.suppress(cldap_ping.MalformedMessage):
                _, value = cldap_ping.decode_answer(datagram)
                cldap_ping.decode_controller(value or b"")


@pytest.mark.peer
class TestRealServer:
    """Samba's AD DC."""

    def test_controller(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """It says its names and what it is."""
        server = samba_ad_dc["PEER_ADDRESS"]
        done = run_example("cldap_ping", "--domain", samba_ad_dc["PEER_DNS_DOMAIN"], server)
        assert (done.returncode, done.stderr) == (0, "")
        names = f"{samba_ad_dc['PEER_DNS_HOST']} ({samba_ad_dc['PEER_NETBIOS']}) of {samba_ad_dc['PEER_DNS_DOMAIN']}"
        assert done.stdout.startswith(f"{server}: {names} ({samba_ad_dc['PEER_WORKGROUP']})")
        assert done.stdout.endswith(": PDC GC LDAP DS KDC CLOSEST WRITABLE\n")

    def test_another_domain(self, run_example: Any, samba_ad_dc: dict[str, str]) -> None:
        """It knows its own domain only."""
        done = run_example("cldap_ping", "--domain", "other.test", samba_ad_dc["PEER_ADDRESS"])
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(": no controller of that domain\n")
