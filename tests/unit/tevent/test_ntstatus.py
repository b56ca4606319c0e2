# SPDX-License-Identifier: LGPL-3.0-or-later
"""NTSTATUS, and requests that fail with one."""

from __future__ import annotations

import errno
import pickle

import pytest
from req_kit import Bench, opened, silent_aborts, state_of

import tevent
from talloc_py import talloc_abort_error, talloc_free
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    NT_STATUS_EQUAL,
    NT_STATUS_INTERNAL_ERROR,
    NT_STATUS_INVALID_PARAMETER,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_IS_OK,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NT_STATUS_V,
    NTSTATUS,
    STATUS_MORE_ENTRIES,
    TEVENT_REQ_DONE,
    TEVENT_REQ_IN_PROGRESS,
    TEVENT_REQ_RECEIVED,
    TEVENT_REQ_USER_ERROR,
    map_nt_error_from_unix_common,
    ntstatus,
    tevent_abort_error,
    tevent_req,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_nterror,
    tevent_req_is_unix_error,
    tevent_req_nterror,
    tevent_req_oom,
    tevent_req_poll_ntstatus,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_req_simple_finish_ntstatus,
    tevent_req_simple_recv_ntstatus,
    timeval,
)

bench = pytest.fixture(opened, name="bench")

#: Samba's table, as its library answers.
TABLE = {
    "EAGAIN EINTR ENOBUFS": 0x00000105,
    "EINPROGRESS": 0xC0000016,
    "EPERM EACCES": 0xC0000022,
    "ENOENT": 0xC0000034,
    "ENOTDIR": 0xC0000103,
    "EIO": 0xC0000185,
    "EBADF ENOTSOCK": 0xC0000008,
    "EINVAL EFAULT": 0xC000000D,
    "EEXIST": 0xC0000035,
    "ENFILE EMFILE": 0xC000011F,
    "ENOSPC EDQUOT EFBIG": 0xC000007F,
    "EMSGSIZE": 0xC0000206,
    "ENOMEM": 0xC0000017,
    "EISDIR": 0xC00000BA,
    "EPIPE": 0xC000020C,
    "EBUSY": 0xC0000043,
    "ENOSYS": 0xC000001C,
    "EOPNOTSUPP": 0xC00000BB,
    "EMLINK": 0xC0000265,
    "ELOOP": 0xC000003A,
    "ENODATA": 0xC0000225,
    "ENOTEMPTY": 0xC0000101,
    "EXDEV": 0xC00000D4,
    "EROFS": 0xC00000A2,
    "ENAMETOOLONG": 0xC0000106,
    "EADDRINUSE": 0xC0000238,
    "ENETUNREACH": 0xC000023C,
    "EHOSTUNREACH": 0xC000023D,
    "ECONNREFUSED": 0xC0000236,
    "EADDRNOTAVAIL": 0xC0000239,
    "ETIMEDOUT": 0xC00000B5,
    "ESOCKTNOSUPPORT EAFNOSUPPORT ENOPROTOOPT": 0xC0000030,
    "ECONNABORTED": 0xC0000241,
    "ECONNRESET": 0xC000020D,
    "ENODEV": 0xC000000E,
    "ECANCELED": 0xC0000120,
    "EPROTONOSUPPORT": 0xC000A013,
}


class TestNumbers:
    def test_constants(self) -> None:
        """Each constant has its number and is an NTSTATUS."""
        numbers = {
            "NT_STATUS_OK": 0,
            "STATUS_MORE_ENTRIES": 0x105,
            "NT_STATUS_UNSUCCESSFUL": 0xC0000001,
            "NT_STATUS_INVALID_PARAMETER": 0xC000000D,
            "NT_STATUS_NO_MEMORY": 0xC0000017,
            "NT_STATUS_ACCESS_DENIED": 0xC0000022,
            "NT_STATUS_IO_TIMEOUT": 0xC00000B5,
            "NT_STATUS_INTERNAL_ERROR": 0xC00000E5,
        }
        for name, number in numbers.items():
            value = getattr(tevent, name)
            assert type(value) is NTSTATUS
            assert value == number

    def test_is_an_unsigned_32_bit_int(self) -> None:
        """An NTSTATUS is an int, cut to 32 bits."""
        assert NTSTATUS(0xC0000022) == 0xC0000022
        assert NTSTATUS(-1) == 0xFFFFFFFF
        assert NTSTATUS(v=2**32 + 5) == 5
        assert {NTSTATUS(5): "x"}[5] == "x"  # type: ignore[index]
        assert f"{NT_STATUS_ACCESS_DENIED:08X}" == "C0000022"

    def test_repr_is_hexadecimal(self) -> None:
        """As people know these numbers; the repr makes the value again."""
        assert repr(NT_STATUS_ACCESS_DENIED) == "NTSTATUS(0xC0000022)"
        assert repr(NT_STATUS_OK) == "NTSTATUS(0x00000000)"
        assert pickle.loads(pickle.dumps(NT_STATUS_ACCESS_DENIED)) == NT_STATUS_ACCESS_DENIED

    def test_macros(self) -> None:
        """V, IS_OK and EQUAL take any int as a status."""
        assert NT_STATUS_V(NT_STATUS_ACCESS_DENIED) == 0xC0000022
        assert type(NT_STATUS_V(NT_STATUS_ACCESS_DENIED)) is int
        assert NT_STATUS_V(-1) == 0xFFFFFFFF
        assert NT_STATUS_IS_OK(NT_STATUS_OK) is True
        assert NT_STATUS_IS_OK(2**32) is True
        assert NT_STATUS_IS_OK(1) is False
        assert NT_STATUS_EQUAL(NT_STATUS_ACCESS_DENIED, 0xC0000022) is True
        assert NT_STATUS_EQUAL(NT_STATUS_ACCESS_DENIED, NT_STATUS_OK) is False

    @pytest.mark.parametrize("wrong", [None, "0", 5.0])
    def test_anything_else_is_refused(self, wrong: object) -> None:
        """A status is an int."""
        for call in (NTSTATUS, NT_STATUS_V, NT_STATUS_IS_OK, lambda x: NT_STATUS_EQUAL(0, x)):
            with pytest.raises(TypeError):
                call(wrong)


