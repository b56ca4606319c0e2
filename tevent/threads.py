# SPDX-License-Identifier: LGPL-3.0-or-later
"""
How other threads hand work to a loop: thread proxies and threaded contexts.

Mirrors ``lib/tevent/tevent_threads.c``.  Both let a handler run in the thread of the loop: a proxy takes ownership of
an immediate and of private data through a pipe of its own; a threaded context queues an immediate that the loop's side
keeps.

One lock of the process guards the links between threaded contexts and their event contexts and the immediates on their
way.  It is held for a few assignments and one write only, and no user code runs under it.

Cost: O(1) each; a threaded schedule writes to the wakeup descriptor only if nothing was on its way already.
"""

from __future__ import annotations

import errno
from _warnings import warn  # what warnings.warn is, also while the interpreter shuts down

from talloc_py.core import TALLOC_CTX, attach, library_destructors, talloc_free, talloc_steal

from . import _sys
from ._base import check_context, check_handler, handler_name_of, main_of, update_lean, wrong_type
from .abort import tevent_abort
from .common import tevent_common_wakeup, tevent_common_wakeup_init
from .debug import TEVENT_DEBUG_FATAL, TEVENT_DEBUG_TRACE, tevent_debug
from .errno import set_errno
from .fd import TEVENT_FD_READ, tevent_add_fd
from .immediate import tevent_create_immediate, tevent_immediate, tevent_schedule_immediate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock
    from typing import Any

    from ._base import tevent_context
    from .fd import tevent_fd

    tevent_immediate_handler_t = Callable[[tevent_context, tevent_immediate, Any], object]
else:
    # The same without the import of threading.
    from _thread import allocate_lock as Lock  # noqa: N812  # that is its name in threading

__all__ = [
    "tevent_common_threaded_activate_immediate",
    "tevent_thread_proxy",
    "tevent_thread_proxy_create",
    "tevent_thread_proxy_schedule",
    "tevent_threaded_context",
    "tevent_threaded_context_create",
    "tevent_threaded_schedule_immediate",
]


_allocate = object.__new__


class _shared_state:
    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = Lock()


#: What guards all that threads hand to each other.
_shared = _shared_state()

# Thread proxies.


class _proxy_entry(TALLOC_CTX):
    """One scheduled immediate: it owns the immediate and the private data until both are freed."""

    __slots__ = ("handler", "im", "private_data")

    im: tevent_immediate
    handler: tevent_immediate_handler_t | None
    private_data: Any


class tevent_thread_proxy(TALLOC_CTX):
    """
    A way for other threads to let handlers run in the loop of a context.

    C: ``struct tevent_thread_proxy``

    Made by `tevent_thread_proxy_create`.
    """

    __slots__ = ("done", "ev", "free_im", "pending", "read_fd", "read_fde", "write_fd")

    ev: tevent_context
    #: The pipe; -1 once closed.
    read_fd: int
    write_fd: int
    read_fde: tevent_fd | None
    #: Scheduled and not yet seen by the loop, newest last.
    pending: list[_proxy_entry]
    #: Queued as immediates, to be freed when these have run.
    done: list[_proxy_entry]
    free_im: tevent_immediate | None

    def __init__(self) -> None:
        raise TypeError("a tevent_thread_proxy is made by tevent_thread_proxy_create(), not by calling the class")

    def __repr__(self) -> str:
        state = "closed" if self.write_fd == -1 else f"{len(self.pending)} pending"
        return f"<tevent_thread_proxy {state}>"

    def __del__(self) -> None:
        if getattr(self, "write_fd", -1) == -1:
            return
        warn(
            f"unclosed {self!r}: it was dropped without talloc_free(); free it, or the context that it belongs to",
            ResourceWarning,
            source=self,
        )
        _sys.close(self.read_fd)
        _sys.close(self.write_fd)


