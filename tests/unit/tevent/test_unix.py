# SPDX-License-Identifier: LGPL-3.0-or-later
"""Requests that fail with an errno."""

from __future__ import annotations

import errno

import pytest
from req_kit import Bench, opened, silent_aborts, state_of

from talloc_py import talloc_abort_error, talloc_free
from tevent import (
    TEVENT_REQ_RECEIVED,
    set_errno,
    tevent_req,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_unix_error,
    tevent_req_oom,
    tevent_req_poll_unix,
    tevent_req_received,
    tevent_req_set_endtime,
    tevent_req_simple_recv_unix,
    timeval,
)

bench = pytest.fixture(opened, name="bench")


class TestIsError:
    def test_every_state(self, bench: Bench) -> None:
        """DONE is none; the states without a number have an errno each."""
        req, _ = bench.make()
        assert tevent_req_is_unix_error(req) == (True, errno.EINVAL)
        tevent_req_done(req)
        assert tevent_req_is_unix_error(req) == (False, 0)
        tevent_req_error(req, errno.EPIPE)
        assert tevent_req_is_unix_error(req) == (True, errno.EPIPE)
        tevent_req_oom(req)
        assert tevent_req_is_unix_error(req) == (True, errno.ENOMEM)
        tevent_req_set_endtime(req, bench.ev, timeval(0, 0))
        bench.drain()
        assert tevent_req_is_unix_error(req) == (True, errno.ETIMEDOUT)
        tevent_req_received(req)
        assert tevent_req_is_unix_error(req) == (True, errno.EINVAL)

    @pytest.mark.parametrize(
        ("error", "seen"),
        [
            (0x1234567890, 878082192),
            (2**31 - 1, 2**31 - 1),
            (2**31, -(2**31)),
            (2**32 - 1, -1),
            (2**32, 0),
            (-5, -5),
        ],
    )
    def test_cut_to_a_signed_int(self, bench: Bench, error: int, seen: int) -> None:
        """The 64-bit error is cut to C's int."""
        req, _ = bench.make()
        tevent_req_error(req, error)
        assert tevent_req_is_unix_error(req) == (True, seen)


class TestSimpleRecv:
    @pytest.mark.parametrize(
        ("finish", "result"),
        [
            (lambda req: None, errno.EINVAL),
            (tevent_req_done, 0),
            (lambda req: tevent_req_error(req, errno.EIO), errno.EIO),
            (tevent_req_oom, errno.ENOMEM),
        ],
    )
    def test_result_then_received(self, bench: Bench, finish: object, result: int) -> None:
        """0 or the errno, then the request is received: called again it is EINVAL."""
        req, _ = bench.make()
        finish(req)  # type: ignore[operator]
        assert tevent_req_simple_recv_unix(req) == result
        assert state_of(req) is TEVENT_REQ_RECEIVED
        assert tevent_req_simple_recv_unix(req) == errno.EINVAL


class TestPoll:
    def test_finished(self, bench: Bench) -> None:
        """True and 0 once it is finished, whatever errno was before."""
        set_errno(errno.EIO)
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tevent_req_poll_unix(req, bench.ev) == (True, 0)

    def test_loop_failed(self, bench: Bench) -> None:
        """False and the errno of the loop."""
        req, _ = bench.make()
        assert tevent_req_poll_unix(req, bench.ev) == (False, errno.EAGAIN)


@pytest.mark.parametrize(
    "call",
    [
        tevent_req_is_unix_error,
        tevent_req_simple_recv_unix,
        lambda req: tevent_req_poll_unix(req, None),
    ],
)
def test_bad_input(bench: Bench, call: object) -> None:
    """The request is checked, by type and for being alive."""
    req, _ = bench.make()
    talloc_free(req)
    for wrong in (None, "req", bench.root, tevent_req):
        with pytest.raises(TypeError):
            call(wrong)  # type: ignore[operator]
    with pytest.raises(talloc_abort_error):
        call(req)  # type: ignore[operator]
    with silent_aborts() as reasons:
        call(req)  # type: ignore[operator]
    assert reasons
