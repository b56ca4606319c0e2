# SPDX-License-Identifier: LGPL-3.0-or-later
"""Streams, datagrams and addresses against the real library."""

from __future__ import annotations

from .machine import search
from .real import Real
from .streams import AREA


def test_any_program(real: Real) -> None:
    """What Hypothesis thinks of."""
    search(AREA, real, programs=50, lines=40)
