# SPDX-License-Identifier: LGPL-3.0-or-later
"""Streams, datagrams and addresses against the real library."""

from __future__ import annotations

from typing import Any

import pytest

from tsocket import _stream, bsd_address, bsd_dgram, bsd_stream, helpers

from .machine import search
from .program import Random, generate, lines, replay
from .real import Real
from .streams import AREA
from .streams_examples import EACH, FOUND


@pytest.mark.parametrize("name", [*FOUND, *EACH])
def test_example(real: Real, name: str) -> None:
    """What has differed once, and each kind of operation."""
    difference = replay(AREA, real, lines((FOUND | EACH)[name]))
    assert difference is None, str(difference)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_long_programs(real: Real, seed: int) -> None:
    """What the long run begins with."""
    for own_seed in range(seed, seed + 10):
        difference = generate(AREA, real, Random(own_seed))[1]
        assert difference is None, str(difference)


@pytest.mark.slow
def test_any_program(real: Real) -> None:
    """What Hypothesis thinks of."""
    search(AREA, real, programs=15, lines=15)


def late(req: Any) -> None:
    """Be an end of a write that forgets to give the stream free."""
    _stream.over(req)


MISTAKES = {
    "an errno": (bsd_stream, "EPIPE", 104, "the end of a stream"),
    "a stream that stays busy": (bsd_stream, "writev_over", late, "writing"),
    "bytes that are written twice": (bsd_stream, "advance", lambda vector, count: None, "writing"),
    "a PDU that does not look before it waits": (helpers, "_pdu_go_on", None, "a PDU in pieces"),
    "an empty datagram that is received at once": (bsd_dgram, "ENOMEM", 0, "datagrams by path, queued"),
    "a port that is read as Python reads it": (bsd_address, "_parse_port", lambda text: int(text), "addresses"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_difference_is_found(real: Real, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A program that shows a mistake in the packages fails."""
    module, attribute, wrong, example = MISTAKES[name]
    right = getattr(module, attribute)
    if attribute == "_pdu_go_on":

        def wrong(req: Any, ret: int, vector: Any, at_once: bool) -> Any:
            return right(req, ret, vector, False)

    monkeypatch.setattr(module, attribute, wrong)
    assert replay(AREA, real, lines(EACH[example])) is not None
