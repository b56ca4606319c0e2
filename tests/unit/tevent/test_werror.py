# SPDX-License-Identifier: LGPL-3.0-or-later
"""WERROR, and requests that fail with one."""

from __future__ import annotations

import errno
import pickle

import pytest
from req_kit import Bench, opened, silent_aborts, state_of

import tevent
from talloc_py import talloc_abort_error, talloc_free
from tevent import (
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_USER_ERROR,
    W_ERROR_IS_OK,
    W_ERROR_V,
    WERR_INTERNAL_ERROR,
    WERR_NOT_ENOUGH_MEMORY,
    WERR_OK,
    WERR_TIMEOUT,
    WERROR,
    set_errno,
    tevent_req,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_werror,
    tevent_req_oom,
    tevent_req_poll_werror,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_req_simple_finish_werror,
    tevent_req_simple_recv_werror,
    tevent_req_werror,
    timeval,
    werror,
)

bench = pytest.fixture(opened, name="bench")

#: The WERROR of each errno, as Samba's library answers.
TABLE = {
    "EAGAIN EINTR ENOBUFS EINPROGRESS": 0xEA,
    "EPERM EACCES EISDIR": 0x5,
    "ENOENT ENODEV": 0x2,
    "ENOTDIR": 0x10B,
    "EIO": 0x45D,
    "EBADF ENOTSOCK": 0x6,
    "EINVAL EFAULT ESOCKTNOSUPPORT EAFNOSUPPORT ENOPROTOOPT": 0x57,
    "EEXIST": 0xB7,
    "ENFILE EMFILE": 0x4,
    "ENOSPC EDQUOT EFBIG": 0x70,
    "EMSGSIZE": 0x6F8,
    "ENOMEM": 0x8,
    "EPIPE ECONNRESET": 0x40,
    "EBUSY": 0x20,
    "ENOSYS": 0x1,
    "EOPNOTSUPP": 0x32,
    "EMLINK": 0x476,
    "ELOOP": 0x3,
    "ENODATA": 0x490,
    "ENOTEMPTY": 0x91,
    "EXDEV": 0x11,
    "EROFS": 0x13,
    "ENAMETOOLONG": 0xCE,
    "EADDRINUSE": 0x4CB,
    "ENETUNREACH": 0x4CF,
    "EHOSTUNREACH": 0x4D0,
    "ECONNREFUSED": 0x4C9,
    "EADDRNOTAVAIL": 0x4CC,
    "ETIMEDOUT": 0x79,
    "ECONNABORTED": 0x4D4,
    "ECANCELED": 0x3E3,
    "EXFULL": 0x1F,
}


class TestNumbers:
    def test_constants(self) -> None:
        """Each constant has its number and is a WERROR."""
        numbers = {"WERR_OK": 0, "WERR_NOT_ENOUGH_MEMORY": 8, "WERR_INTERNAL_ERROR": 0x54F, "WERR_TIMEOUT": 0x5B4}
        for name, number in numbers.items():
            value = getattr(tevent, name)
            assert type(value) is WERROR
            assert value == number

    def test_is_an_unsigned_32_bit_int(self) -> None:
        """A WERROR is an int, cut to 32 bits, shown in hexadecimal."""
        assert WERROR(w=2**32 + 5) == 5
        assert WERROR(-1) == 0xFFFFFFFF
        assert repr(WERR_TIMEOUT) == "WERROR(0x000005B4)"
        assert pickle.loads(pickle.dumps(WERR_TIMEOUT)) == WERR_TIMEOUT

    def test_macros(self) -> None:
        """V and IS_OK take any int as a code."""
        assert W_ERROR_V(WERR_TIMEOUT) == 0x5B4
        assert type(W_ERROR_V(WERR_TIMEOUT)) is int
        assert W_ERROR_IS_OK(WERR_OK) is True
        assert W_ERROR_IS_OK(2**32) is True
        assert W_ERROR_IS_OK(1) is False

    @pytest.mark.parametrize("wrong", [None, "0", 5.0])
    def test_anything_else_is_refused(self, wrong: object) -> None:
        """A code is an int."""
        for call in (WERROR, W_ERROR_V, W_ERROR_IS_OK):
            with pytest.raises(TypeError):
                call(wrong)


