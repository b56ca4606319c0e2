# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a simulated network is told to do: the properties of a link, faults, and outages; plain data.

Each prints as the call that makes it, without what is left at its default, so that a plan from a failing test can be
pasted into the next one.  Times are microseconds of the virtual clock, sizes are bytes.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, fields
from fractions import Fraction

__all__ = ["fault", "link", "outage"]

#: What can be counted by a `fault`, and which of its other fields mean something there.
_MEANS: dict[str, frozenset[str]] = {
    "readv": frozenset(("error", "take", "delay_us")),
    "writev": frozenset(("error", "take", "delay_us")),
    "connect": frozenset(("error", "delay_us")),
    "recvfrom": frozenset(("error", "delay_us")),
    "sendto": frozenset(("error", "delay_us")),
    "accept": frozenset(("error",)),
    "disconnect": frozenset(("error",)),
    "monitor": frozenset(("error",)),
    "pending_bytes": frozenset(("error",)),
    "socket": frozenset(("error",)),
    "byte": frozenset(("delay_us", "end")),
    "datagram": frozenset(("delay_us", "lost", "copies")),
}

_ENDS = ("", "eof", "reset")
# No probability is finer: a choice has at most so many outcomes.
_ODDS_MAX = 100


class _plain:
    """A record that prints as the call that makes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown: list[str] = []
        skipped = False
        for f in fields(self):  # type: ignore[arg-type]  # every class derived from this one is a dataclass
            value = getattr(self, f.name)
            if value != f.default:
                shown.append(f"{f.name}={value!r}" if f.kw_only or skipped else repr(value))
            elif not f.kw_only:
                skipped = True
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class link(_plain):
    """
    How bytes and datagrams travel from one host to another.

    The default is a perfect link: everything arrives at once, whole, in order.  What may happen, but need not, is a
    choice of the world (`simulation.choose`), and the ordinary is always the first one: a seed, an explorer or
    Hypothesis decides, and a failing run shrinks to the fewest mishaps.

    Attributes:
        latency_us: The time from one host to the other.

        jitter_us: What a segment or a datagram may take longer than that.

        bandwidth: Bytes a second in each direction; 0 is no limit.

        buffer: The bytes of a stream that are on the way or not read yet before a write waits; of a datagram socket,
            those that are not received yet before more are dropped.

        segment_max: The most bytes that arrive together where anything takes time.

        cut: A stream may be cut anywhere: what one write sent arrives in pieces, one after the other.

        partial_writes: A write may be taken in part at first.

        loss: The probability that a datagram is lost, from 0 to 1; a multiple of a hundredth at the finest.

        duplicate: The probability that a datagram arrives twice.

        reorder: The probability that a datagram is overtaken by others.

        reorder_us: By how much it is late then.
    """

    latency_us: int = 0
    jitter_us: int = 0
    bandwidth: int = 0
    buffer: int = 65536
    segment_max: int = 1460
    cut: bool = False
    partial_writes: bool = False
    loss: float = 0
    duplicate: float = 0
    reorder: float = 0
    reorder_us: int = 1000

    def __post_init__(self) -> None:
        for name in ("latency_us", "jitter_us", "bandwidth", "reorder_us"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")
        for name in ("buffer", "segment_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 at least")
        for name in ("loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, from 0 to 1")


def odds(probability: float) -> tuple[int, int]:
    """``(n, of)``: *n* outcomes out of *of* come near *probability*, with as few outcomes as possible."""
    near = Fraction(probability).limit_denominator(_ODDS_MAX)
    return near.numerator, near.denominator


@dataclass(frozen=True, slots=True, repr=False)
class fault(_plain):
    """
    One thing that goes wrong, at one place, once.

    Args:
        where: The name of a socket of the network, as `network` and the story call it; ``"dns*"`` is every name that
            begins so, each counted by itself.

        what: What is counted: a system call (``"readv"``, ``"writev"``, ``"connect"``, ``"accept"``, ``"disconnect"``,
            ``"monitor"``, ``"pending_bytes"``, ``"recvfrom"``, ``"sendto"``, ``"socket"``), a ``"byte"`` that arrives
            at a stream, or a ``"datagram"`` that is sent.

        nth: Which one, counted from 0 as in the story. For a byte: so many bytes have arrived before it.

        error: The name of the errno that the call fails with; EINTR and EAGAIN let it be tried again.

        take: The call transfers so many bytes at most, the rest another time.

        delay_us: The call, the bytes from the given one on, or the datagram, come later by this.

        end: ``"eof"`` or ``"reset"``: the stream ends before the given byte, wherever in a PDU that is.

        lost: The datagram does not arrive.

        copies: How often it arrives.

    Raises:
        ValueError: No such thing can go wrong there.
    """

    where: str
    what: str
    nth: int = 0
    error: str = field(default="", kw_only=True)
    take: int = field(default=0, kw_only=True)
    delay_us: int = field(default=0, kw_only=True)
    end: str = field(default="", kw_only=True)
    lost: bool = field(default=False, kw_only=True)
    copies: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        means = _MEANS.get(self.what)
        if means is None:
            raise ValueError(f"{self.what!r} is not one of {', '.join(_MEANS)}")
        said = {f.name for f in fields(self) if f.kw_only and getattr(self, f.name) != f.default}
        if not said:
            raise ValueError(f"what happens to this {self.what}? Give one of {', '.join(sorted(means))}")
        if said - means:
            raise ValueError(f"{' and '.join(sorted(said - means))} means nothing for a {self.what}")
        if self.error and not isinstance(getattr(errno, self.error, None), int):
            raise ValueError(f"there is no errno {self.error!r}")
        if self.end not in _ENDS:
            raise ValueError(f"a stream ends by 'eof' or by 'reset', not by {self.end!r}")
        if min(self.nth, self.take, self.delay_us, self.copies) < 0:
            raise ValueError(f"a number is too small: {self!r}")

    @property
    def errno(self) -> int:
        """The errno of `error`; 0 where there is none."""
        return int(getattr(errno, self.error)) if self.error else 0

    def matches(self, name: str) -> bool:
        """Whether the socket called *name* is meant."""
        return _fits(self.where, name)


@dataclass(frozen=True, slots=True, repr=False)
class outage(_plain):
    """
    A time in which nothing gets from one host to another, in either direction.

    What a stream sends meanwhile arrives afterwards, as TCP sends it again; datagrams are lost.

    Args:
        one: A host, by its name or the text of its IP address; ``"*"`` is every host.

        two: The other one.

        start_us: When it begins, counted from the start of the network.

        length_us: How long it lasts; None for ever.
    """

    one: str
    two: str = "*"
    start_us: int = field(default=0, kw_only=True)
    length_us: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.start_us < 0 or (self.length_us or 0) < 0:
            raise ValueError("an outage begins at 0 at the earliest, and does not last less than no time")

    def concerns(self, one: str, two: str) -> bool:
        """Whether it is between these two."""
        return (_fits(self.one, one) and _fits(self.two, two)) or (_fits(self.one, two) and _fits(self.two, one))


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
