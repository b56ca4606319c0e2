# SPDX-License-Identifier: LGPL-3.0-or-later
"""
`typing.overload` without `typing`, whose import takes longer than that of all three packages.

A type checker sees the real one. At run time an overloaded signature is a function that the next one replaces.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import overload as overload
else:

    def overload(function):
        """Give *function* back."""
        return function


__all__ = ["overload"]
