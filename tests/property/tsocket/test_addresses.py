# SPDX-License-Identifier: LGPL-3.0-or-later
"""Addresses against glibc: any text is read, or refused, as C's own functions do it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import socket
from errno import EINVAL, ENAMETOOLONG
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from talloc_py import TALLOC_CTX, talloc_free, talloc_get_name, talloc_new, talloc_total_blocks
from tsocket import (
    get_errno,
    set_errno,
    sockaddr,
    tsocket_address,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_hostport_strings,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_inet_set_port,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_address_unix_path,
)

FAMILIES = {"ip": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class addrinfo(ctypes.Structure):
    """``struct addrinfo``."""


addrinfo._fields_ = [  # type: ignore[misc]
    ("ai_flags", ctypes.c_int),
    ("ai_family", ctypes.c_int),
    ("ai_socktype", ctypes.c_int),
    ("ai_protocol", ctypes.c_int),
    ("ai_addrlen", ctypes.c_uint32),
    ("ai_addr", ctypes.c_void_p),
    ("ai_canonname", ctypes.c_char_p),
    ("ai_next", ctypes.POINTER(addrinfo)),
]

libc = ctypes.CDLL(None, use_errno=True)
libc.strtoull.restype = ctypes.c_ulonglong
libc.strtoull.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int]
libc.inet_ntop.restype = ctypes.c_char_p
libc.freeaddrinfo.argtypes = [ctypes.c_void_p]


def c_resolve(fam: str, host: str, port: int) -> tuple[str, int, int] | None:
    """Text, port and scope of the host as glibc reads it; None where it refuses."""
    hints = addrinfo(
        ai_flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        ai_family=FAMILIES[fam],
        ai_socktype=socket.SOCK_STREAM,
    )
    found = ctypes.POINTER(addrinfo)()
    text = host.encode("utf-8", "surrogatepass")
    ret = libc.getaddrinfo(text, str(port).encode(), ctypes.byref(hints), ctypes.byref(found))
    if ret != 0:
        return None
    try:
        first = found.contents
        raw = ctypes.string_at(first.ai_addr, first.ai_addrlen)
        offset, scope = (4, 0) if first.ai_family == socket.AF_INET else (8, int.from_bytes(raw[24:28], "little"))
        buf = ctypes.create_string_buffer(64)
        shown = libc.inet_ntop(first.ai_family, raw[offset:], buf, 64)
        return shown.decode(), int.from_bytes(raw[2:4], "big"), scope
    finally:
        libc.freeaddrinfo(found)


def c_port(text: str) -> int | None:
    """The port as C reads it: strtoull(3) over the whole text, no sign but a plus, at most 16 bits."""
    raw = text.encode("utf-8", "surrogatepass")
    if not raw or b"\0" in raw or b"-" in raw:
        return None
    end = ctypes.c_char_p()
    ctypes.set_errno(0)
    value: int = libc.strtoull(raw, ctypes.byref(end), 10)
    if end.value or raw[-1:] not in b"0123456789" or ctypes.get_errno() or value > 0xFFFF:
        return None
    return value


def c_split(text: str, default: int) -> tuple[str, int | None]:
    """Host and port of a text, after the rules of the C function; None for a port that is none."""
    first = text.find("[")
    last = text.rfind("]")
    if first != -1 and last > first:
        host, rest = text[first + 1 : last], text[last + 1 :]
        if rest == "":
            return host, default
        return (host, c_port(rest[1:])) if rest[0] == ":" else (host, None)
    if "." in text and ":" in text:
        at = text.rindex(":")
        return text[:at], c_port(text[at + 1 :])
    return text, default


digits = st.sampled_from("0123456789abcdefxX.:%*[] +-\0lo")
nearly_hosts = st.one_of(
    st.text(),
    st.text(digits, max_size=24),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper()),
    st.tuples(st.ip_addresses(v=6).map(str), st.text(digits, max_size=4)).map("%".join),
    st.lists(
        st.integers(0, 300).map(str) | st.integers(0, 255).map(oct) | st.integers(0, 255).map(hex), max_size=5
    ).map(".".join),
)
ports = st.integers(0, 65535)
nearly_ports = st.one_of(
    st.text(max_size=6),
    st.text(digits, max_size=6),
    ports.map(str),
    st.integers().map(str),
    ports.map(lambda n: f" +0{n}"),
)
nearly_hostports = st.one_of(
    nearly_hosts,
    st.tuples(nearly_hosts, nearly_ports).map(":".join),
    st.tuples(nearly_hosts, nearly_ports).map(lambda parts: f"[{parts[0]}]:{parts[1]}"),
    st.tuples(st.text(digits, max_size=3), nearly_hosts, st.text(digits, max_size=6)).map(
        lambda parts: f"{parts[0]}[{parts[1]}]{parts[2]}"
    ),
)
families = st.sampled_from(["ip", "ipv4", "ipv6"])


def shown(top: TALLOC_CTX, addr: tsocket_address) -> tuple[str | None, int, int]:
    _, sa = tsocket_address_bsd_sockaddr(addr)
    assert sa is not None
    scope = sa.address[3] if sa.sa_family == socket.AF_INET6 else 0
    return tsocket_address_inet_addr_string(addr, top), tsocket_address_inet_port(addr), scope


@given(families, nearly_hosts, ports)
@example("ip", "127.1", 1)
@example("ip", "*", 1)
@example("ip", "fe80::1%lo", 1)
@example("ip", "::1%4294967296", 1)
@example("ip", "\uff11.2.3.4", 1)
@example("ip", "x" * 300, 1)
def test_host_is_read_as_glibc_reads_it(fam: str, host: str, port: int) -> None:
    """The same hosts are taken, and mean the same; the rest is EINVAL and leaves nothing behind."""
    top = talloc_new(None)
    set_errno(0)
    ret, addr = tsocket_address_inet_from_strings(top, fam, host, port)
    expected = None if "\0" in host else c_resolve(fam, host, port)
    if expected is None:
        assert (ret, addr, get_errno()) == (-1, None, EINVAL)
        assert talloc_total_blocks(top) == 1
    else:
        assert addr is not None
        assert shown(top, addr) == expected
    talloc_free(top)


@given(families, nearly_hostports, ports)
@example("ip", "[::1]:", 1)
@example("ip", "1.2.3.4:\v80", 1)
def test_host_and_port_are_split_as_in_c(fam: str, text: str, default: int) -> None:
    """Brackets, colons and ports mean what they mean in C."""
    top = talloc_new(None)
    set_errno(0)
    ret, addr = tsocket_address_inet_from_hostport_strings(top, fam, text, default)
    host, port = c_split(text, default)
    expected = None if port is None or "\0" in host else c_resolve(fam, host, port)
    if expected is None:
        assert (ret, addr, get_errno()) == (-1, None, EINVAL)
        assert talloc_total_blocks(top) == 1
    else:
        assert addr is not None
        assert shown(top, addr) == expected
    talloc_free(top)


@given(st.ip_addresses(), ports, ports)
def test_what_an_inet_address_tells(ip: Any, port: int, other: int) -> None:
    """Text, host, port, family and structure agree; a copy is independent; the structure leads back."""
    top = talloc_new(None)
    fam = f"ipv{ip.version}"
    _, addr = tsocket_address_inet_from_strings(top, fam, str(ip), port)
    assert addr is not None
    host = tsocket_address_inet_addr_string(addr, top)
    assert host is not None
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    assert host == socket.inet_ntop(family, ip.packed)
    text = tsocket_address_string(addr, top)
    assert text == f"{fam}:{host}:{port}"
    assert talloc_get_name(text) == text
    assert tsocket_address_is_inet(addr, fam)
    assert tsocket_address_is_inet(addr, "ip")
    assert not tsocket_address_is_inet(addr, "ipv6" if ip.version == 4 else "ipv4")
    assert not tsocket_address_is_unix(addr)
    copy = tsocket_address_copy(addr, top)
    assert copy is not None
    assert tsocket_address_inet_set_port(addr, other) == 0
    assert tsocket_address_inet_port(copy) == port
    ret, sa = tsocket_address_bsd_sockaddr(addr)
    assert ret == (16 if ip.version == 4 else 28)
    assert sa == sockaddr(family, (host, other) if ip.version == 4 else (host, other, 0, 0))
    _, again = tsocket_address_bsd_from_sockaddr(top, sa)
    assert again is not None
    assert tsocket_address_bsd_sockaddr(again) == (ret, sa)
    talloc_free(top)


file_names = st.binary(max_size=120).map(os.fsdecode).filter(lambda path: "\0" not in path)


@given(file_names)
def test_unix_path(path: str) -> None:
    """Any path that fits comes back, in text and structure; a longer one is ENAMETOOLONG."""
    top = talloc_new(None)
    set_errno(0)
    ret, addr = tsocket_address_unix_from_path(top, path)
    if len(os.fsencode(path)) > 107:
        assert (ret, addr, get_errno()) == (-1, None, ENAMETOOLONG)
    else:
        assert addr is not None
        assert tsocket_address_unix_path(addr, top) == path
        assert tsocket_address_string(addr, top) == f"unix:{path}"
        assert tsocket_address_bsd_sockaddr(addr) == (110, sockaddr(socket.AF_UNIX, path or bytes(108)))
    talloc_free(top)


@given(st.binary(max_size=107).map(lambda name: b"\0" + name) | file_names | st.just(b""))
def test_unix_structure(name: Any) -> None:
    """Every unix address keeps its name and its length."""
    top = talloc_new(None)
    ret, addr = tsocket_address_bsd_from_sockaddr(top, sockaddr(socket.AF_UNIX, name))
    raw = os.fsencode(name)
    if len(raw) > 107 and raw[:1] != b"\0":
        assert (ret, addr) == (-1, None)
    else:
        assert addr is not None
        length, sa = tsocket_address_bsd_sockaddr(addr)
        assert sa is not None
        assert os.fsencode(sa.address) == raw
        assert length == 2 + len(raw) + (1 if raw and raw[0] else 0)
        assert tsocket_address_unix_path(addr, top) == ("" if raw[:1] == b"\0" else os.fsdecode(raw))
    talloc_free(top)
