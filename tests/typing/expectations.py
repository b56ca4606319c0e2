# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What a type checker makes of the API.

Not run: mypy and pyright check, in strict mode, that each `assert_type` holds and that nothing here needs a cast.
"""

from __future__ import annotations

from errno import EIO
from typing import TYPE_CHECKING, assert_type

from talloc_py import *
from talloc_py.typing import talloc_buffer, talloc_list, talloc_string
from tevent import *
from tsocket import *

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tevent.typing import tevent_subreq


class foo_state(TALLOC_CTX):
    """A state as users write them."""

    ev: tevent_context
    stream: tstream_context
    queue: tevent_queue
    header: bytearray | None
    body: bytearray
    received: int
    packet: talloc_buffer | None
    peer: talloc_string | None


# -------------------------------------------------------------------------------------------------------- ownership


def ownership(ctx: TALLOC_CTX | None) -> None:
    """Type arguments come back as instances; strings and buffers are chunks and what they are."""
    state = talloc_zero(ctx, foo_state)
    assert_type(state, foo_state | None)
    if state is None:
        return
    assert_type(talloc(state, foo_state), foo_state | None)
    assert_type(talloc_get_type(state, foo_state), foo_state | None)
    assert_type(talloc_get_type_abort(state, foo_state), foo_state)
    assert_type(talloc_steal(ctx, state), foo_state)
    assert_type(talloc_move(ctx, state), foo_state)
    assert_type(talloc_reparent(ctx, None, state), foo_state | None)
    assert_type(talloc_pooled_object(ctx, foo_state, 1, 100), foo_state | None)
    assert_type(talloc_free(state), int)
    assert_type(TALLOC_FREE(state), None)
    assert_type(talloc_parent(state), TALLOC_CTX | None)
    assert_type(talloc_get_name(state), str)
    assert_type(talloc_find_parent_bytype(state, foo_state), foo_state | None)
    assert_type(talloc_total_blocks(state), int)
    talloc_set_destructor(state, foo_destructor)
    talloc_set_destructor(state, None)

    # As owners and as what they are, without a cast.
    text = talloc_strdup(ctx, "text")
    assert_type(text, talloc_string | None)
    if text is not None:
        text.upper()
        talloc_new(text)
    buf = talloc_size(ctx, 10)
    assert_type(buf, talloc_buffer | None)
    if buf is not None:
        buf.extend(b"more")
        talloc_new(buf)
    assert_type(talloc_array(ctx, uint8_t, 10), talloc_buffer | None)
    assert_type(talloc_array(ctx, int, 10), talloc_list[int] | None)
    assert_type(talloc_array(ctx, foo_state, 10), talloc_list[foo_state] | None)


def keeping(ctx: TALLOC_CTX | None, state: foo_state, req: tevent_req) -> talloc_buffer | None:
    """A state holds chunks that are strings and buffers, and gives them away again."""
    _ret, _perrno, state.packet, src = tdgram_recvfrom_recv(req, state)
    if src is not None:
        state.peer = tsocket_address_string(src, state)
        assert_type(state.peer, talloc_string | None)
    packet = talloc_move(ctx, state.packet)
    assert_type(packet, talloc_buffer | None)
    state.packet = TALLOC_FREE(state.packet)
    return packet


def foo_destructor(state: foo_state) -> int:
    """A destructor gets what it was set on."""
    return 0 if state.received else -1


# --------------------------------------------------------------------------------------------------------- requests


def foo_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, stream: tstream_context) -> tevent_req | None:
    """A line-by-line port: C's one test of `req` is enough, and `tevent_req_nomem` tells what it tests."""
    req, state = tevent_req_create(mem_ctx, foo_state)
    assert_type(req, tevent_req | None)
    assert_type(state, foo_state)
    if req is None:
        return None
    assert_type(req, tevent_req)

    state.ev = ev
    state.stream = stream
    subreq = tstream_writev_send(state, ev, stream, [b"hello", bytearray(5), memoryview(b"x")])
    assert_type(subreq, tevent_req | None)
    if tevent_req_nomem(subreq, req):
        return tevent_req_post(req, ev)
    assert_type(subreq, tevent_req)
    tevent_req_set_callback(subreq, foo_written, req)
    return req


