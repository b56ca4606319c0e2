# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What talloc asks of the system: one variable of the environment, and the time of day for the debug mode.

Cost: one look at the environment when the package is imported.
"""

from __future__ import annotations

from os import environ
from time import time as time

__all__ = ["debug_settings", "time"]

#: The text of ``TSOCKET_DEBUG``; empty where the debug mode is off.
debug_settings: str = environ.get("TSOCKET_DEBUG", "")
if debug_settings == "0":
    debug_settings = ""
