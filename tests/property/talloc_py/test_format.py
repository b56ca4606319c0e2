# SPDX-License-Identifier: LGPL-3.0-or-later
"""printf formats against the C library of this machine."""

from __future__ import annotations

import ctypes
import ctypes.util
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talloc_py import talloc_asprintf

library = ctypes.util.find_library("c")
# Where everything must be proved, nothing is skipped: the comparison then fails for want of the library.
pytestmark = pytest.mark.skipif(
    library is None and "TSOCKET_REQUIRE_PEERS" not in os.environ, reason="no C library to compare with"
)
libc = ctypes.CDLL(library) if library else None


def in_c(fmt, *args):
    """What snprintf() makes of it, as bytes."""
    buffer = ctypes.create_string_buffer(4096)
    length = libc.snprintf(buffer, ctypes.c_size_t(len(buffer)), fmt.encode(), *args)
    return buffer.raw[:length]


def in_python(fmt, *args):
    """What talloc_asprintf() makes of it, as bytes."""
    return talloc_asprintf(None, fmt, *args).encode("utf-8", "surrogateescape")


flags = st.lists(st.sampled_from("-+ #0"), max_size=4).map("".join)
width = st.one_of(st.just(""), st.integers(0, 60).map(str))
precision = st.one_of(st.just(""), st.just("."), st.integers(0, 40).map(".{}".format))
wide = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 255, 256, 2**31, 2**31 - 1, 2**32, -(2**31)])


@given(
    flags, width, precision, st.sampled_from(["", "h", "hh", "l", "ll", "z", "j", "t"]), st.sampled_from("diouxX"), wide
)
def test_integers(flag, size, digits, modifier, letter, value):
    """Cut to the width of the type, padded and signed as in C."""
    fmt = f"[%{flag}{size}{digits}{modifier}{letter}]"
    assert in_python(fmt, value) == in_c(fmt, ctypes.c_int64(value))


@given(flags, width, precision, st.sampled_from("fFeEgGaA"), st.floats())
def test_floats(flag, size, digits, letter, value):
    """All digits, infinities and NaNs as in C."""
    fmt = f"[%{flag}{size}{digits}{letter}]"
    assert in_python(fmt, value) == in_c(fmt, ctypes.c_double(value))


@given(st.sampled_from(["", "-"]), width, precision, st.one_of(st.none(), st.text()))
def test_strings(flag, size, digits, value):
    """Width and precision count bytes."""
    fmt = f"[%{flag}{size}{digits}s]"
    raw = None
    if value is not None:
        try:
            raw = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return
    assert in_python(fmt, value) == in_c(fmt, ctypes.c_char_p(raw))


@given(st.sampled_from(["", "-"]), width, st.integers(-1000, 1000))
def test_characters(flag, size, value):
    """One byte, also a NUL."""
    fmt = f"[%{flag}{size}c]"
    assert in_python(fmt, value) == in_c(fmt, ctypes.c_int(value))


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-(10**6), 10**6))
def test_stars(size, digits, value):
    """A negative width is a flag, a negative precision none."""
    fmt = "[%*.*d]"
    assert in_python(fmt, size, digits, value) == in_c(
        fmt, ctypes.c_int(size), ctypes.c_int(digits), ctypes.c_int(value)
    )
