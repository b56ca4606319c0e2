# SPDX-License-Identifier: LGPL-3.0-or-later
"""
fd events: a handler that is called while a descriptor is ready.

Mirrors lib/tevent/tevent_fd.c.  Here is what all backends share: the event, its place in the context's list, its
destructor, and the call of its handler.  How to wait is the backend's business.
Cost: O(1) for everything.
"""

from __future__ import annotations

from _warnings import warn  # what warnings.warn is, also while the interpreter shuts down

from talloc_py._chunk import birthplaces, caller, shared
from talloc_py.core import TALLOC_CTX, attach, bad_chunk, free_chunk, library_destructors, location_text

from . import _sys
from ._base import TAG_MASK, check_context, check_handler, handler_name_of, rarely, tevent_context, wrong_type
from .abort import free_later, tevent_abort, tevent_common_check_double_free
from .immediate import free_after_handler
from .trace import (
    TEVENT_EVENT_TRACE_ATTACH,
    TEVENT_EVENT_TRACE_BEFORE_HANDLER,
    TEVENT_EVENT_TRACE_DETACH,
    tevent_trace_fd_callback,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from ._base import wrapper_glue
    from ._fdgroup import fd_group

    tevent_fd_handler_t = Callable[[tevent_context, "tevent_fd", int, Any], object]
    tevent_fd_close_fn_t = Callable[["tevent_context | None", "tevent_fd", int, Any], object]

__all__ = [
    "TEVENT_FD_ERROR",
    "TEVENT_FD_NOT_READABLE",
    "TEVENT_FD_NOT_WANTERROR",
    "TEVENT_FD_NOT_WRITEABLE",
    "TEVENT_FD_READ",
    "TEVENT_FD_READABLE",
    "TEVENT_FD_WANTERROR",
    "TEVENT_FD_WRITE",
    "TEVENT_FD_WRITEABLE",
    "tevent_add_fd",
    "tevent_common_add_fd",
    "tevent_common_fd_destructor",
    "tevent_common_fd_disarm",
    "tevent_common_fd_get_flags",
    "tevent_common_fd_set_close_fn",
    "tevent_common_fd_set_flags",
    "tevent_common_invoke_fd_handler",
    "tevent_fd",
    "tevent_fd_get_flags",
    "tevent_fd_get_tag",
    "tevent_fd_set_auto_close",
    "tevent_fd_set_close_fn",
    "tevent_fd_set_flags",
    "tevent_fd_set_tag",
]

#: Monitor a descriptor for data to read.
TEVENT_FD_READ = 1
#: Monitor a descriptor for room to write.
TEVENT_FD_WRITE = 2
#: Monitor a descriptor for errors and a peer that is gone.
TEVENT_FD_ERROR = 4

_allocate = object.__new__


class rare_fd:
    """What few fd events have: 24 bytes less for each of the others, 2 % of an idle connection."""

    __slots__ = ("additional_data", "close_fn", "name", "tag")

    def __init__(self) -> None:
        self.additional_data: Any = None
        self.close_fn: tevent_fd_close_fn_t | None = None
        self.name: str | None = None
        self.tag: int = 0


class tevent_fd(TALLOC_CTX):
    """
    An fd event: a descriptor, what to wait for, and the handler.

    C: ``struct tevent_fd``

    Made by `tevent_add_fd`.  The attributes are for authors of backends.
    """

    fd: int
    flags: int
    #: None when detached.
    event_ctx: tevent_context | None
    handler: tevent_fd_handler_t | None
    private_data: Any
    #: Where it was made, for messages.
    created: tuple[CodeType, int]
    additional_flags: int
    busy: bool
    destroyed: bool
    wrapper: wrapper_glue | None
    #: The others on the same descriptor; only some backends need to know.
    group: fd_group | None
    fd_next: tevent_fd | None
    fd_prev: tevent_fd | None
    rare: rare_fd | None

    if TYPE_CHECKING:
        #: For the backend.
        additional_data: Any
        #: See `tevent_fd_set_close_fn`.
        close_fn: tevent_fd_close_fn_t | None
        #: The name that a backend was given for the handler; None: the handler's own.
        name: str | None
        #: See `tevent_fd_set_tag`.
        tag: int
    else:
        # What is in `rare` is no slot, which type checkers need not know.
        __slots__ = (
            "additional_flags",
            "busy",
            "created",
            "destroyed",
            "event_ctx",
            "fd",
            "fd_next",
            "fd_prev",
            "flags",
            "group",
            "handler",
            "private_data",
            "rare",
            "wrapper",
        )

        additional_data = rarely(rare_fd, "additional_data", None)
        close_fn = rarely(rare_fd, "close_fn", None)
        name = rarely(rare_fd, "name", None)
        tag = rarely(rare_fd, "tag", 0)

    def __init__(self) -> None:
        raise TypeError("a tevent_fd is made by tevent_add_fd(), not by calling the class")

    @property
    def handler_name(self) -> str:
        """The name of the handler."""
        return self.name or handler_name_of(self.handler)

    def __repr__(self) -> str:
        if self.destroyed:
            return f"<tevent_fd at {id(self):#x}, freed>"
        state = "detached" if self.event_ctx is None else f"flags {self.flags}"
        return f"<tevent_fd {self.handler_name} on descriptor {self.fd} at {id(self):#x}, {state}>"

    def shown(self) -> tevent_fd:
        """The event as others get to see it; see `tevent._ownfd`."""
        return self

    def __del__(self) -> None:
        if getattr(self, "close_fn", None) is _auto_close and not self.destroyed:
            made = location_text(getattr(self, "created", None))
            warn(
                f"unclosed {self!r} with auto close, made at {made}: it was dropped without talloc_free(); free it, or "
                f"give it an owner that is freed",
                ResourceWarning,
                source=self,
            )


# -- the list of a context --------------------------------------------------------------------------------------------


def link_first(ev: tevent_context, fde: tevent_fd) -> None:
    """Put *fde* at the head of the list: the place of a new event."""
    first = ev.fd_first
    fde.fd_prev = None
    fde.fd_next = first
    if first is None:
        ev.fd_last = fde
    else:
        first.fd_prev = fde
    ev.fd_first = fde


def link_last(ev: tevent_context, fde: tevent_fd) -> None:
    """Put *fde* at the end of the list."""
    last = ev.fd_last
    fde.fd_next = None
    fde.fd_prev = last
    if last is None:
        ev.fd_first = fde
    else:
        last.fd_next = fde
    ev.fd_last = fde


def unlink(ev: tevent_context, fde: tevent_fd) -> None:
    """Take *fde* off the list."""
    before, after = fde.fd_prev, fde.fd_next
    if before is None:
        ev.fd_first = after
    else:
        before.fd_next = after
    if after is None:
        ev.fd_last = before
    else:
        after.fd_prev = before
    fde.fd_prev = fde.fd_next = None
    if ev.fd_hint is fde:
        ev.fd_hint = None


def wants_something(ev: tevent_context) -> bool:
    """Whether an fd event other than the internal wakeup waits for something; that one is remembered as a hint."""
    fde = ev.fd_hint
    if fde is not None and fde.flags:
        return True
    wakeup = ev.wakeup_fde
    fde = ev.fd_first
    while fde is not None:
        if fde.flags and fde is not wakeup:
            ev.fd_hint = fde
            return True
        fde = fde.fd_next
    return False


# -- making and freeing -----------------------------------------------------------------------------------------------


def tevent_add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: tevent_fd_handler_t | None,
    private_data: object,
) -> tevent_fd | None:
    """
    Let the loop of *ev* call *handler* while *fd* is ready.

    C: ``struct tevent_fd *tevent_add_fd(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int fd, uint16_t flags,
    tevent_fd_handler_t handler, void *private_data)``

    Args:
        ev: The context.

        mem_ctx: The owner, None for *ev*.

        fd: An open descriptor. It stays the caller's; see `tevent_fd_set_close_fn`.

        flags: TEVENT_FD_READ, TEVENT_FD_WRITE and TEVENT_FD_ERROR, or 0 to wait for nothing yet.

        handler: Called as ``handler(ev, fde, flags, private_data)`` with the flags that are ready and wanted, again and
            again while they are. None for an event that must not fire.

        private_data: Any object.

    Returns:
        The event; None for an *fd* below 0, and where a memory limit forbids it.

    Ownership: freeing the event ends it. Do so before the descriptor is closed.
    """
    if not check_context(ev):
        return None
    if not isinstance(fd, int):
        wrong_type("fd", "int", fd)
    if not isinstance(flags, int):
        wrong_type("flags", "int", flags)
    check_handler(handler)
    fde: tevent_fd | None = ev.ops.add_fd(ev, mem_ctx, fd, flags, handler, private_data, handler_name_of(handler))
    if fde is not None:
        fde.created = shared(caller(1))
    return fde


