# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The event context as a data structure, and what all kinds of events share.

Mirrors ``struct tevent_context`` of lib/tevent/tevent_internal.h.  The loop is in `tevent.context`, each kind of event
in its own module; this one stands below them all so that they need not import each other.

Two flags of a context sum up what the fast paths would have to ask each time; whoever changes one of the things they
sum up calls `update_lean` or `update_plain`:

- ``lean``: nobody looks at single iterations (no nesting hook, no trace callback for the points of the loop), no thread
  has handed in an immediate, the context is alive and no wrapper.
- ``im_plain``: nobody looks at immediates and queues (no trace callback, no debug level TRACE), alive and no wrapper.
- ``tm_plain``: the same of timers.

Cost: everything here is O(1) but walking an `event_list`.
"""

from __future__ import annotations

from _warnings import warn  # what warnings.warn is, also while the interpreter shuts down

from talloc_py.core import TALLOC_CTX, bad_chunk, location_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any, Generic, NoReturn, Protocol, TypeVar

    from ._notify import wakeup_channel
    from ._timerheap import timer_queue
    from .backend import tevent_ops
    from .fd import tevent_fd
    from .immediate import tevent_immediate
    from .signal import tevent_signal
    from .threads import tevent_threaded_context
    from .timed import tevent_timer, timeval

    E = TypeVar("E")

    class immediate_node(Protocol):
        """What can stand in a context's list of immediates: `tevent_immediate`, and a request as its own trigger."""

        im_ev: tevent_context | None
        im_next: Any
        im_prev: Any

        def fire(self) -> None:
            """Leave the list and run."""

        def show(self) -> None:
            """Be a `tevent_immediate` from now on: somebody begins to look on."""

    class wrapper_glue(Protocol):
        """What stands in the ``wrapper`` of a wrapper context, and of each event that was added through one."""

        main_ev: tevent_context | None
        wrap_ev: tevent_context

        def before(self, kind: str, *args: object) -> None:
            """Put the wrapper on the use stack and call its ``before_<kind>_handler``."""

        def after(self, kind: str, *args: object) -> None:
            """Call ``after_<kind>_handler``, take the wrapper off the use stack, and free it if that was put off."""

else:

    class Generic:
        """Stands in for typing.Generic, whose import costs more than this package's."""

        def __class_getitem__(cls, _item: object) -> type:
            return cls

    E = None

__all__ = ["TAG_MASK", "check_context", "event_list", "handler_name_of", "loop_state", "main_of", "tevent_context"]

#: Tags are unsigned 64-bit numbers.
TAG_MASK = 2**64 - 1


class _loop_state:
    """What all loops of the process share."""

    __slots__ = ("signals",)

    #: Occurrences of watched signals not delivered yet; signal.py counts, each loop tests it for truth.
    signals: int

    def __init__(self) -> None:
        self.signals = 0


loop_state = _loop_state()


class event_list(Generic[E]):
    """The events of one kind of a context: false when there is none, iterable in the order of the C list."""

    __slots__ = ("_any", "_walk")

    def __init__(self, walk: Callable[[], Iterator[E]], some: Callable[[], bool]) -> None:
        self._walk = walk
        self._any = some

    def __bool__(self) -> bool:
        return self._any()

    def __iter__(self) -> Iterator[E]:
        # A copy: whoever walks may run handlers, and those may change the list.
        return iter(list(self._walk()))

    def __len__(self) -> int:
        return sum(1 for _ in self._walk())

    def __repr__(self) -> str:
        return f"<event_list {list(self._walk())!r}>"


