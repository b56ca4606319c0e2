# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Groups: several fd events on one descriptor, where the system takes a descriptor only once.

Mirrors the tevent_common_fd_mpx_* functions of lib/tevent/tevent_fd.c.  **An event belongs to at most one group, its
``group``, and stands in that group's ``members`` exactly once.**  The order of the members is the order in which they
get their turn.
Cost: O(number of members) for everything; that is nearly always two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .fd import tevent_fd

__all__ = ["fd_group"]

_READ = 1
_ERROR = 4


class fd_group:
    """The events of one context that share a descriptor."""

    __slots__ = ("fd", "members")

    #: Where a single event has its handler.
    handler = None

    def __init__(self, fd: int) -> None:
        self.fd: int = fd
        self.members: list[tevent_fd] = []

    def add(self, fde: tevent_fd) -> None:
        """Let an event that is in no group be the last to get its turn."""
        fde.group = self
        self.members.append(fde)

    def remove(self, fde: tevent_fd) -> None:
        """Let go of a member."""
        fde.group = None
        self.members.remove(fde)

    def flags(self) -> int:
        """What at least one member waits for."""
        union = 0
        for fde in self.members:
            union |= fde.flags
        return union

    def select(self, ready: int, got_error: bool) -> tevent_fd | None:
        """
        The member to run for the TEVENT_FD_* flags that are *ready*; it becomes the last.

        While an error is pending a member that only wants to write is passed over: it could not be told.
        """
        for fde in self.members:
            if got_error and not fde.flags & (_READ | _ERROR):
                continue
            if fde.flags & ready:
                self.members.remove(fde)
                self.members.append(fde)
                return fde
        return None

    def _check_invariants(self) -> None:
        """Assert what must hold; for tests."""
        assert len(set(map(id, self.members))) == len(self.members)
        for fde in self.members:
            assert fde.group is self
            assert fde.fd == self.fd
            assert fde.event_ctx is not None
