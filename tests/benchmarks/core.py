# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The parts below the streams: immediates, timers, requests, the tree of chunks, the import.

Each is set against what others have for the same purpose: an immediate against ``call_soon``, a timer against
``call_later``, a request against a Future with a callback, a chunk against a plain object.
"""

from __future__ import annotations

import events
import imports
import request
import tree
from harness import main

GROUPS = [*events.GROUPS, *request.GROUPS, *tree.GROUPS, *imports.GROUPS]

if __name__ == "__main__":
    main(__file__, __doc__, GROUPS)