class tevent_context(TALLOC_CTX):
    """
    An event context: what its events wait for, and the loop that runs their handlers.

    C: ``struct tevent_context``

    Made by `tevent_context_init` and its relatives.  The attributes that are documented here are for authors of
    backends.
    """

    __slots__ = (
        "__weakref__",
        "additional_data",
        "created",
        "debug_context",
        "debug_fn",
        "debug_max",
        "fd_first",
        "fd_hint",
        "fd_last",
        "gone",
        "im_first",
        "im_last",
        "im_plain",
        "lean",
        "level",
        "nesting_allowed",
        "nesting_data",
        "nesting_hook",
        "ops",
        "scheduled_immediates",
        "signal_events",
        "threaded_contexts",
        "timers",
        "tm_plain",
        "trace_fd",
        "trace_fd_data",
        "trace_immediate",
        "trace_immediate_data",
        "trace_point",
        "trace_point_data",
        "trace_queue",
        "trace_queue_data",
        "trace_signal",
        "trace_signal_data",
        "trace_timer",
        "trace_timer_data",
        "verbose",
        "wait_tv",
        "wait_us",
        "wakeup",
        "wakeup_fde",
        "wrapper",
        "wrappers",
    )

    #: The backend's operations; looked at for every call.
    ops: tevent_ops
    #: The backend's own data.
    additional_data: Any
    #: The fd event of the internal wakeup, None before its first use, and the descriptors behind it.
    wakeup_fde: tevent_fd | None
    wakeup: wakeup_channel | None
    wait_tv: timeval
    #: `wait_timeout` in microseconds: -1 for ever, 0 never.
    wait_us: int

    #: fd events, newest first, linked through fd_next/fd_prev; `fd_hint` is one that was seen to want something.
    fd_first: tevent_fd | None
    fd_last: tevent_fd | None
    fd_hint: tevent_fd | None
    timers: timer_queue
    tm_plain: bool
    #: Immediates, oldest first, linked through im_next/im_prev.
    im_first: Any
    im_last: Any
    im_plain: bool
    #: Signal events, newest first.
    signal_events: list[tevent_signal]
    threaded_contexts: list[tevent_threaded_context]
    #: Immediates that threads have handed in and the loop has not taken over yet; guarded by threads.py's lock.
    scheduled_immediates: list[tevent_immediate]

    #: Set for good when the context is being freed.
    gone: bool
    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    lean: bool
    #: How many loop calls are active.
    level: int
    nesting_allowed: bool
    nesting_hook: Callable[[tevent_context, Any, int, bool, list[Any]], int] | None
    nesting_data: Any
    #: None for a main context; what a wrapper is made of otherwise.
    wrapper: wrapper_glue | None
    #: The living wrappers of a main context.
    wrappers: list[Any]

    debug_fn: Callable[[Any, Any, str, tuple[object, ...]], object] | None
    debug_context: Any
    debug_max: Any
    #: Whether messages of level TRACE have a listener.
    verbose: bool
    trace_point: Callable[[Any, Any], object] | None
    trace_point_data: Any
    trace_fd: Callable[[Any, Any, Any], object] | None
    trace_fd_data: Any
    trace_timer: Callable[[Any, Any, Any], object] | None
    trace_timer_data: Any
    trace_immediate: Callable[[Any, Any, Any], object] | None
    trace_immediate_data: Any
    trace_signal: Callable[[Any, Any, Any], object] | None
    trace_signal_data: Any
    trace_queue: Callable[[Any, Any, Any], object] | None
    trace_queue_data: Any

    def __init__(self) -> None:
        raise TypeError("a tevent_context is made by tevent_context_init(), not by calling the class")

    @property
    def wait_timeout(self) -> timeval:
        """How long an iteration waits where no timer is pending."""
        return self.wait_tv

    @wait_timeout.setter
    def wait_timeout(self, tv: timeval) -> None:
        self.wait_tv = tv
        if tv[0] == NEVER_ENDING:
            self.wait_us = -1
        elif tv[0] == 0 and tv[1] == NEVER_ENDING:
            self.wait_us = 0
        else:
            # Not longer than the system calls take: 2**31 - 1 milliseconds.
            self.wait_us = min(tv[0] * 1000000 + tv[1], NEVER_ENDING * 1000)

    @property
    def fd_events(self) -> event_list[tevent_fd]:
        """The fd events, the newest first."""
        return event_list(self._walk_fds, lambda: self.fd_first is not None)

    @property
    def timer_events(self) -> event_list[tevent_timer]:
        """The timers, in the order in which they fire."""
        return event_list(lambda: iter(self.timers.in_order()), lambda: self.timers.first() is not None)

    @property
    def immediate_events(self) -> event_list[immediate_node]:
        """The queued immediates, the next one first."""
        return event_list(self._walk_immediates, lambda: self.im_first is not None)

    def _walk_fds(self) -> Iterator[tevent_fd]:
        fde = self.fd_first
        while fde is not None:
            fde = fde.shown()
            yield fde
            fde = fde.fd_next

    def _walk_immediates(self) -> Iterator[immediate_node]:
        node = self.im_first
        while node is not None:
            yield node
            node = node.im_next

    def __repr__(self) -> str:
        c = getattr(self, "_talloc_chunk", None)
        if c is None or c.obj is not self:
            return f"<tevent_context at {id(self):#x}, freed>"
        kind = "context" if self.wrapper is None else "wrapper context"
        return f"<tevent {kind} at {id(self):#x}, {'running' if self.level else 'idle'}>"

    def __del__(self) -> None:
        # Half-made or freed: nothing to tell. Else the descriptors of the backend have nobody who will close them.
        if getattr(self, "gone", True):
            return
        warn(
            f"unclosed {self!r}, made at {location_text(self.created)}{_waiting_on(self)}: it was dropped without "
            f"talloc_free(); free it, or give it an owner that is freed",
            ResourceWarning,
            source=self,
        )
        if self.wakeup_fde is not None:
            close_wakeup(self)


