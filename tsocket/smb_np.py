# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Named pipes over SMB.

Mirrors ``libcli/smb/tstream_smbXcli_np.c`` for SMB2 and later.  What speaks SMB is another library's business:
`smbXcli_conn` is what this one asks of it, with the calls of C's ``smb2cli_*`` as its methods, and
`smbXcli_conn_from_smbprotocol` makes one out of a connection of the package smbprotocol.

A write and the read that waits for its answer can be one call on the wire (`tstream_smbXcli_np_use_trans`): the last
piece of the write and the read then wait for each other.

Cost: one SMB call for each piece of a write and for each read that finds nothing left of the last answer.
"""

from __future__ import annotations

from errno import EIO, ENOTCONN, EPIPE

from talloc_py.core import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_set_destructor, talloc_steal, talloc_zero
from tevent import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_IS_OK,
    NT_STATUS_NO_MEMORY,
    NT_STATUS_OK,
    NT_STATUS_PIPE_BUSY,
    NT_STATUS_UNSUCCESSFUL,
    NTSTATUS,
    STATUS_BUFFER_OVERFLOW,
    set_errno,
    tevent_context,
    tevent_create_immediate,
    tevent_immediate,
    tevent_req,
    tevent_req_callback_data,
    tevent_req_create,
    tevent_req_data,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_is_nterror,
    tevent_req_nomem,
    tevent_req_nterror,
    tevent_req_oom,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cleanup_fn,
    tevent_req_state,
    tevent_schedule_immediate,
)

from ._stream import is_stream, tstream_context
from ._views import fill, take, views_of
from .stream import tsocket_simple_int_recv
from .stream_backend import tstream_context_create, tstream_context_data, tstream_context_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

__all__ = [
    "FSCTL_NAMED_PIPE_READ_WRITE",
    "PROTOCOL_SMB2_02",
    "TSTREAM_SMBXCLI_NP_MAX_BUF_SIZE",
    "smbXcli_conn",
    "smbXcli_conn_from_smbprotocol",
    "smbXcli_conn_is_connected",
    "tstream_is_smbXcli_np",
    "tstream_smbXcli_np_open_recv",
    "tstream_smbXcli_np_open_send",
    "tstream_smbXcli_np_set_max_data",
    "tstream_smbXcli_np_set_timeout",
    "tstream_smbXcli_np_use_trans",
]

TSTREAM_SMBXCLI_NP_MAX_BUF_SIZE: Final = 4280
FSCTL_NAMED_PIPE_READ_WRITE: Final = 0x0011C017
PROTOCOL_SMB2_02: Final = 10

_DESIRED_ACCESS: Final = 0x0002019F  # read, write and append data, read and write attributes, READ_CONTROL
_SHARE_READ_WRITE: Final = 3
_FILE_OPEN: Final = 1
_IMPERSONATION: Final = 2
_NOT_SUPPORTED: Final = NTSTATUS(0xC00000BB)
#: How long a close may take that nobody waits for, in milliseconds.
_CLOSE_MS_MAX: Final = 1000


class smbXcli_conn(TALLOC_CTX):
    """
    A connection to an SMB server, authenticated; derive from it and make it with `talloc_zero`.

    C: ``struct smbXcli_conn``, and the functions ``smb2cli_create_send()`` and so on

    Each ``_send`` returns a request below *mem_ctx*, each ``_recv`` takes it; *session* and *tcon* are any chunks.
    """

    def is_connected(self) -> bool:
        """Whether calls can be made."""
        return False

    def protocol(self) -> int:
        """The dialect: `PROTOCOL_SMB2_02` or higher."""
        return PROTOCOL_SMB2_02

    def create_send(
        self,
        mem_ctx: TALLOC_CTX,
        ev: tevent_context,
        timeout: int,
        session: TALLOC_CTX,
        tcon: TALLOC_CTX,
        filename: str,
        impersonation_level: int,
        desired_access: int,
        file_attributes: int,
        share_access: int,
        create_disposition: int,
        create_options: int,
    ) -> tevent_req | None:
        """Open a file; *timeout* is in milliseconds."""
        return None

    def create_recv(self, req: tevent_req) -> tuple[NTSTATUS, int, int]:
        """``(status, fid_persistent, fid_volatile)``."""
        return NT_STATUS_UNSUCCESSFUL, 0, 0

    def close_send(
        self,
        mem_ctx: TALLOC_CTX,
        ev: tevent_context,
        timeout: int,
        session: TALLOC_CTX,
        tcon: TALLOC_CTX,
        flags: int,
        fid_persistent: int,
        fid_volatile: int,
    ) -> tevent_req | None:
        """Close a file."""
        return None

    def close_recv(self, req: tevent_req) -> NTSTATUS:
        """The status."""
        return NT_STATUS_UNSUCCESSFUL

    def read_send(
        self,
        mem_ctx: TALLOC_CTX,
        ev: tevent_context,
        timeout: int,
        session: TALLOC_CTX,
        tcon: TALLOC_CTX,
        length: int,
        offset: int,
        fid_persistent: int,
        fid_volatile: int,
        minimum_count: int,
        remaining_bytes: int,
    ) -> tevent_req | None:
        """Read from a file."""
        return None

    def read_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[NTSTATUS, bytes | None]:
        """``(status, data)``; STATUS_BUFFER_OVERFLOW has data too."""
        return NT_STATUS_UNSUCCESSFUL, None

    def write_send(
        self,
        mem_ctx: TALLOC_CTX,
        ev: tevent_context,
        timeout: int,
        session: TALLOC_CTX,
        tcon: TALLOC_CTX,
        offset: int,
        fid_persistent: int,
        fid_volatile: int,
        remaining_bytes: int,
        flags: int,
        data: bytes,
    ) -> tevent_req | None:
        """Write to a file."""
        return None

    def write_recv(self, req: tevent_req) -> tuple[NTSTATUS, int]:
        """``(status, written)``."""
        return NT_STATUS_UNSUCCESSFUL, 0

    def ioctl_send(
        self,
        mem_ctx: TALLOC_CTX,
        ev: tevent_context,
        timeout: int,
        session: TALLOC_CTX,
        tcon: TALLOC_CTX,
        fid_persistent: int,
        fid_volatile: int,
        ctl_code: int,
        in_max_input_length: int,
        in_input_buffer: bytes | None,
        in_max_output_length: int,
        in_output_buffer: bytes | None,
        flags: int,
    ) -> tevent_req | None:
        """Do something special with a file."""
        return None

    def ioctl_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[NTSTATUS, bytes | None, bytes | None]:
        """``(status, out_input_buffer, out_output_buffer)``; STATUS_BUFFER_OVERFLOW has data too."""
        return NT_STATUS_UNSUCCESSFUL, None, None


def smbXcli_conn_is_connected(conn: smbXcli_conn | None) -> bool:
    """
    Whether calls can be made over *conn*; False for None.

    C: ``bool smbXcli_conn_is_connected(struct smbXcli_conn *conn)``
    """
    return conn is not None and conn.is_connected()


# -- the stream -------------------------------------------------------------------------------------------------------


class _marker(TALLOC_CTX):
    """A child of what the stream needs: when that is freed the stream is disconnected."""

    __slots__ = ("pipe",)

    pipe: tstream_smbXcli_np


def _marker_freed(marker: _marker | None) -> None:
    assert marker is not None
    pipe = marker.pipe
    pipe.open = False
    if marker in pipe.markers:
        pipe.markers.remove(marker)


class tstream_smbXcli_np(TALLOC_CTX):
    """The state of a pipe: the open file, and what is left of the last answer."""

    __slots__ = (
        "conn",
        "ev",
        "fid",
        "markers",
        "max_data",
        "offset",
        "open",
        "rest",
        "session",
        "tcon",
        "timeout",
        "trans_armed",
        "trans_piece",
        "trans_read",
        "trans_write",
    )

    conn: smbXcli_conn
    session: TALLOC_CTX
    tcon: TALLOC_CTX
    fid: tuple[int, int]
    timeout: int
    max_data: int
    ev: tevent_context  # of the last operation
    open: bool
    markers: list[_marker]
    rest: bytes
    offset: int  # of the first byte of `rest` that was not read yet
    trans_armed: bool
    trans_write: tevent_req | None  # a write whose last piece waits for a read
    trans_piece: bytes
    trans_read: tevent_req | None  # a read that waits for the last piece of a write

    @property
    def connected(self) -> bool:
        """Whether calls can be made for the file."""
        return self.open and smbXcli_conn_is_connected(self.conn)

    def close_send(self, mem_ctx: TALLOC_CTX, ev: tevent_context, timeout: int) -> tevent_req | None:
        """Begin to close the file, which counts as closed from now on."""
        self.open = False
        return self.conn.close_send(mem_ctx, ev, timeout, self.session, self.tcon, 0, *self.fid)


def _pipe_freed(pipe: tstream_smbXcli_np | None) -> None:
    """Close the file without waiting for it."""
    assert pipe is not None
    markers, pipe.markers = pipe.markers, []
    connected = pipe.connected
    for marker in markers:
        talloc_set_destructor(marker, None)
        talloc_free(marker)
    if connected and pipe.ev._talloc_chunk.obj is pipe.ev:
        subreq = pipe.close_send(pipe.tcon, pipe.ev, min(pipe.timeout, _CLOSE_MS_MAX))
        if subreq is not None:
            tevent_req_set_callback(subreq, _close_forgotten, None)


def _close_forgotten(subreq: tevent_req) -> None:
    TALLOC_FREE(subreq)


def tstream_is_smbXcli_np(stream: tstream_context) -> bool:
    """
    Whether *stream* is a named pipe over SMB.

    C: ``bool tstream_is_smbXcli_np(struct tstream_context *stream)``
    """
    return is_stream(stream) and stream.ops is _OPS


def _pipe_of(stream: tstream_context) -> tstream_smbXcli_np:
    return tstream_context_data(stream, tstream_smbXcli_np)


def tstream_smbXcli_np_use_trans(stream: tstream_context) -> NTSTATUS:
    """
    Let the last piece of the next write and the next read be one call on the wire.

    C: ``NTSTATUS tstream_smbXcli_np_use_trans(struct tstream_context *stream)``

    Returns:
        NT_STATUS_OK; NT_STATUS_PIPE_BUSY where that was asked for already and has not happened yet.
    """
    pipe = _pipe_of(stream)
    if pipe.trans_armed or pipe.trans_write is not None or pipe.trans_read is not None:
        return NT_STATUS_PIPE_BUSY
    pipe.trans_armed = True
    return NT_STATUS_OK


def tstream_smbXcli_np_set_timeout(stream: tstream_context, timeout: int) -> int:
    """
    Give each SMB call from now on *timeout* milliseconds.

    C: ``unsigned int tstream_smbXcli_np_set_timeout(struct tstream_context *stream, unsigned int timeout)``

    Returns:
        The former time.
    """
    pipe = _pipe_of(stream)
    if not isinstance(timeout, int):
        raise TypeError(f"timeout must be an int, not {type(timeout).__name__}")
    old, pipe.timeout = pipe.timeout, timeout
    return old


def tstream_smbXcli_np_set_max_data(stream: tstream_context, max_data: int) -> None:
    """
    Send and receive no more than *max_data* bytes at once, at first `TSTREAM_SMBXCLI_NP_MAX_BUF_SIZE`.

    C: ``void tstream_smbXcli_np_set_max_data(struct tstream_context *stream, uint32_t max_data)``
    """
    if not isinstance(max_data, int):
        raise TypeError(f"max_data must be an int, not {type(max_data).__name__}")
    if max_data < 1:
        raise ValueError(f"max_data must be at least 1, not {max_data}")
    _pipe_of(stream).max_data = max_data


def _pending_bytes(stream: tstream_context) -> int:
    pipe = _pipe_of(stream)
    if not pipe.connected:
        set_errno(ENOTCONN)
        return -1
    return len(pipe.rest) - pipe.offset


class smbXcli_np_op(TALLOC_CTX):
    """The state of a read, a write or a disconnect."""

    __slots__ = ("ev", "immediate", "pipe", "ret", "size", "subreq", "views")

    ev: tevent_context
    pipe: tstream_smbXcli_np
    views: list[memoryview]
    ret: int
    size: int  # of the piece that is being written
    subreq: tevent_req | None  # the close of a disconnect
    immediate: tevent_immediate


def _begin(
    mem_ctx: TALLOC_CTX,
    ev: tevent_context,
    stream: tstream_context,
    vector: Any,
    start: Callable[[tevent_req, smbXcli_np_op], None],
) -> tevent_req | None:
    """The request of an operation, started; the end of one that is over at once comes from the loop."""
    req, state = tevent_req_create(mem_ctx, smbXcli_np_op)
    if req is None:
        return None
    state.ev = ev
    state.pipe = _pipe_of(stream)
    state.views = views_of(vector)
    state.ret = state.size = 0
    state.subreq = None
    if not state.pipe.connected:
        tevent_req_error(req, ENOTCONN)
        return tevent_req_post(req, ev)
    state.pipe.ev = ev
    tevent_req_set_cleanup_fn(req, _leave)
    start(req, state)
    return req if tevent_req_is_in_progress(req) else tevent_req_post(req, ev)


def _leave(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function: a half of a transaction that is over, or freed, is forgotten."""
    state = tevent_req_data(req, smbXcli_np_op)
    pipe = state.pipe
    if pipe.trans_read is req:
        pipe.trans_read = None
    if pipe.trans_write is req:
        pipe.trans_write = None
        pipe.trans_piece = b""
    subreq, state.subreq = state.subreq, None
    if subreq is not None and subreq._talloc_chunk.obj is subreq:
        # A disconnect that is freed: the close goes out all the same.
        tevent_req_set_callback(subreq, _close_forgotten, None)
        talloc_steal(pipe.tcon, subreq)


