# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Hypothesis strategies for what goes over a network and what goes wrong there; `tsocket.testing.strategies`, with the
extra ``testing``.

Everything drawn is plain data that prints as what makes it.  What is dull is small: streams shrink to one piece, plans
to no fault, links to a perfect one.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from tevent._strategies import delays_us, drawn_from, schedules

from ._simnet_plan import fault, link, outage
from ._sys import AF_INET, AF_INET6, AF_UNIX
from .address import sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from hypothesis.strategies import SearchStrategy

__all__ = [
    "addresses",
    "cuts",
    "delays_us",
    "dgram_faults",
    "drawn_from",
    "errnos",
    "fault_plans",
    "fragments",
    "framed_u32",
    "links",
    "outages",
    "pdu_stream",
    "pdu_streams",
    "schedules",
    "stream_faults",
]

_SECOND_US = 1_000_000
_ERRNOS = ("ECONNRESET", "EPIPE", "ETIMEDOUT", "EIO", "EHOSTUNREACH", "ENOBUFS", "EINTR", "EAGAIN")


def errnos() -> SearchStrategy[str]:
    """Names of errnos that an operation on a socket fails with; the last ones mean that it should be tried again."""
    return st.sampled_from(_ERRNOS)


# -- addresses --------------------------------------------------------------------------------------------------------


def _ipv4() -> SearchStrategy[sockaddr]:
    hosts = st.sampled_from(["127.0.0.1", "0.0.0.0", "10.0.0.1", "255.255.255.255"]) | st.ip_addresses(v=4).map(str)
    return st.builds(sockaddr, st.just(AF_INET), st.tuples(hosts, _ports()))


def _ipv6() -> SearchStrategy[sockaddr]:
    hosts = st.sampled_from(["::1", "::", "fd00::1"]) | st.ip_addresses(v=6).map(str)
    return st.builds(sockaddr, st.just(AF_INET6), st.tuples(hosts, _ports(), st.just(0), st.just(0)))


def _unix() -> SearchStrategy[sockaddr]:
    names = st.text("abc./- \N{LATIN SMALL LETTER E WITH ACUTE}", min_size=1, max_size=50)
    return st.builds(sockaddr, st.just(AF_UNIX), names.map("/{}".format))


def _ports() -> SearchStrategy[int]:
    return st.sampled_from([1, 53, 445, 49152, 65535]) | st.integers(1, 65535)


_FAMILIES = {"ipv4": _ipv4, "ipv6": _ipv6, "unix": _unix}


def addresses(*families: str) -> SearchStrategy[sockaddr]:
    """
    Addresses, as `tsocket_address_bsd_from_sockaddr` takes them.

    Args:
        families: Out of ``"ipv4"``, ``"ipv6"`` and ``"unix"``; all of them unless given.
    """
    return st.one_of([_FAMILIES[family]() for family in families or _FAMILIES])


# -- bytes ------------------------------------------------------------------------------------------------------------


class pdu_stream(NamedTuple):
    """
    PDUs that follow each other.

    Attributes:
        bodies: What each carries.

        data: All of them as they travel.
    """

    bodies: list[bytes]
    data: bytes


def framed_u32(body: bytes) -> bytes:
    """*body* behind its length, four bytes in network order."""
    return len(body).to_bytes(4, "big") + body


def pdu_streams(
    bodies: SearchStrategy[bytes] | None = None,
    *,
    frame: Callable[[bytes], bytes] = framed_u32,
    pdus_max: int = 5,
) -> SearchStrategy[pdu_stream]:
    """
    Streams of PDUs.

    Args:
        bodies: What a PDU carries; a few bytes unless given.

        frame: Makes a PDU out of that.

        pdus_max: So many PDUs at most; none is possible.
    """
    each = st.binary(max_size=20) if bodies is None else bodies
    return st.lists(each, max_size=pdus_max).map(lambda found: pdu_stream(found, b"".join(map(frame, found))))


def cuts(size: int) -> SearchStrategy[list[int]]:
    """Where something of *size* bytes is cut: positions between its bytes, in order; nowhere at first."""
    if size < 2:
        return st.just([])
    return st.sets(st.integers(1, size - 1), max_size=30).map(sorted)


