# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Strings that are chunks: copies, appending, printf.

Prior art: the string functions of lib/talloc/talloc.c. A C string is bytes: lengths count the bytes of the UTF-8 form,
and bytes that are no UTF-8 are kept as surrogate escapes. A `str` cannot change, so appending gives a new object that
takes the chunk over, and the old one is like freed.
Cost: O(length) each.
"""

from __future__ import annotations

from ._chunk import (
    CONTENT,
    TALLOC_CTX,
    become,
    caller,
    chunk,
    chunk_of,
    decode,
    encode,
    size_of,
    string_size,
    talloc_buffer,
    talloc_string,
)
from ._free import free_chunk
from ._make import new_string, require_int, require_str
from ._rare import REFUSED, rebook
from .types import MAX_TALLOC_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "talloc_append_string",
    "talloc_asprintf",
    "talloc_asprintf_addbuf",
    "talloc_asprintf_addsep",
    "talloc_asprintf_append",
    "talloc_asprintf_append_buffer",
    "talloc_strdup",
    "talloc_strdup_append",
    "talloc_strdup_append_buffer",
    "talloc_string",
    "talloc_strndup",
    "talloc_strndup_append",
    "talloc_strndup_append_buffer",
    "talloc_vasprintf",
    "talloc_vasprintf_append",
    "talloc_vasprintf_append_buffer",
]


def _c_string(text: object, what: str) -> str:
    """What C sees of a str: up to the first NUL."""
    string = require_str(text, what)
    return str.partition(string, "\0")[0]


def _cut(text: str, n: int) -> str:
    """At most *n* bytes of the UTF-8 form; all of it for a negative number, which is a large one in C."""
    require_int(n, "n")
    if n < 0:
        return text
    if str.isascii(text):
        return text[:n]
    return decode(encode(text)[:n])


def _formatted(fmt: object, ap: Sequence[object]) -> str:
    text = require_str(fmt, "fmt")
    if "%" in text:
        from ._format import vformat

        return vformat(text, ap)
    return str.__str__(text)


def talloc_strdup(t: TALLOC_CTX | None, p: str | None) -> talloc_string | None:
    """
    Make a copy of a string, up to its first NUL, named by its content.

    C: ``char *talloc_strdup(const void *t, const char *p)``

    Returns:
        The string; None if *p* is None, or a memory limit refuses.
    """
    return None if p is None else new_string(t, _c_string(p, "p"))


def talloc_strndup(t: TALLOC_CTX | None, p: str | None, n: int) -> talloc_string | None:
    """
    Make a copy of at most *n* bytes of a string.

    C: ``char *talloc_strndup(const void *t, const char *p, size_t n)``

    Args:
        t: The owner.

        p: The string; None gives None.

        n: Bytes of the UTF-8 form. Half a character becomes surrogate escapes. Negative: all.
    """
    return None if p is None else new_string(t, _cut(_c_string(p, "p"), n))


def talloc_asprintf(t: TALLOC_CTX | None, fmt: str, *args: object) -> talloc_string | None:
    """
    Make a string by a printf format, with C's conversions.

    C: ``char *talloc_asprintf(const void *t, const char *fmt, ...)``

    Returns:
        The string; None if a memory limit refuses. Too few or wrong arguments are a TypeError, ``%n`` a ValueError.
    """
    return new_string(t, _formatted(fmt, args))


def talloc_vasprintf(t: TALLOC_CTX | None, fmt: str, ap: Sequence[object]) -> talloc_string | None:
    """
    As `talloc_asprintf`, with the arguments in a sequence.

    C: ``char *talloc_vasprintf(const void *t, const char *fmt, va_list ap)``
    """
    return new_string(t, _formatted(fmt, ap))


def _appendable(s: object) -> chunk | None:
    c = chunk_of(s)
    if c is not None and type(s) is not talloc_string and type(s) is not talloc_buffer:
        raise TypeError(f"s must be a string or a buffer of characters, not {type(s).__name__}")
    return c


def _text_of(s: Any, to_first_nul: bool) -> str:
    """What stays of *s* before something is appended: up to its first NUL, or all but the last byte."""
    if type(s) is talloc_string:
        return str.partition(s, "\0")[0] if to_first_nul else str.__str__(s)
    raw = bytes(s)
    return decode(raw.partition(b"\0")[0] if to_first_nul else raw[:-1])


def _append(s: Any, added: str, to_first_nul: bool, where: Any) -> Any:
    """Let the chunk of *s* hold *s* and *added*; None, and *s* as it was, where that is not possible."""
    c = _appendable(s)
    if c is None:
        return None
    text = _text_of(s, to_first_nul)
    whole = text + added
    if not str.isascii(whole):
        # Two halves of a character may have met.
        whole = decode(encode(whole))
    size = string_size(whole)
    if size >= MAX_TALLOC_SIZE or (c.extra is not None and (c.extra.refs is not None or c.extra.pool is not None)):
        return None
    if rebook(c, size_of(c), size) == REFUSED:
        return None
    if type(s) is talloc_string and s == whole:
        result = s
    else:
        result = become(c, talloc_string(whole), where)
    c.name = CONTENT
    return result


def talloc_strdup_append(s: TALLOC_CTX | None, a: str | None) -> talloc_string | None:
    """
    Append *a* to a string, at its first NUL; use the returned string from then on.

    C: ``char *talloc_strdup_append(char *s, const char *a)``

    Args:
        s: A string, or a buffer of characters. None gives a new string at top level.

        a: What is appended; None gives *s* as it is.

    Returns:
        The string, in the place of *s*, which is like freed; None, and *s* as it was, if *s* has references or a
        memory limit refuses.
    """
    return _strndup_append(s, a, -1, True, caller(1))


def talloc_strdup_append_buffer(s: TALLOC_CTX | None, a: str | None) -> talloc_string | None:
    """
    As `talloc_strdup_append`, but at the end of *s*, whatever NULs it holds.

    C: ``char *talloc_strdup_append_buffer(char *s, const char *a)``
    """
    return _strndup_append(s, a, -1, False, caller(1))


def talloc_strndup_append(s: TALLOC_CTX | None, a: str | None, n: int) -> talloc_string | None:
    """
    As `talloc_strdup_append`, with at most *n* bytes of *a*.

    C: ``char *talloc_strndup_append(char *s, const char *a, size_t n)``
    """
    return _strndup_append(s, a, n, True, caller(1))


def talloc_strndup_append_buffer(s: TALLOC_CTX | None, a: str | None, n: int) -> talloc_string | None:
    """
    As `talloc_strdup_append_buffer`, with at most *n* bytes of *a*.

    C: ``char *talloc_strndup_append_buffer(char *s, const char *a, size_t n)``
    """
    return _strndup_append(s, a, n, False, caller(1))


def _strndup_append(s: Any, a: str | None, n: int, to_first_nul: bool, where: Any) -> talloc_string | None:
    if s is None:
        return talloc_strndup(None, a, n)
    if a is None:
        return None if _appendable(s) is None else s
    return _append(s, _cut(_c_string(a, "a"), n), to_first_nul, where)  # type: ignore[no-any-return]


def talloc_asprintf_append(s: TALLOC_CTX | None, fmt: str, *args: object) -> talloc_string | None:
    """
    Append to a string by a printf format, at its first NUL; use the returned string from then on.

    C: ``char *talloc_asprintf_append(char *s, const char *fmt, ...)``

    Returns:
        As `talloc_strdup_append`; *s* itself if the format gives nothing.
    """
    return _vasprintf_append(s, fmt, args, True, caller(1))


def talloc_asprintf_append_buffer(s: TALLOC_CTX | None, fmt: str, *args: object) -> talloc_string | None:
    """
    As `talloc_asprintf_append`, but at the end of *s*, whatever NULs it holds.

    C: ``char *talloc_asprintf_append_buffer(char *s, const char *fmt, ...)``
    """
    return _vasprintf_append(s, fmt, args, False, caller(1))


def talloc_vasprintf_append(s: TALLOC_CTX | None, fmt: str, ap: Sequence[object]) -> talloc_string | None:
    """
    As `talloc_asprintf_append`, with the arguments in a sequence.

    C: ``char *talloc_vasprintf_append(char *s, const char *fmt, va_list ap)``
    """
    return _vasprintf_append(s, fmt, ap, True, caller(1))


def talloc_vasprintf_append_buffer(s: TALLOC_CTX | None, fmt: str, ap: Sequence[object]) -> talloc_string | None:
    """
    As `talloc_asprintf_append_buffer`, with the arguments in a sequence.

    C: ``char *talloc_vasprintf_append_buffer(char *s, const char *fmt, va_list ap)``
    """
    return _vasprintf_append(s, fmt, ap, False, caller(1))


def _vasprintf_append(s: Any, fmt: str, ap: Sequence[object], to_first_nul: bool, where: Any) -> talloc_string | None:
    text = _formatted(fmt, ap)
    if s is None:
        return new_string(None, text)
    if not text:
        return None if _appendable(s) is None else s
    return _append(s, text, to_first_nul, where)  # type: ignore[no-any-return]


def talloc_asprintf_addbuf(ps: TALLOC_CTX | None, fmt: str, *args: object) -> talloc_string | None:
    """
    Append to a string that is built up in steps, none of which need be checked but the last.

    C: ``void talloc_asprintf_addbuf(char **ps, const char *fmt, ...)``

    Returns:
        What C leaves in ``*ps``: the longer string; None if *ps* is None, or after a failure, which frees *ps*.
    """
    if ps is None:
        return None
    return _add(ps, _formatted(fmt, args), caller(1))


def talloc_asprintf_addsep(ps: TALLOC_CTX | None, sep: str, fmt: str, *args: object) -> talloc_string | None:
    """
    As `talloc_asprintf_addbuf`, with *sep* put before, unless *ps* is empty.

    C: ``void talloc_asprintf_addsep(char **ps, const char *sep, const char *fmt, ...)``
    """
    if ps is None:
        return None
    text = _formatted(fmt, args)
    if _appendable(ps) is not None and _text_of(ps, True):
        text = _c_string(sep, "sep") + text
    return _add(ps, text, caller(1))


def _add(ps: Any, text: str, where: Any) -> talloc_string | None:
    c = _appendable(ps)
    if c is None or not text:
        return None if c is None else ps
    longer = _append(ps, text, False, where)
    if longer is None:
        free_chunk(c, where)
    return longer  # type: ignore[no-any-return]


def talloc_append_string(c: TALLOC_CTX | None, s: TALLOC_CTX | None, a: str | None) -> talloc_string | None:
    """
    Append *a* to *s*, or copy it for *c* if *s* is None.

    C: ``#define talloc_append_string(c, s, a)``
    """
    return talloc_strdup(c, a) if s is None else _strndup_append(s, a, -1, True, caller(1))