def _transfer_recv(req: tevent_req) -> tuple[int, int]:
    ret, err = tsocket_simple_int_recv(req)
    if ret == 0:
        ret = tevent_req_data(req, smbXcli_np_op).ret
    tevent_req_received(req)
    return ret, err


def _close_then(req: tevent_req, err: int) -> None:
    """The file is of no use any more: close it, then fail with *err* whatever becomes of that."""
    state = tevent_req_data(req, smbXcli_np_op)
    pipe = state.pipe
    subreq = pipe.close_send(state, state.ev, pipe.timeout) if pipe.connected else None
    pipe.open = False
    if subreq is None:
        tevent_req_error(req, err)
        return
    state.size = err
    tevent_req_set_callback(subreq, _closed_then, req)


def _closed_then(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    TALLOC_FREE(subreq)
    tevent_req_error(req, tevent_req_data(req, smbXcli_np_op).size)


def _writev_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    return _begin(mem_ctx, ev, stream, vector, _write_on)


def _write_on(req: tevent_req, state: smbXcli_np_op) -> None:
    """Write the next piece, as long as there is one; the last one may have to wait for a read."""
    pipe = state.pipe
    if not state.views:
        tevent_req_done(req)
        return
    piece = take(state.views, pipe.max_data)
    state.size = len(piece)
    if not state.views and (pipe.trans_armed or pipe.trans_read is not None):
        pipe.trans_armed = False
        pipe.trans_write = req
        pipe.trans_piece = piece
        if pipe.trans_read is not None:
            _transact(pipe.trans_read)
        return
    subreq = pipe.conn.write_send(state, state.ev, pipe.timeout, pipe.session, pipe.tcon, 0, *pipe.fid, 0, 0, piece)
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, _written, req)