def fragments(data: bytes) -> SearchStrategy[list[bytes]]:
    """*data* in pieces, none of them empty: in one at first, at the worst in 31."""
    return cuts(len(data)).map(lambda where: _pieces(data, where))


def _pieces(data: bytes, where: list[int]) -> list[bytes]:
    ends = [*where, len(data)]
    found = [data[begin:end] for begin, end in zip([0, *where], ends, strict=True)]
    return [each for each in found if each]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def links(**fixed: Any) -> SearchStrategy[link]:
    """
    Links, from a perfect one to a bad one that cuts streams and loses, doubles and reorders datagrams.

    Args:
        fixed: Properties of `link` that are as given, for example ``loss=0``.
    """
    properties: dict[str, SearchStrategy[Any]] = {
        "latency_us": delays_us(_SECOND_US),
        "jitter_us": st.sampled_from([0, 1, 1000, 100_000]),
        "bandwidth": st.sampled_from([0, 10_000_000, 100_000, 1000]),
        "buffer": st.sampled_from([65536, 1000, 10, 1]),
        "cut": st.booleans(),
        "partial_writes": st.booleans(),
        "loss": st.sampled_from([0, 0.1, 0.5]),
        "duplicate": st.sampled_from([0, 0.1, 0.5]),
        "reorder": st.sampled_from([0, 0.1, 0.5]),
    }
    properties.update({name: st.just(value) for name, value in fixed.items()})
    return st.builds(link, **properties)


def stream_faults(names: Sequence[str], *, calls_max: int = 10, bytes_max: int = 200) -> SearchStrategy[fault]:
    """
    What goes wrong with streams: errnos, short reads and writes, delays, cuts, and the end at any byte.

    Args:
        names: The names of the streams.

        calls_max: Of the first so many calls one fails.

        bytes_max: The stream ends, or is cut, within the first so many bytes.
    """
    where, call = st.sampled_from(names), st.integers(0, calls_max - 1)
    transfers, byte = st.sampled_from(["readv", "writev"]), st.integers(0, bytes_max)
    ends = st.sampled_from(["eof", "reset"])
    return st.one_of(
        st.builds(fault, where, st.just("byte"), byte, delay_us=_delays()),
        st.builds(fault, where, transfers, call, take=st.integers(1, 9)),
        st.builds(fault, where, transfers, call, delay_us=_delays()),
        st.builds(fault, where, transfers, call, error=errnos()),
        st.builds(fault, where, st.just("byte"), byte, end=ends),
    )


def dgram_faults(names: Sequence[str], *, calls_max: int = 10) -> SearchStrategy[fault]:
    """
    What goes wrong with datagrams: they are late, doubled or lost, or a call fails with an errno.

    Args:
        names: The names of the sockets.

        calls_max: It happens to one of the first so many datagrams or calls.
    """
    where, number = st.sampled_from(names), st.integers(0, calls_max - 1)
    calls = st.sampled_from(["recvfrom", "sendto"])
    datagram = st.just("datagram")
    return st.one_of(
        st.builds(fault, where, datagram, number, delay_us=_delays()),
        st.builds(fault, where, datagram, number, copies=st.integers(2, 3)),
        st.builds(fault, where, datagram, number, lost=st.just(True)),
        st.builds(fault, where, calls, number, error=errnos()),
    )


def outages(hosts: Sequence[str]) -> SearchStrategy[outage]:
    """
    Times in which a host is cut off from all others; each has an end.

    Args:
        hosts: The hosts, by name or by address.
    """
    return st.builds(outage, st.sampled_from(hosts), start_us=delays_us(_SECOND_US), length_us=_delays())


def fault_plans(*kinds: SearchStrategy[fault] | SearchStrategy[outage], faults_max: int = 3) -> SearchStrategy[Any]:
    """
    Plans for a `network`: lists of at most *faults_max* faults, of none at first.

    Args:
        kinds: What the plan is made of: `stream_faults`, `dgram_faults`, `outages`.

        faults_max: So many at most. Bugs that need more than three things to go wrong are few.
    """
    return st.lists(st.one_of(*kinds), max_size=faults_max)


def _delays() -> SearchStrategy[int]:
    return delays_us(60 * _SECOND_US).filter(bool)
