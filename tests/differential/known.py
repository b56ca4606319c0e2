# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Where the packages and the libraries that Debian 12 ships are known to differ, and how programs are kept off it.

Everything that programs avoid, or that is made equal before it is compared, stands here; what is different by nature
(places in the code, addresses) is `program.plain`'s.
"""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """One difference."""

    area: str
    #: What differs.
    what: str
    #: The exact restriction of the generator, or the exact change to an observation.
    how: str
    why: str


KNOWN: tuple[Known, ...] = ()