def _written(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, smbXcli_np_op)
    status, written = state.pipe.conn.write_recv(subreq)
    TALLOC_FREE(subreq)
    if not NT_STATUS_IS_OK(status):
        _close_then(req, EPIPE)
    elif written != state.size:
        _close_then(req, EIO)
    else:
        state.ret += written
        _write_on(req, state)


def _readv_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context, vector: Any) -> tevent_req | None:
    return _begin(mem_ctx, ev, stream, vector, _read_on)


def _read_on(req: tevent_req, state: smbXcli_np_op) -> None:
    """Hand over what is left of the last answer; ask for more if that is not enough."""
    pipe = state.pipe
    copied = fill(state.views, memoryview(pipe.rest)[pipe.offset :])
    pipe.offset += copied
    state.ret += copied
    if not state.views:
        tevent_req_done(req)
        return
    pipe.rest = b""
    pipe.offset = 0
    if pipe.trans_armed or pipe.trans_write is not None:
        pipe.trans_armed = False
        pipe.trans_read = req
        if pipe.trans_write is not None:
            _transact(req)
        return
    subreq = pipe.conn.read_send(
        state, state.ev, pipe.timeout, pipe.session, pipe.tcon, pipe.max_data, 0, *pipe.fid, 0, 0
    )
    if not tevent_req_nomem(subreq, req):
        tevent_req_set_callback(subreq, _read, req)


