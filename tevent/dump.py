# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a program waits for: every request that is outstanding, on demand or when a signal comes.

`pending_requests` gives them as data, `dump_requests` as text or as a tree in colour, and `dump_on_signal` lets a
signal do the latter, also where the program hangs in a handler.

Requests are found by a look through all objects of the process when somebody asks; no list of them is kept. So nothing
is slower because of this module. When a request was made is known in debug mode (``TSOCKET_DEBUG=1``, or after
`talloc_py.diagnostics.remember_births`); else it is as old as the first dump that has shown it, at least.

Cost: nothing until somebody asks; then O(objects of the process), some 10 ms for 100,000.
"""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING, NamedTuple

from talloc_py import _sys as clock
from talloc_py._chunk import LEFT, location_text

from . import _sys
from ._base import handler_name_of
from ._request import IN_PROGRESS, error_of, state_of, tevent_req
from .fd import TEVENT_FD_ERROR, TEVENT_FD_READ, TEVENT_FD_WRITE, tevent_fd
from .immediate import tevent_immediate
from .queue import tevent_queue_entry
from .req_print import kind_of
from .signal import tevent_signal
from .timed import tevent_timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from talloc_py._chunk import chunk

    class text_file(Protocol):
        """What a dump is written to."""

        def write(self, text: str, /) -> object: ...
        def flush(self) -> object: ...


__all__ = ["dump_on_signal", "dump_requests", "pending_request", "pending_requests"]

#: When a dump has first shown a request; seconds since the epoch.
_first_shown: weakref.WeakKeyDictionary[tevent_req, float] = weakref.WeakKeyDictionary()


class pending_request(NamedTuple):
    """A request that is outstanding."""

    #: The request itself.
    req: tevent_req
    #: The type of its state, e.g. ``struct tstream_readv_state``.
    kind: str
    #: ``IN_PROGRESS``; another state, with its error, for one that is finished and waits for its callback.
    state: str
    #: ``file:line`` of the call that made it.
    made: str
    #: Seconds since it was made, or, where `exact` is False, since a dump has first shown it.
    age: float
    #: Whether `age` is the whole age.
    exact: bool
    #: The callback, by name; None for none.
    callback: str | None
    #: What it waits for, one sentence each; empty if that is only its subrequests, or nothing that can be found.
    waits_for: tuple[str, ...]
    #: The subrequests that are outstanding, the oldest first.
    subrequests: tuple[pending_request, ...]


# -- finding them -----------------------------------------------------------------------------------------------------


def pending_requests() -> tuple[pending_request, ...]:
    """
    The outstanding requests of the process, of all threads and contexts, as trees.

    Returns:
        Those that are nobody's subrequest, each with its subrequests. A request is outstanding while it is in
        progress, and from its end until its callback runs where that was put off; it also stands here for the sake of
        an outstanding subrequest. What was there before a ``gc.freeze()`` is not found.
    """
    # The old ones first; an interpreter without generations gives all of them each time.
    objects = (thing for generation in (2, 1, 0) for thing in gc.get_objects(generation))
    outstanding = [req for req in objects if type(req) is tevent_req and _is_outstanding(req)]
    below: dict[tevent_req | None, list[tevent_req]] = {}
    seen: set[tevent_req] = set()
    for req in outstanding:
        above: tevent_req | None = req
        while above is not None and above not in seen:
            seen.add(above)
            parent = _parent_of(above)
            below.setdefault(parent, []).append(above)
            above = parent
    now = clock.time()
    return tuple(_record(req, below, now) for req in _oldest_first(below.get(None, [])))


def _is_outstanding(req: tevent_req) -> bool:
    c = getattr(req, "_talloc_chunk", None)
    if c is None or c.obj is not req or c.next is LEFT:
        return False
    if getattr(req, "op", None) is None and not hasattr(req, "kind"):
        return False  # a signal has come in the middle of its making
    return req.status == IN_PROGRESS or _waits_for_callback(req)


def _waits_for_callback(req: tevent_req) -> bool:
    trigger = None if req.rare is None else req.rare.trigger
    return req.im_ev is not None or (trigger is not None and trigger.im_ev is not None)


def _parent_of(req: tevent_req) -> tevent_req | None:
    """The nearest request above in the tree of ownership."""
    c: chunk | None = req._talloc_chunk.parent
    while c is not None:
        if type(c.obj) is tevent_req:
            return c.obj
        c = c.parent
    return None


def _oldest_first(requests: list[tevent_req]) -> list[tevent_req]:
    """By the time of birth where that is known; else as the collector has them, which is the order of birth mostly."""
    return sorted(requests, key=lambda req: getattr(req._talloc_chunk, "when", 0.0))


def _record(req: tevent_req, below: dict[tevent_req | None, list[tevent_req]], now: float) -> pending_request:
    header: Any = req._talloc_chunk
    born: float | None = getattr(header, "when", None)
    since = _first_shown.setdefault(req, now) if born is None else born
    state = state_of(req.status).name.removeprefix("TEVENT_REQ_")
    error = error_of(req)
    return pending_request(
        req=req,
        kind=kind_of(req),
        state=f"{state} {error}" if error else state,
        made=location_text(req.created if born is None else header.made),
        age=max(now - since, 0.0),
        exact=born is not None,
        callback=None if req.fn is None else handler_name_of(req.fn),
        waits_for=tuple(_reasons(req)),
        subrequests=tuple(_record(each, below, now) for each in _oldest_first(below.get(req, []))),
    )


# -- what a request waits for -----------------------------------------------------------------------------------------


def _reasons(req: tevent_req) -> Iterator[str]:
    """What has to happen before *req* goes on, as far as that can be seen."""
    if req.status != IN_PROGRESS:
        if _waits_for_callback(req):
            yield "its callback, which the loop is going to call"
        return
    if _waits_for_callback(req):
        yield "the loop, to take its next step"
    queue = req.q_queue
    if queue is not None:
        yield _place_in(queue, req)
    op = req.op
    if op is not None and not _waits_for_its_turn(req):
        left = getattr(req, "op_left", 0) if op.name.startswith("struct tstream_") else 0  # else it is something else
        more = f", {left} bytes to come" if left else ""
        yield f"{op.name.removeprefix('struct ').removesuffix('_state')} on {req.op_target!r}{more}"
    timer = None if req.rare is None else req.rare.timer
    if timer is not None:
        yield f"its endtime {_in_time(timer)}"
    yield from _events_below(req._talloc_chunk, timer)


def _waits_for_its_turn(req: tevent_req) -> bool:
    """Whether a queued operation has not been started yet."""
    node: Any = req
    if req.q_queue is None:
        # Somebody who looks has made it an entry of its own.
        child = req._talloc_chunk.child
        while child is not None and type(child.obj) is not tevent_queue_entry:
            child = child.next
        node = None if child is None else child.obj
    return node is not None and node.q_queue is not None and not node.q_triggered


def _place_in(queue: Any, node: Any) -> str:
    if node.q_triggered:
        return f"its end at the head of queue '{queue.name}', {queue.waiting} behind it"
    ahead = 0
    each = queue.first
    while each is not None and each is not node:
        ahead += 1
        each = None if each is queue.last else each.q_next
    stopped = "" if queue.running else ", which is stopped"
    return f"its turn in queue '{queue.name}'{stopped}, {ahead} ahead of it"


def _events_below(root: chunk, endtime: object) -> Iterator[str]:
    """The events that belong to a request, down to its subrequests, which speak for themselves."""
    stack = [root]
    while stack:
        child = stack.pop().child
        while child is not None:
            obj, following = child.obj, child.next
            kind: type[Any] = type(obj)  # pyright: ignore[reportUnknownVariableType]  # of an Any
            describe = _DESCRIPTIONS.get(kind)
            if describe is not None and obj is not endtime:
                text = describe(obj)
                if text:
                    yield text
            if obj is not None and kind is not tevent_req:
                stack.append(child)
            child = following


def _describe_fd(fde: Any) -> str:
    if fde.event_ctx is None or not fde.flags:
        return ""
    names = ((TEVENT_FD_READ, "data"), (TEVENT_FD_WRITE, "room"), (TEVENT_FD_ERROR, "errors"))
    wanted = " or ".join(name for flag, name in names if fde.flags & flag)
    return f"{wanted} on descriptor {fde.fd}, for {fde.handler_name}"


def _describe_timer(te: Any) -> str:
    return "" if te.event_ctx is None else f"a timer {_in_time(te)}, for {te.handler_name}"


def _in_time(te: tevent_timer) -> str:
    left = te.next_event.tv_sec + te.next_event.tv_usec / 1e6 - _sys.time_ns() / 1e9
    return f"in {_duration(left)}" if left >= 0 else f"due for {_duration(-left)}"


def _describe_immediate(im: Any) -> str:
    return "" if im.im_ev is None else f"an immediate, for {im.handler_name}"


def _describe_signal(se: Any) -> str:
    return "" if se.event_ctx is None else f"signal {se.signum}, for {se.handler_name}"


def _describe_entry(entry: Any) -> str:
    return "" if entry.q_queue is None else _place_in(entry.q_queue, entry)


_DESCRIPTIONS: dict[type, Callable[[Any], str]] = {
    tevent_fd: _describe_fd,
    tevent_timer: _describe_timer,
    tevent_immediate: _describe_immediate,
    tevent_signal: _describe_signal,
    tevent_queue_entry: _describe_entry,
}


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# -- writing them -----------------------------------------------------------------------------------------------------


class _paint:
    """How parts of a dump are coloured."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


