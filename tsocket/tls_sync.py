# SPDX-License-Identifier: LGPL-3.0-or-later
"""
TLS for clients that wait: no event loop, two functions of the caller's move the bytes.

Mirrors the synchronous part of ``source4/lib/tls/tls_tstream.c``.  The engine is the one of the streams; here a record
is read and written by calling back, and an errno of those functions comes out of the call that needed them.  A call
that failed with EAGAIN or EINTR can be repeated: nothing is lost.
"""

from __future__ import annotations

from errno import EAGAIN, EINTR, EINVAL, EIO, EPIPE

from talloc_py.core import TALLOC_CTX, chunk_of, talloc_free, talloc_zero
from tevent.abort import tevent_abort
from tevent.errno import get_errno, set_errno
from tevent.ntstatus import (
    NT_STATUS_CRYPTO_SYSTEM_INVALID,
    NT_STATUS_IMAGE_CERT_REVOKED,
    NT_STATUS_INTERNAL_ERROR,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NTSTATUS,
    map_nt_error_from_unix_common,
)

from ._tls_priority import bad_priority
from ._tls_record import HEADER_SIZE, TlsError, body_size
from .tls_params import settings_of, tstream_tls_params

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from _typeshed import ReadableBuffer, WriteableBuffer

    from ._tls_engine import engine

__all__ = [
    "tstream_tls_sync",
    "tstream_tls_sync_channel_bindings",
    "tstream_tls_sync_pending",
    "tstream_tls_sync_read",
    "tstream_tls_sync_setup",
    "tstream_tls_sync_write",
]


# How many plain bytes are encrypted before they are sent.
_PIECE: Final = 65536


class _IoError(Exception):
    """A function of the caller's has failed; the argument is the errno."""


class tstream_tls_sync(TALLOC_CTX):
    """
    A TLS connection that waits; made by `tstream_tls_sync_setup`.

    C: ``struct tstream_tls_sync``
    """

    __slots__ = ("engine", "error", "io_private", "io_recv_fn", "io_send_fn", "owed", "record", "unsent")

    engine: engine
    io_private: Any
    io_send_fn: Callable[[Any, memoryview], int]
    io_recv_fn: Callable[[Any, memoryview], int]
    error: int  # of TLS: it stays
    record: bytearray  # what has come of the next record
    unsent: memoryview  # what is still to be sent
    owed: int  # bytes of a write that are encrypted, but could not be sent

    def __init__(self) -> None:
        self.error = 0
        self.record = bytearray()
        self.unsent = memoryview(b"")
        self.owed = 0


# -- bytes ------------------------------------------------------------------------------------------------------------


def _flush(tls: tstream_tls_sync) -> None:
    """Send all that waits."""
    while tls.unsent or tls.engine.unsent:
        if not tls.unsent:
            tls.unsent = memoryview(tls.engine.output())
        count = tls.io_send_fn(tls.io_private, tls.unsent)
        tls.unsent = tls.unsent[_count(count, len(tls.unsent), EPIPE) :]


def _fetch(tls: tstream_tls_sync) -> None:
    """Receive one record, exactly, and feed the engine."""
    size = HEADER_SIZE
    while True:
        if len(tls.record) < size:
            buffer = bytearray(size - len(tls.record))
            count = tls.io_recv_fn(tls.io_private, memoryview(buffer))
            tls.record += buffer[: _count(count, len(buffer), EIO if tls.record else EPIPE)]
        elif size == HEADER_SIZE and body_size(tls.record):
            size += body_size(tls.record)
        else:
            break
    record, tls.record = tls.record, bytearray()
    tls.engine.feed(record[:HEADER_SIZE], record[HEADER_SIZE:])


def _count(count: int, most: int, at_end: int) -> int:
    """What a function of the caller's has returned, if it is a number of bytes; *at_end* is the errno for 0."""
    if not isinstance(count, int) or not -1 <= count <= most:
        raise TypeError(f"an io function must return a number of bytes from 0 to {most}, or -1; not {count!r}")
    if count <= 0:
        raise _IoError(at_end if count == 0 else get_errno() or EIO)
    return count


def _handshake(tls: tstream_tls_sync) -> None:
    """The whole of it."""
    while True:
        try:
            done = tls.engine.handshake()
        except TlsError:
            _flush_quietly(tls)
            raise
        _uninterrupted(_flush, tls)
        if done:
            return
        _uninterrupted(_fetch, tls)


def _uninterrupted(step: Callable[[tstream_tls_sync], None], tls: tstream_tls_sync) -> None:
    while True:
        try:
            return step(tls)
        except _IoError as error:
            if error.args[0] != EINTR:
                raise


def _flush_quietly(tls: tstream_tls_sync) -> None:
    """Send what waits, if that can be done: an alert of a side that gives up, an answer that nobody waits for."""
    try:
        _flush(tls)
    except _IoError:
        pass


def _failed(tls: tstream_tls_sync, error: _IoError | TlsError) -> int:
    """-1 with the errno that C has for *error*."""
    number: int = error.args[0]
    if isinstance(error, TlsError) or number not in (EAGAIN, EINTR):
        tls.error = number = EIO
    set_errno(number)
    return -1


# -- public functions -------------------------------------------------------------------------------------------------


