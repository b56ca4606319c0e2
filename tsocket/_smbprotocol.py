# SPDX-License-Identifier: LGPL-3.0-or-later
"""
SMB calls by the package smbprotocol, whose functions block: each call waits in a thread of its own.

**A thread touches nothing of talloc's.** It gets a job, a plain object, and hands the result back under the job's lock
to the loop; a request that was freed meanwhile has marked its job, and the result is dropped.
"""

# That package has no annotations.
# pyright: reportMissingTypeStubs=none, reportUnknownMemberType=none, reportUnknownVariableType=none
# pyright: reportUnknownArgumentType=none

from __future__ import annotations

import threading

from talloc_py.core import TALLOC_CTX, talloc_zero
from tevent import (
    NT_STATUS_CONNECTION_DISCONNECTED,
    NT_STATUS_IO_TIMEOUT,
    NT_STATUS_OK,
    NTSTATUS,
    STATUS_BUFFER_OVERFLOW,
    tevent_common_threaded_activate_immediate,
    tevent_context,
    tevent_create_immediate,
    tevent_immediate,
    tevent_req,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_nomem,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_cleanup_fn,
    tevent_req_state,
    tevent_threaded_context,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
)

from .smb_np import smbXcli_conn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["wrap"]


class _job:
    """One call: what the thread knows."""

    def __init__(self, call: Callable[[], Any], tctx: tevent_threaded_context, im: tevent_immediate) -> None:
        self.lock = threading.Lock()
        self.wanted = True
        self.call = call
        self.tctx = tctx
        self.im = im
        self.status: NTSTATUS = NT_STATUS_OK
        self.result: Any = None

    def run(self, req: tevent_req) -> None:
        """In the thread: wait for the answer, and tell the loop."""
        self.status, self.result = _answer(self.call)
        with self.lock:
            if self.wanted:
                tevent_threaded_schedule_immediate(self.tctx, self.im, _over, req)


def _answer(call: Callable[[], Any]) -> tuple[NTSTATUS, Any]:
    """The status and the response of a call."""
    from smbprotocol.exceptions import SMBException, SMBResponseException

    try:
        return NT_STATUS_OK, call()
    except SMBResponseException as error:
        status = NTSTATUS(int(error.status))
        return status, error.header if status == STATUS_BUFFER_OVERFLOW else None
    except SMBException as error:
        return NT_STATUS_IO_TIMEOUT if "timeout" in str(error) else NT_STATUS_CONNECTION_DISCONNECTED, None
    except (OSError, ValueError):
        return NT_STATUS_CONNECTION_DISCONNECTED, None


class smbprotocol_call_state(TALLOC_CTX):
    """The state of a call."""

    __slots__ = ("job", "result", "status")

    job: _job | None
    status: NTSTATUS
    result: Any


def _call_send(mem_ctx: TALLOC_CTX, ev: tevent_context, call: Callable[[], Any]) -> tevent_req | None:
    """Let *call* run in a thread."""
    req, state = tevent_req_create(mem_ctx, smbprotocol_call_state)
    if req is None:
        return None
    state.job = None
    tctx = tevent_threaded_context_create(state, ev)
    im = tevent_create_immediate(state)
    if tevent_req_nomem(tctx, req) or tevent_req_nomem(im, req):
        return tevent_req_post(req, ev)
    assert tctx is not None
    assert im is not None
    state.job = _job(call, tctx, im)
    tevent_req_set_cleanup_fn(req, _drop)
    threading.Thread(target=state.job.run, args=(req,), name="SMB call", daemon=True).start()
    return req


