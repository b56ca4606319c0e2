# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What authors of backends use: the internal wakeup, and the tevent_common_* functions of all other modules.

Mirrors the functions of lib/tevent/tevent_internal.h.  The wakeup is an fd event on the descriptor of a
`wakeup_channel`, which becomes readable when a thread or a signal wants a sleeping loop to look around.
Cost: two descriptors for a context that uses it, one write and one read per wakeup.
"""

from __future__ import annotations

import errno

from . import _sys
from ._base import check_context, tevent_context, update_lean
from ._notify import wakeup_channel
from .abort import tevent_common_check_double_free as tevent_common_check_double_free
from .context import tevent_common_context_destructor as tevent_common_context_destructor
from .context import tevent_common_have_events as tevent_common_have_events
from .context import tevent_common_loop_wait as tevent_common_loop_wait
from .fd import TEVENT_FD_READ, tevent_add_fd, tevent_fd
from .fd import tevent_common_add_fd as tevent_common_add_fd
from .fd import tevent_common_fd_destructor as tevent_common_fd_destructor
from .fd import tevent_common_fd_disarm as tevent_common_fd_disarm
from .fd import tevent_common_fd_get_flags as tevent_common_fd_get_flags
from .fd import tevent_common_fd_set_close_fn as tevent_common_fd_set_close_fn
from .fd import tevent_common_fd_set_flags as tevent_common_fd_set_flags
from .fd import tevent_common_invoke_fd_handler as tevent_common_invoke_fd_handler
from .immediate import tevent_common_immediate_cancel as tevent_common_immediate_cancel
from .immediate import tevent_common_invoke_immediate_handler as tevent_common_invoke_immediate_handler
from .immediate import tevent_common_loop_immediate as tevent_common_loop_immediate
from .immediate import tevent_common_schedule_immediate as tevent_common_schedule_immediate
from .timed import tevent_common_add_timer as tevent_common_add_timer
from .timed import tevent_common_add_timer_v2 as tevent_common_add_timer_v2
from .timed import tevent_common_invoke_timer_handler as tevent_common_invoke_timer_handler
from .timed import tevent_common_loop_timer_delay as tevent_common_loop_timer_delay
from .timed import tevent_common_no_timeout as tevent_common_no_timeout
from .timed import tevent_common_timeout_msec as tevent_common_timeout_msec

__all__ = ["tevent_common_wakeup", "tevent_common_wakeup_fd", "tevent_common_wakeup_init"]


def tevent_common_wakeup_init(ev: tevent_context) -> int:
    """
    Give *ev* its internal wakeup, if it has none yet.

    C: ``int tevent_common_wakeup_init(struct tevent_context *ev)``

    Returns:
        0, or an errno.
    """
    if not check_context(ev):
        return errno.EINVAL
    if ev.wakeup_fde is not None:
        return 0
    try:
        channel = wakeup_channel()
    except OSError as error:
        return error.errno or errno.EIO
    fde = None
    try:
        fde = tevent_add_fd(ev, ev, channel.fd, TEVENT_FD_READ, _drain, None)
    finally:
        if fde is None:
            channel.close()
    if fde is None:
        return errno.ENOMEM
    ev.wakeup_fde = fde
    ev.wakeup = channel
    if ev.fd_hint is fde:
        ev.fd_hint = None
    return 0


def _drain(ev: tevent_context, _fde: tevent_fd, _flags: int, _private_data: object) -> None:
    channel = ev.wakeup
    if channel is not None:
        channel.drain()
        for look in channel.watched.values():
            look()
    # Another thread has perhaps handed in an immediate just while this was summed up.
    update_lean(ev)


def tevent_common_wakeup_fd(fd: int) -> int:
    """
    Write one wakeup to a descriptor; a failure is ignored: then enough of them are waiting already.

    C: ``int tevent_common_wakeup_fd(int fd)``

    Returns:
        0. Safe in any thread and in signal handlers.
    """
    try:
        _sys.write(fd, _sys.WAKEUP)
    except OSError:
        pass
    return 0


def tevent_common_wakeup(ev: tevent_context) -> int:
    """
    Let the loop of *ev* return from a wait.

    C: ``int tevent_common_wakeup(struct tevent_context *ev)``

    Returns:
        0; ENOTCONN where `tevent_common_wakeup_init` was not called. Safe in any thread and in signal handlers.
    """
    channel = ev.wakeup
    if channel is None:
        return errno.ENOTCONN
    channel.notify()
    return 0
