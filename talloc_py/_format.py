# SPDX-License-Identifier: LGPL-3.0-or-later
"""
C's printf formats.

Prior art: ISO C 7.21.6.1 as the GNU C library carries it out. Python's own ``%`` would not do: C cuts integers to the
width of their type, counts bytes in ``%s`` and knows flags and conversions that Python does not.
Cost: O(length of the result).
"""

from __future__ import annotations

from ._chunk import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["vformat"]

_FLAGS = "-+ #0"
_BITS = {"": 32, "hh": 8, "h": 16, "l": 64, "ll": 64, "q": 64, "z": 64, "j": 64, "t": 64, "L": 64}
_INTEGERS = "diouxX"
_FLOATS = "fFeEgGaA"


class _spec:
    """One conversion: flags, width, precision (None: not given), modifier, letter."""

    __slots__ = ("flags", "letter", "modifier", "precision", "width")

    def __init__(self) -> None:
        self.flags = ""
        self.width = 0
        self.precision: int | None = None
        self.modifier = ""
        self.letter = ""


def vformat(fmt: str, ap: Sequence[object]) -> str:
    """Format *ap* as C's ``vsnprintf()`` does. TypeError for too few or wrong arguments; surplus ones are ignored."""
    parts: list[bytes] = []
    args = iter(ap)
    position = 0
    while True:
        percent = fmt.find("%", position)
        if percent < 0:
            break
        parts.append(encode(fmt[position:percent]))
        spec, position = _parse(fmt, percent + 1, args)
        parts.append(_convert(spec, args))
    parts.append(encode(fmt[position:]))
    return decode(b"".join(parts))


def _next(args: Iterator[object]) -> object:
    try:
        return next(args)
    except StopIteration:
        raise TypeError("not enough arguments for the format") from None


def _parse(fmt: str, position: int, args: Iterator[object]) -> tuple[_spec, int]:
    """The conversion that begins behind a ``%``, and where it ends."""
    spec = _spec()
    start = position
    end = len(fmt)
    while position < end and fmt[position] in _FLAGS:
        spec.flags += fmt[position]
        position += 1
    width, position = _number(fmt, position, args)
    if width is not None:
        if width < 0:  # only from an argument: a flag and a width
            spec.flags += "-"
        spec.width = abs(width)
    if position < end and fmt[position] == ".":
        precision, position = _number(fmt, position + 1, args)
        spec.precision = 0 if precision is None else precision
        if spec.precision < 0:  # only from an argument: as if not given
            spec.precision = None
    while position < end and fmt[position] in "hlqjztL":
        spec.modifier += fmt[position]
        position += 1
    if position >= end or spec.modifier not in _BITS:
        raise ValueError(f"bad conversion in the format: %{fmt[start:position]}")
    spec.letter = fmt[position]
    return spec, position + 1


def _number(fmt: str, position: int, args: Iterator[object]) -> tuple[int | None, int]:
    """A width or precision: digits, or ``*`` for an argument; None where there is neither."""
    if position < len(fmt) and fmt[position] == "*":
        return _reduce(_integer(_next(args), "*"), 32, True), position + 1
    start = position
    while position < len(fmt) and fmt[position] in "0123456789":
        position += 1
    return (int(fmt[start:position]) if position > start else None), position


def _convert(spec: _spec, args: Iterator[object]) -> bytes:
    letter = spec.letter
    if letter == "%":
        return b"%"
    if letter == "s":
        return _string(spec, _next(args))
    if letter in _INTEGERS:
        return _pad_number(spec, *_digits(spec, _integer(_next(args), letter)))
    if letter == "c":
        return _pad(spec, _character(_next(args)))
    if letter in _FLOATS:
        return _float(spec, _next(args))
    if letter == "p":
        return _pointer(spec, _next(args))
    if letter == "n":
        raise ValueError("%n is not supported: it writes through a pointer")
    raise ValueError(f"unknown conversion in the format: %{letter}")


def _integer(value: object, letter: str) -> int:
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"%{letter} needs an int, not {type(value).__name__}")


def _reduce(value: int, bits: int, signed: bool) -> int:
    """What is left of a number in a C type of so many bits."""
    value &= (1 << bits) - 1
    if signed and value >> (bits - 1):
        value -= 1 << bits
    return value


def _pad(spec: _spec, text: bytes) -> bytes:
    return text.ljust(spec.width) if "-" in spec.flags else text.rjust(spec.width)