def tevent_common_add_fd(
    ev: tevent_context,
    mem_ctx: TALLOC_CTX | None,
    fd: int,
    flags: int,
    handler: tevent_fd_handler_t | None,
    private_data: object,
    handler_name: str,
) -> tevent_fd | None:
    """
    Make an fd event and put it on the list of *ev*; nothing waits for it yet.

    C: ``struct tevent_fd *tevent_common_add_fd(struct tevent_context *ev, TALLOC_CTX *mem_ctx, int fd, uint16_t flags,
    tevent_fd_handler_t handler, void *private_data, const char *handler_name, const char *location)``
    """
    if fd < 0:
        return None
    fde: tevent_fd = _allocate(tevent_fd)
    fde.destroyed = True
    c = attach(fde, ev if mem_ctx is None else mem_ctx, tevent_fd, tevent_common_fd_destructor)
    if c is None:
        return None
    fde.busy = fde.destroyed = False
    fde.fd = fd
    fde.flags = flags
    fde.handler = handler
    fde.private_data = private_data
    fde.additional_flags = 0
    fde.event_ctx = fde.rare = fde.wrapper = fde.group = None
    if handler_name != handler_name_of(handler):
        fde.name = handler_name
    if ev.trace_fd is not None:
        try:
            tevent_trace_fd_callback(ev, fde, TEVENT_EVENT_TRACE_ATTACH)
        except BaseException:
            free_chunk(c, (tevent_common_add_fd.__code__, 0))
            raise
    fde.event_ctx = ev
    link_first(ev, fde)
    return fde


