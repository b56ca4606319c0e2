# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the Python side of area "tree" is made of: types, what is known of an object, text for bytes, a look upwards."""

from __future__ import annotations

from typing import Any

import talloc_py as t
from talloc_py import _free
from talloc_py._chunk import chunk, encode

#: A destructor that is asked so often by one line is asked for ever.
ASKED_MAX = 20
ASKED_DEPTH_MAX = 160
#: What C says when it meets a chunk that has been freed.
AFTER_FREE = "Bad talloc magic value - access after free"
#: What has bytes for content.
TEXT = ("char", "uint8_t")
#: No tree of a program is larger.
NODES_MAX = 10000


class pair(t.TALLOC_CTX):
    """A struct of two numbers of 64 bits."""

    first: int
    second: int


class blob(t.TALLOC_CTX):
    """A struct that is large enough for the rules about shrinking."""

    __talloc_size__ = 1500


TYPES: dict[str, Any] = {
    "char": t.char,
    "uint8_t": t.uint8_t,
    "uint16_t": t.uint16_t,
    "int": int,
    "int64_t": t.int64_t,
    "bool": bool,
    "double": float,
    "string": str,
    "pointer": object,
    "pair": pair,
    "blob": blob,
}
SIZES = dict(
    zip(TYPES, (1, 1, 2, 4, 8, 1, 8, 8, 8, 16, 1500), strict=True),
)


class known:
    """What is known of an object besides the chunk."""

    def __init__(self, name: str, kind: str, obj: Any) -> None:
        self.name = name
        self.obj = obj
        self.type = kind
        self.script = ""
        self.asked = self.replaced = self.emptied = self.limited = self.autofree = self.frame = self.opaque = False
        self.asked_line = -1
        self.asked_count = 0


def shown(raw: bytes) -> str:
    """Bytes as text: printable ASCII as it is, everything else as a backslash, x and two digits."""
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else f"\\x{c:02x}" for c in raw)


def shown_content(raw: bytes) -> str:
    """Bytes as text, many NULs at their end as a number."""
    text = raw.rstrip(b"\0")
    zeros = len(raw) - len(text)
    return f"{shown(text)}\\x00*{zeros}" if zeros > 4 else shown(raw)


def shown_string(text: str | None) -> str:
    """A C string as text."""
    if text is None:
        return "(none)"
    if text.isascii() and text.isprintable() and "\\" not in text:
        return str.__str__(text)
    return shown(encode(text))


def raw_of(obj: Any) -> bytes:
    """The bytes of a string or buffer."""
    return encode(obj) + b"\0" if isinstance(obj, str) else bytes(obj)


def formatted(index: int, text: str, number: int) -> tuple[Any, ...]:
    """The formats that programs choose from, with their arguments."""
    if index == 0:
        return "%s", text
    if index == 1:
        return "%d", number
    if index == 2:
        return "a%cb%s", 0, text
    if index == 3:
        return "%.*s", 0, text
    if index == 4:
        return "<%8.3s|%-5x>", text, number
    return ("plain",)


def with_list(call: Any) -> Any:
    """A function that takes its arguments in a list, as one that takes them one by one."""
    return lambda first, fmt, *args: call(first, fmt, list(args))


def limit_of(c: chunk) -> Any:
    """The nearest memory limit of a chunk."""
    return None if c.extra is None else c.extra.limit


def is_above(c: chunk | None, presumed: chunk) -> bool:
    """Whether *presumed* is *c* or above it."""
    return _free.is_ancestor(c, presumed)