class TestMap:
    @pytest.mark.parametrize(("name", "status"), [(name, s) for names, s in TABLE.items() for name in names.split()])
    def test_table(self, name: str, status: int) -> None:
        """Each errno of the table has its status."""
        mapped = map_nt_error_from_unix_common(getattr(errno, name))
        assert type(mapped) is NTSTATUS
        assert mapped == status

    def test_the_rest_is_unsuccessful(self) -> None:
        """0, negative numbers and every errno that is not in the table."""
        known = {getattr(errno, name) for names in TABLE for name in names.split()}
        for number in set(range(-3, 200)) - known:
            assert map_nt_error_from_unix_common(number) == 0xC0000001

    def test_errnos_that_the_platform_lacks_are_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The table names errnos; one that the system does not know is no error."""
        monkeypatch.setattr(ntstatus, "_by_unix_error", {})
        monkeypatch.setattr(ntstatus, "_UNIX_ERRORS", (("ENOSUCHERRNO EIO", 0xC0000185, 0x45D),))
        assert map_nt_error_from_unix_common(errno.EIO) == 0xC0000185
        assert map_nt_error_from_unix_common(errno.ENOENT) == 0xC0000001


class TestError:
    def test_fails_with_the_status(self, bench: Bench) -> None:
        """The request fails with the status under the magic upper half."""
        req, _ = bench.make(name="a")
        assert tevent_req_nterror(req, NT_STATUS_ACCESS_DENIED) is True
        assert bench.take() == [("a", TEVENT_REQ_USER_ERROR)]
        assert tevent_req_is_error(req) == (True, TEVENT_REQ_USER_ERROR, 0x917B5ACDC0000022)
        assert tevent_req_is_nterror(req) == (True, NT_STATUS_ACCESS_DENIED)
        assert type(tevent_req_is_nterror(req)[1]) is NTSTATUS
        assert tevent_req_is_unix_error(req) == (True, 0xC0000022 - 2**32)

    def test_ok_is_no_error(self, bench: Bench) -> None:
        """NT_STATUS_OK does nothing."""
        req, _ = bench.make(name="a")
        for status in (NT_STATUS_OK, 0, 2**32):
            assert tevent_req_nterror(req, status) is False
        assert bench.take() == []
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_warnings_are_errors_here(self, bench: Bench) -> None:
        """Any status but OK lets the request fail."""
        req, _ = bench.make()
        assert tevent_req_nterror(req, STATUS_MORE_ENTRIES) is True
        assert tevent_req_is_nterror(req) == (True, STATUS_MORE_ENTRIES)

    @pytest.mark.parametrize("status", [None, "0", 5.0])
    def test_wrong_status(self, bench: Bench, status: object) -> None:
        """A status that is no int is refused, and the request goes on."""
        req, _ = bench.make(name="a")
        with pytest.raises(TypeError):
            tevent_req_nterror(req, status)
        assert state_of(req) is TEVENT_REQ_IN_PROGRESS

    def test_every_state(self, bench: Bench) -> None:
        """The states without a number have a status each."""
        req, _ = bench.make()
        assert tevent_req_is_nterror(req) == (True, NT_STATUS_INTERNAL_ERROR)
        tevent_req_done(req)
        assert tevent_req_is_nterror(req) == (False, NT_STATUS_OK)
        tevent_req_oom(req)
        assert tevent_req_is_nterror(req) == (True, NT_STATUS_NO_MEMORY)
        tevent_req_set_endtime(req, bench.ev, timeval(0, 0))
        bench.drain()
        assert tevent_req_is_nterror(req) == (True, NT_STATUS_IO_TIMEOUT)
        tevent_req_received(req)
        assert tevent_req_is_nterror(req) == (True, NT_STATUS_INTERNAL_ERROR)

    @pytest.mark.parametrize("error", [errno.EPIPE, 0xC0000022, 0x917B5ACE00000001])
    def test_another_error_aborts(self, bench: Bench, error: int) -> None:
        """An error without the magic upper half was not meant as a status: the abort function."""
        req, _ = bench.make()
        tevent_req_error(req, error)
        with pytest.raises(tevent_abort_error, match="no NTSTATUS"):
            tevent_req_is_nterror(req)
        with silent_aborts() as reasons:
            assert tevent_req_is_nterror(req) == (True, NT_STATUS_INTERNAL_ERROR)
        assert len(reasons) == 1


class TestSimple:
    @pytest.mark.parametrize(
        ("finish", "result"),
        [
            (lambda req: None, NT_STATUS_INTERNAL_ERROR),
            (tevent_req_done, NT_STATUS_OK),
            (lambda req: tevent_req_nterror(req, NT_STATUS_INVALID_PARAMETER), NT_STATUS_INVALID_PARAMETER),
            (tevent_req_oom, NT_STATUS_NO_MEMORY),
        ],
    )
    def test_recv(self, bench: Bench, finish: object, result: int) -> None:
        """The status or OK, then the request is received."""
        req, _ = bench.make()
        finish(req)  # type: ignore[operator]
        assert tevent_req_simple_recv_ntstatus(req) == result
        assert state_of(req) is TEVENT_REQ_RECEIVED
        assert tevent_req_simple_recv_ntstatus(req) == NT_STATUS_INTERNAL_ERROR

    @pytest.mark.parametrize("status", [NT_STATUS_OK, NT_STATUS_ACCESS_DENIED])
    def test_finish(self, bench: Bench, status: NTSTATUS) -> None:
        """The subrequest is freed before its outer request ends with the status."""
        req, state = bench.make()
        subreq, _ = bench.make(state)

        def outer_done(done: tevent_req) -> None:
            assert done is req
            with pytest.raises(talloc_abort_error, match="access after free"):
                state_of(subreq)
            bench.log.append(tevent_req_simple_recv_ntstatus(done))

        tevent_req_set_callback(req, outer_done, None)
        tevent_req_set_callback(subreq, None, req)
        assert tevent_req_simple_finish_ntstatus(subreq, status) is None
        assert bench.take() == [status]

    def test_finish_without_an_outer_request(self, bench: Bench) -> None:
        """Callback data that is no request is talloc's type mismatch; the subrequest is not freed then."""
        subreq, state = bench.make()
        for data in (None, state):
            tevent_req_set_callback(subreq, None, data)
            with pytest.raises(talloc_abort_error, match="Type mismatch"):
                tevent_req_simple_finish_ntstatus(subreq, 0)
        assert state_of(subreq) is TEVENT_REQ_IN_PROGRESS

    def test_finish_when_the_outer_request_goes_with_the_subrequest(self, bench: Bench) -> None:
        """An outer request below the subrequest is freed with it: a use after free."""
        subreq, state = bench.make()
        req, _ = bench.make(state)
        tevent_req_set_callback(subreq, None, req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tevent_req_simple_finish_ntstatus(subreq, 0)

    @pytest.mark.parametrize("status", [0, 5])
    def test_finish_if_the_abort_function_returns(self, bench: Bench, status: int) -> None:
        """Nothing is finished then."""
        subreq, state = bench.make()
        req, _ = bench.make(state)
        tevent_req_set_callback(subreq, None, req)
        with silent_aborts() as reasons:
            tevent_req_simple_finish_ntstatus(subreq, status)
        assert reasons


class TestPoll:
    def test_finished(self, bench: Bench) -> None:
        """True and OK."""
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        assert tevent_req_poll_ntstatus(req, bench.ev) == (True, NT_STATUS_OK)
        assert state_of(req) is not TEVENT_REQ_DONE

    def test_loop_failed(self, bench: Bench) -> None:
        """False and the errno of the loop as a status: EAGAIN is STATUS_MORE_ENTRIES."""
        req, _ = bench.make()
        assert tevent_req_poll_ntstatus(req, bench.ev) == (False, STATUS_MORE_ENTRIES)


@pytest.mark.parametrize(
    "call",
    [
        lambda req: tevent_req_nterror(req, 5),
        lambda req: tevent_req_nterror(req, 0),
        tevent_req_is_nterror,
        tevent_req_simple_recv_ntstatus,
        lambda req: tevent_req_simple_finish_ntstatus(req, 0),
        lambda req: tevent_req_poll_ntstatus(req, None),
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