def _string(spec: _spec, value: object) -> bytes:
    if value is None:
        # glibc: nothing at all where not even "(null)" fits.
        text = b"(null)" if spec.precision is None or spec.precision >= 6 else b""
    elif isinstance(value, str):
        text = encode(str.partition(value, "\0")[0])
    else:
        raise TypeError(f"%s needs a str or None, not {type(value).__name__}")
    return _pad(spec, text[: spec.precision])


def _character(value: object) -> bytes:
    if isinstance(value, str):
        if len(value) == 1:
            return encode(value)
    elif isinstance(value, int):
        return bytes((value & 0xFF,))
    raise TypeError("%c needs an int or a single character")


def _pointer(spec: _spec, value: object) -> bytes:
    if value is None:
        return _pad(spec, b"(nil)")
    spec.flags += "#"
    return _pad_number(spec, _sign(spec, False), "0x", f"{id(value):x}")


def _sign(spec: _spec, negative: bool) -> str:
    if negative:
        return "-"
    if "+" in spec.flags:
        return "+"
    return " " if " " in spec.flags else ""


def _digits(spec: _spec, value: int) -> tuple[str, str, str]:
    """Sign, prefix and digits of an integer."""
    bits = _BITS[spec.modifier]
    if spec.letter in "di":
        value = _reduce(value, bits, True)
        return _sign(spec, value < 0), "", str(abs(value))
    value = _reduce(value, bits, False)
    if spec.letter == "u":
        return "", "", str(value)
    if spec.letter == "o":
        digits = f"{value:o}"
        if "#" in spec.flags and digits != "0":
            digits = "0" + digits
            if spec.precision is not None and spec.precision >= len(digits):
                digits = digits[1:]  # the zeros of the precision do
        return "", "", digits
    digits = f"{value:{spec.letter}}"
    return "", "0" + spec.letter if "#" in spec.flags and value else "", digits


def _pad_number(spec: _spec, sign: str, prefix: str, digits: str) -> bytes:
    if spec.precision is not None:
        if spec.precision == 0 and digits == "0" and not (spec.letter == "o" and "#" in spec.flags):
            digits = ""
        digits = digits.rjust(spec.precision, "0")
    elif "0" in spec.flags and "-" not in spec.flags:
        digits = digits.rjust(spec.width - len(sign) - len(prefix), "0")
    return _pad(spec, (sign + prefix + digits).encode())


def _float(spec: _spec, value: object) -> bytes:
    if not isinstance(value, (int, float)):
        raise TypeError(f"%{spec.letter} needs a float, not {type(value).__name__}")
    number = float(value)
    sign = _sign(spec, _is_negative(number))
    magnitude = abs(number)
    if magnitude != magnitude or magnitude == float("inf"):
        text = f"{magnitude:f}"
        return _pad(spec, (sign + (text.upper() if spec.letter.isupper() else text)).encode())
    if spec.letter in "aA":
        text = _hex_float(spec, magnitude)
        prefix, text = text[:2], text[2:]
    else:
        precision = 6 if spec.precision is None else spec.precision
        text = f"%{'#' if '#' in spec.flags else ''}.{precision}{spec.letter}" % magnitude
        prefix = ""
    if "0" in spec.flags and "-" not in spec.flags:
        text = text.rjust(spec.width - len(sign) - len(prefix), "0")
    return _pad(spec, (sign + prefix + text).encode())


def _is_negative(number: float) -> bool:
    """Whether the sign bit is set: also of -0.0 and of a NaN."""
    from math import copysign

    return copysign(1.0, number) < 0


def _hex_float(spec: _spec, magnitude: float) -> str:
    """``%a``: all digits that are needed, or so many as the precision says, rounded to even."""
    mantissa, _p, exponent = magnitude.hex()[2:].partition("p")
    lead, _point, fraction = mantissa.partition(".")
    if spec.precision is None:
        fraction = fraction.rstrip("0")
    elif spec.precision < len(fraction):
        keep = spec.precision
        number = int(lead + fraction, 16)
        drop = 4 * (len(fraction) - keep)
        rest = number & ((1 << drop) - 1)
        number >>= drop
        half = 1 << (drop - 1)
        if rest > half or (rest == half and number & 1):
            number += 1
        text = f"{number:x}".rjust(keep + 1, "0")
        lead, fraction = text[: len(text) - keep], text[len(text) - keep :]
    else:
        fraction = fraction.ljust(spec.precision, "0")
    point = "." if fraction or "#" in spec.flags else ""
    text = f"0x{lead}{point}{fraction}p{exponent}"
    return text.upper() if spec.letter == "A" else text