_KIND, _STATE, _AGE, _PLACE, _WAIT = "1;36", "33", "35", "2", "32"


def dump_requests(file: text_file | None = None, *, colour: bool | None = None) -> None:
    """
    Write every outstanding request of the process, as trees: what it is, where it was made, what it waits for, since
    when.

    Args:
        file: A text file; ``sys.stderr`` if None.

        colour: Whether to use the colours of a terminal. None: if *file* is a terminal, and neither ``NO_COLOR`` is set
            nor ``TERM`` is ``dumb``.
    """
    out: Any = sys.stderr if file is None else file
    if colour is None:
        colour = _sys.wants_colour(out)
    out.write("".join(line + "\n" for line in dump_lines(pending_requests(), colour)))
    out.flush()


def dump_lines(requests: tuple[pending_request, ...], colour: bool) -> list[str]:
    """The lines of a dump."""
    if not requests:
        return ["no outstanding requests"]
    lines = [f"outstanding requests: {sum(map(_count, requests))}"]
    for each in requests:
        lines += _tree(each, "", "", _paint(colour))
    return lines


def _count(request: pending_request) -> int:
    return 1 + sum(map(_count, request.subrequests))


def _tree(request: pending_request, first: str, rest: str, paint: _paint) -> Iterator[str]:
    """The lines of one request, the first with the prefix *first*, the others with *rest*; and of those below it."""
    age = f"for {_duration(request.age)}"
    if not request.exact:
        age = f"for at least {_duration(request.age)}" if request.age else "for an unknown time"
    yield (
        f"{first}{paint(_KIND, request.kind.removeprefix('struct '))} {paint(_STATE, request.state)} "
        f"{paint(_AGE, age)} {paint(_PLACE, 'made at ' + request.made)}"
    )
    more = "│  " if request.subrequests else "   "
    for reason in request.waits_for:
        yield f"{rest}{more}waits for {paint(_WAIT, reason)}"
    if request.callback is not None:
        yield f"{rest}{more}then calls {request.callback}"
    for index, each in enumerate(request.subrequests):
        last = index == len(request.subrequests) - 1
        yield from _tree(each, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), paint)


def dump_on_signal(signum: int, file: text_file | None = None, *, colour: bool | None = None) -> Callable[[], None]:
    """
    Let a signal do `dump_requests`, as in ``dump_on_signal(signal.SIGUSR2)``.

    Args:
        signum: The signal. It gets a handler of Python's, so it works without a loop, and also while a handler of the
            loop hangs; not while a call into C does. Must not be a signal that a `tevent_add_signal` watches.

        file: As for `dump_requests`.

        colour: As for `dump_requests`.

    Returns:
        A function that gives the signal back to what handled it before.

    Raises:
        ValueError: The caller is not in the main thread.
    """

    def handle(_signum: int, _frame: object) -> None:
        dump_requests(file, colour=colour)

    before = _sys.signal(signum, handle)

    def undo() -> None:
        _sys.signal(signum, _sys.SIG_DFL if before is None else before)

    return undo
