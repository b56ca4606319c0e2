# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Names for annotations: the kinds of chunk that are also Python's own str, bytearray or list.

C has no counterpart. What C returns as ``char *`` is a `talloc_string` here, ``uint8_t *`` is a `talloc_buffer`, and an
array of anything else a `talloc_list`. Who keeps one in a state, to move or free it later, annotates it so: a plain
``bytearray`` is no chunk, and a type checker does not let `talloc_move` have it.
Instances come from the functions that make chunks, never from calling these classes.
"""

from __future__ import annotations

from ._chunk import talloc_buffer, talloc_list, talloc_string

__all__ = ["talloc_buffer", "talloc_list", "talloc_string"]
