# SPDX-License-Identifier: LGPL-3.0-or-later
"""Mistakes that are none: what they change makes no difference that a caller could see, and why."""

from __future__ import annotations

#: By file: function, old text and new text, and the reason.
EQUIVALENT: dict[str, dict[tuple[str, str, str], str]] = {}
