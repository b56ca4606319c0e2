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


REQUESTS: tuple[Known, ...] = (
    Known(
        "requests",
        "An immediate of a queue that is pending when an entry is triggered directly triggers that entry again in C.",
        "The driver passes over a second run of a trigger, and a second trace point before it, unless the entry was "
        "untriggered in between. Either way one round of the loop is used up.",
        "A flaw of C's that is not taken over.",
    ),
    Known(
        "requests",
        "The chunk of a trigger that runs: in C it stays until its handler has returned, also below a request that was "
        "received, and goes to the owner of one that was freed; in Python a posted request has no such chunk.",
        "`tree` and `blocks` do nothing in callbacks and cleanup functions that a loop has called by itself.",
        "The packages are free to do that.",
    ),
    Known(
        "requests",
        "A trace callback for immediates that is set by the callback of a posted request hears, in C, of the end of "
        "that very immediate.",
        "`watch` does nothing while a loop runs.",
        "Python would have to ask after each of them whether somebody has begun to look on.",
    ),
    Known(
        "requests",
        "What C answers by a signal goes to the abort function: a post (at once, or a deferral that becomes due) and "
        "set_profile of a received request, a wrong untrigger, the NTSTATUS of a request with another error.",
        'World.aborted() gives the reason as "by signal 11" or "by signal 6". Programs do it only with "blind".',
        "Porting rule: what C leaves undefined or answers by abort() is the abort function.",
    ),
    Known(
        "requests",
        "C crashes where it packs a profile without a name or a place; Python packs empty strings.",
        "`pack` and `repack` do nothing with such a profile.",
        "Written down as Python's own.",
    ),
    Known(
        "requests",
        "tevent_context_set_wait_timeout() and tevent_thread_call_depth_set_callback() as it is now are newer than "
        "the library.",
        "Contexts keep their 30 seconds, which the virtual clock jumps over; no program sets a callback.",
        "Nothing to compare with.",
    ),
    Known(
        "requests",
        "C goes on to use what a handler may have freed: a request in its own cleanup function, in "
        "tevent_req_received() and in tevent_req_poll(), a context that a loop runs on or that a queue entry or a "
        "deferral names.",
        "World.may_free() refuses those and their owners; contexts have no owner but the top of the program.",
        "Undefined in C.",
    ),
    Known(
        "requests",
        "A chunk whose destructor has agreed and whose children go has, in C, pointers to some that are gone.",
        "World.get() does not find it any more.",
        "Undefined in C.",
    ),
)

KNOWN: tuple[Known, ...] = (*REQUESTS,)