class TestError:
    def test_fails_with_the_code(self, bench: Bench) -> None:
        """The code is the error of the request."""
        req, _ = bench.make(name="a")
        assert tevent_req_werror(req, 0x57) is True
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, 0x57)
        assert tevent_req_is_werror(req) == (True, 0x57)
        assert type(tevent_req_is_werror(req)[1]) is WERROR

    def test_ok_is_no_error(self, bench: Bench) -> None:
        """WERR_OK does nothing."""
        req, _ = bench.make(name="a")
        for code in (WERR_OK, 0, 2**32):
            assert tevent_req_werror(req, code) is False
        assert bench.take() == []
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_wrong_code(self, bench: Bench) -> None:
        """A code that is no int is refused, and the request goes on."""
        req, _ = bench.make(name="a")
        for code in (None, "0", 5.0):
            with pytest.raises(TypeError):
                tevent_req_werror(req, code)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_every_state(self, bench: Bench) -> None:
        """The states without a number have a code each; any error counts, cut to 32 bits."""
        req, _ = bench.make()
        assert tevent_req_is_werror(req) == (True, WERR_INTERNAL_ERROR)
        tevent_req_done(req)
        assert tevent_req_is_werror(req) == (False, WERR_OK)
        tevent_req_error(req, 2**40 + 3)
        assert tevent_req_is_werror(req) == (True, 3)
        tevent_req_oom(req)
        assert tevent_req_is_werror(req) == (True, WERR_NOT_ENOUGH_MEMORY)
        tevent_req_set_endtime(req, bench.ev, timeval(0, 0))
        bench.drain()
        assert tevent_req_is_werror(req) == (True, WERR_TIMEOUT)
        tevent_req_received(req)
        assert tevent_req_is_werror(req) == (True, WERR_INTERNAL_ERROR)


class TestSimple:
    @pytest.mark.parametrize(
        ("finish", "result"),
        [
            (lambda req: None, WERR_INTERNAL_ERROR),
            (tevent_req_done, WERR_OK),
            (lambda req: tevent_req_werror(req, 0x57), 0x57),
            (tevent_req_oom, WERR_NOT_ENOUGH_MEMORY),
        ],
    )
    def test_recv(self, bench: Bench, finish: object, result: int) -> None:
        """The code or OK, then the request is received."""
        req, _ = bench.make()
        finish(req)  # type: ignore[operator]
        assert tevent_req_simple_recv_werror(req) == result
        assert state_of(req) is TEVENT_REQ_RECEIVED
        assert tevent_req_simple_recv_werror(req) == WERR_INTERNAL_ERROR

    @pytest.mark.parametrize("code", [0, 0x57])
    def test_finish(self, bench: Bench, code: int) -> None:
        """The subrequest is freed before its outer request ends with the code."""
        req, state = bench.make()
        subreq, _ = bench.make(state)

        def outer_done(done: tevent_req) -> None:
            with pytest.raises(talloc_abort_error, match="access after free"):
                state_of(subreq)
            bench.log.append(tevent_req_simple_recv_werror(done))

        tevent_req_set_callback(req, outer_done, None)
        tevent_req_set_callback(subreq, None, req)
        assert tevent_req_simple_finish_werror(subreq, code) is None
        assert bench.take() == [code]

    @pytest.mark.parametrize("code", [0, 5])
    def test_finish_when_the_outer_request_goes_with_the_subrequest(self, bench: Bench, code: int) -> None:
        """An outer request below the subrequest is freed with it: a use after free, and nothing is finished."""
        for quiet in (False, True):
            subreq, state = bench.make()
            req, _ = bench.make(state)
            tevent_req_set_callback(subreq, None, req)
            if quiet:
                with silent_aborts() as reasons:
                    tevent_req_simple_finish_werror(subreq, code)
                assert reasons
            else:
                with pytest.raises(talloc_abort_error, match="access after free"):
                    tevent_req_simple_finish_werror(subreq, code)


class TestPoll:
    def test_finished(self, bench: Bench) -> None:
        """True and OK."""
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tevent_req_poll_werror(req, bench.ev) == (True, WERR_OK)

    def test_loop_failed(self, bench: Bench) -> None:
        """False and the errno of the loop as a code: EAGAIN is 0xEA."""
        req, _ = bench.make()
        result = tevent_req_poll_werror(req, bench.ev)
        assert result == (False, 0xEA)
        assert type(result[1]) is WERROR

    @pytest.mark.parametrize(("name", "code"), [(name, c) for names, c in TABLE.items() for name in names.split()])
    def test_every_errno(self, bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
        """Whatever the loop failed with has its code."""

        def failing_poll(req: tevent_req, ev: object) -> bool:
            set_errno(getattr(errno, name))
            return False

        monkeypatch.setattr(werror, "tevent_req_poll", failing_poll)
        req, _ = bench.make()
        assert tevent_req_poll_werror(req, bench.ev) == (False, code)


@pytest.mark.parametrize(
    "call",
    [
        lambda req: tevent_req_werror(req, 5),
        lambda req: tevent_req_werror(req, 0),
        tevent_req_is_werror,
        tevent_req_simple_recv_werror,
        lambda req: tevent_req_simple_finish_werror(req, 0),
        lambda req: tevent_req_poll_werror(req, None),
    ],
)
def test_bad_input(bench: Bench, call: object) -> None:
    """The request is checked, by type and for being alive."""
    req, _ = bench.make()
    talloc_free(req)
    for wrong in (None, "req", bench.root):
        with pytest.raises(TypeError):
            call(wrong)  # type: ignore[operator]
    with pytest.raises(talloc_abort_error):
        call(req)  # type: ignore[operator]
