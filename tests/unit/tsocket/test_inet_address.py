# SPDX-License-Identifier: LGPL-3.0-or-later
"""Internet addresses made from text, and what can be asked of them."""

from __future__ import annotations

import _socket
import socket
from errno import EAFNOSUPPORT, EINVAL, EIO, ENOMEM
from typing import Any

import pytest

from talloc_py import (
    TALLOC_CTX,
    talloc_get_name,
    talloc_get_size,
    talloc_new,
    talloc_parent,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tsocket import (
    _sys,
    get_errno,
    set_errno,
    sockaddr,
    tsocket_address,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_inet_set_port,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_from_path,
)

LOOPBACK = socket.if_nametoindex("lo")


def made(top: TALLOC_CTX, fam: str, addr: str | None, port: int = 445) -> tsocket_address:
    ret, found = tsocket_address_inet_from_strings(top, fam, addr, port)
    assert ret == 0
    assert found is not None
    return found


def refused(top: TALLOC_CTX, fam: str, addr: str | None) -> int:
    """The errno with which the text is refused."""
    blocks = talloc_total_blocks(top)
    set_errno(0)
    assert tsocket_address_inet_from_strings(top, fam, addr, 445) == (-1, None)
    assert talloc_total_blocks(top) == blocks
    return get_errno()


class TestFamily:
    @pytest.mark.parametrize(
        ("fam", "text"),
        [
            ("ip", "ipv6:::1"),
            ("IP", "ipv6:::1"),
            ("ipv6", "ipv6:::1"),
            ("IpV6", "ipv6:::1"),
        ],
    )
    def test_case_is_ignored(self, top: TALLOC_CTX, fam: str, text: str) -> None:
        """The family may be written in any case."""
        assert tsocket_address_string(made(top, fam, "::1", 5), top) == f"{text}:5"

    @pytest.mark.parametrize("fam", ["", "inet", "ipv5", "ip ", "ipv4\0", "AF_INET", "unix"])
    @pytest.mark.parametrize("addr", ["127.0.0.1", None])
    def test_unknown(self, top: TALLOC_CTX, fam: str, addr: str | None) -> None:
        """Another family is refused whatever the host."""
        assert refused(top, fam, addr) == EAFNOSUPPORT

    @pytest.mark.parametrize(("fam", "text"), [("ipv4", "ipv4:0.0.0.0:7"), ("ipv6", "ipv6::::7"), ("ip", "ipv6::::7")])
    def test_no_host_is_any(self, top: TALLOC_CTX, fam: str, text: str) -> None:
        """None stands for every interface, of IPv6 unless IPv4 is asked for."""
        assert tsocket_address_string(made(top, fam, None, 7), top) == text


class TestHost:
    @pytest.mark.parametrize(
        ("fam", "addr", "text"),
        [
            ("ip", "127.0.0.1", "127.0.0.1"),
            ("ipv4", "127.0.0.1", "127.0.0.1"),
            ("ipv4", "127.1", "127.0.0.1"),
            ("ipv4", "0x7f.1", "127.0.0.1"),
            ("ipv4", "0X7F.1", "127.0.0.1"),
            ("ipv4", "2130706433", "127.0.0.1"),
            ("ipv4", "1.2.3", "1.2.0.3"),
            ("ipv4", "010.0.0.1", "8.0.0.1"),
            ("ipv4", "::ffff:1.2.3.4", "1.2.3.4"),
            ("ipv4", "255.255.255.255", "255.255.255.255"),
            ("ip", "::ffff:1.2.3.4", "::ffff:1.2.3.4"),
            ("ip", "::1", "::1"),
            ("ipv6", "0:0:0:0:0:0:0:1", "::1"),
            ("ipv6", "FE80::ABCD", "fe80::abcd"),
            ("ipv6", "fe80::1", "fe80::1"),
            ("ip", "*", "::1"),
        ],
    )
    def test_accepted(self, top: TALLOC_CTX, fam: str, addr: str, text: str) -> None:
        """Every numeric form is read, and shown in its shortest."""
        assert tsocket_address_inet_addr_string(made(top, fam, addr), top) == text

    @pytest.mark.parametrize(
        ("fam", "addr"),
        [
            ("ip", ""),
            ("ip", "localhost"),
            ("ip", "example.com"),
            ("ip", " 127.0.0.1"),
            ("ip", "127.0.0.1 "),
            ("ip", "[::1]"),
            ("ip", "256.1.1.1"),
            ("ip", "1.2.3.4.5"),
            ("ipv4", "::1"),
            ("ipv6", "127.0.0.1"),
            ("ip", "127.0.0.1:445"),
            ("ip", "127.0.0.1\0"),
            ("ip", "127.0.0.1\0.evil"),
            ("ip", "\0"),
            ("ip", "\uff11\uff12\uff17.0.0.1"),
            ("ip", "127\u30020\u30020\u30021"),
            ("ip", "bücher"),
            ("ip", chr(0xD800)),
            ("ip", "\udcff"),
            ("ip", "x" * 70),
            ("ip", "xn--"),
        ],
    )
    def test_refused(self, top: TALLOC_CTX, fam: str, addr: str) -> None:
        """Names, white space, full-width digits, other families and the rest are no hosts."""
        assert refused(top, fam, addr) == EINVAL

    def test_no_name_is_looked_up(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch) -> None:
        """The resolver is told that the host is numeric, and gets UTF-8 bytes."""
        calls: list[tuple[Any, ...]] = []

        def look_up(*arguments: Any) -> Any:
            calls.append(arguments)
            raise _sys.gaierror(_sys.EAI_NONAME, "no")

        monkeypatch.setattr(_sys, "getaddrinfo", look_up)
        assert refused(top, "ip", "bücher") == EINVAL
        assert calls == [
            ("bücher".encode(), 445, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST | socket.AI_NUMERICSERV)
        ]

    @pytest.mark.parametrize("code", [_sys.EAI_FAIL, _sys.EAI_NONAME, _sys.EAI_ADDRFAMILY])
    def test_resolver_codes_that_mean_a_bad_host(
        self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        """Three answers of the resolver say that the text is no host."""
        failing(monkeypatch, _sys.gaierror(code, "no"))
        assert refused(top, "ip", "1") == EINVAL

    def test_other_resolver_codes_leave_errno_alone(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch) -> None:
        """For any other answer errno stays as it was."""
        failing(monkeypatch, _sys.gaierror(_socket.EAI_AGAIN, "later"))
        set_errno(77)
        assert tsocket_address_inet_from_strings(top, "ip", "1", 1) == (-1, None)
        assert get_errno() == 77

    def test_failing_system_call_of_the_resolver(self, top: TALLOC_CTX, monkeypatch: pytest.MonkeyPatch) -> None:
        """An errno that the resolver met is the errno."""
        failing(monkeypatch, OSError(EIO, "broken"))
        assert refused(top, "ip", "1") == EIO


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def look_up(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(_sys, "getaddrinfo", look_up)


class TestZone:
    @pytest.mark.parametrize("host", ["fe80::1", "ff02::1"])
    def test_interface_name(self, top: TALLOC_CTX, host: str) -> None:
        """A link-local address may name an interface; text does not show it, the structure does."""
        addr = made(top, "ip", f"{host}%lo")
        assert tsocket_address_inet_addr_string(addr, top) == host
        assert tsocket_address_string(addr, top) == f"ipv6:{host}:445"
        assert tsocket_address_bsd_sockaddr(addr) == (28, sockaddr(socket.AF_INET6, (host, 445, 0, LOOPBACK)))

    @pytest.mark.parametrize("host", ["fe80::1", "::1", "2001::1"])
    def test_number(self, top: TALLOC_CTX, host: str) -> None:
        """A number is a scope for any address, whether or not it is an interface's."""
        addr = made(top, "ipv6", f"{host}%4242")
        _, sa = tsocket_address_bsd_sockaddr(addr)
        assert sa is not None
        assert sa.address == (host, 445, 0, 4242)

    @pytest.mark.parametrize("text", ["fe80::1%", "fe80::1%nosuch0", "::1%lo", "2001::1%lo", "127.0.0.1%lo"])
    def test_refused(self, top: TALLOC_CTX, text: str) -> None:
        """An unknown interface, an empty zone, and a name beside an address that is not link-local."""
        assert refused(top, "ip", text) == EINVAL

    def test_copy_and_port_keep_the_scope(self, top: TALLOC_CTX) -> None:
        """The scope goes along."""
        copy = tsocket_address_copy(made(top, "ip", "fe80::1%7"), top)
        assert copy is not None
        assert tsocket_address_inet_set_port(copy, 9) == 0
        assert tsocket_address_bsd_sockaddr(copy)[1] == sockaddr(socket.AF_INET6, ("fe80::1", 9, 0, 7))


class TestPort:
    @pytest.mark.parametrize("port", [0, 1, 445, 65535])
    def test_get_and_set(self, top: TALLOC_CTX, port: int) -> None:
        """The port can be read and changed."""
        for fam in ("ipv4", "ipv6"):
            addr = made(top, fam, None, port)
            assert tsocket_address_inet_port(addr) == port
            assert tsocket_address_inet_set_port(addr, 65535 - port) == 0
            assert tsocket_address_inet_port(addr) == 65535 - port

    @pytest.mark.parametrize("port", [-1, 65536, 1 << 40])
    def test_out_of_range(self, top: TALLOC_CTX, port: int) -> None:
        """What does not fit 16 bits is a ValueError; C's parameter cannot hold it."""
        with pytest.raises(ValueError, match="port must be from 0 to 65535"):
            tsocket_address_inet_from_strings(top, "ip", "::1", port)
        with pytest.raises(ValueError, match="port must be from 0 to 65535"):
            tsocket_address_inet_set_port(made(top, "ip", None), port)

    def test_of_a_unix_address(self, top: TALLOC_CTX) -> None:
        """There is none."""
        _, addr = tsocket_address_unix_from_path(top, "/x")
        assert addr is not None
        set_errno(0)
        assert tsocket_address_inet_port(addr) == 0
        assert get_errno() == EINVAL
        set_errno(0)
        assert tsocket_address_inet_set_port(addr, 1) == -1
        assert get_errno() == EINVAL
        set_errno(0)
        assert tsocket_address_inet_addr_string(addr, top) is None
        assert get_errno() == EINVAL


class TestIsInet:
    @pytest.mark.parametrize(
        ("made_as", "fam", "answer"),
        [
            ("ipv4", "ip", True),
            ("ipv4", "IPv4", True),
            ("ipv4", "ipv6", False),
            ("ipv6", "ip", True),
            ("ipv6", "ipv4", False),
            ("ipv6", "IPV6", True),
            ("ipv6", "unix", False),
            ("ipv6", "", False),
        ],
    )
    def test_answers(self, top: TALLOC_CTX, made_as: str, fam: str, answer: bool) -> None:
        """Each family is itself and "ip", and an unknown one nobody's."""
        addr = made(top, made_as, None)
        assert tsocket_address_is_inet(addr, fam) is answer
        assert tsocket_address_is_unix(addr) is False


class TestOwnership:
    def test_string_belongs_to_the_context(self, top: TALLOC_CTX) -> None:
        """The host's text is a chunk named by its content."""
        owner = talloc_new(top)
        text = tsocket_address_inet_addr_string(made(top, "ip", "::1"), owner)
        assert text == "::1"
        assert talloc_parent(text) is owner
        assert talloc_get_name(text) == "::1"

    def test_location(self, top: TALLOC_CTX) -> None:
        """The address remembers where it was made."""
        ret, addr = tsocket_address_inet_from_strings(top, "ip", "::1", 1)
        assert ret == 0
        assert addr is not None
        assert addr.location.startswith(f"{__file__}:")

    def test_memory_limit(self, top: TALLOC_CTX) -> None:
        """Where no memory is to be had the errno says so."""
        limited = talloc_new(top)
        assert talloc_set_memlimit(limited, talloc_get_size(limited) + 96) == 0
        set_errno(0)
        assert tsocket_address_inet_from_strings(limited, "ip", "::1", 1) == (-1, None)
        assert get_errno() == ENOMEM


class TestWrongTypes:
    @pytest.mark.parametrize(
        ("arguments", "name"),
        [
            ((None, None, "::1", 1), "fam"),
            ((None, b"ip", "::1", 1), "fam"),
            ((None, "ip", b"::1", 1), "addr"),
            ((None, "ip", 1, 1), "addr"),
            ((None, "ip", "::1", "1"), "port"),
            ((None, "ip", "::1", None), "port"),
            ((None, "ip", "::1", 1.0), "port"),
        ],
    )
    def test_from_strings(self, arguments: Any, name: str) -> None:
        """The error names the argument."""
        with pytest.raises(TypeError, match=rf"^{name} must be"):
            tsocket_address_inet_from_strings(*arguments)

    def test_context(self) -> None:
        """What is no chunk owns no address."""
        with pytest.raises(TypeError):
            tsocket_address_inet_from_strings("top", "ip", "::1", 1)  # type: ignore[arg-type]

    def test_others(self, top: TALLOC_CTX) -> None:
        """The family and the port are checked everywhere."""
        addr = made(top, "ip", None)
        with pytest.raises(TypeError, match=r"^fam must be"):
            tsocket_address_is_inet(addr, 4)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"^port must be"):
            tsocket_address_inet_set_port(addr, "4")  # type: ignore[arg-type]
