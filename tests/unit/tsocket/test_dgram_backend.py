# SPDX-License-Identifier: LGPL-3.0-or-later
"""Datagram backends in the C style, and what the core does for every backend."""

from __future__ import annotations

import copy
from errno import EBUSY, EINVAL, EIO, ENOMEM, ENOTCONN, ETIMEDOUT
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_memdup,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_destructor,
    talloc_set_memlimit,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_REQ_RECEIVED,
    tevent_context,
    tevent_queue_create,
    tevent_req,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    timeval,
)
from tsocket import (
    sockaddr,
    tdgram_bsd_optimize_recvfrom,
    tdgram_context,
    tdgram_context_create,
    tdgram_context_data,
    tdgram_context_ops,
    tdgram_disconnect_recv,
    tdgram_disconnect_send,
    tdgram_recvfrom_recv,
    tdgram_recvfrom_send,
    tdgram_sendto_queue_recv,
    tdgram_sendto_queue_send,
    tdgram_sendto_recv,
    tdgram_sendto_send,
    tsocket_address,
    tsocket_address_bsd_from_sockaddr,
    tsocket_address_string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_kit import Loop


class box_state(TALLOC_CTX):
    """A backend whose operations finish when the test says so."""

    log: list[str]
    pending: dict[str, tevent_req]
    sent: list[Any]
    answers: dict[str, Any]
    owners: list[Any]


class box_req_state(TALLOC_CTX):
    """The state of the backend's own requests."""


def box_begin(name: str, mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    box = tdgram_context_data(dgram, box_state)
    box.log.append(name)
    box.owners.append(mem_ctx)
    answer = box.answers.get(name, "wait")
    if answer == "nomem":
        return None
    if answer == "raise":
        raise LookupError(name)
    req, _ = tevent_req_create(mem_ctx, box_req_state)
    assert req is not None
    box.pending[name] = req
    if answer == "wait":
        return req
    if isinstance(answer, int) and answer:
        tevent_req_error(req, answer)
    else:
        tevent_req_done(req)
    return tevent_req_post(req, ev)


def box_end(req: tevent_req) -> tuple[int, int]:
    failed, _, error = tevent_req_is_error(req)
    tevent_req_received(req)
    return (-1, error or 0) if failed else (0, 0)


def recvfrom_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    return box_begin("recvfrom", mem_ctx, ev, dgram)


def sendto_send(
    mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context, buf: Any, dst: tsocket_address | None
) -> tevent_req | None:
    tdgram_context_data(dgram, box_state).sent.append((buf, dst))
    return box_begin("sendto", mem_ctx, ev, dgram)


def disconnect_send(mem_ctx: TALLOC_CTX, ev: tevent_context, dgram: tdgram_context) -> tevent_req | None:
    return box_begin("disconnect", mem_ctx, ev, dgram)


class Box:
    """A datagram context over the backend above, with the backend's side in the hands of the test."""

    def __init__(self, top: TALLOC_CTX, **members: Any) -> None:
        self.received: Any = None
        self.ret = 5
        names: dict[str, Any] = {
            "name": "box",
            "recvfrom_send": recvfrom_send,
            "recvfrom_recv": self.recvfrom_recv,
            "sendto_send": sendto_send,
            "sendto_recv": self.sendto_recv,
            "disconnect_send": disconnect_send,
            "disconnect_recv": box_end,
        }
        self.dgram, self.state = tdgram_context_create(top, tdgram_context_ops(**(names | members)), box_state)
        self.state.log = []
        self.state.pending = {}
        self.state.sent = []
        self.state.answers = {}
        self.state.owners = []

    def recvfrom_recv(self, req: tevent_req, mem_ctx: TALLOC_CTX) -> Any:
        ret, err = box_end(req)
        if ret == -1:
            return ret, err, None, None
        buf = talloc_memdup(mem_ctx, b"hello")
        _, src = tsocket_address_bsd_from_sockaddr(mem_ctx, sockaddr(1, "/peer"))
        return self.ret, 0, buf, src

    def sendto_recv(self, req: tevent_req) -> tuple[int, int]:
        ret, err = box_end(req)
        return (ret, err) if ret == -1 else (self.ret, 0)

    def finish(self, name: str, err: int = 0) -> None:
        """Let the backend's request end."""
        req = self.state.pending.pop(name)
        if err:
            tevent_req_error(req, err)
        else:
            tevent_req_done(req)


@pytest.fixture
def box(top: TALLOC_CTX) -> Box:
    return Box(top)


SENDS: dict[str, Callable[..., Any]] = {
    "recvfrom": tdgram_recvfrom_send,
    "sendto": lambda ctx, ev, dgram: tdgram_sendto_send(ctx, ev, dgram, b"12345", None),
    "disconnect": tdgram_disconnect_send,
}
RECVS: dict[str, Callable[..., Any]] = {
    "recvfrom": lambda req: tdgram_recvfrom_recv(req, req)[:2],
    "sendto": tdgram_sendto_recv,
    "disconnect": tdgram_disconnect_recv,
}
NAMES = ["recvfrom", "sendto", "disconnect"]


class TestCreate:
    def test_context_and_state(self, top: TALLOC_CTX, box: Box) -> None:
        """The context belongs to the owner given, the state to the context, both named as in C."""
        assert talloc_parent(box.dgram) is top
        assert talloc_parent(box.state) is box.dgram
        assert talloc_get_name(box.dgram) == "struct tdgram_context"
        assert talloc_get_name(box.state) == "struct box_state"
        assert tdgram_context_data(box.dgram, box_state) is box.state

    def test_data_of_another_type(self, box: Box) -> None:
        """The state is handed out as what it is only."""
        with pytest.raises(talloc_abort_error, match="Type mismatch"):
            tdgram_context_data(box.dgram, box_req_state)

    @pytest.mark.parametrize("ops", [None, object(), "ops"])
    def test_ops_of_another_type(self, top: TALLOC_CTX, ops: Any) -> None:
        """Only a tdgram_context_ops will do."""
        with pytest.raises(TypeError, match="tdgram_context_ops"):
            tdgram_context_create(top, ops, box_state)

    def test_failing_state_leaves_nothing(self, top: TALLOC_CTX) -> None:
        """When the state cannot be made, the exception passes and no context remains."""

        class broken_state(TALLOC_CTX):
            def __init__(self) -> None:
                raise LookupError("no")

        with pytest.raises(LookupError):
            tdgram_context_create(top, tdgram_context_ops(), broken_state)
        assert talloc_total_blocks(top) == 1

    def test_memory_limit(self, top: TALLOC_CTX) -> None:
        """Where a memory limit forbids the context or its state there is neither."""
        refused = 0
        for room in range(1, 2000, 16):
            limited = talloc_new(top)
            talloc_set_memlimit(limited, room)
            dgram, state = tdgram_context_create(limited, tdgram_context_ops(), box_state)
            if dgram is not None:
                break
            assert state is None
            assert talloc_total_blocks(limited) == 1
            refused = room
        assert refused > talloc_get_size(dgram) + talloc_get_size(state)

    def test_not_by_calling_the_class(self) -> None:
        """A context is not made by calling the class."""
        with pytest.raises(TypeError, match="not by calling the class"):
            tdgram_context()

    def test_ops_default_to_none(self) -> None:
        """Members left out are None; the repr names the backend."""
        ops = tdgram_context_ops("x", sendto_recv=box_end)
        assert ops.sendto_recv is box_end
        assert ops.recvfrom_send is None
        assert repr(ops) == "tdgram_context_ops(name='x')"

    def test_repr(self, box: Box, loop: Loop) -> None:
        """The repr tells what is going on, and that a context is freed."""
        assert repr(box.dgram) == "<tdgram_context box idle>"
        tdgram_recvfrom_send(box.state, loop.ev, box.dgram)
        tdgram_sendto_send(box.state, loop.ev, box.dgram, b"x", None)
        assert repr(box.dgram) == "<tdgram_context box recvfrom+sendto>"
        talloc_free(box.dgram)
        assert repr(box.dgram) == "<tdgram_context, freed>"

    def test_not_a_bsd_socket(self, box: Box) -> None:
        """The option of BSD sockets does nothing here."""
        assert tdgram_bsd_optimize_recvfrom(box.dgram, True) is False
        assert tdgram_bsd_optimize_recvfrom(box.dgram, True) is False


class TestOperations:
    @pytest.mark.parametrize("name", NAMES)
    def test_success(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The end of the backend's request is the end of the caller's, in the same turn."""
        req = SENDS[name](top, loop.ev, box.dgram)
        seen = loop.watch(req, RECVS[name])
        assert loop.settle() == 0
        box.finish(name)
        assert seen.result == ((0 if name == "disconnect" else 5), 0)
        assert box.state.log == [name]

    @pytest.mark.parametrize("name", NAMES)
    def test_failure(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The backend's error is the caller's."""
        seen = loop.watch(SENDS[name](top, loop.ev, box.dgram), RECVS[name])
        box.finish(name, ENOTCONN)
        assert seen.result == (-1, ENOTCONN)

    @pytest.mark.parametrize("name", NAMES)
    def test_failure_without_a_reason(self, top: TALLOC_CTX, loop: Loop, name: str) -> None:
        """A backend that says -1 and no errno does not leave the caller hanging."""

        def nothing(req: tevent_req, *_: Any) -> Any:
            return (-1, 0, None, None) if name == "recvfrom" else (-1, 0)

        box = Box(top, **{f"{name}_recv": nothing})
        seen = loop.watch(SENDS[name](top, loop.ev, box.dgram), RECVS[name])
        box.finish(name)
        assert seen.result == (-1, EIO)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("answer", [0, ENOTCONN])
    def test_finished_inside_send(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str, answer: int) -> None:
        """A backend that is done at once: a receive is finished too, the others end in the next turn."""
        box.state.answers[name] = answer
        req = SENDS[name](top, loop.ev, box.dgram)
        assert tevent_req_is_in_progress(req) is (name != "recvfrom")
        seen = loop.watch(req, RECVS[name])
        assert seen.calls == 0
        loop.turn()
        good = 0 if name == "disconnect" else 5
        assert seen.result == ((-1, answer) if answer else (good, 0))
        assert loop.settle() == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_backend_out_of_memory(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A backend without a request: ENOMEM, finished at once, called back from the loop."""
        box.state.answers[name] = "nomem"
        req = SENDS[name](top, loop.ev, box.dgram)
        assert not tevent_req_is_in_progress(req)
        seen = loop.watch(req, RECVS[name])
        loop.turn()
        assert seen.result == (-1, ENOMEM)
        box.state.answers.clear()
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))

    def test_a_queued_send_without_a_request_leaves_the_context_free(
        self, top: TALLOC_CTX, loop: Loop, box: Box
    ) -> None:
        """ENOMEM from the loop; the next send reaches the backend at once."""
        queue = tevent_queue_create(top, "sends")
        assert queue is not None
        box.state.answers["sendto"] = "nomem"
        req = tdgram_sendto_queue_send(top, loop.ev, box.dgram, queue, b"x", None)
        seen = loop.watch(req, tdgram_sendto_queue_recv)
        box.state.answers.clear()
        assert tevent_req_is_in_progress(SENDS["sendto"](top, loop.ev, box.dgram))
        assert box.state.log == ["sendto", "sendto"]
        loop.settle()
        assert seen.result == (-1, ENOMEM)

    def test_what_a_receive_was_made_of_stays_until_it_is_received(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Also where the backend was done inside ``_send``."""
        freed: list[str] = []
        box.state.answers["recvfrom"] = 71
        req = SENDS["recvfrom"](top, loop.ev, box.dgram)
        talloc_set_destructor(talloc_new(box.state.pending["recvfrom"]), lambda _: freed.append("recvfrom"))
        loop.settle()
        assert freed == []
        assert RECVS["recvfrom"](req) == (-1, 71)
        assert freed == ["recvfrom"]

    @pytest.mark.parametrize("name", NAMES)
    def test_backend_raises(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """An exception of the backend passes, no request remains, and the context is free again."""
        blocks = talloc_total_blocks(top)
        box.state.answers[name] = "raise"
        with pytest.raises(LookupError):
            SENDS[name](top, loop.ev, box.dgram)
        assert talloc_total_blocks(top) == blocks
        box.state.answers.clear()
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))

    @pytest.mark.parametrize("name", NAMES)
    def test_missing_operation(self, top: TALLOC_CTX, loop: Loop, name: str) -> None:
        """An operation that the backend lacks is named."""
        box = Box(top, **{f"{name}_send": None})
        with pytest.raises(TypeError, match=f"'box' has no operation {name}_send"):
            SENDS[name](top, loop.ev, box.dgram)
        box = Box(top, **{f"{name}_recv": None})
        req = SENDS[name](top, loop.ev, box.dgram)
        assert req is not None
        with pytest.raises(TypeError, match=f"'box' has no operation {name}_recv"):
            box.finish(name)

    @pytest.mark.parametrize("name", NAMES)
    def test_owner_of_the_backends_request(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The backend's request dies with the caller's, and is gone once that is received."""
        gone: list[str] = []

        def note(state: box_req_state) -> int:
            gone.append(name)
            return 0

        for end in ("free", "receive"):
            req = SENDS[name](top, loop.ev, box.dgram)
            talloc_set_destructor(tevent_req_data(box.state.pending[name], box_req_state), note)
            assert talloc_parent(box.state.pending[name]) is box.state.owners[-1]
            if end == "free":
                talloc_free(req)
            else:
                assert RECVS[name](req) == (-1, EIO)
            assert gone == [name]
            gone.clear()

    def test_arguments_are_passed_on(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """The backend gets the caller's own buffer and address."""
        buf = bytearray(b"abc")
        _, dst = tsocket_address_bsd_from_sockaddr(top, sockaddr(1, "/x"))
        tdgram_sendto_send(top, loop.ev, box.dgram, buf, dst)
        assert box.state.sent[0][0] is buf
        assert box.state.sent[0][1] is dst

    def test_result_of_a_receive(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Buffer and source are moved to the owner that the caller names."""
        owner = talloc_new(top)
        req = tdgram_recvfrom_send(top, loop.ev, box.dgram)
        assert req is not None
        box.finish("recvfrom")
        ret, err, buf, src = tdgram_recvfrom_recv(req, owner)
        assert (ret, err, bytes(buf or b"")) == (5, 0, b"hello")
        assert talloc_parent(buf) is owner  # type: ignore[arg-type]
        assert talloc_parent(src) is owner
        assert tsocket_address_string(src, top) == "unix:/peer"

    def test_any_other_number_is_the_result(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """What the backend says is passed on unchecked."""
        box.ret = 42
        for name in ("recvfrom", "sendto"):
            seen = loop.watch(SENDS[name](top, loop.ev, box.dgram), RECVS[name])
            box.finish(name)
            assert seen.result == (42, 0)

    def test_backend_without_buffer_and_source(self, top: TALLOC_CTX, loop: Loop) -> None:
        """A backend may have nothing to hand over but a number."""

        def bare(req: tevent_req, mem_ctx: TALLOC_CTX) -> Any:
            box_end(req)
            return 3, 0, None, None

        box = Box(top, recvfrom_recv=bare)
        seen = loop.watch(tdgram_recvfrom_send(top, loop.ev, box.dgram), lambda req: tdgram_recvfrom_recv(req, top))
        box.finish("recvfrom")
        assert seen.result == (3, 0, None, None)


class TestBusy:
    @pytest.mark.parametrize("name", ["recvfrom", "sendto"])
    def test_second_one(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A second operation in the same direction is refused at once, and does not disturb the first."""
        first = loop.watch(SENDS[name](top, loop.ev, box.dgram), RECVS[name])
        req = SENDS[name](top, loop.ev, box.dgram)
        assert not tevent_req_is_in_progress(req)
        second = loop.watch(req, RECVS[name])
        loop.turn()
        assert second.result == (-1, EBUSY)
        assert box.state.log == [name]
        assert first.calls == 0
        box.finish(name)
        assert first.result == (5, 0)

    @pytest.mark.parametrize("name", ["recvfrom", "sendto"])
    def test_disconnect_while_busy(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A disconnect waits for nobody: it is refused."""
        SENDS[name](top, loop.ev, box.dgram)
        req = tdgram_disconnect_send(top, loop.ev, box.dgram)
        assert req is not None
        assert not tevent_req_is_in_progress(req)
        assert tdgram_disconnect_recv(req) == (-1, EBUSY)
        assert box.state.log == [name]

    def test_directions_are_independent(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """A receive and a send go on side by side."""
        receiving = loop.watch(SENDS["recvfrom"](top, loop.ev, box.dgram), RECVS["recvfrom"])
        sending = loop.watch(SENDS["sendto"](top, loop.ev, box.dgram), RECVS["sendto"])
        box.finish("sendto")
        box.finish("recvfrom")
        assert receiving.result == sending.result == (5, 0)

    def test_disconnects_are_not_counted(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Beside a disconnect everything reaches the backend, another disconnect too."""
        for name in ("disconnect", "disconnect", "recvfrom", "sendto"):
            assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))
        assert box.state.log == ["disconnect", "disconnect", "recvfrom", "sendto"]

    def test_empty_datagram_before_busy(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Nothing to send is found out first."""
        SENDS["sendto"](top, loop.ev, box.dgram)
        for empty in (b"", bytearray(), memoryview(b""), None):
            req = tdgram_sendto_send(top, loop.ev, box.dgram, empty, None)
            assert req is not None
            assert not tevent_req_is_in_progress(req)
            assert tdgram_sendto_recv(req) == (-1, EINVAL)
        assert box.state.log == ["sendto"]

    @pytest.mark.parametrize("name", ["recvfrom", "sendto"])
    def test_free_again_in_the_callback(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The context is free for the next operation before the callback, even without a receive."""
        following: list[tevent_req] = []

        def done(req: tevent_req) -> None:
            following.append(SENDS[name](top, loop.ev, box.dgram))

        req = SENDS[name](top, loop.ev, box.dgram)
        tevent_req_set_callback(req, done, None)
        box.finish(name)
        assert tevent_req_is_in_progress(following[0])
        assert RECVS[name](req) == (5, 0)
        assert tevent_req_is_in_progress(following[0])


class TestEnds:
    @pytest.mark.parametrize("name", NAMES)
    def test_free_in_progress(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A request that is freed is forgotten: no callback, and the context is free at once."""
        req = SENDS[name](top, loop.ev, box.dgram)
        seen = loop.watch(req)
        talloc_free(req)
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))
        assert loop.settle() == 0
        assert seen.calls == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_receive_in_progress(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """Receiving early is EIO, and ends the operation."""
        req = SENDS[name](top, loop.ev, box.dgram)
        assert RECVS[name](req) == (-1, EIO)
        assert tevent_req_is_error(req)[1] == TEVENT_REQ_RECEIVED
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))

    @pytest.mark.parametrize("name", ["recvfrom", "sendto"])
    def test_free_context(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """With the context its requests are silenced, and stay where they are."""
        req = SENDS[name](top, loop.ev, box.dgram)
        seen = loop.watch(req)
        talloc_free(box.dgram)
        assert not tevent_req_is_in_progress(req)
        assert tevent_req_is_error(req)[1] == TEVENT_REQ_RECEIVED
        assert talloc_parent(req) is top
        assert loop.settle() == 0
        assert seen.calls == 0
        with pytest.raises(talloc_abort_error, match=rf"expected\[struct tdgram_{name}_state\]"):
            RECVS[name](req)

    def test_free_context_with_a_disconnect(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """A disconnect outlives the context, as in C."""
        req = tdgram_disconnect_send(top, loop.ev, box.dgram)
        seen = loop.watch(req, tdgram_disconnect_recv)
        pending = box.state.pending["disconnect"]
        talloc_free(box.dgram)
        tevent_req_done(pending)
        assert seen.result == (0, 0)

    def test_free_context_with_a_queued_send(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """A queued send is more than the context's own: it stays in progress, and is never called back."""
        queue = tevent_queue_create(top, "sends")
        assert queue is not None
        req = tdgram_sendto_queue_send(top, loop.ev, box.dgram, queue, b"x", None)
        seen = loop.watch(req)
        assert box.state.log == ["sendto"]
        talloc_free(box.dgram)
        assert loop.settle() == 0
        assert seen.calls == 0
        assert req is not None
        assert tevent_req_is_in_progress(req)

    @pytest.mark.parametrize("name", ["recvfrom", "sendto"])
    def test_free_context_in_the_callback(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The callback may free the context, and with it the other requests."""
        other = "sendto" if name == "recvfrom" else "recvfrom"
        silent = loop.watch(SENDS[other](top, loop.ev, box.dgram))
        seen = loop.watch(SENDS[name](top, loop.ev, box.dgram), RECVS[name], then=lambda req: talloc_free(box.dgram))
        box.finish(name)
        assert seen.result == (5, 0)
        assert silent.calls == 0

    @pytest.mark.parametrize("name", NAMES)
    def test_free_request_in_its_callback(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """The callback may free its own request, received or not."""
        for recv in (RECVS[name], None):
            seen = loop.watch(SENDS[name](top, loop.ev, box.dgram), recv, free=True)
            box.finish(name)
            assert seen.calls == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_callback_raises(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """An exception of the callback passes; the request is finished and the context free."""

        def done(req: tevent_req) -> None:
            raise LookupError(name)

        req = SENDS[name](top, loop.ev, box.dgram)
        tevent_req_set_callback(req, done, None)
        with pytest.raises(LookupError):
            box.finish(name)
        assert RECVS[name](req)[1] == 0
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))

    @pytest.mark.parametrize("name", NAMES)
    def test_timeout(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A request may time out; the backend's request goes, and the context is free."""
        req = SENDS[name](top, loop.ev, box.dgram)
        assert tevent_req_set_endtime(req, loop.ev, timeval(0, 0))
        seen = loop.watch(req, RECVS[name])
        loop.turn()
        assert seen.result == (-1, ETIMEDOUT)
        assert tevent_req_is_in_progress(SENDS[name](top, loop.ev, box.dgram))

    @pytest.mark.parametrize("name", NAMES)
    def test_cancel(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """There is no cancelling."""
        req = SENDS[name](top, loop.ev, box.dgram)
        assert tevent_req_cancel(req) is False
        assert tevent_req_is_in_progress(req)

    def test_second_receive(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Receiving twice goes to the abort function, but for a disconnect, where it is EIO."""
        for name in ("recvfrom", "sendto"):
            req = SENDS[name](top, loop.ev, box.dgram)
            box.finish(name)
            assert RECVS[name](req) == (5, 0)
            with pytest.raises(talloc_abort_error, match=rf"name\[NULL\] expected\[struct tdgram_{name}_state\]"):
                RECVS[name](req)
        req = SENDS["disconnect"](top, loop.ev, box.dgram)
        box.finish("disconnect")
        assert tdgram_disconnect_recv(req) == (0, 0)
        assert tdgram_disconnect_recv(req) == (-1, EIO)

    def test_request_of_another_kind(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """A receive function knows its own requests, but that of a disconnect takes any."""
        receiving, sending = (SENDS[name](top, loop.ev, box.dgram) for name in ("recvfrom", "sendto"))
        with pytest.raises(talloc_abort_error, match=r"name\[struct tdgram_sendto_state\]"):
            tdgram_recvfrom_recv(sending, None)
        with pytest.raises(talloc_abort_error, match=r"name\[struct tdgram_recvfrom_state\]"):
            tdgram_sendto_recv(receiving)
        own, _ = tevent_req_create(top, box_req_state)
        assert own is not None
        with pytest.raises(talloc_abort_error, match=r"name\[struct box_req_state\]"):
            tdgram_recvfrom_recv(own, None)
        assert tdgram_disconnect_recv(sending) == (-1, EIO)
        tevent_req_done(own)
        assert tdgram_disconnect_recv(own) == (0, 0)

    def test_receive_with_no_memory_left(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """Moving a buffer needs no memory: a limit that is reached does not lose the datagram."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1 << 20)
        req = tdgram_recvfrom_send(top, loop.ev, box.dgram)
        assert req is not None
        box.finish("recvfrom")
        ret, err, buf, _ = tdgram_recvfrom_recv(req, limited)
        assert (ret, err) == (5, 0)
        assert buf is not None
        assert talloc_get_size(buf) == 5  # type: ignore[arg-type]


@pytest.fixture
def returning_abort() -> Iterator[list[str]]:
    """An abort function that returns."""
    reasons: list[str] = []
    talloc_set_abort_fn(reasons.append)
    yield reasons
    talloc_set_abort_fn(None)


class TestBadArguments:
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("bad", [None, 5, "dgram"])
    def test_wrong_types(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str, bad: Any) -> None:
        """A context of either kind that is none is a TypeError, and no request remains."""
        blocks = talloc_total_blocks(top)
        with pytest.raises(TypeError, match="tdgram_context is needed"):
            SENDS[name](top, loop.ev, bad)
        with pytest.raises(TypeError, match="tevent_context"):
            SENDS[name](top, bad, box.dgram)
        with pytest.raises(TypeError):
            RECVS[name](bad)
        assert talloc_total_blocks(top) == blocks

    @pytest.mark.parametrize("bad", ["text", 5, object(), [1]])
    def test_no_buffer(self, top: TALLOC_CTX, loop: Loop, box: Box, bad: Any) -> None:
        """A datagram is bytes."""
        with pytest.raises(TypeError):
            tdgram_sendto_send(top, loop.ev, box.dgram, bad, None)

    def test_buffer_with_holes(self, top: TALLOC_CTX, loop: Loop, box: Box) -> None:
        """A datagram is contiguous."""
        with pytest.raises(TypeError, match="contiguous"):
            tdgram_sendto_send(top, loop.ev, box.dgram, memoryview(b"abcd")[::2], None)

    @pytest.mark.parametrize("bad", ["/x", 5, ("127.0.0.1", 1)])
    def test_no_address(self, top: TALLOC_CTX, loop: Loop, box: Box, bad: Any) -> None:
        """A destination is an address."""
        with pytest.raises(TypeError, match="tsocket_address is needed"):
            tdgram_sendto_send(top, loop.ev, box.dgram, b"x", bad)

    @pytest.mark.parametrize("name", NAMES)
    def test_copy_of_a_context(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """A copy made by Python is no context, and is told from one."""
        twin = copy.copy(box.dgram)
        assert repr(twin) == "<tdgram_context, freed>"
        with pytest.raises(talloc_abort_error, match="unknown value"):
            SENDS[name](top, loop.ev, twin)

    @pytest.mark.parametrize("name", NAMES)
    def test_freed(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """Freed contexts and requests go to the abort function."""
        req = SENDS[name](top, loop.ev, box.dgram)
        talloc_free(req)
        with pytest.raises(talloc_abort_error, match="access after free"):
            RECVS[name](req)
        talloc_free(box.dgram)
        with pytest.raises(talloc_abort_error, match="access after free"):
            SENDS[name](top, loop.ev, box.dgram)
        with pytest.raises(talloc_abort_error, match="access after free"):
            tdgram_context_data(box.dgram, box_state)

    @pytest.mark.parametrize("name", NAMES)
    def test_freed_with_an_abort_function_that_returns(
        self, top: TALLOC_CTX, loop: Loop, box: Box, name: str, returning_abort: list[str]
    ) -> None:
        """If the abort function returns, the calls give their failure values."""
        req = SENDS[name](top, loop.ev, box.dgram)
        talloc_free(req)
        assert RECVS[name](req) == (-1, EIO)
        talloc_free(box.dgram)
        assert SENDS[name](top, loop.ev, box.dgram) is None
        assert tdgram_context_data(box.dgram, box_state) is None
        assert tdgram_bsd_optimize_recvfrom(box.dgram, True) is False
        assert len(returning_abort) >= 4

    def test_other_kind_with_an_abort_function_that_returns(
        self, top: TALLOC_CTX, loop: Loop, box: Box, returning_abort: list[str]
    ) -> None:
        """A request of another kind stays as it is."""
        req = SENDS["sendto"](top, loop.ev, box.dgram)
        assert tdgram_recvfrom_recv(req, top) == (-1, EIO, None, None)
        assert tevent_req_is_in_progress(req)
        assert len(returning_abort) == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_memory_limit(self, top: TALLOC_CTX, loop: Loop, box: Box, name: str) -> None:
        """Where a memory limit forbids the request there is none."""
        limited = talloc_new(top)
        talloc_set_memlimit(limited, 1)
        assert SENDS[name](limited, loop.ev, box.dgram) is None
        assert box.state.log == []