def _read(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, smbXcli_np_op)
    status, data = state.pipe.conn.read_recv(subreq, state)
    data = None if data is None else bytes(data)
    TALLOC_FREE(subreq)
    err = _judge(state.pipe, status, data)
    if err:
        _close_then(req, err)
        return
    _read_on(req, state)


def _judge(pipe: tstream_smbXcli_np, status: int, data: bytes | None) -> int:
    """Keep the answer; or the errno of one that is none."""
    if not NT_STATUS_IS_OK(status) and status != STATUS_BUFFER_OVERFLOW:
        return EPIPE
    if not data:
        return EPIPE
    if len(data) > pipe.max_data:
        return EIO
    pipe.rest = data
    pipe.offset = 0
    return 0


def _transact(read_req: tevent_req) -> None:
    """Both halves are there: one call for them."""
    state = tevent_req_data(read_req, smbXcli_np_op)
    pipe = state.pipe
    immediate = tevent_create_immediate(state)
    if immediate is None:
        _no_memory_for_both(pipe)
        return
    state.immediate = immediate
    subreq = pipe.conn.ioctl_send(
        state,
        state.ev,
        pipe.timeout,
        pipe.session,
        pipe.tcon,
        *pipe.fid,
        FSCTL_NAMED_PIPE_READ_WRITE,
        0,
        pipe.trans_piece,
        pipe.max_data,
        None,
        1,
    )
    if subreq is None:
        _no_memory_for_both(pipe)
    else:
        tevent_req_set_callback(subreq, _transacted, read_req)