def foo_written(subreq: tevent_req) -> None:
    """A callback."""
    req = tevent_req_callback_data(subreq, tevent_req)
    assert_type(req, tevent_req)
    state = tevent_req_data(req, foo_state)
    assert_type(state, foo_state)

    ret, err = tstream_writev_recv(subreq)
    TALLOC_FREE(subreq)
    if ret == -1:
        tevent_req_error(req, err)
        return
    subreq2 = tstream_readv_pdu_send(state, state.ev, state.stream, foo_next_vector, state)
    if tevent_req_nomem(subreq2, req):
        return
    tevent_req_set_callback(subreq2, foo_read, req)


def foo_again(subreq: tevent_subreq) -> None:
    """A callback that uses its parameter for the next request too, as C does."""
    req = tevent_req_callback_data(subreq, tevent_req)
    state = tevent_req_data(req, foo_state)

    assert_type(tstream_writev_queue_recv(subreq), tuple[int, int])
    TALLOC_FREE(subreq)
    subreq = tstream_readv_send(state, state.ev, state.stream, [state.body])
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, foo_again, req)


def foo_next_vector(
    stream: tstream_context, private_data: object, mem_ctx: TALLOC_CTX
) -> tuple[int, Sequence[bytearray] | None]:
    """The private data is any object: a type check makes a state of it."""
    state = talloc_get_type_abort(private_data, foo_state)
    assert_type(state, foo_state)
    if state.header is not None:
        return 0, []
    state.header = bytearray(4)
    return 0, [state.header]


def foo_next_vector_of_state(
    stream: tstream_context, state: foo_state, mem_ctx: TALLOC_CTX
) -> tuple[int, Sequence[bytearray] | None]:
    """... or the annotation says what it is, as a C parameter of another type would."""
    return 0, [state.body]


def foo_trigger(req: tevent_req, state: foo_state) -> None:
    """The trigger of a queue, in the same way."""
    subreq = tstream_readv_pdu_send(state, state.ev, state.stream, foo_next_vector_of_state, state)
    if tevent_req_nomem(subreq, req):
        return
    tevent_req_set_callback(subreq, foo_read, req)


def foo_cleanup(req: tevent_req, req_state: tevent_req_state) -> None:
    """A cleanup function."""
    tevent_req_data(req, foo_state).header = None


def foo_queue_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, queue: tevent_queue) -> tevent_req | None:
    """A request that waits for its turn, with everything that can be set on it."""
    req, state = tevent_req_create(mem_ctx, foo_state)
    if req is None:
        return None
    state.header = talloc_array(state, uint8_t, 4)
    if tevent_req_nomem(state.header, req):
        return tevent_req_post(req, ev)
    assert_type(tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(1, 0)), bool)
    tevent_req_set_cleanup_fn(req, foo_cleanup)
    tevent_req_set_cancel_fn(req, lambda req: tevent_req_error(req, EIO))
    state.queue = queue
    if not tevent_queue_add(queue, ev, req, foo_trigger, state):
        tevent_req_oom(req)
        return tevent_req_post(req, ev)
    return req


def foo_read(subreq: tevent_req) -> None:
    """A callback that ends a request."""
    req = tevent_req_callback_data(subreq, tevent_req)
    ret, err = tstream_readv_pdu_recv(subreq)
    assert_type(ret, int)
    assert_type(err, int)
    if ret == -1:
        assert_type(tevent_req_error(req, err), bool)
        return
    tevent_req_done(req)


def foo_recv(req: tevent_req) -> int:
    """A `_recv`."""
    is_error, state, error = tevent_req_is_error(req)
    assert_type(is_error, bool)
    assert_type(state, tevent_req_state | None)
    assert_type(error, int | None)
    assert_type(tevent_req_is_unix_error(req), tuple[bool, int])
    assert_type(tevent_req_is_in_progress(req), bool)
    assert_type(tevent_req_simple_recv_unix(req), int)
    return error or EIO