def tevent_common_fd_destructor(fde: tevent_fd) -> int:
    """
    Detach *fde* and call its close function: the end of every backend's own destructor.

    C: ``int tevent_common_fd_destructor(struct tevent_fd *fde)``

    Returns:
        0, or -1 while the handler runs: the event is freed after it.
    """
    if fde.destroyed:
        tevent_common_check_double_free(fde, "tevent_fd double free")
        return -1 if fde.busy else 0
    fde.destroyed = True
    ev = fde.event_ctx
    # What a callback raises must not keep the rest from being done.
    try:
        if ev is not None:
            tevent_common_fd_disarm(fde)
    finally:
        close_fn = fde.close_fn
        if close_fn is not None:
            fd, fde.fd = fde.fd, -1
            fde.close_fn = None
            close_fn(ev, fde, fd, fde.private_data)
    return free_later(fde) if fde.busy else 0


birthplaces[tevent_fd] = "created"
library_destructors.add(tevent_common_fd_destructor)


def tevent_common_fd_disarm(fde: tevent_fd) -> None:
    """
    Detach *fde* from its context; it stays a valid chunk, and its handler never runs again.

    C: ``void tevent_common_fd_disarm(struct tevent_fd *fde)``
    """
    ev = fde.event_ctx
    if ev is None:
        return
    try:
        if ev.trace_fd is not None:
            tevent_trace_fd_callback(ev, fde, TEVENT_EVENT_TRACE_DETACH)
    finally:
        if fde.event_ctx is ev:
            unlink(ev, fde)
            fde.event_ctx = fde.wrapper = None
            if fde.group is not None:
                fde.group.remove(fde)