def _no_memory_for_both(pipe: tstream_smbXcli_np) -> None:
    """There will be no call. One half may be inside its ``_send``, so both hear of it from the loop."""
    for req in (pipe.trans_write, pipe.trans_read):
        if req is not None:
            tevent_req_defer_callback(req, tevent_req_data(req, smbXcli_np_op).ev)
            tevent_req_oom(req)


def _transacted(subreq: tevent_req) -> None:
    """The write is over first; the read goes on from the loop."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, smbXcli_np_op)
    pipe = state.pipe
    status, _, data = pipe.conn.ioctl_recv(subreq, state)
    data = None if data is None else bytes(data)
    TALLOC_FREE(subreq)
    pipe.trans_read = None
    write_req, pipe.trans_write = pipe.trans_write, None
    err = _judge(pipe, status, data)
    if err:
        state.size = err
        close = pipe.close_send(pipe.tcon, state.ev, pipe.timeout) if pipe.connected else None
        pipe.open = False
        if close is not None:
            tevent_req_set_callback(close, _close_forgotten, None)
        tevent_schedule_immediate(state.immediate, state.ev, _read_failed, req)
        if write_req is not None:
            tevent_req_error(write_req, err)
        return
    tevent_schedule_immediate(state.immediate, state.ev, _read_goes_on, req)
    if write_req is not None:
        write_state = tevent_req_data(write_req, smbXcli_np_op)
        write_state.ret += write_state.size
        tevent_req_done(write_req)


def _read_goes_on(ev: tevent_context, im: tevent_immediate, req: tevent_req) -> None:
    _read_on(req, tevent_req_data(req, smbXcli_np_op))


def _read_failed(ev: tevent_context, im: tevent_immediate, req: tevent_req) -> None:
    tevent_req_error(req, tevent_req_data(req, smbXcli_np_op).size)


def _disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    def start(req: tevent_req, state: smbXcli_np_op) -> None:
        subreq = state.pipe.close_send(state, ev, state.pipe.timeout)
        if not tevent_req_nomem(subreq, req):
            state.subreq = subreq
            tevent_req_set_callback(subreq, _closed, req)

    return _begin(mem_ctx, ev, stream, (), start)


def _closed(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, smbXcli_np_op)
    state.subreq = None
    status = state.pipe.conn.close_recv(subreq)
    TALLOC_FREE(subreq)
    if NT_STATUS_IS_OK(status):
        tevent_req_done(req)
    else:
        tevent_req_error(req, EPIPE)


_OPS: Final = tstream_context_ops(
    name="smbXcli_np",
    pending_bytes=_pending_bytes,
    readv_send=_readv_send,
    readv_recv=_transfer_recv,
    writev_send=_writev_send,
    writev_recv=_transfer_recv,
    disconnect_send=_disconnect_send,
    disconnect_recv=_transfer_recv,
)


# -- opening ----------------------------------------------------------------------------------------------------------


class tstream_smbXcli_np_open_state(TALLOC_CTX):
    """The state of `tstream_smbXcli_np_open_send`."""

    __slots__ = ("conn", "ev", "fid", "session", "tcon", "timeout")

    ev: tevent_context
    conn: smbXcli_conn
    session: TALLOC_CTX
    tcon: TALLOC_CTX
    timeout: int
    fid: tuple[int, int]


def tstream_smbXcli_np_open_send(
    mem_ctx: TALLOC_CTX | None,
    ev: tevent_context,
    conn: smbXcli_conn,
    session: TALLOC_CTX,
    tcon: TALLOC_CTX,
    pid: int,
    timeout: int,
    npipe: str,
) -> tevent_req | None:
    """
    Open a named pipe.

    C: ``struct tevent_req *tstream_smbXcli_np_open_send(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
    struct smbXcli_conn *conn, struct smbXcli_session *session, struct smbXcli_tcon *tcon, uint16_t pid,
    unsigned int timeout, const char *npipe)``

    Args:
        mem_ctx: The owner of the request.

        ev: The event context.

        conn: The connection.

        session: Its session.

        tcon: The tree connect to ``IPC$``.

        pid: Of SMB1 alone; not looked at.

        timeout: Milliseconds for each SMB call.

        npipe: The name of the pipe.

    The stream is disconnected when *conn*, *session* or *tcon* is freed; freeing the stream closes the pipe.
    """
    if not isinstance(conn, smbXcli_conn):
        raise TypeError(f"conn must be a smbXcli_conn, not {type(conn).__name__}")
    if not isinstance(npipe, str):
        raise TypeError(f"npipe must be a str, not {type(npipe).__name__}")
    req, state = tevent_req_create(mem_ctx, tstream_smbXcli_np_open_state)
    if req is None:
        return None
    state.ev, state.conn, state.session, state.tcon, state.timeout = ev, conn, session, tcon, timeout
    if conn.protocol() < PROTOCOL_SMB2_02:
        tevent_req_nterror(req, _NOT_SUPPORTED)
        return tevent_req_post(req, ev)
    if not conn.is_connected():
        tevent_req_nterror(req, NT_STATUS_CONNECTION_DISCONNECTED)
        return tevent_req_post(req, ev)
    subreq = conn.create_send(
        state,
        ev,
        timeout,
        session,
        tcon,
        npipe.removeprefix("\\"),
        _IMPERSONATION,
        _DESIRED_ACCESS,
        0,
        _SHARE_READ_WRITE,
        _FILE_OPEN,
        0,
    )
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    tevent_req_set_callback(subreq, _created, req)
    return req


def _created(subreq: tevent_req) -> None:
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, tstream_smbXcli_np_open_state)
    status, persistent, volatile = state.conn.create_recv(subreq)
    TALLOC_FREE(subreq)
    if tevent_req_nterror(req, status):
        return
    state.fid = persistent, volatile
    tevent_req_done(req)


def tstream_smbXcli_np_open_recv(
    req: tevent_req, mem_ctx: TALLOC_CTX | None
) -> tuple[NTSTATUS, tstream_context | None]:
    """
    The result of `tstream_smbXcli_np_open_send`.

    C: ``NTSTATUS tstream_smbXcli_np_open_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
    struct tstream_context **_stream)``

    Returns:
        ``(NT_STATUS_OK, stream)``, the stream a child of *mem_ctx*; or the status of the open and None.
    """
    state = tevent_req_data(req, tstream_smbXcli_np_open_state)
    failed, status = tevent_req_is_nterror(req)
    if failed:
        tevent_req_received(req)
        return status, None
    stream, pipe = tstream_context_create(mem_ctx, _OPS, tstream_smbXcli_np)
    if stream is None:
        tevent_req_received(req)
        return NT_STATUS_NO_MEMORY, None
    pipe.conn, pipe.session, pipe.tcon, pipe.fid = state.conn, state.session, state.tcon, state.fid
    pipe.timeout, pipe.ev = state.timeout, state.ev
    pipe.max_data = TSTREAM_SMBXCLI_NP_MAX_BUF_SIZE
    pipe.open = True
    pipe.rest = pipe.trans_piece = b""
    pipe.offset = 0
    pipe.trans_armed = False
    pipe.trans_read = pipe.trans_write = None
    pipe.markers = []
    for owner in (pipe.conn, pipe.session, pipe.tcon):
        marker = talloc_zero(owner, _marker)
        assert marker is not None
        marker.pipe = pipe
        talloc_set_destructor(marker, _marker_freed)
        pipe.markers.append(marker)
    talloc_set_destructor(pipe, _pipe_freed)
    tevent_req_received(req)
    return NT_STATUS_OK, stream


def smbXcli_conn_from_smbprotocol(
    mem_ctx: TALLOC_CTX | None, connection: Any, session: Any, tree: Any
) -> tuple[smbXcli_conn, TALLOC_CTX, TALLOC_CTX]:
    """
    What `tstream_smbXcli_np_open_send` needs, from the package smbprotocol.

    Args:
        mem_ctx: The owner of the three.

        connection: A ``smbprotocol.connection.Connection`` that is connected.

        session: Its ``Session``, authenticated.

        tree: A ``TreeConnect`` to ``IPC$``.

    Returns:
        The connection, the session and the tree connect, chunks. They borrow what they stand for: disconnecting it is
        the caller's business.

    Each call waits in a thread of its own, so the loop never does. Python only.

    Raises:
        ImportError: smbprotocol is not installed; ``pip install 'tsocket[smb]'``.
    """
    from ._smbprotocol import wrap

    return wrap(mem_ctx, connection, session, tree)
