# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The wakeup descriptor of a context: what makes a sleeping loop return, from any thread.

Takes the place of the eventfd or pipe of ``tevent_common_wakeup_init()`` in ``lib/tevent/tevent.c``.  Where the
platform has epoll, the descriptor that the loop watches is an epoll descriptor of its own, readable when the
notification or one of the descriptors given to `watch` is.  So a single fd event of the context serves threads and the
process's one pipe of signals alike, with every backend.

Cost: a notification is one write; the loop pays one read when it was woken.
"""

from __future__ import annotations

from . import _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .fd import tevent_fd

__all__ = ["wakeup_channel"]


def take_place_of(fd: int, old: int) -> None:
    """Let the number *old* mean what *fd* means, and close *fd*."""
    _sys.dup2(fd, old, False)
    _sys.close(fd)


class wakeup_channel:
    """
    One context's wakeup, open until `close`.

    `fd` is what a loop watches for reading.  `notify` may be called from any thread and from a signal handler.
    """

    __slots__ = ("fd", "outer", "read_fd", "stand_in", "watched", "write_fd")

    def __init__(self) -> None:
        #: The epoll object around all; None where the platform has none.
        self.outer: Any = None
        #: Descriptors that wake the loop too, and what it shall call then; whoever asked for it reads from them.
        self.watched: dict[int, Callable[[], object]] = {}
        #: An fd event that does what `watch` could not.
        self.stand_in: tevent_fd | None = None
        self.read_fd: int
        self.write_fd: int
        self.read_fd, self.write_fd = _new_notification()
        self.fd: int = self.read_fd
        if _sys.epoll is not None:
            try:
                self.outer = _sys.epoll()
                self.outer.register(self.read_fd, _sys.EPOLLIN)
            except OSError:
                self.close()
                raise
            self.fd = self.outer.fileno()
        _open_channels.add(self)

    def notify(self) -> None:
        """Make `fd` readable.  If the write fails it is so already."""
        try:
            _sys.write(self.write_fd, _sys.WAKEUP)
        except OSError:
            pass

    def drain(self) -> None:
        """Forget the notifications so far."""
        try:
            _sys.read(self.read_fd, 65536)
        except OSError:
            pass  # There were none: something that is watched has woken the loop.

    def watch(self, fd: int, look: Callable[[], object]) -> bool:
        """Be readable also when *fd* is, and let the loop call *look* then. False where the platform cannot do that."""
        if self.outer is None:
            return False
        self.outer.register(fd, _sys.EPOLLIN)
        self.watched[fd] = look
        return True

    def unwatch(self, fd: int) -> None:
        """Be no longer readable because *fd* is."""
        if self.watched.pop(fd, None) is not None:
            self.outer.unregister(fd)

    def close(self) -> None:
        """Close all descriptors but those that are watched."""
        _open_channels.discard(self)
        if self.outer is not None:
            self.outer.close()
        for fd in {self.read_fd, self.write_fd}:
            _sys.close(fd)

    def renew(self) -> None:
        """Part from the parent process: the same numbers, but nothing of what is behind them is shared any more."""
        read_fd, write_fd = _new_notification()
        if write_fd != read_fd:
            take_place_of(write_fd, self.write_fd)
        take_place_of(read_fd, self.read_fd)
        if self.outer is not None:
            fresh = _sys.epoll()
            _sys.dup2(fresh.fileno(), self.fd, False)
            fresh.close()
            for fd in (self.read_fd, *self.watched):
                self.outer.register(fd, _sys.EPOLLIN)


def _new_notification() -> tuple[int, int]:
    """What to read from and what to write to; the same where there is an eventfd."""
    if _sys.eventfd is not None:
        fd: int = _sys.eventfd(0, _sys.EFD_CLOEXEC | _sys.EFD_NONBLOCK)
        return fd, fd
    return _sys.new_pipe()


#: A forked child must share none of them with its parent.
_open_channels: set[wakeup_channel] = set()


def renew_all() -> None:
    """In a forked child: wake nobody but oneself."""
    for channel in _open_channels:
        channel.renew()


_sys.after_fork_in_child.append(renew_all)