def _drop(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function: nobody waits for the thread any more."""
    state = tevent_req_data(req, smbprotocol_call_state)
    job, state.job = state.job, None
    if job is not None:
        with job.lock:
            job.wanted = False
        ev = job.im.event_ctx
        if job.im.threaded and ev is not None:
            # The thread has told the loop, which has not noticed yet. Nobody may free an immediate in between.
            tevent_common_threaded_activate_immediate(ev)


def _over(ev: tevent_context, im: tevent_immediate, req: tevent_req) -> None:
    state = tevent_req_data(req, smbprotocol_call_state)
    assert state.job is not None
    state.status, state.result = state.job.status, state.job.result
    tevent_req_done(req)


def _call_recv(req: tevent_req) -> tuple[NTSTATUS, Any]:
    state = tevent_req_data(req, smbprotocol_call_state)
    result = state.status, state.result
    tevent_req_received(req)
    return result


def _file_id(persistent: int, volatile: int) -> bytes:
    return persistent.to_bytes(8, "little") + volatile.to_bytes(8, "little")


class smbprotocol_conn(smbXcli_conn):
    """A connection of smbprotocol."""

    __slots__ = ("connection", "session", "tree")

    connection: Any
    session: Any
    tree: Any

    def is_connected(self) -> bool:
        worker = getattr(self.connection, "_t_worker", None)
        return worker is not None and worker.is_alive()

    def _send(
        self, mem_ctx: TALLOC_CTX, ev: tevent_context, timeout: int, message: Any, response: Any
    ) -> tevent_req | None:
        def call() -> Any:
            request = self.connection.send(message, self.session.session_id, self.tree.tree_connect_id)
            # In whole seconds, as that package counts them.
            answer = self.connection.receive(request, timeout=max(1, -(-timeout // 1000)) if timeout else None)
            found = response()
            found.unpack(answer["data"].get_value())
            return found

        return _call_send(mem_ctx, ev, call)

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
        from smbprotocol.open import SMB2CreateRequest, SMB2CreateResponse

        message = SMB2CreateRequest()
        message["impersonation_level"] = impersonation_level
        message["desired_access"] = desired_access
        message["file_attributes"] = file_attributes
        message["share_access"] = share_access
        message["create_disposition"] = create_disposition
        message["create_options"] = create_options
        message["buffer_path"] = filename.encode("utf-16-le")
        return self._send(mem_ctx, ev, timeout, message, SMB2CreateResponse)

    def create_recv(self, req: tevent_req) -> tuple[NTSTATUS, int, int]:
        status, response = _call_recv(req)
        if response is None or status != NT_STATUS_OK:
            return status, 0, 0
        number = int.from_bytes(response["file_id"].pack(), "little")
        return status, number & (1 << 64) - 1, number >> 64

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
        from smbprotocol.open import SMB2CloseRequest, SMB2CloseResponse

        message = SMB2CloseRequest()
        message["file_id"] = _file_id(fid_persistent, fid_volatile)
        return self._send(mem_ctx, ev, timeout, message, SMB2CloseResponse)

    def close_recv(self, req: tevent_req) -> NTSTATUS:
        return _call_recv(req)[0]

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
        from smbprotocol.open import SMB2ReadRequest, SMB2ReadResponse

        message = SMB2ReadRequest()
        message["length"] = length
        message["offset"] = offset
        message["minimum_count"] = minimum_count
        message["remaining_bytes"] = remaining_bytes
        message["file_id"] = _file_id(fid_persistent, fid_volatile)
        message["padding"] = b"\x50"
        return self._send(mem_ctx, ev, timeout, message, SMB2ReadResponse)

    def read_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[NTSTATUS, bytes | None]:
        from smbprotocol.open import SMB2ReadResponse

        status, response = _call_recv(req)
        if response is None:
            return status, None
        return status, bytes(_unpacked(status, response, SMB2ReadResponse)["buffer"].get_value())

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
        from smbprotocol.open import SMB2WriteRequest, SMB2WriteResponse

        message = SMB2WriteRequest()
        message["length"] = len(data)
        message["offset"] = offset
        message["remaining_bytes"] = remaining_bytes
        message["file_id"] = _file_id(fid_persistent, fid_volatile)
        message["buffer"] = data
        return self._send(mem_ctx, ev, timeout, message, SMB2WriteResponse)

    def write_recv(self, req: tevent_req) -> tuple[NTSTATUS, int]:
        status, response = _call_recv(req)
        return status, 0 if response is None else int(response["count"].get_value())

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
        from smbprotocol.ioctl import SMB2IOCTLRequest, SMB2IOCTLResponse

        message = SMB2IOCTLRequest()
        message["ctl_code"] = ctl_code
        message["file_id"] = _file_id(fid_persistent, fid_volatile)
        message["max_input_response"] = in_max_input_length
        message["max_output_response"] = in_max_output_length
        message["flags"] = flags
        message["buffer"] = in_input_buffer or b""
        return self._send(mem_ctx, ev, timeout, message, SMB2IOCTLResponse)

    def ioctl_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> tuple[NTSTATUS, bytes | None, bytes | None]:
        from smbprotocol.ioctl import SMB2IOCTLResponse

        status, response = _call_recv(req)
        if response is None:
            return status, None, None
        return status, None, bytes(_unpacked(status, response, SMB2IOCTLResponse)["buffer"].get_value())


def _unpacked(status: int, response: Any, kind: Any) -> Any:
    """The response; that of STATUS_BUFFER_OVERFLOW came as an exception's header and is still to be unpacked."""
    if status != STATUS_BUFFER_OVERFLOW:
        return response
    found = kind()
    found.unpack(response["data"].get_value())
    return found


class _borrowed(TALLOC_CTX):
    """Stands for a session or a tree connect."""

    __slots__ = ()


def wrap(
    mem_ctx: TALLOC_CTX | None, connection: Any, session: Any, tree: Any
) -> tuple[smbXcli_conn, TALLOC_CTX, TALLOC_CTX]:
    """See `smbXcli_conn_from_smbprotocol`."""
    try:
        import smbprotocol as smbprotocol
    except ImportError as error:
        raise ImportError("smbprotocol is not installed: pip install 'tsocket[smb]'", name="smbprotocol") from error
    conn = talloc_zero(mem_ctx, smbprotocol_conn)
    stands_for_session, stands_for_tree = talloc_zero(conn, _borrowed), talloc_zero(conn, _borrowed)
    if conn is None or stands_for_session is None or stands_for_tree is None:
        raise MemoryError("a memory limit forbids it")
    conn.connection, conn.session, conn.tree = connection, session, tree
    return conn, stands_for_session, stands_for_tree
