# SPDX-License-Identifier: LGPL-3.0-or-later
"""Internet addresses made from a text that may end in a port."""

from __future__ import annotations

from errno import EAFNOSUPPORT, EINVAL
from typing import Any

import pytest

from talloc_py import TALLOC_CTX, talloc_parent, talloc_total_blocks
from tsocket import (
    get_errno,
    set_errno,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_hostport_strings,
    tsocket_address_inet_port,
    tsocket_address_string,
)

DEFAULT = 445


def read(top: TALLOC_CTX, text: str | None, fam: str = "ip") -> tuple[str | None, int]:
    """Host and port that the text stands for."""
    ret, addr = tsocket_address_inet_from_hostport_strings(top, fam, text, DEFAULT)
    assert ret == 0
    assert addr is not None
    assert talloc_parent(addr) is top
    return tsocket_address_inet_addr_string(addr, top), tsocket_address_inet_port(addr)


def refused(top: TALLOC_CTX, text: str | None, fam: str = "ip") -> int:
    blocks = talloc_total_blocks(top)
    set_errno(0)
    assert tsocket_address_inet_from_hostport_strings(top, fam, text, DEFAULT) == (-1, None)
    # C leaves a copy of the text behind.
    assert talloc_total_blocks(top) == blocks
    return get_errno()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1.2.3.4", "1.2.3.4", DEFAULT),
        ("1.2.3.4:5", "1.2.3.4", 5),
        ("127.1:5", "127.0.0.1", 5),
        ("1.2.3.4:0", "1.2.3.4", 0),
        ("::1", "::1", DEFAULT),
        ("::1:80", "::0.1.0.128", DEFAULT),
        ("1::1:80", "1::1:80", DEFAULT),
        ("::", "::", DEFAULT),
        ("[::1]", "::1", DEFAULT),
        ("[::1]:8", "::1", 8),
        ("[::ffff:1.2.3.4]:8", "::ffff:1.2.3.4", 8),
        ("xx[::1]:8", "::1", 8),
        ("][::1]:8", "::1", 8),
        ("[1.2.3.4]:8", "1.2.3.4", 8),
        ("[1.2.3.4]", "1.2.3.4", DEFAULT),
        ("2130706433", "127.0.0.1", DEFAULT),
        ("[fe80::1%lo]:8", "fe80::1", 8),
    ],
)
def test_read(top: TALLOC_CTX, text: str, host: str, port: int) -> None:
    """Brackets hold the host; a dot and a colon mean a port; else all of it is the host."""
    assert read(top, text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[]:5",
        "[[::1]]",
        "[::1",
        "]::1[",
        "::1]",
        "[::1]8",
        "[::1] :8",
        "[::1]:",
        "[::1]:x",
        "[::1]::8",
        "1.2.3.4:",
        ":1.2.3.4",
        "::ffff:1.2.3.4",
        "name:5",
        "name.example:5",
        "1.2.3.4:5:6",
        " 1.2.3.4:5",
        "1.2.3.4\0:5",
        "1.2.3.4:5\0",
    ],
)
def test_refused(top: TALLOC_CTX, text: str) -> None:
    """What is no host, and what follows it and is no port, is refused."""
    assert refused(top, text) == EINVAL


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("0", 0),
        ("00080", 80),
        ("0" * 5000 + "80", 80),
        ("65535", 65535),
        (" 80", 80),
        (" \t\n\v\f\r80", 80),
        ("+80", 80),
        (" +080", 80),
    ],
)
def test_port_as_c_reads_numbers(top: TALLOC_CTX, text: str, port: int) -> None:
    """Leading white space, one plus sign and zeros are part of a number."""
    assert read(top, f"[::1]:{text}") == ("::1", port)
    assert read(top, f"1.2.3.4:{text}") == ("1.2.3.4", port)


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "-0",
        "++8",
        "+ 8",
        "+",
        " ",
        "8 ",
        "8x",
        "0x8",
        "1_0",
        "8.0",
        "65536",
        "99999999999999999999999",
        "1" * 5000,
        "\xa08",
        "\uff18",
        "\u0663",
        "\u00b2",
        "\x1c8",
    ],
)
def test_what_is_no_port(top: TALLOC_CTX, text: str) -> None:
    """Python's int() reads more than C does; here nothing but C's numbers count."""
    assert refused(top, f"[::1]:{text}") == EINVAL


def test_no_text(top: TALLOC_CTX) -> None:
    """None stands for every interface, with the default port."""
    assert read(top, None) == ("::", DEFAULT)
    assert read(top, None, "ipv4") == ("0.0.0.0", DEFAULT)


def test_family(top: TALLOC_CTX) -> None:
    """The family restricts the host, in any case, and an unknown one is refused."""
    assert read(top, "1.2.3.4:5", "IPV4") == ("1.2.3.4", 5)
    assert refused(top, "1.2.3.4:5", "ipv6") == EINVAL
    assert refused(top, "1.2.3.4:5", "inet") == EAFNOSUPPORT
    assert refused(top, None, "inet") == EAFNOSUPPORT


def test_a_bad_port_is_found_before_a_bad_family(top: TALLOC_CTX) -> None:
    """The text is taken apart first."""
    assert refused(top, "1.2.3.4:x", "inet") == EINVAL


def test_location(top: TALLOC_CTX) -> None:
    """The address remembers where it was made, with and without a text."""
    for text in ("::1", None):
        ret, addr = tsocket_address_inet_from_hostport_strings(top, "ip", text, 1)
        assert ret == 0
        assert addr is not None
        assert addr.location.startswith(f"{__file__}:")
        assert tsocket_address_string(addr, top) in ("ipv6:::1:1", "ipv6::::1")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((None, None, "::1", 1), "fam"),
        ((None, "ip", b"::1", 1), "host_port_addr"),
        ((None, "ip", "::1", None), "default_port"),
        ((None, "ip", None, "1"), "default_port"),
    ],
)
def test_wrong_types(arguments: Any, name: str) -> None:
    """The error names the argument."""
    with pytest.raises(TypeError, match=rf"^{name} must be"):
        tsocket_address_inet_from_hostport_strings(*arguments)


def test_default_port_out_of_range(top: TALLOC_CTX) -> None:
    """The default is a port too."""
    with pytest.raises(ValueError, match="default_port"):
        tsocket_address_inet_from_hostport_strings(top, "ip", "::1", 65536)
