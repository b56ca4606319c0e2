# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a simulated world knows of requests: which were made, which are still going, whose callback ran how often.

It listens by `tevent_thread_call_depth_set_callback`, so that nobody pays for it where no world is active; a callback
that was set before is called too, and is put back at the end.
"""

from __future__ import annotations

import weakref

from talloc_py.core import location_text

from . import trace
from ._request import IN_PROGRESS, error_of, state_of, tevent_req
from .req_print import kind_of
from .trace import tevent_thread_call_depth_set_callback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .enumerations import tevent_thread_call_depth_cmd

__all__ = ["known_request", "request_watch"]


class known_request:
    """
    One request of the world.

    Attributes:
        label: What the story calls it: the function that made it, and a number.

        ended: How often its callback was called while it was finished.
    """

    __slots__ = ("ended", "label")

    def __init__(self, label: str) -> None:
        self.label: str = label
        self.ended: int = 0


class request_watch:
    """All requests that were made since `begin`, as long as somebody holds them."""

    __slots__ = ("_before", "_count", "_known", "_tell", "called_twice")

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._known: weakref.WeakKeyDictionary[tevent_req, known_request] = weakref.WeakKeyDictionary()
        self._count = 0
        self._before: tuple[Any, Any] = (None, None)
        #: Those whose callback was called again after it had heard of the end.
        self.called_twice: list[str] = []

    def begin(self) -> None:
        """Listen from now on."""
        self._before = (trace._call_depth.callback, trace._call_depth.private_data)
        tevent_thread_call_depth_set_callback(self._heard, None)

    def end(self) -> None:
        """Listen no more, unless somebody else has taken over already."""
        if trace._call_depth.callback == self._heard:
            tevent_thread_call_depth_set_callback(*self._before)

    def outstanding(self) -> list[tevent_req]:
        """The requests that are alive and still in progress, the oldest first."""
        return [req for req in list(self._known) if req._talloc_chunk.obj is req and req.status == IN_PROGRESS]

    def label(self, req: tevent_req) -> str:
        """What the story calls *req*."""
        known = self._known.get(req)
        return req.created[0].co_name if known is None else known.label

    def describe(self, req: tevent_req) -> str:
        """The label of *req*, what it is, and where it was made."""
        return f"{self.label(req)} ({kind_of(req)}, made at {location_text(req.created)})"

    def _heard(
        self, _private: object, cmd: tevent_thread_call_depth_cmd, req: tevent_req | None, depth: int, fname: str | None
    ) -> None:
        if req is not None:
            self._note(int(cmd), req, fname)
        former, data = self._before
        if former is not None:
            former(data, cmd, req, depth, fname)

    def _note(self, cmd: int, req: tevent_req, fname: str | None) -> None:
        if cmd == trace.TEVENT_CALL_FLOW_REQ_CREATE:
            self._count += 1
            self._known[req] = known_request(f"{fname}#{self._count}")
            self._tell(f"{self.label(req)} begins")
        elif cmd == trace.TEVENT_CALL_FLOW_REQ_NOTIFY_CB:
            self._notified(req, fname)
        elif cmd == trace.TEVENT_CALL_FLOW_REQ_CANCEL:
            self._tell(f"{self.label(req)} is asked to give up")
        elif cmd == trace.TEVENT_CALL_FLOW_REQ_QUEUE_ENTER:
            self._tell(f"{self.label(req)} enters a queue")
        elif cmd == trace.TEVENT_CALL_FLOW_REQ_QUEUE_TRIGGER:
            self._tell(f"{self.label(req)} has its turn in the queue")

    def _notified(self, req: tevent_req, fname: str | None) -> None:
        known = self._known.get(req)
        if known is not None and req.status != IN_PROGRESS:
            known.ended += 1
            if known.ended == 2:
                self.called_twice.append(known.label)
        self._tell(f"{self.label(req)} {status_text(req)}: {fname} is called")


def status_text(req: tevent_req) -> str:
    """The state of a request in words, with its error."""
    state = state_of(req.status).name.removeprefix("TEVENT_REQ_").replace("_", " ").lower()
    error = error_of(req)
    return f"ends with error {errno_text(error)}" if state == "user error" else f"is {state}"


def errno_text(value: object) -> str:
    """The name of an errno; the repr of what is none."""
    if type(value) is not int:
        return repr(value)
    from errno import errorcode

    return errorcode.get(value, str(value))