def tevent_thread_proxy_create(dest_ev_ctx: tevent_context) -> tevent_thread_proxy | None:
    """
    Make a proxy through which any thread can let handlers run in the loop of *dest_ev_ctx*.

    C: ``struct tevent_thread_proxy *tevent_thread_proxy_create(struct tevent_context *dest_ev_ctx)``

    Returns:
        The proxy, a child of *dest_ev_ctx*; None with the errno of what failed, EINVAL for a wrapper.

    Ownership: it owns a pipe and an fd event on *dest_ev_ctx*. To free it frees unrun all that is still pending.
    """
    if not check_context(dest_ev_ctx):
        return None
    if dest_ev_ctx.wrapper is not None:
        tevent_debug(
            dest_ev_ctx, TEVENT_DEBUG_FATAL, "%s() not allowed on a wrapper context\n", "tevent_thread_proxy_create"
        )
        set_errno(errno.EINVAL)
        return None
    try:
        read_fd, write_fd = _sys.new_pipe()
    except OSError as error:
        set_errno(error.errno or errno.EMFILE)
        return None
    tp: tevent_thread_proxy = _allocate(tevent_thread_proxy)
    tp.ev = dest_ev_ctx
    tp.read_fd, tp.write_fd = read_fd, write_fd
    tp.read_fde = tp.free_im = None
    tp.pending = []
    tp.done = []
    if attach(tp, dest_ev_ctx, tevent_thread_proxy, _proxy_destructor) is None:
        _close_pipe(tp)
        return None
    tp.read_fde = tevent_add_fd(dest_ev_ctx, tp, read_fd, TEVENT_FD_READ, _pipe_readable, tp)
    tp.free_im = tevent_create_immediate(tp)
    if tp.read_fde is None or tp.free_im is None:
        talloc_free(tp)
        return None
    return tp


def _close_pipe(tp: tevent_thread_proxy) -> None:
    read_fd, write_fd = tp.read_fd, tp.write_fd
    tp.read_fd = tp.write_fd = -1
    _sys.close(read_fd)
    _sys.close(write_fd)


def _proxy_destructor(tp: tevent_thread_proxy) -> int:
    fde, tp.read_fde = tp.read_fde, None
    if fde is not None:
        talloc_free(fde)
    with _shared.lock:
        # From here on threads are ignored.
        _close_pipe(tp)
        entries = tp.pending[::-1] + tp.done[::-1]  # C's lists are filled at their heads
        tp.pending.clear()
        tp.done.clear()
    for entry in entries:
        talloc_free(entry)
    return 0


library_destructors.add(_proxy_destructor)


def _pipe_readable(_ev: tevent_context, _fde: tevent_fd, _flags: int, tp: tevent_thread_proxy) -> None:
    """Queue what has been scheduled, in reverse order, and one immediate more that frees it all."""
    with _shared.lock:
        try:
            while len(_sys.read(tp.read_fd, 4096)) == 4096:
                pass
        except OSError:
            pass
        batch = tp.pending
        tp.pending = []
    # The list of C is filled and emptied at its head: what was scheduled last runs first.
    while batch:
        entry = batch.pop()
        tp.done.append(entry)
        tevent_schedule_immediate(entry.im, tp.ev, entry.handler, entry.private_data)
    if tp.done and tp.free_im is not None:
        tevent_schedule_immediate(tp.free_im, tp.ev, _free_done, tp)


def _free_done(_ev: tevent_context, _im: tevent_immediate, tp: tevent_thread_proxy) -> None:
    entries = tp.done
    tp.done = []
    for entry in reversed(entries):
        talloc_free(entry)


