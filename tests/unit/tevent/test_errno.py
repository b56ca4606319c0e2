# SPDX-License-Identifier: LGPL-3.0-or-later
"""The error number of each thread."""

from __future__ import annotations

import errno
import threading

import pytest
from tevent_kit import context

from talloc_py import TALLOC_CTX
from tevent import get_errno, set_errno, tevent_context_init_byname, tevent_loop_once, tevent_timeval_zero


class TestErrno:
    def test_reads_what_was_written(self) -> None:
        """The number stays until somebody sets another one."""
        set_errno(errno.EPIPE)
        assert get_errno() == errno.EPIPE
        set_errno(0)
        assert get_errno() == 0

    def test_each_thread_has_its_own(self) -> None:
        """A fresh thread starts at 0 and does not disturb the others."""
        seen: list[int] = []

        def other() -> None:
            seen.append(get_errno())
            set_errno(errno.ENOENT)
            seen.append(get_errno())

        set_errno(errno.EPIPE)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert seen == [0, errno.ENOENT]
        assert get_errno() == errno.EPIPE

    def test_success_does_not_reset_it(self, top: TALLOC_CTX) -> None:
        """A call that succeeds leaves the number alone."""
        ev = context(top)
        set_errno(errno.EXDEV)
        tevent_timeval_zero()
        assert tevent_context_init_byname(top, "no such backend") is None
        assert get_errno() == errno.EXDEV
        assert tevent_loop_once(ev) == -1
        assert get_errno() == errno.EAGAIN

    @pytest.mark.parametrize("value", [None, "1", 1.0])
    def test_only_an_int_is_a_number(self, value: object) -> None:
        """Anything else is refused."""
        with pytest.raises(TypeError, match="errno must be an int"):
            set_errno(value)  # type: ignore[arg-type]
