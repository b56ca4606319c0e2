# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Little-endian NDR, both ways by one description.

`writer` and `reader` have the same methods.  Each takes a value and gives a value: the writer appends what it is given
and gives it back, the reader pays no attention to it and gives what it finds.  So one function describes a structure
for both directions, and neither can forget what the other does.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["NdrError", "reader", "writer"]

ARRAY_SIZE = 1
BAD_SWITCH = 2
CHARCNV = 5
BUFSIZE = 11
RANGE = 13
UNREAD_BYTES = 18

_REFERENT_FIRST = 0x00020000
_FORMS = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}


class NdrError(Exception):
    """What ends the coding: ``args[0]`` is the number of the error."""


class writer:
    """Appends to `data`."""

    reads: bool = False

    def __init__(self) -> None:
        self.data: bytearray = bytearray()
        self._referent: int = _REFERENT_FIRST
        #: Where offsets of relative pointers are to be filled in, in the order in which they were written.
        self._relative: list[tuple[int, Any]] = []

    def align(self, size: int) -> None:
        """Go on at a multiple of *size*."""
        self.data += bytes(-len(self.data) % size)

    def number(self, value: int, size: int, align: int | None = None) -> int:
        """An unsigned number of *size* bytes."""
        self.align(size if align is None else align)
        try:
            self.data += struct.pack(_FORMS[size], value)
        except (struct.error, TypeError):
            raise NdrError(RANGE) from None
        return value

    def raw(self, value: bytes, size: int) -> bytes:
        """Bytes, as many as both sides know."""
        if len(value) != size:
            raise NdrError(ARRAY_SIZE)
        self.data += value
        return value

    def count(self, items: list[Any], each: int) -> int:
        """How many elements follow here or later, of at least *each* bytes."""
        return self.number(len(items), 4)

    def same_count(self, count: int) -> None:
        """The same number once more."""
        self.number(count, 4)

    def items(self, items: list[Any], count: int, code: Callable[[Any], Any]) -> list[Any]:
        """The elements."""
        for item in items:
            code(item)
        return items

    def pointer(self, value: Any, make: Callable[[], Any]) -> Any:
        """Whether there is something, which follows later."""
        if value is None:
            self.number(0, 4)
        else:
            self.number(self._referent, 4)
            self._referent += 4
        return value

    def blob(self, value: bytes) -> bytes:
        """A length and so many bytes."""
        self.number(len(value), 4)
        self.data += value
        return value

    def string(self, value: str) -> str:
        """A string with its sizes and a final NUL."""
        encoded = _encoded(value, "utf-8") + b"\0"
        for number in (len(encoded), 0, len(encoded)):
            self.number(number, 4)
        self.data += encoded
        return value

    def string16(self, value: str) -> str:
        """A string in UTF-16 with a final NUL."""
        self.align(2)
        self.data += _encoded(value, "utf-16-le") + b"\0\0"
        return value

    def relative(self, value: Any) -> Any:
        """The offset of something that follows later, by `at_relative`."""
        self.align(4)
        self._relative.append((len(self.data), value))
        self.data += bytes(4)
        return value

    def at_relative(self, value: Any, code: Callable[[Any], Any], align: int) -> Any:
        """What the oldest `relative` that was not filled in points to."""
        place, value = self._relative.pop(0)
        if value is None:
            return None
        self.align(align)
        struct.pack_into("<I", self.data, place, len(self.data))
        return code(value)


def _encoded(value: str, encoding: str) -> bytes:
    try:
        return value.encode(encoding)
    except (UnicodeError, AttributeError):
        raise NdrError(CHARCNV) from None


class reader:
    """Takes from *data*."""

    reads: bool = True

    def __init__(self, data: bytes) -> None:
        self.data: bytes = data
        self.offset: int = 0
        #: How far anything has reached: relative pointers lead beyond the current offset.
        self.highest: int = 0
        self._relative: list[int] = []

    def take(self, size: int) -> bytes:
        """The next *size* bytes."""
        end = self.offset + size
        if end > len(self.data):
            raise NdrError(BUFSIZE)
        found = self.data[self.offset : end]
        self.offset = end
        self.highest = max(self.highest, end)
        return found

    def align(self, size: int) -> None:
        """Go on at a multiple of *size*; what is between is not looked at."""
        self.take(-self.offset % size)

    def number(self, value: int, size: int, align: int | None = None) -> int:
        """An unsigned number of *size* bytes."""
        self.align(size if align is None else align)
        return int.from_bytes(self.take(size), "little")

    def raw(self, value: bytes, size: int) -> bytes:
        """Bytes, as many as both sides know."""
        return self.take(size)

    def count(self, items: list[Any], each: int) -> int:
        """How many elements follow; not more than there are bytes for."""
        count = self.number(0, 4)
        if count * each > len(self.data) - self.offset:
            raise NdrError(BUFSIZE)
        return count

    def same_count(self, count: int) -> None:
        """The same number once more; another one is an error."""
        if self.number(0, 4) != count:
            raise NdrError(ARRAY_SIZE)

    def items(self, items: list[Any], count: int, code: Callable[[Any], Any]) -> list[Any]:
        """The elements."""
        return [code(None) for _ in range(count)]

    def pointer(self, value: Any, make: Callable[[], Any]) -> Any:
        """Whether there is something, which follows later: an empty one, or None."""
        return make() if self.number(0, 4) else None

    def blob(self, value: bytes) -> bytes:
        """A length and so many bytes."""
        return self.take(self.number(0, 4))

    def string(self, value: str) -> str:
        """A string with its sizes and a final NUL."""
        maximum, offset, actual = (self.number(0, 4) for _ in range(3))
        if offset != 0 or actual > maximum:
            raise NdrError(ARRAY_SIZE)
        found = self.take(actual)
        if not found or found[-1] != 0:
            raise NdrError(ARRAY_SIZE)
        return _decoded(found.split(b"\0", 1)[0], "utf-8")

    def string16(self, value: str) -> str:
        """A string in UTF-16 up to its NUL."""
        self.align(2)
        end = self.offset
        while self.data[end : end + 2] != b"\0\0":
            end += 2
            if end + 2 > len(self.data):
                raise NdrError(BUFSIZE)
        found = self.take(end - self.offset)
        self.take(2)
        return _decoded(found, "utf-16-le")

    def relative(self, value: Any) -> Any:
        """The offset of something that follows later, by `at_relative`."""
        self._relative.append(self.number(0, 4))
        return None

    def at_relative(self, value: Any, code: Callable[[Any], Any], align: int) -> Any:
        """What the oldest `relative` that was not followed points to."""
        place = self._relative.pop(0)
        if place == 0:
            return None
        if place > len(self.data):
            raise NdrError(BUFSIZE)
        here, self.offset = self.offset, place
        try:
            return code(None)
        finally:
            self.offset = here

    def end(self) -> None:
        """Nothing must be left."""
        if max(self.offset, self.highest) < len(self.data):
            raise NdrError(UNREAD_BYTES)


def _decoded(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding)
    except UnicodeError:
        raise NdrError(CHARCNV) from None
