# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Requests whose error is an NTSTATUS: the helpers of Samba's lib/util/tevent_ntstatus.c, and what they need of NTSTATUS.

The 32 bits of a status travel in the 64-bit error of a request under a magic upper half, so that an errno that was put
there by mistake is found out. The table from errno to NTSTATUS (source3's and lib/util's errmap_unix.c) is data: it
names each errno, because not every platform has every one of them. All operations are O(1).
"""

from __future__ import annotations

import errno
import sys

from talloc_py.core import TALLOC_FREE

from ._request import DONE, error_at, finish, is_request
from .abort import tevent_abort
from .errno import get_errno
from .req import (
    TEVENT_REQ_NO_MEMORY,
    TEVENT_REQ_TIMED_OUT,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_is_error,
    tevent_req_poll,
    tevent_req_received,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .context import tevent_context

__all__ = [
    "NTSTATUS",
    "NT_STATUS_ACCESS_DENIED",
    "NT_STATUS_CANT_ACCESS_DOMAIN_INFO",
    "NT_STATUS_CONNECTION_DISCONNECTED",
    "NT_STATUS_CRYPTO_SYSTEM_INVALID",
    "NT_STATUS_EQUAL",
    "NT_STATUS_IMAGE_CERT_REVOKED",
    "NT_STATUS_INTERNAL_ERROR",
    "NT_STATUS_INVALID_ADDRESS",
    "NT_STATUS_INVALID_BUFFER_SIZE",
    "NT_STATUS_INVALID_LEVEL",
    "NT_STATUS_INVALID_PARAMETER",
    "NT_STATUS_INVALID_PARAMETER_MIX",
    "NT_STATUS_IO_TIMEOUT",
    "NT_STATUS_IS_OK",
    "NT_STATUS_NO_MEMORY",
    "NT_STATUS_OK",
    "NT_STATUS_PIPE_BUSY",
    "NT_STATUS_RPC_PROTOCOL_ERROR",
    "NT_STATUS_UNSUCCESSFUL",
    "NT_STATUS_V",
    "STATUS_BUFFER_OVERFLOW",
    "STATUS_MORE_ENTRIES",
    "map_nt_error_from_unix_common",
    "tevent_req_is_nterror",
    "tevent_req_nterror",
    "tevent_req_poll_ntstatus",
    "tevent_req_simple_finish_ntstatus",
    "tevent_req_simple_recv_ntstatus",
]

_MAGIC = 0x917B5ACD  # upper half of the error of a request that failed with an NTSTATUS


class NTSTATUS(int):
    """
    A status code of Windows: an unsigned 32-bit number.

    C: ``typedef uint32_t NTSTATUS`` (a struct with the one member ``v`` where the compiler checks types)

    Any int is accepted where a status is asked for; *v* is reduced to its low 32 bits.
    """

    __slots__ = ()

    def __new__(cls, v: int) -> Self:
        """*v* modulo 2**32."""
        return super().__new__(cls, NT_STATUS_V(v))

    def __repr__(self) -> str:
        return f"NTSTATUS(0x{int(self):08X})"


def NT_STATUS_V(x: int) -> int:
    """
    Return the number of the status *x*, unsigned.

    C: ``#define NT_STATUS_V(x) (x)``
    """
    if not isinstance(x, int):
        raise TypeError(f"an NTSTATUS is an int, not {type(x).__name__}")
    return x & 0xFFFFFFFF


def NT_STATUS_IS_OK(x: int) -> bool:
    """
    Whether *x* is `NT_STATUS_OK`.

    C: ``#define NT_STATUS_IS_OK(x) (NT_STATUS_V(x) == 0)``
    """
    return NT_STATUS_V(x) == 0


def NT_STATUS_EQUAL(x: int, y: int) -> bool:
    """
    Whether *x* and *y* are the same status.

    C: ``#define NT_STATUS_EQUAL(x,y) (NT_STATUS_V(x) == NT_STATUS_V(y))``
    """
    return NT_STATUS_V(x) == NT_STATUS_V(y)


NT_STATUS_OK = NTSTATUS(0x00000000)
STATUS_MORE_ENTRIES = NTSTATUS(0x00000105)
NT_STATUS_UNSUCCESSFUL = NTSTATUS(0xC0000001)
NT_STATUS_INVALID_PARAMETER = NTSTATUS(0xC000000D)
NT_STATUS_NO_MEMORY = NTSTATUS(0xC0000017)
NT_STATUS_ACCESS_DENIED = NTSTATUS(0xC0000022)
NT_STATUS_IO_TIMEOUT = NTSTATUS(0xC00000B5)
NT_STATUS_INTERNAL_ERROR = NTSTATUS(0xC00000E5)
NT_STATUS_INVALID_PARAMETER_MIX = NTSTATUS(0xC0000030)
NT_STATUS_CANT_ACCESS_DOMAIN_INFO = NTSTATUS(0xC00000DA)
NT_STATUS_INVALID_BUFFER_SIZE = NTSTATUS(0xC0000206)
NT_STATUS_PIPE_BUSY = NTSTATUS(0xC00000AE)
NT_STATUS_CONNECTION_DISCONNECTED = NTSTATUS(0xC000020C)
NT_STATUS_INVALID_ADDRESS = NTSTATUS(0xC0000141)
NT_STATUS_INVALID_LEVEL = NTSTATUS(0xC0000148)
NT_STATUS_RPC_PROTOCOL_ERROR = NTSTATUS(0xC002001D)
NT_STATUS_IMAGE_CERT_REVOKED = NTSTATUS(0xC0000603)
NT_STATUS_CRYPTO_SYSTEM_INVALID = NTSTATUS(0xC00002F3)
STATUS_BUFFER_OVERFLOW = NTSTATUS(0x80000005)

# NTSTATUS and WERROR for each errno. `EPROTONOSUPPORT` has no WERROR of its own: as in C its low 16 bits must do.
_UNIX_ERRORS = (
    ("EAGAIN EINTR ENOBUFS", 0x00000105, 0xEA),
    ("EINPROGRESS", 0xC0000016, 0xEA),
    ("EPERM EACCES", 0xC0000022, 0x5),
    ("ENOENT", 0xC0000034, 0x2),
    ("ENOTDIR", 0xC0000103, 0x10B),
    ("EIO", 0xC0000185, 0x45D),
    ("EBADF ENOTSOCK", 0xC0000008, 0x6),
    ("EINVAL EFAULT", 0xC000000D, 0x57),
    ("EEXIST", 0xC0000035, 0xB7),
    ("ENFILE EMFILE", 0xC000011F, 0x4),
    ("ENOSPC EDQUOT EFBIG", 0xC000007F, 0x70),
    ("EMSGSIZE", 0xC0000206, 0x6F8),
    ("ENOMEM", 0xC0000017, 0x8),
    ("EISDIR", 0xC00000BA, 0x5),
    ("EPIPE", 0xC000020C, 0x40),
    ("EBUSY", 0xC0000043, 0x20),
    ("ENOSYS", 0xC000001C, 0x1),
    ("EOPNOTSUPP", 0xC00000BB, 0x32),
    ("EMLINK", 0xC0000265, 0x476),
    ("ELOOP", 0xC000003A, 0x3),
    ("ENODATA", 0xC0000225, 0x490),
    ("ENOTEMPTY", 0xC0000101, 0x91),
    ("EXDEV", 0xC00000D4, 0x11),
    ("EROFS", 0xC00000A2, 0x13),
    ("ENAMETOOLONG", 0xC0000106, 0xCE),
    ("EADDRINUSE", 0xC0000238, 0x4CB),
    ("ENETUNREACH", 0xC000023C, 0x4CF),
    ("EHOSTUNREACH", 0xC000023D, 0x4D0),
    ("ECONNREFUSED", 0xC0000236, 0x4C9),
    ("EADDRNOTAVAIL", 0xC0000239, 0x4CC),
    ("ETIMEDOUT", 0xC00000B5, 0x79),
    ("ESOCKTNOSUPPORT EAFNOSUPPORT ENOPROTOOPT", 0xC0000030, 0x57),
    ("ECONNABORTED", 0xC0000241, 0x4D4),
    ("ECONNRESET", 0xC000020D, 0x40),
    ("ENODEV", 0xC000000E, 0x2),
    ("ECANCELED", 0xC0000120, 0x3E3),
    ("EPROTONOSUPPORT", 0xC000A013, 0xA013),
)
_UNKNOWN = (0xC0000001, 0x1F)
_by_unix_error: dict[int, tuple[int, int]] = {}


def unix_error_codes(unix_error: int) -> tuple[int, int]:
    """The NTSTATUS and the WERROR that stand for the errno *unix_error*, as plain numbers."""
    if not _by_unix_error:
        for names, status, werror in _UNIX_ERRORS:
            for name in names.split():
                number = getattr(errno, name, None)
                if number is not None:
                    _by_unix_error[number] = (status, werror)
    return _by_unix_error.get(unix_error, _UNKNOWN)


def map_nt_error_from_unix_common(unix_error: int) -> NTSTATUS:
    """
    Return the NTSTATUS that stands for the errno *unix_error*.

    C: ``NTSTATUS map_nt_error_from_unix_common(int unix_error)``

    Returns:
        `NT_STATUS_UNSUCCESSFUL` for every number that is not in the table, 0 included.
    """
    return NTSTATUS(unix_error_codes(unix_error)[0])


def tevent_req_nterror(req: tevent_req, status: int) -> bool:
    """
    Let *req* fail with *status*, unless that is `NT_STATUS_OK`.

    C: ``bool tevent_req_nterror(struct tevent_req *req, NTSTATUS status)``

    Returns:
        True when *req* has failed with it; False, and nothing done, for `NT_STATUS_OK`.

    Callbacks: that of *req*, inside this call, as `tevent_req_error` does.
    """
    number = NT_STATUS_V(status)
    if not is_request(req) or number == 0:
        return False
    return error_at(req, _MAGIC << 32 | number, 1)


def tevent_req_is_nterror(req: tevent_req) -> tuple[bool, NTSTATUS]:
    """
    Whether *req* has not ended well, and the status that says why.

    C: ``bool tevent_req_is_nterror(struct tevent_req *req, NTSTATUS *pstatus)``

    Returns:
        ``(False, NT_STATUS_OK)`` for a request that is done, else True with `NT_STATUS_IO_TIMEOUT` for a timeout,
        `NT_STATUS_NO_MEMORY`, the status of `tevent_req_nterror`, or `NT_STATUS_INTERNAL_ERROR` for one in progress or
        received.

    An error that did not come from `tevent_req_nterror` is the abort function.
    """
    failed, state, error = tevent_req_is_error(req)
    if not failed:
        return False, NT_STATUS_OK
    if error is not None:
        if error >> 32 != _MAGIC:
            tevent_abort(None, f"tevent_req_is_nterror: the error {error:#x} of the request is no NTSTATUS")
            return True, NT_STATUS_INTERNAL_ERROR
        return True, NTSTATUS(error)
    if state == TEVENT_REQ_TIMED_OUT:
        return True, NT_STATUS_IO_TIMEOUT
    if state == TEVENT_REQ_NO_MEMORY:
        return True, NT_STATUS_NO_MEMORY
    return True, NT_STATUS_INTERNAL_ERROR


def tevent_req_simple_recv_ntstatus(req: tevent_req) -> NTSTATUS:
    """
    Receive a request whose only result is a status.

    C: ``NTSTATUS tevent_req_simple_recv_ntstatus(struct tevent_req *req)``

    Returns:
        As `tevent_req_is_nterror`. Called again: `NT_STATUS_INTERNAL_ERROR`.

    Ownership: *req* is received (`tevent_req_received`), not freed.
    """
    status = tevent_req_is_nterror(req)[1]
    tevent_req_received(req)
    return status


def tevent_req_simple_finish_ntstatus(subreq: tevent_req, subreq_status: int) -> None:
    """
    Free *subreq* and let the request in its callback data end with *subreq_status*.

    C: ``void tevent_req_simple_finish_ntstatus(struct tevent_req *subreq, NTSTATUS subreq_status)``

    Callbacks: that of the outer request, inside this call.
    Ownership: *subreq* is freed.
    """
    number = NT_STATUS_V(subreq_status)
    req = tevent_req_callback_data(subreq, tevent_req)
    TALLOC_FREE(subreq)
    if not is_request(req):
        return
    if number:
        error_at(req, _MAGIC << 32 | number, 1)
    else:
        frame = sys._getframe(1)
        finish(req, DONE, (frame.f_code, frame.f_lasti))


def tevent_req_poll_ntstatus(req: tevent_req, ev: tevent_context) -> tuple[bool, NTSTATUS]:
    """
    Run *ev* until *req* is no longer in progress.

    C: ``bool tevent_req_poll_ntstatus(struct tevent_req *req, struct tevent_context *ev, NTSTATUS *status)``

    Returns:
        ``(True, NT_STATUS_OK)``, or False with the errno of the loop as an NTSTATUS.
    """
    if tevent_req_poll(req, ev):
        return True, NT_STATUS_OK
    return False, map_nt_error_from_unix_common(get_errno())