def tevent_thread_proxy_schedule(
    tp: tevent_thread_proxy,
    pp_im: tevent_immediate,
    handler: tevent_immediate_handler_t | None,
    pp_private_data: object,
) -> None:
    """
    Let *handler* run in the loop of the proxy's context.  Any thread may call this.

    C: ``void tevent_thread_proxy_schedule(struct tevent_thread_proxy *tp, struct tevent_immediate **pp_im,
    tevent_immediate_handler_t handler, void *pp_private_data)``

    Args:
        tp: The proxy.

        pp_im: An idle immediate. It belongs to the proxy from now on: the caller must not use it again.

        handler: Called as ``handler(ev, im, private_data)`` in the thread that runs the loop.

        pp_private_data: A chunk, which belongs to the proxy from now on, too; or any other object, just passed through.

    Callbacks: what is scheduled before the loop looks is one batch, and a batch runs in reverse order.  After it the
    immediates and the private data are freed, unless a handler has moved them elsewhere.  While the proxy is being
    destroyed nothing happens.
    """
    if type(tp) is not tevent_thread_proxy:
        wrong_type("tp", "tevent_thread_proxy", tp)
    if type(pp_im) is not tevent_immediate:
        wrong_type("pp_im", "tevent_immediate", pp_im)
    check_handler(handler)
    if tp.write_fd == -1:
        return
    entry = _proxy_entry.__new__(_proxy_entry)
    entry.im = pp_im
    entry.handler = handler
    entry.private_data = pp_private_data
    # At top level: it belongs to this thread until it is in the list.
    if attach(entry, None, "struct tevent_immediate_list") is None:
        return
    talloc_steal(entry, pp_im)
    if isinstance(pp_private_data, TALLOC_CTX):
        talloc_steal(entry, pp_private_data)
    with _shared.lock:
        tp.pending.append(entry)
        try:
            _sys.write(tp.write_fd, b"\0")
        except OSError:
            pass  # A full pipe wakes the loop just as well.


# Threaded contexts.


class tevent_threaded_context(TALLOC_CTX):
    """
    A way for other threads to schedule immediates on a context.

    C: ``struct tevent_threaded_context``

    Made by `tevent_threaded_context_create`.
    """

    __slots__ = ("event_ctx", "pid")

    #: The context, maybe a wrapper; None when that is gone.
    event_ctx: tevent_context | None
    #: The process that made it: in a forked child it counts as cut off.
    pid: int

    def __init__(self) -> None:
        raise TypeError("a tevent_threaded_context is made by tevent_threaded_context_create(), not by its class")

    def __repr__(self) -> str:
        return f"<tevent_threaded_context {'cut off' if self.event_ctx is None else 'linked'}>"


def tevent_threaded_context_create(mem_ctx: TALLOC_CTX | None, ev: tevent_context) -> tevent_threaded_context | None:
    """
    Make a handle through which any thread can schedule immediates on *ev*.

    C: ``struct tevent_threaded_context *tevent_threaded_context_create(TALLOC_CTX *mem_ctx, struct tevent_context
    *ev)``

    Args:
        mem_ctx: The owner.

        ev: A context, also a wrapper.

    Returns:
        The handle; None with an errno if there is no descriptor left to wake the loop with.

    When *ev* is gone (freed, initialised again, left behind in a parent process) the handle stays and does nothing.
    """
    if not check_context(ev):
        return None
    main_ev = main_of(ev)
    if main_ev is None:
        set_errno(errno.EINVAL)
        return None
    ret = tevent_common_wakeup_init(main_ev)
    if ret != 0:
        set_errno(ret)
        return None
    tctx: tevent_threaded_context = _allocate(tevent_threaded_context)
    tctx.event_ctx = None
    tctx.pid = _sys.pid
    if attach(tctx, mem_ctx, tevent_threaded_context, _threaded_destructor) is None:
        return None
    with _shared.lock:
        tctx.event_ctx = ev
        main_ev.threaded_contexts.insert(0, tctx)
    return tctx


def _threaded_destructor(tctx: tevent_threaded_context) -> int:
    with _shared.lock:
        ev = tctx.event_ctx
        tctx.event_ctx = None
        if ev is not None:
            main_ev = main_of(ev)
            if main_ev is not None:
                main_ev.threaded_contexts.remove(tctx)
    return 0


library_destructors.add(_threaded_destructor)


def cut_threaded_contexts(main_ev: tevent_context, wrap_ev: tevent_context | None = None) -> None:
    """
    Part *main_ev* from its threaded contexts: from those on *wrap_ev*, a wrapper of it, or from all.

    Immediates that came that way and are not queued yet become idle again.
    """
    glue = None if wrap_ev is None else wrap_ev.wrapper
    with _shared.lock:
        for tctx in main_ev.threaded_contexts[:]:
            if wrap_ev is None or tctx.event_ctx is wrap_ev:
                tctx.event_ctx = None
                main_ev.threaded_contexts.remove(tctx)
        for im in main_ev.scheduled_immediates[:]:
            if wrap_ev is None or im.wrapper is glue:
                _make_idle(im)
                main_ev.scheduled_immediates.remove(im)
        update_lean(main_ev)


