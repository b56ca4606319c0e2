# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The debug mode of the loop and of requests.

On from the start where the environment has ``TSOCKET_DEBUG=1``, or ``TSOCKET_DEBUG=slow=SECONDS``; `switch_on` does the
same later. Besides what `talloc_py.diagnostics` remembers it warns of

- a handler that took long, while everything else on its loop had to wait;
- a request that has failed and is freed although nobody has called its ``_recv`` function: the error is lost.

Cost while it is off: none, nothing of it is loaded. While it is on the loops run as with trace callbacks.
"""

from __future__ import annotations

from talloc_py.core import library_destructors, location_text
from talloc_py.diagnostics import DiagnosticWarning, exchange, forget_births, remember_births, warn_at

from . import _observe, _request
from ._request import NO_MEMORY, TIMED_OUT, USER_ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._base import tevent_context
    from ._observe import span
    from ._request import tevent_req

__all__ = ["SLOW_SECONDS", "DiagnosticWarning", "is_on", "switch_off", "switch_on"]

#: A handler that runs longer is reported, where nothing else is said.
SLOW_SECONDS = 0.1

_UNRECEIVED = frozenset((USER_ERROR, TIMED_OUT, NO_MEMORY))


def _looking(destroy: Callable[[tevent_req], int]) -> Callable[[tevent_req], int]:
    """The destructor of requests in debug mode."""

    def destroy_and_look(req: tevent_req) -> int:
        if req.status in _UNRECEIVED and not _request._waits(req) and is_on():
            _report_unreceived(req)
        return destroy(req)

    return destroy_and_look


#: The destructor of requests, without and with a look; no names of their own, for these would be exchanged too.
_destructors = (_request.destroy, _looking(_request.destroy))


def _report_unreceived(req: tevent_req) -> None:
    from talloc_py._misuse import asked_by

    function, place = asked_by()
    end = _request.finished_at(req)
    finished = f", finished at {location_text(end)}," if end is not None else ""
    by = f" by {function}()" if function else ""
    warn_at(
        f"a failed request was freed{by} although nobody has called its _recv function, and the error is lost: "
        f"{req!r}{finished} freed at {location_text(place)}; call the _recv function, which ends with "
        f"tevent_req_received(), before the request is freed",
        place,
    )


class _slow_handlers(_observe.handler_observer):
    """Warns of handlers that run longer than *limit_us*."""

    def __init__(self, limit_us: int) -> None:
        super().__init__()
        self.limit_us = limit_us

    def handler_over(self, ev: tevent_context, done: span) -> None:
        """See `handler_observer.handler_over`."""
        took_us = done.end_us - done.begin_us
        if took_us <= self.limit_us:
            return
        made = f", made at {location_text(done.made)}," if done.made is not None else ""
        what = f" ({done.what})" if done.what else ""
        warn_at(
            f"the handler {done.name!r} of the {done.kind} event{what}{made} took {took_us / 1e6:.3f} s, more than "
            f"{self.limit_us / 1e6:g} s, and all other events of {ev!r} had to wait; do the work in steps, with "
            f"tevent_schedule_immediate(), or in a thread, with tevent_thread_proxy_create()",
            done.made,
        )


class _mode:
    """What is on at present."""

    __slots__ = ("slow",)

    def __init__(self) -> None:
        self.slow: _slow_handlers | None = None


_state = _mode()


def is_on() -> bool:
    """Whether the debug mode is on."""
    return _state.slow is not None


def switch_on(slow: float = SLOW_SECONDS) -> None:
    """
    Switch the debug mode on, with that of `talloc_py.diagnostics`.

    Args:
        slow: Seconds. A handler that runs longer is reported; a second call changes it.

    Chunks and requests that exist already go on as before; contexts are found.
    """
    if not slow >= 0:
        raise ValueError(f"slow must be a number of seconds, not {slow!r}")
    if _state.slow is not None:
        _state.slow.limit_us = int(slow * 1e6)
        return
    remember_births()
    library_destructors.add(_destructors[1])
    exchange(_destructors[0], _destructors[1])
    _state.slow = _slow_handlers(int(slow * 1e6))
    _observe.add(_state.slow)


def switch_off() -> None:
    """Switch the debug mode off."""
    if _state.slow is not None:
        _observe.remove(_state.slow)
        _state.slow = None
        exchange(_destructors[1], _destructors[0])
        forget_births()


def slow_seconds(settings: str) -> float:
    """
    The limit that ``TSOCKET_DEBUG`` sets.

    Raises:
        ValueError: The text is neither a switch nor ``slow=SECONDS``.
    """
    name, _, value = settings.partition("=")
    if name == "slow":
        return float(value)
    if settings in ("1", "true", "yes", "on"):
        return SLOW_SECONDS
    raise ValueError


def switch_on_by(settings: str) -> None:
    """Switch on as the text of ``TSOCKET_DEBUG`` says; a text that says nothing is a warning, and the defaults."""
    try:
        slow = slow_seconds(settings)
    except ValueError:
        warn_at(f"TSOCKET_DEBUG={settings} is not understood; write 1, or slow=SECONDS", "TSOCKET_DEBUG")
        slow = SLOW_SECONDS
    switch_on(slow)
