# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The debug mode of sockets: who is in the way of a request that gets EBUSY.

On from the start where the environment has ``TSOCKET_DEBUG``; `switch_on` does the same later, with all that
`tevent.diagnostics` does.
"""

from __future__ import annotations

from errno import EBUSY

from talloc_py.core import location_text
from talloc_py.diagnostics import DiagnosticWarning, exchange, warn_at
from tevent import diagnostics as loop_diagnostics
from tevent.diagnostics import SLOW_SECONDS
from tevent.req_print import kind_of

from . import _stream
from ._stream import tstream_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tevent._request import tevent_req

__all__ = ["DiagnosticWarning", "switch_off", "switch_on"]

#: The functions that refuse, and what stands in their place; no names that could be exchanged.
_exchanged: list[tuple[Any, Any]] = []


def _in_the_way(req: tevent_req) -> tevent_req | None:
    """The request because of which *req* is refused."""
    target = req.op_target
    name = kind_of(req)
    if type(target) is tstream_context:
        if "writev" in name:
            return target.write_req
        if "disconnect" in name:
            return target.read_req or target.write_req
        return target.read_req
    if "sendto" in name:
        return target.sendto_req  # type: ignore[no-any-return]
    if "disconnect" in name:
        return target.recvfrom_req or target.sendto_req  # type: ignore[no-any-return]
    return target.recvfrom_req  # type: ignore[no-any-return]


def _explain(req: tevent_req) -> None:
    holder = _in_the_way(req)
    if holder is None:
        return
    target = req.op_target
    turns = "tstream_readv_pdu_queue_send() and tstream_writev_queue_send()"
    if type(target) is not tstream_context:
        turns = "tdgram_sendto_queue_send()"
    warn_at(
        f"{req!r} gets EBUSY: {target!r}, made at {location_text(target.created)}, is still busy with {holder!r}; "
        f"wait for the end of that one, free it, or let requests take turns with {turns} or a tevent_queue",
        req.created,
    )


def _looking(real: Callable[..., Any], error_at: int) -> Callable[..., Any]:
    """*real*, which is given an error as its argument number *error_at*, with a look at who is in the way."""

    def refuse_and_look(req: tevent_req, *args: Any) -> Any:
        if args[error_at] == EBUSY:
            _explain(req)
        return real(req, *args)

    return refuse_and_look


def explain_busy() -> None:
    """Warn of each EBUSY from now on."""
    if not _exchanged:
        _exchanged.append((_stream.refuse, _looking(_stream.refuse, 0)))
        _exchanged.append((_stream.later, _looking(_stream.later, 2)))
        for real, looking in _exchanged:
            exchange(real, looking)


def switch_on(slow: float = SLOW_SECONDS) -> None:
    """
    Switch the debug mode on, with that of `tevent.diagnostics` and `talloc_py.diagnostics`.

    Args:
        slow: Seconds. A handler that runs longer is reported.
    """
    loop_diagnostics.switch_on(slow)
    explain_busy()


def switch_off() -> None:
    """Switch the debug mode off."""
    for real, looking in _exchanged:
        exchange(looking, real)
    _exchanged.clear()
    loop_diagnostics.switch_off()