def _make_idle(im: tevent_immediate) -> None:
    im.threaded = False
    im.im_ev = im.handler = im.private_data = im.name = im.wrapper = None


def tevent_threaded_schedule_immediate(
    tctx: tevent_threaded_context,
    im: tevent_immediate,
    handler: tevent_immediate_handler_t,
    private_data: object,
) -> None:
    """
    Schedule an immediate on the context of *tctx*.  Any thread may call this.

    C: ``void tevent_threaded_schedule_immediate(struct tevent_threaded_context *tctx, struct tevent_immediate *im,
    tevent_immediate_handler_t handler, void *private_data)``

    Args:
        tctx: The handle. If its context is gone nothing happens, and *im* stays idle.

        im: An idle immediate, made and freed by the thread that runs the loop; not to be freed before it has run.

        handler: Called as ``handler(ev, im, private_data)`` in the thread that runs the loop.

        private_data: Any object.

    Callbacks: in the order of scheduling, behind the immediates that the context has queued by the time its loop looks.
    A sleeping loop is woken.
    """
    if type(tctx) is not tevent_threaded_context:
        wrong_type("tctx", "tevent_threaded_context", tctx)
    if type(im) is not tevent_immediate:
        wrong_type("im", "tevent_immediate", im)
    check_handler(handler)
    if handler is None:  # pyright: ignore[reportUnnecessaryComparison]  # C's check, for callers without a type checker
        tevent_abort(None, "tevent_threaded_schedule_immediate() without a handler")
        return
    with _shared.lock:
        ev = tctx.event_ctx
        main_ev = None if ev is None or tctx.pid != _sys.pid else main_of(ev)
        if ev is None or main_ev is None:
            return
        reason = _why_not(im)
        if reason is None:
            im.threaded = True
            im.im_ev = main_ev
            im.wrapper = ev.wrapper
            im.handler = handler
            im.private_data = private_data
            im.name = handler_name_of(handler)
            im.tag = 0  # as in C, which fills in the whole event here
            main_ev.scheduled_immediates.append(im)
            update_lean(main_ev)
            tevent_common_wakeup(main_ev)
    if reason is not None:
        tevent_abort(None, reason)


def _why_not(im: tevent_immediate) -> str | None:
    """Why a thread may not schedule *im*; None if it may."""
    if im.destroyed:
        return "tevent_immediate use after free"
    if im.busy:
        return "tevent_threaded_schedule_immediate() on a running immediate"
    if im.im_ev is not None:
        return "tevent_threaded_schedule_immediate() on a queued immediate"
    return None


def tevent_common_threaded_activate_immediate(ev: tevent_context) -> None:
    """
    Queue what other threads have scheduled: a step of each loop iteration of a context that has threaded contexts.

    C: ``void tevent_common_threaded_activate_immediate(struct tevent_context *ev)``
    """
    with _shared.lock:
        arrived = ev.scheduled_immediates[:]
        ev.scheduled_immediates.clear()
        update_lean(ev)
    arrived.reverse()
    try:
        while arrived:
            _activate(ev, arrived.pop())
    finally:
        # A trace callback has raised: the others wait for the next iteration.
        if arrived:
            with _shared.lock:
                ev.scheduled_immediates[:0] = reversed(arrived)
                update_lean(ev)


def _activate(ev: tevent_context, im: tevent_immediate) -> None:
    glue, handler, private_data, name = im.wrapper, im.handler, im.private_data, im.name
    if ev.verbose:
        tevent_debug(ev, TEVENT_DEBUG_TRACE, 'Schedule immediate event "%s": %s from thread into main\n', name, im)
    _make_idle(im)
    if glue is None:
        im.detach_ev = ev  # which is told when the event is put into its queue; as in C, a wrapper is not
    target = ev if glue is None else glue.wrap_ev
    if main_of(target) is ev:
        target.ops.schedule_immediate(im, target, handler, private_data, name)


def _after_fork_in_child() -> None:
    """Another thread of the parent may have held the lock."""
    _shared.lock = Lock()


_sys.after_fork_in_child.append(_after_fork_in_child)
