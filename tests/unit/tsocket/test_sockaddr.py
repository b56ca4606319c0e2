# SPDX-License-Identifier: LGPL-3.0-or-later
"""Addresses made from, and shown as, what Python's ``socket`` takes and returns."""

from __future__ import annotations

import socket
from errno import EAFNOSUPPORT, EINVAL, ENAMETOOLONG, ENOMEM
from socket import AF_INET, AF_INET6, AF_UNIX
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import TALLOC_CTX, talloc_get_size, talloc_new, talloc_parent, talloc_set_memlimit, talloc_total_blocks
from tsocket import (
    get_errno,
    set_errno,
    sockaddr,
    tsocket_address_bsd_from_samba_sockaddr,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_path,
)
from tsocket.bsd_address import address_from_kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAKERS: list[Callable[..., Any]] = [tsocket_address_bsd_from_sockaddr, tsocket_address_bsd_from_samba_sockaddr]


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Both functions: in Python they do the same."""
    maker: Callable[..., Any] = request.param
    return maker


@pytest.mark.parametrize(
    ("family", "given", "length", "shown", "text"),
    [
        (AF_INET, ("127.0.0.1", 445), 16, None, "ipv4:127.0.0.1:445"),
        (AF_INET, ("127.1", 445), 16, ("127.0.0.1", 445), "ipv4:127.0.0.1:445"),
        (AF_INET6, ("::1", 445), 28, ("::1", 445, 0, 0), "ipv6:::1:445"),
        (AF_INET6, ("::1", 445, 3), 28, ("::1", 445, 3, 0), "ipv6:::1:445"),
        (AF_INET6, ("::1", 445, 3, 4), 28, None, "ipv6:::1:445"),
        (AF_INET6, ("0:0::1", 65535, 0xFFFFF, 0xFFFFFFFF), 28, ("::1", 65535, 0xFFFFF, 0xFFFFFFFF), "ipv6:::1:65535"),
        (AF_INET6, ("fe80::1%5", 445), 28, ("fe80::1", 445, 0, 5), "ipv6:fe80::1:445"),
        (AF_INET6, ("fe80::1%5", 445, 0, 6), 28, ("fe80::1", 445, 0, 6), "ipv6:fe80::1:445"),
        (AF_UNIX, "/x", 5, None, "unix:/x"),
        (AF_UNIX, b"/x", 5, "/x", "unix:/x"),
        (AF_UNIX, "x" * 107, 110, None, "unix:" + "x" * 107),
        (AF_UNIX, "\udcff", 4, None, "unix:\udcff"),
        (AF_UNIX, "", 2, None, "unix:"),
        (AF_UNIX, b"", 2, "", "unix:"),
        (AF_UNIX, b"\0name", 7, None, "unix:"),
        (AF_UNIX, "\0name", 7, b"\0name", "unix:"),
        (AF_UNIX, b"\0a\0b", 6, None, "unix:"),
        (AF_UNIX, bytes(108), 110, None, "unix:"),
    ],
)
def test_there_and_back(
    make: Callable[..., Any], top: TALLOC_CTX, family: int, given: Any, length: int, shown: Any, text: str
) -> None:
    """An address comes back in the form of Python's socket, with the length of the kernel's structure."""
    ret, addr = make(top, sockaddr(family, given))
    assert ret == 0
    assert talloc_parent(addr) is top
    assert addr.location.startswith(f"{__file__}:")
    assert tsocket_address_bsd_sockaddr(addr) == (length, sockaddr(family, given if shown is None else shown))
    assert tsocket_address_string(addr, top) == text
    copy = tsocket_address_copy(addr, top)
    assert copy is not None
    assert tsocket_address_bsd_sockaddr(copy) == tsocket_address_bsd_sockaddr(addr)


@pytest.mark.parametrize(
    ("sa", "errno"),
    [
        (sockaddr(socket.AF_UNSPEC, ""), EAFNOSUPPORT),
        (sockaddr(socket.AF_NETLINK, (0, 0)), EAFNOSUPPORT),
        (sockaddr(-1, None), EAFNOSUPPORT),
        (sockaddr(None, None), EAFNOSUPPORT),  # type: ignore[arg-type]
        (sockaddr(AF_INET, ("localhost", 1)), EINVAL),
        (sockaddr(AF_INET, ("", 1)), EINVAL),
        (sockaddr(AF_INET, ("<broadcast>", 1)), EINVAL),
        (sockaddr(AF_INET, ("::1", 1)), EINVAL),
        (sockaddr(AF_INET, ("127.0.0.1\0", 1)), EINVAL),
        (sockaddr(AF_INET6, ("127.0.0.1", 1)), EINVAL),
        (sockaddr(AF_INET6, ("localhost", 1, 0, 0)), EINVAL),
        (sockaddr(AF_UNIX, "x" * 108), ENAMETOOLONG),
        (sockaddr(AF_UNIX, b"\0" + b"x" * 108), ENAMETOOLONG),
    ],
)
def test_refused(make: Callable[..., Any], top: TALLOC_CTX, sa: sockaddr, errno: int) -> None:
    """Other families, hosts that are not numeric and paths that are too long are refused; nothing is looked up."""
    set_errno(0)
    assert make(top, sa) == (-1, None)
    assert get_errno() == errno
    assert talloc_total_blocks(top) == 1


@pytest.mark.parametrize(
    "sa",
    [
        None,
        "127.0.0.1",
        (AF_INET, ("127.0.0.1", 1)),
        sockaddr(AF_INET, None),
        sockaddr(AF_INET, "127.0.0.1"),
        sockaddr(AF_INET, ("127.0.0.1",)),
        sockaddr(AF_INET, ["127.0.0.1", 1]),
        sockaddr(AF_INET, ("127.0.0.1", 1, 0)),
        sockaddr(AF_INET, ("127.0.0.1", "1")),
        sockaddr(AF_INET, (b"127.0.0.1", 1)),
        sockaddr(AF_INET6, ("::1",)),
        sockaddr(AF_INET6, ("::1", 1, 0, 0, 0)),
        sockaddr(AF_INET6, ("::1", 1, "0")),
        sockaddr(AF_INET6, ("::1", 1, 0, None)),
        sockaddr(AF_UNIX, None),
        sockaddr(AF_UNIX, 5),
        sockaddr(AF_UNIX, ("/x",)),
    ],
)
def test_malformed(make: Callable[..., Any], top: TALLOC_CTX, sa: Any) -> None:
    """What has not the shape of its family's addresses is a TypeError."""
    with pytest.raises(TypeError):
        make(top, sa)
    assert talloc_total_blocks(top) == 1