#: The number of seconds, and of the marker's microseconds, that stands for "no limit".
NEVER_ENDING = 2147483647


def _waiting_on(ev: tevent_context) -> str:
    """The events that go down with a context, for its last message."""
    kinds = (
        ("fd event", sum(1 for fde in ev.fd_events if fde is not ev.wakeup_fde)),
        ("timer", len(ev.timer_events)),
        ("immediate", len(ev.immediate_events)),
        ("signal event", len(ev.signal_events)),
    )
    found = [f"{count} {what}{'s' if count > 1 else ''}" for what, count in kinds if count]
    return f", with {' and '.join(found)} that will not run any more" if found else ""


def close_wakeup(ev: tevent_context) -> None:
    """Close the descriptors of the internal wakeup."""
    channel, ev.wakeup = ev.wakeup, None
    ev.wakeup_fde = None
    if channel is not None:
        channel.close()


def wrong_type(what: str, needed: str, value: object) -> NoReturn:
    """Raise the TypeError for a parameter *what* that is no *needed*."""
    raise TypeError(f"{what} must be a {needed}, not {type(value).__name__}")


def check_context(ev: object) -> bool:
    """Whether *ev* is a living event context: TypeError if it is none at all, False if the abort function returned."""
    if type(ev) is not tevent_context:
        wrong_type("ev", "tevent_context", ev)
    c = getattr(ev, "_talloc_chunk", None)
    return (c is not None and c.obj is ev) or bad_chunk(ev) is not None


def check_handler(handler: object) -> None:
    """TypeError where *handler* is neither callable nor None."""
    if handler is not None and not callable(handler):
        raise TypeError(f"handler must be callable or None, not {type(handler).__name__}")


def main_of(ev: tevent_context) -> tevent_context | None:
    """*ev* itself; of a wrapper the main context, None if that is gone."""
    glue = ev.wrapper
    return ev if glue is None else glue.main_ev


def update_lean(ev: tevent_context) -> None:
    """Sum up again whether nobody looks at the single iterations of *ev*."""
    ev.lean = (
        ev.wrapper is None
        and not ev.gone
        and ev.nesting_hook is None
        and ev.trace_point is None
        and not ev.scheduled_immediates
    )


def update_plain(ev: tevent_context) -> None:
    """Sum up again whether nobody looks at immediates and timers of *ev*, and whether anybody hears level TRACE."""
    ev.verbose = ev.debug_fn is not None and ev.debug_max >= 3
    unwatched = ev.wrapper is None and not ev.gone and not ev.verbose
    ev.im_plain = unwatched and ev.trace_immediate is None and ev.trace_queue is None
    ev.tm_plain = unwatched and ev.trace_timer is None
    if ev.trace_immediate is not None or ev.verbose:
        for node in list(ev.immediate_events):
            node.show()


def handler_name_of(handler: object) -> str:
    """The name of a handler: its own, else that of its type; C's ``NULL`` for None."""
    if handler is None:
        return "NULL"
    name: object = getattr(handler, "__name__", None)
    return name if type(name) is str else type(handler).__name__


def rarely(record: type, name: str, default: Any) -> Any:
    """An attribute of an event that is in its *record* of rare features, ``rare``, made for the first other value."""

    def read(event: Any) -> Any:
        rare = event.rare
        return default if rare is None else getattr(rare, name)

    def write(event: Any, value: Any) -> None:
        rare = event.rare
        if rare is None:
            if value is default:
                return
            rare = event.rare = record()
        setattr(rare, name, value)

    return property(read, write)
