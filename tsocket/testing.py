# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Tests of code that uses tsocket: a simulated network, and conformance suites for backends.

A `network` lives in a `tevent.testing.simulation`: streams, datagram sockets, listeners, latency, and whatever goes
wrong in a network, in virtual time and with every choice repeatable.  What it can do is told in `tsocket._simnet`.

The module `strategies` has what Hypothesis can draw for both; it needs the extra ``testing``, and is loaded when it is
asked for.

The suites say what every stream and every datagram socket must do:

    from tsocket.testing import check_tstream

    def make_pair(ev, mem_ctx):
        return my_stream_pair(mem_ctx)

    def test_my_streams():
        check_tstream(make_pair)

A suite is a list of checks, each of one thing that the layers above rely on: whose callback runs when, which errno is
whose, what a freed request leaves behind.  It runs on sockets of the system, on streams over other streams, in a
simulated world, under any test runner or none.  Prior art: the checks of streams in `trio.testing`.

Backends differ where the interface leaves room, and say so by their traits (`stream_traits`, `dgram_traits`).

Cost: some seconds of a suite over sockets; nothing of it is imported with the package.
"""

from __future__ import annotations

from importlib import import_module

from . import _check_dgram, _check_stream
from ._check_dgram import dgram_bench, dgram_traits
from ._check_kit import outcome, run_check, stepped_loop
from ._check_stream_kit import stream_bench, stream_traits
from ._simnet import listening, network
from ._simnet_loop import simulated_loop
from ._simnet_plan import fault, link, outage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Final

    from talloc_py import TALLOC_CTX
    from tevent import tevent_context

    from . import _strategies
    from .dgram import tdgram_context
    from .stream import tstream_context

    strategies = _strategies

__all__ = [
    "TDGRAM_CHECKS",
    "TSTREAM_CHECKS",
    "check_tdgram",
    "check_tstream",
    "dgram_traits",
    "fault",
    "link",
    "listening",
    "network",
    "outage",
    "outcome",
    "simulated_loop",
    "stepped_loop",
    "stream_traits",
]

#: The names of the checks of `check_tstream`, for a test runner that runs each by itself.
TSTREAM_CHECKS: Final[tuple[str, ...]] = tuple(_check_stream.CHECKS)
#: The names of the checks of `check_tdgram`.
TDGRAM_CHECKS: Final[tuple[str, ...]] = tuple(_check_dgram.CHECKS)


def check_tstream(
    make_pair: Callable[[tevent_context, TALLOC_CTX], tuple[tstream_context, tstream_context]],
    *,
    traits: stream_traits | None = None,
    make_loop: Callable[[TALLOC_CTX], stepped_loop] = stepped_loop,
    only: str | None = None,
) -> None:
    """
    Check that the streams of a backend do what every stream must do.

    Args:
        make_pair: Called with an event context and an owner, once a check; returns two streams that are connected with
            each other. It may run the loop. What the streams need belongs below the owner, or better below the streams,
            for freeing one must be the end of the connection.

        traits: What these streams may do otherwise than sockets do.

        make_loop: Makes the loop below an owner; for a simulated world a class derived from `stepped_loop`.

        only: The name of the one check to run, out of `TSTREAM_CHECKS`.

    Raises:
        AssertionError: A check failed; the message says which, what it is about, and what it saw.
        KeyError: There is no check named *only*.

    An exception of the backend passes, with a note that names the check.
    """
    have = stream_traits() if traits is None else traits

    def run(top: TALLOC_CTX, loop: stepped_loop, one: tstream_context, two: tstream_context) -> None:
        check(stream_bench(top, loop, one, two, have))

    for name in TSTREAM_CHECKS if only is None else (only,):
        check = _check_stream.CHECKS[name]
        run_check(check, run, make_pair, make_loop)


def check_tdgram(
    make_pair: Callable[[tevent_context, TALLOC_CTX], tuple[tdgram_context, tdgram_context]],
    *,
    traits: dgram_traits | None = None,
    make_loop: Callable[[TALLOC_CTX], stepped_loop] = stepped_loop,
    only: str | None = None,
) -> None:
    """
    Check that the datagram sockets of a backend do what every datagram socket must do.

    Args:
        make_pair: Called with an event context and an owner, once a check; returns two sockets, each of which sends to
            the other where no destination is given.

        traits: What these sockets may do in one way or in another.

        make_loop: Makes the loop below an owner; for a simulated world a class derived from `stepped_loop`.

        only: The name of the one check to run, out of `TDGRAM_CHECKS`.

    Raises:
        AssertionError: A check failed; the message says which, what it is about, and what it saw.
        KeyError: There is no check named *only*.
    """
    have = dgram_traits() if traits is None else traits

    def run(top: TALLOC_CTX, loop: stepped_loop, one: tdgram_context, two: tdgram_context) -> None:
        check(dgram_bench(top, loop, one, two, have))

    for name in TDGRAM_CHECKS if only is None else (only,):
        check = _check_dgram.CHECKS[name]
        run_check(check, run, make_pair, make_loop)


def __getattr__(name: str) -> ModuleType:
    """The module `strategies`, which needs Hypothesis, when it is asked for."""
    if name != "strategies":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return import_module(f"{__package__}._strategies")
    except ModuleNotFoundError as error:
        error.add_note(f"{__name__}.strategies needs the extra 'testing': pip install 'tsocket[testing]'")
        raise