def queues(mem_ctx: TALLOC_CTX | None, ev: tevent_context, req: tevent_req) -> None:
    """Queues and their entries."""
    queue = tevent_queue_create(mem_ctx, "queue")
    assert_type(queue, tevent_queue | None)
    if queue is None:
        return
    assert_type(tevent_queue_add(queue, ev, req, None, None), bool)
    assert_type(tevent_queue_add_entry(queue, ev, req, None, None), tevent_queue_entry | None)
    assert_type(tevent_queue_wait_send(mem_ctx, ev, queue), tevent_req | None)
    assert_type(tevent_queue_length(queue), int)


# --------------------------------------------------------------------------------------------------------- the loop


def loop(mem_ctx: TALLOC_CTX | None) -> None:
    """Contexts, events and times."""
    ev = tevent_context_init(mem_ctx)
    assert_type(ev, tevent_context | None)
    if ev is None:
        return
    assert_type(tevent_loop_once(ev), int)
    assert_type(tevent_loop_wait(ev), int)
    assert_type(tevent_timeval_current_ofs(1, 0), timeval)
    assert_type(tevent_timeval_current().tv_sec, int)
    assert_type(tevent_add_fd(ev, mem_ctx, 0, TEVENT_FD_READ, on_fd, None), tevent_fd | None)
    assert_type(tevent_add_timer(ev, mem_ctx, timeval(0, 0), on_timer, None), tevent_timer | None)
    assert_type(tevent_create_immediate(mem_ctx), tevent_immediate | None)


def on_fd(ev: tevent_context, fde: tevent_fd, flags: int, private_data: object) -> None:
    """A handler of a descriptor."""


def on_timer(ev: tevent_context, te: tevent_timer, current_time: timeval, private_data: object) -> None:
    """A handler of a timer."""


# ----------------------------------------------------------------------------------------------------- the sockets


def addresses(mem_ctx: TALLOC_CTX | None) -> None:
    """Out parameters are None after a failure, so they may be None."""
    ret, addr = tsocket_address_inet_from_strings(mem_ctx, "ip", None, 0)
    assert_type(ret, int)
    assert_type(addr, tsocket_address | None)
    if addr is None:
        return
    assert_type(tsocket_address_is_inet(addr, "ipv4"), bool)
    assert_type(tsocket_address_inet_port(addr), int)
    _, sa = tsocket_address_bsd_sockaddr(addr)
    assert_type(sa, sockaddr | None)
    text = tsocket_address_string(addr, mem_ctx)
    if text is not None:
        text.encode()
        talloc_free(text)


def datagrams(mem_ctx: TALLOC_CTX | None, req: tevent_req) -> None:
    """A received datagram."""
    ret, perrno, buf, src = tdgram_recvfrom_recv(req, mem_ctx)
    assert_type(ret, int)
    assert_type(perrno, int)
    assert_type(buf, talloc_buffer | None)
    assert_type(src, tsocket_address | None)
    if buf is not None:
        buf.extend(b"x")
        talloc_move(mem_ctx, buf)


def connecting(mem_ctx: TALLOC_CTX | None, req: tevent_req) -> None:
    """What `_recv` functions return, precisely."""
    assert_type(tstream_readv_recv(req), tuple[int, int])
    assert_type(tstream_read_pdu_blob_recv(req, mem_ctx), tuple[NTSTATUS, talloc_buffer | None])
    assert_type(accept_recv(req), tuple[int, int | None, sockaddr | None, int])
    assert_type(tstream_tls_connect_recv(req, mem_ctx), tuple[int, int, tstream_context | None])
    assert_type(tstream_disconnect_recv(req), tuple[int, int])
    assert_type(tstream_monitor_recv(req), tuple[int, int])
    assert_type(
        tstream_inet_tcp_connect_recv(req, mem_ctx), tuple[int, int, tstream_context | None, tsocket_address | None]
    )
    assert_type(tstream_unix_connect_recv(req, mem_ctx), tuple[int, int, tstream_context | None])
    assert_type(tstream_unix_socketpair(mem_ctx, mem_ctx), tuple[int, tstream_context | None, tstream_context | None])
    assert_type(tstream_bsd_existing_socket(mem_ctx, 3), tuple[int, tstream_context | None])


def backends(stream: tstream_context) -> None:
    """The state of a backend."""
    assert_type(tstream_context_data(stream, foo_state), foo_state)


def backend_recv(req: tevent_req) -> tuple[int, int]:
    """The first part of a backend's `_recv`."""
    return tsocket_simple_int_recv(req)