def detach_fds(ev: tevent_context) -> None:
    """Take all fd events, the newest first, off a context that goes away."""
    while (fde := ev.fd_first) is not None:
        tevent_common_fd_disarm(fde)


def context_of(fde: tevent_fd) -> tevent_context | None:
    """The context that *fde* was added through, which may be a wrapper; None when detached."""
    glue = fde.wrapper
    return fde.event_ctx if glue is None else glue.wrap_ev


# -- running ----------------------------------------------------------------------------------------------------------


def tevent_common_invoke_fd_handler(fde: tevent_fd, flags: int) -> tuple[int, bool]:
    """
    Run the handler of *fde* with the *flags* that are ready.

    C: ``int tevent_common_invoke_fd_handler(struct tevent_fd *fde, uint16_t flags, bool *removed)``

    Returns:
        0, and whether the handler freed *fde*, which is gone then. Nothing is run where *fde* is detached.
    """
    ev = fde.event_ctx
    if ev is None:
        return 0, False
    run_fd(ev, fde, flags)
    return 0, fde._talloc_chunk.obj is not fde


def run_fd(ev: tevent_context, fde: tevent_fd, flags: int) -> None:
    """Run the handler of an attached event."""
    handler = fde.handler
    # It may run inside itself, in an inner loop: only the outer run frees it.
    was_busy = fde.busy
    fde.busy = True
    try:
        if handler is not None and fde.wrapper is None and ev.trace_fd is None:
            handler(ev, fde, flags, fde.private_data)
        else:
            _run_watched(ev, fde, flags)
    finally:
        fde.busy = was_busy
        if fde.destroyed and not was_busy:
            free_after_handler(fde)


def _run_watched(ev: tevent_context, fde: tevent_fd, flags: int) -> None:
    handler, glue, name = fde.handler, fde.wrapper, fde.handler_name
    if handler is None:
        tevent_abort(ev, "event without a handler")
        return
    handler_ev = ev
    if glue is not None:
        handler_ev = glue.wrap_ev
        glue.before("fd", fde, flags, name)
    try:
        tevent_trace_fd_callback(ev, fde, TEVENT_EVENT_TRACE_BEFORE_HANDLER)
        handler(handler_ev, fde, flags, fde.private_data)
    finally:
        if glue is not None:
            glue.after("fd", fde, flags, name)


# -- flags, close function, tag ---------------------------------------------------------------------------------------


def _check_fd(fde: object) -> bool:
    if type(fde) is not tevent_fd:
        wrong_type("fde", "tevent_fd", fde)
    return fde._talloc_chunk.obj is fde or bad_chunk(fde) is not None


def tevent_fd_get_flags(fde: tevent_fd | None) -> int:
    """
    What *fde* waits for; 0 for None and for a detached event.

    C: ``uint16_t tevent_fd_get_flags(struct tevent_fd *fde)``
    """
    if fde is None or not _check_fd(fde) or fde.event_ctx is None:
        return 0
    flags: int = fde.event_ctx.ops.get_fd_flags(fde)
    return flags


def tevent_fd_set_flags(fde: tevent_fd | None, flags: int) -> None:
    """
    Let *fde* wait for *flags* from the next wait on; nothing for None and for a detached event.

    C: ``void tevent_fd_set_flags(struct tevent_fd *fde, uint16_t flags)``
    """
    if fde is None or not _check_fd(fde):
        return
    if not isinstance(flags, int):
        wrong_type("flags", "int", flags)
    ev = fde.event_ctx
    if ev is not None:
        ev.ops.set_fd_flags(fde, flags)