def tstream_tls_sync_setup(
    _tls_params: tstream_tls_params,
    io_private: Any,
    io_send_fn: Callable[[Any, memoryview], int],
    io_recv_fn: Callable[[Any, memoryview], int],
    mem_ctx: TALLOC_CTX | None,
) -> tuple[NTSTATUS, tstream_tls_sync | None]:
    """
    Begin TLS as a client over two functions, and wait until the handshake is done.

    C: ``NTSTATUS tstream_tls_sync_setup(struct tstream_tls_params *_tls_params, void *io_private,
    ssize_t (*io_send_fn)(void *io_private, const uint8_t *buf, size_t len),
    ssize_t (*io_recv_fn)(void *io_private, uint8_t *buf, size_t len), TALLOC_CTX *mem_ctx,
    struct tstream_tls_sync **_tlsss)``

    Args:
        _tls_params: What `tstream_tls_params_client` has made; they may be freed afterwards.

        io_private: Handed to the two functions.

        io_send_fn: ``io_send_fn(io_private, buf)`` sends bytes and returns how many, or -1 after `set_errno`. It waits.

        io_recv_fn: ``io_recv_fn(io_private, buf)`` fills a part of *buf*, a writable `memoryview`, and returns how many
            bytes, 0 at the end, or -1 after `set_errno`. It waits, and does what is to be done about time limits.

        mem_ctx: The owner.

    Returns:
        ``(NT_STATUS_OK, tlsss)``. Or None and `NT_STATUS_IMAGE_CERT_REVOKED` for a certificate that was refused,
        `NT_STATUS_CRYPTO_SYSTEM_INVALID` for other failures of TLS and a priority string that cannot be used,
        `NT_STATUS_IO_TIMEOUT` for EAGAIN, and else what stands for the errno of the two functions.
    """
    have = settings_of(_tls_params)
    if have is None or have.server:
        tevent_abort(None, "tstream_tls_sync_setup: these are not the parameters of a client")
        return NT_STATUS_INTERNAL_ERROR, None
    from ._tls_engine import engine

    tls = talloc_zero(mem_ctx, tstream_tls_sync)
    if tls is None:
        return NT_STATUS_NO_MEMORY, None
    tls.io_private = io_private
    tls.io_send_fn = io_send_fn
    tls.io_recv_fn = io_recv_fn
    try:
        have.prepare()
        tls.engine = engine(have)
        _handshake(tls)
    except (bad_priority, TlsError, _IoError) as error:
        talloc_free(tls)
        return _status_of(error), None
    except BaseException:
        talloc_free(tls)
        raise
    return NT_STATUS_OK, tls


def _status_of(error: bad_priority | TlsError | _IoError) -> NTSTATUS:
    if isinstance(error, TlsError) and error.errno == EINVAL:
        return NT_STATUS_IMAGE_CERT_REVOKED
    if not isinstance(error, _IoError):
        return NT_STATUS_CRYPTO_SYSTEM_INVALID
    number: int = error.args[0]
    # What stands for EAGAIN is no error.
    return NT_STATUS_IO_TIMEOUT if number == EAGAIN else map_nt_error_from_unix_common(number)


def _is_usable(tlsss: tstream_tls_sync) -> bool:
    """Whether *tlsss* is alive and has not failed; -1 with this errno if not."""
    if not isinstance(tlsss, tstream_tls_sync):
        raise TypeError(f"a tstream_tls_sync is needed, not {type(tlsss).__name__}")
    if chunk_of(tlsss) is None:
        set_errno(EINVAL)
        return False
    if tlsss.error:
        set_errno(tlsss.error)
        return False
    return True


def tstream_tls_sync_read(tlsss: tstream_tls_sync, buf: WriteableBuffer) -> int:
    """
    Read some bytes, one at least.

    C: ``ssize_t tstream_tls_sync_read(struct tstream_tls_sync *tlsss, void *buf, size_t len)``

    Returns:
        How many bytes are in *buf*; 0 if the other side has said that it ends. -1 with errno set: EAGAIN or EINTR as
        the function of the caller's had it, and EIO for everything else, a connection that was cut among it.
    """
    view = memoryview(buf).cast("B")
    if not _is_usable(tlsss):
        return -1
    if not view:
        return 0
    try:
        _flush(tlsss)
        while True:
            count = tlsss.engine.read(view)
            if count:
                _flush_quietly(tlsss)
                return count
            _flush(tlsss)
            _fetch(tlsss)
    except TlsError as error:
        if error.errno == EPIPE:
            return 0
        _flush_quietly(tlsss)
        return _failed(tlsss, error)
    except _IoError as error:
        return _failed(tlsss, error)


def tstream_tls_sync_write(tlsss: tstream_tls_sync, buf: ReadableBuffer) -> int:
    """
    Write some bytes.

    C: ``ssize_t tstream_tls_sync_write(struct tstream_tls_sync *tlsss, const void *buf, size_t len)``

    Returns:
        How many bytes were written, all of *buf*. -1 with errno set as for `tstream_tls_sync_read`; after EAGAIN and
        EINTR the same bytes must be given again.
    """
    view = memoryview(buf).cast("B")
    if not _is_usable(tlsss):
        return -1
    try:
        _flush(tlsss)
        while tlsss.owed < len(view):
            count = tlsss.engine.write(view[tlsss.owed : tlsss.owed + _PIECE])
            tlsss.owed += count
            _flush(tlsss)
            if count == 0:
                _fetch(tlsss)
    except (TlsError, _IoError) as error:
        return _failed(tlsss, error)
    tlsss.owed = 0
    return len(view)


def tstream_tls_sync_pending(tlsss: tstream_tls_sync) -> int:
    """
    How many bytes can be read without waiting.

    C: ``size_t tstream_tls_sync_pending(struct tstream_tls_sync *tlsss)``
    """
    return tlsss.engine.pending() if _is_usable(tlsss) else 0


def tstream_tls_sync_channel_bindings(tlsss: tstream_tls_sync) -> bytes:
    """
    As `tstream_tls_channel_bindings`.

    C: ``const DATA_BLOB *tstream_tls_sync_channel_bindings(struct tstream_tls_sync *tlsss)``
    """
    return tlsss.engine.channel_bindings if chunk_of(tlsss) is not None else b""
