# SPDX-License-Identifier: LGPL-3.0-or-later
"""Addresses of unix sockets made from a path."""

from __future__ import annotations

import os
from errno import EINVAL, ENAMETOOLONG, ENOMEM
from pathlib import Path
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_get_name, talloc_get_size, talloc_new, talloc_parent, talloc_set_memlimit
from tsocket import (
    get_errno,
    set_errno,
    sockaddr,
    tsocket_address,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_inet_from_strings,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_address_unix_path,
)


def made(top: TALLOC_CTX, path: str | None) -> tsocket_address:
    ret, addr = tsocket_address_unix_from_path(top, path)
    assert ret == 0
    assert addr is not None
    return addr


@pytest.mark.parametrize("path", ["/run/x", "relative", "x", "a b", "ü", "\udcff", "/" + "x" * 106, "é" * 53])
def test_path(top: TALLOC_CTX, path: str) -> None:
    """The path comes back as it was given, whatever its bytes."""
    addr = made(top, path)
    assert tsocket_address_unix_path(addr, top) == path
    assert tsocket_address_string(addr, top) == f"unix:{path}"
    assert tsocket_address_is_unix(addr)
    assert not tsocket_address_is_inet(addr, "ip")
    assert tsocket_address_bsd_sockaddr(addr) == (110, sockaddr(1, path))


@pytest.mark.parametrize("path", [None, ""])
def test_no_path(top: TALLOC_CTX, path: str | None) -> None:
    """No path is an empty one; for the system that is an abstract name of zeros."""
    addr = made(top, path)
    assert tsocket_address_unix_path(addr, top) == ""
    assert tsocket_address_string(addr, top) == "unix:"
    assert tsocket_address_bsd_sockaddr(addr) == (110, sockaddr(1, bytes(108)))


@pytest.mark.parametrize(
    ("path", "fits"), [("x" * 107, True), ("x" * 108, False), ("é" * 54, False), ("x" * 5000, False)]
)
def test_longest(top: TALLOC_CTX, path: str, fits: bool) -> None:
    """107 bytes fit, in the file system's encoding."""
    set_errno(0)
    ret, addr = tsocket_address_unix_from_path(top, path)
    assert (ret == 0) is fits
    assert (addr is not None) is fits
    assert get_errno() == (0 if fits else ENAMETOOLONG)


@pytest.mark.parametrize("path", ["\0", "\0abstract", "a\0b", "a\0", "x" * 200 + "\0"])
def test_nul(top: TALLOC_CTX, path: str) -> None:
    """A NUL cannot be expressed in C."""
    with pytest.raises(ValueError, match="NUL"):
        tsocket_address_unix_from_path(top, path)


@pytest.mark.parametrize("path", [b"/x", Path("/x"), 1, ["/x"]])
def test_wrong_types(top: TALLOC_CTX, path: Any) -> None:
    """A path is a str."""
    with pytest.raises(TypeError, match=r"^path must be str"):
        tsocket_address_unix_from_path(top, path)


def test_nothing_on_disk_is_touched(top: TALLOC_CTX, tmp_path: Path) -> None:
    """An address is only a name."""
    made(top, os.fspath(tmp_path / "socket"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "length"), [("", 2), (b"", 2), (b"\0abc", 6), ("\0abc", 6)])
def test_path_of_unnamed_and_abstract(top: TALLOC_CTX, name: Any, length: int) -> None:
    """The path ends at the first NUL."""
    _, addr = tsocket_address_bsd_from_sockaddr(top, sockaddr(1, name))
    assert addr is not None
    assert tsocket_address_unix_path(addr, top) == ""
    assert tsocket_address_string(addr, top) == "unix:"
    assert tsocket_address_is_unix(addr)
    assert tsocket_address_bsd_sockaddr(addr)[0] == length


def test_path_of_an_inet_address(top: TALLOC_CTX) -> None:
    """An internet address has no path."""
    _, addr = tsocket_address_inet_from_strings(top, "ip", None, 0)
    assert addr is not None
    set_errno(0)
    assert tsocket_address_unix_path(addr, top) is None
    assert get_errno() == EINVAL


def test_ownership(top: TALLOC_CTX) -> None:
    """Address, path and copy belong to the contexts given; the path is named by its content."""
    owner = talloc_new(top)
    addr = made(owner, "/x")
    assert talloc_parent(addr) is owner
    assert addr.location.startswith(f"{__file__}:")
    path = tsocket_address_unix_path(addr, top)
    assert talloc_parent(path) is top
    assert path is not None
    assert talloc_get_name(path) == "/x"
    copy = tsocket_address_copy(addr, top)
    assert copy is not None
    assert talloc_parent(copy) is top
    assert tsocket_address_bsd_sockaddr(copy) == (110, sockaddr(1, "/x"))


def test_memory_limit(top: TALLOC_CTX) -> None:
    """Where no memory is to be had the errno says so."""
    limited = talloc_new(top)
    assert talloc_set_memlimit(limited, talloc_get_size(limited) + 96) == 0
    set_errno(0)
    assert tsocket_address_unix_from_path(limited, "/x") == (-1, None)
    assert get_errno() == ENOMEM
    set_errno(0)
    assert tsocket_address_copy(made(top, "/x"), limited) is None
    assert get_errno() == ENOMEM