def tevent_fd_set_close_fn(fde: tevent_fd | None, close_fn: tevent_fd_close_fn_t | None) -> None:
    """
    Let a function close the descriptor when *fde* is freed; nothing for None and for a detached event.

    C: ``void tevent_fd_set_close_fn(struct tevent_fd *fde, tevent_fd_close_fn_t close_fn)``

    Args:
        fde: The event.

        close_fn: Called once as ``close_fn(ev, fde, fd, private_data)`` with the event's private data; *ev* is the main
            context, None if that is gone. Replaces an earlier one; None clears it.
    """
    if fde is None or not _check_fd(fde):
        return
    if close_fn is not None and not callable(close_fn):
        raise TypeError(f"close_fn must be callable or None, not {type(close_fn).__name__}")
    ev = fde.event_ctx
    if ev is not None:
        ev.ops.set_fd_close_fn(fde, close_fn)


def tevent_fd_set_auto_close(fde: tevent_fd | None) -> None:
    """
    Let the descriptor be closed when *fde* is freed.

    C: ``void tevent_fd_set_auto_close(struct tevent_fd *fde)``
    """
    tevent_fd_set_close_fn(fde, _auto_close)


def _auto_close(_ev: tevent_context | None, _fde: tevent_fd, fd: int, _private_data: object) -> None:
    try:
        _sys.close(fd)
    except OSError:
        pass  # as C's close(), whose result nobody looks at


def tevent_common_fd_get_flags(fde: tevent_fd) -> int:
    """
    The flags of *fde*.

    C: ``uint16_t tevent_common_fd_get_flags(struct tevent_fd *fde)``
    """
    return fde.flags


def tevent_common_fd_set_flags(fde: tevent_fd, flags: int) -> None:
    """
    Set the flags of *fde*, which is enough where a backend looks at all events before it waits.

    C: ``void tevent_common_fd_set_flags(struct tevent_fd *fde, uint16_t flags)``
    """
    fde.flags = flags


def tevent_common_fd_set_close_fn(fde: tevent_fd, close_fn: tevent_fd_close_fn_t | None) -> None:
    """
    Set the close function of *fde*.

    C: ``void tevent_common_fd_set_close_fn(struct tevent_fd *fde, tevent_fd_close_fn_t close_fn)``
    """
    fde.close_fn = close_fn


def TEVENT_FD_WRITEABLE(fde: tevent_fd | None) -> None:
    """
    Wait also for room to write.

    C: ``TEVENT_FD_WRITEABLE(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) | TEVENT_FD_WRITE)


def TEVENT_FD_READABLE(fde: tevent_fd | None) -> None:
    """
    Wait also for data to read.

    C: ``TEVENT_FD_READABLE(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) | TEVENT_FD_READ)


def TEVENT_FD_WANTERROR(fde: tevent_fd | None) -> None:
    """
    Wait also for errors.

    C: ``TEVENT_FD_WANTERROR(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) | TEVENT_FD_ERROR)


def TEVENT_FD_NOT_WRITEABLE(fde: tevent_fd | None) -> None:
    """
    Wait no longer for room to write.

    C: ``TEVENT_FD_NOT_WRITEABLE(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~TEVENT_FD_WRITE)


def TEVENT_FD_NOT_READABLE(fde: tevent_fd | None) -> None:
    """
    Wait no longer for data to read.

    C: ``TEVENT_FD_NOT_READABLE(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~TEVENT_FD_READ)


def TEVENT_FD_NOT_WANTERROR(fde: tevent_fd | None) -> None:
    """
    Wait no longer for errors.

    C: ``TEVENT_FD_NOT_WANTERROR(fde)``
    """
    tevent_fd_set_flags(fde, tevent_fd_get_flags(fde) & ~TEVENT_FD_ERROR)


def tevent_fd_set_tag(fde: tevent_fd | None, tag: int) -> None:
    """
    Keep a number, modulo 2**64, for the caller; nothing for None.

    C: ``void tevent_fd_set_tag(struct tevent_fd *fde, uint64_t tag)``
    """
    if fde is not None and _check_fd(fde):
        fde.tag = tag & TAG_MASK


def tevent_fd_get_tag(fde: tevent_fd | None) -> int:
    """
    The number kept by `tevent_fd_set_tag`, at first 0; 0 for None.

    C: ``uint64_t tevent_fd_get_tag(const struct tevent_fd *fde)``
    """
    return fde.tag if fde is not None and _check_fd(fde) else 0