@pytest.mark.parametrize(
    "sa",
    [
        sockaddr(AF_INET, ("127.0.0.1", -1)),
        sockaddr(AF_INET, ("127.0.0.1", 65536)),
        sockaddr(AF_INET6, ("::1", 1, 0x100000)),
        sockaddr(AF_INET6, ("::1", 1, 0, 1 << 32)),
        sockaddr(AF_INET6, ("::1", 1, 0, -1)),
        sockaddr(AF_UNIX, "a\0b"),
        sockaddr(AF_UNIX, b"a\0"),
    ],
)
def test_out_of_range(make: Callable[..., Any], top: TALLOC_CTX, sa: sockaddr) -> None:
    """What the kernel's structure cannot hold is a ValueError."""
    with pytest.raises(ValueError, match=r"must be from|NUL"):
        make(top, sa)


def test_memory_limit(make: Callable[..., Any], top: TALLOC_CTX) -> None:
    """Where no memory is to be had the errno says so."""
    limited = talloc_new(top)
    assert talloc_set_memlimit(limited, talloc_get_size(limited) + 96) == 0
    set_errno(0)
    assert make(limited, sockaddr(AF_UNIX, "/x")) == (-1, None)
    assert get_errno() == ENOMEM


HERE = (test_memory_limit.__code__, 0)


class TestKernel:
    """Addresses as system calls report them."""

    def test_unnamed_sender(self, top: TALLOC_CTX) -> None:
        """The kernel says nothing about a sender without a name, not even its family."""
        addr = address_from_kernel(top, AF_UNIX, None, HERE)
        assert addr is not None
        set_errno(0)
        assert tsocket_address_string(addr, top) is None
        assert get_errno() == EINVAL
        set_errno(0)
        assert tsocket_address_copy(addr, top) is None
        assert get_errno() == EINVAL
        set_errno(0)
        assert tsocket_address_unix_path(addr, top) is None
        assert get_errno() == EINVAL
        assert not tsocket_address_is_unix(addr)
        assert not tsocket_address_is_inet(addr, "ip")
        assert tsocket_address_bsd_sockaddr(addr) == (0, sockaddr(0, ""))

    def test_path_counts_its_nul(self, top: TALLOC_CTX, tmp_path: Path) -> None:
        """A path that the kernel reports is longer by its final NUL."""
        path = str(tmp_path / "s")
        with socket.socket(AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            addr = address_from_kernel(top, AF_UNIX, sock.getsockname(), HERE)
        assert addr is not None
        assert tsocket_address_bsd_sockaddr(addr) == (2 + len(path) + 1, sockaddr(AF_UNIX, path))

    def test_abstract(self, top: TALLOC_CTX) -> None:
        """An abstract name that the kernel chose is shown as bytes."""
        with socket.socket(AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind("")
            name = sock.getsockname()
        addr = address_from_kernel(top, AF_UNIX, name, HERE)
        assert addr is not None
        assert tsocket_address_bsd_sockaddr(addr) == (2 + len(name), sockaddr(AF_UNIX, name))

    def test_netlink(self, top: TALLOC_CTX) -> None:
        """An address of a family that has no text is kept as it is."""
        addr = address_from_kernel(top, socket.AF_NETLINK, (5, 0), HERE)
        assert addr is not None
        assert tsocket_address_bsd_sockaddr(addr) == (12, sockaddr(socket.AF_NETLINK, (5, 0)))
        assert tsocket_address_string(addr, top) is None
