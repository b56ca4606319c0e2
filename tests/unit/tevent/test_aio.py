# SPDX-License-Identifier: LGPL-3.0-or-later
"""Awaiting requests: in asyncio, in coroutines on a plain loop, and asyncio's own work as a request."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from talloc_py import (
    TALLOC_CTX,
    TALLOC_FREE,
    talloc_free,
    talloc_get_name,
    talloc_new,
    talloc_set_destructor,
    talloc_total_blocks,
)
from tevent import (
    TEVENT_FD_READ,
    get_errno,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_backend_list,
    tevent_context,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_create_immediate,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_queue_create,
    tevent_re_initialise,
    tevent_req,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_error,
    tevent_req_is_error,
    tevent_req_is_in_progress,
    tevent_req_poll,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_endtime,
    tevent_schedule_immediate,
    tevent_timeval_current_ofs,
    tevent_timeval_zero,
    tevent_update_timer,
    tevent_wakeup_recv,
    tevent_wakeup_send,
    timeval,
)
from tevent.aio import Cancelled, RequestFreed, coroutine_recv, coroutine_send, task_recv, task_send
from tsocket import (
    tstream_readv_pdu_queue_recv,
    tstream_readv_pdu_queue_send,
    tstream_readv_recv,
    tstream_readv_send,
    tstream_unix_socketpair,
    tstream_writev_recv,
    tstream_writev_send,
)

LOOPS: list[Any] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
try:
    import uvloop

    # The first loop makes a pipe for signals, which stays open as long as the process.
    uvloop.new_event_loop().close()
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))
except ImportError:
    LOOPS.append(pytest.param(None, id="uvloop", marks=pytest.mark.skip(reason="uvloop is not installed")))


class nothing(TALLOC_CTX):
    """A state without fields."""


@pytest.fixture(name="top")
def new_top() -> Iterator[TALLOC_CTX]:
    """A context for everything, freed at the end."""
    top = talloc_new(None)
    yield top
    talloc_free(top)


@pytest.fixture(name="ev")
def new_ev(top: TALLOC_CTX) -> tevent_context:
    """A plain loop."""
    return tevent_context_init(top)


@pytest.fixture(name="run", params=LOOPS)
def new_runner(request: pytest.FixtureRequest, top: TALLOC_CTX) -> Iterator[Callable[[Callable[..., Any]], Any]]:
    """Runs a coroutine function with a context on an asyncio loop, which it then frees."""
    loop = request.param()

    async def main(function: Callable[[tevent_context], Coroutine[Any, Any, Any]]) -> Any:
        ev = tevent_context_init_byname(top, "asyncio")
        assert ev is not None
        try:
            return await asyncio.wait_for(function(ev), 20)
        finally:
            talloc_free(ev)

    yield lambda function: loop.run_until_complete(main(function))
    loop.close()


def request(top: TALLOC_CTX) -> tevent_req:
    """A request in progress."""
    req, _ = tevent_req_create(top, nothing)
    assert req is not None
    return req


def in_ms(ms: int) -> timeval:
    """A time from now."""
    return tevent_timeval_current_ofs(0, ms * 1000)


class TestAwaitInAsyncio:
    def test_a_timer(self, run: Any, top: TALLOC_CTX) -> None:
        """A request that the loop finishes; `await` gives the request back."""

        async def main(ev: tevent_context) -> None:
            req = tevent_wakeup_send(top, ev, in_ms(5))
            assert await req is req
            assert tevent_wakeup_recv(req)

        run(main)

    def test_finished_already(self, run: Any, top: TALLOC_CTX) -> None:
        """Nothing is waited for then, whatever the result."""

        async def main(ev: tevent_context) -> None:
            req = request(top)
            tevent_req_error(req, errno.EPERM)
            assert tevent_req_is_error(await req)[2] == errno.EPERM

        run(main)

    def test_streams_among_tasks(self, run: Any, top: TALLOC_CTX) -> None:
        """Two tasks talk over a pair of streams while a third one sleeps."""

        async def main(ev: tevent_context) -> list[object]:
            ret, a, b = tstream_unix_socketpair(top, top)
            assert ret == 0

            async def writer() -> None:
                for n in range(50):
                    req = await tstream_writev_send(top, ev, a, [b"%03d" % n])
                    assert tstream_writev_recv(req) == (3, 0)
                    talloc_free(req)

            async def reader() -> bytes:
                data = b""
                while len(data) < 150:
                    buf = bytearray(3)
                    req = await tstream_readv_send(top, ev, b, [buf])
                    assert tstream_readv_recv(req) == (3, 0)
                    talloc_free(req)
                    data += buf
                return data

            result = await asyncio.gather(writer(), reader(), asyncio.sleep(0.001))
            talloc_free(a)
            talloc_free(b)
            return list(result)

        assert run(main)[1] == b"".join(b"%03d" % n for n in range(50))

    def test_cancelling_the_task_cancels_and_frees(self, run: Any, top: TALLOC_CTX) -> None:
        """`tevent_req_cancel` first, then the free; nothing is left."""

        async def main(ev: tevent_context) -> None:
            seen: list[str] = []
            before = talloc_total_blocks(top)
            req = request(top)
            tevent_req_set_cancel_fn(req, lambda req: bool(seen.append("cancel")))
            talloc_set_destructor(req, lambda req: seen.append("free"))

            async def wait() -> None:
                await req

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert seen == ["cancel", "free"]
            assert talloc_total_blocks(top) == before

        run(main)

    def test_a_timeout_around_it(self, run: Any, top: TALLOC_CTX) -> None:
        """`asyncio.wait_for` is such a cancellation."""

        async def main(ev: tevent_context) -> None:
            ret, a, b = tstream_unix_socketpair(top, top)
            assert ret == 0
            buf = bytearray(1)

            async def read() -> None:
                await tstream_readv_send(top, ev, a, [buf])

            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(read(), 0.005)
            req = tstream_writev_send(top, ev, b, [b"x"])
            again = tstream_readv_send(top, ev, a, [buf])
            assert tstream_readv_recv(await again) == (1, 0), "the stream is not busy any more"
            await req
            talloc_free(a)
            talloc_free(b)

        run(main)

    def test_its_own_endtime(self, run: Any, top: TALLOC_CTX) -> None:
        """A timeout of the request is a result like any other."""

        async def main(ev: tevent_context) -> None:
            req = request(top)
            assert tevent_req_set_endtime(req, ev, in_ms(2))
            await req
            assert tevent_req_is_error(req)[1].name == "TEVENT_REQ_TIMED_OUT"

        run(main)

    def test_freed_by_somebody_else(self, run: Any, top: TALLOC_CTX) -> None:
        """The task is told instead of waiting for ever."""

        async def main(ev: tevent_context) -> None:
            owner = talloc_new(top)
            req = request(owner)
            asyncio.get_running_loop().call_soon(talloc_free, owner)
            with pytest.raises(RequestFreed, match=r"test_aio\.py"):
                await req

        run(main)

    def test_an_exception_of_a_handler_reaches_asyncio(self, run: Any, top: TALLOC_CTX) -> None:
        """It goes to the loop's exception handler, and the context works on."""

        async def main(ev: tevent_context) -> None:
            problems: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, info: problems.append(info["exception"]))

            def trouble(ev: Any, te: Any, now: Any, pd: Any) -> None:
                raise KeyError("handler")

            tevent_add_timer(ev, top, tevent_timeval_zero(), trouble, None)
            req = tevent_wakeup_send(top, ev, in_ms(2))
            await req
            assert [type(problem) for problem in problems] == [KeyError]

        run(main)


class TestBackend:
    def test_all_kinds_of_events(self, run: Any, top: TALLOC_CTX) -> None:
        """Immediates, timers, descriptors and signals run, in this order where they are ready together."""

        async def main(ev: tevent_context) -> list[str]:
            log: list[str] = []
            finished = asyncio.get_running_loop().create_future()
            r, w = os.pipe()

            def readable(ev: Any, fde: Any, flags: int, pd: Any) -> None:
                os.read(r, 1)
                log.append("fd")
                talloc_free(fde)
                os.kill(os.getpid(), signal.SIGUSR2)

            def signalled(ev: Any, se: Any, signum: int, count: int, info: Any, pd: Any) -> None:
                log.append("signal")
                finished.set_result(None)

            tevent_add_signal(ev, top, signal.SIGUSR2, 0, signalled, None)
            tevent_add_fd(ev, top, r, TEVENT_FD_READ, readable, None)
            tevent_add_timer(ev, top, tevent_timeval_zero(), lambda *_: log.append("timer"), None)
            im = tevent_create_immediate(top)
            tevent_schedule_immediate(im, ev, lambda *_: log.append("immediate"), None)
            os.write(w, b"x")
            await finished
            os.close(r)
            os.close(w)
            return log

        assert run(main) == ["immediate", "timer", "fd", "signal"]

    def test_a_timer_that_is_moved_forward(self, run: Any, top: TALLOC_CTX) -> None:
        """The new time counts, also where no event of tevent announces it."""

        async def main(ev: tevent_context) -> None:
            fired = asyncio.get_running_loop().create_future()
            te = tevent_add_timer(ev, top, tevent_timeval_current_ofs(3600, 0), lambda *_: fired.set_result(None), None)
            await asyncio.sleep(0.002)
            tevent_update_timer(te, in_ms(1))
            await asyncio.wait_for(fired, 10)

        run(main)

    def test_many_immediates_leave_turns_to_tasks(self, run: Any, top: TALLOC_CTX) -> None:
        """A chain of immediates without an end does not starve asyncio."""

        async def main(ev: tevent_context) -> None:
            im = tevent_create_immediate(top)

            def again(ev: Any, im: Any, pd: Any) -> None:
                tevent_schedule_immediate(im, ev, again, None)

            tevent_schedule_immediate(im, ev, again, None)
            for _ in range(5):
                await asyncio.sleep(0)
            talloc_free(im)

        run(main)

    def test_loop_calls_do_not_wait(self, run: Any, top: TALLOC_CTX) -> None:
        """Where nothing is ready `tevent_loop_once` fails with EAGAIN, for asyncio does the waiting."""

        async def main(ev: tevent_context) -> None:
            assert tevent_loop_once(ev) == -1
            assert get_errno() == errno.EAGAIN
            assert tevent_loop_wait(ev) == 0, "no events"

        run(main)

    def test_reinitialising(self, run: Any, top: TALLOC_CTX) -> None:
        """The context starts afresh in the same loop."""

        async def main(ev: tevent_context) -> None:
            assert tevent_re_initialise(ev) == 0
            assert tevent_wakeup_recv(await tevent_wakeup_send(top, ev, in_ms(1)))

        run(main)

    def test_needs_a_running_loop(self, top: TALLOC_CTX) -> None:
        """Elsewhere it says so."""
        with pytest.raises(RuntimeError, match="running"):
            tevent_context_init_byname(top, "asyncio")

    def test_is_known_by_name_once_asked_for(self, top: TALLOC_CTX) -> None:
        """Then it stands in the list of backends."""
        with pytest.raises(RuntimeError):
            tevent_context_init_byname(top, "asyncio")
        assert "asyncio" in tevent_backend_list(top)

    def test_asyncio_is_not_imported_by_others(self) -> None:
        """Not even by tevent.aio."""
        import subprocess

        code = "import tevent.aio, tsocket, sys; print('asyncio' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


class TestALibraryOfAsyncio:
    def test_websockets(self, run: Any, top: TALLOC_CTX) -> None:
        """Each message to a websocket server goes over a pair of tevent streams before it is answered."""
        websockets = pytest.importorskip("websockets.asyncio.client")
        from websockets.asyncio.server import serve

        async def main(ev: tevent_context) -> None:
            ret, a, b = tstream_unix_socketpair(top, top)
            assert ret == 0

            async def relay(connection: Any) -> None:
                async for message in connection:
                    buf = bytearray(len(message))
                    reading = tstream_readv_send(top, ev, b, [buf])
                    talloc_free(await tstream_writev_send(top, ev, a, [message]))
                    assert tstream_readv_recv(await reading) == (len(message), 0)
                    talloc_free(reading)
                    await connection.send(bytes(buf))

            async with serve(relay, "127.0.0.1", 0) as server:
                port = next(iter(server.sockets)).getsockname()[1]
                async with websockets.connect(f"ws://127.0.0.1:{port}", proxy=None) as client:
                    for size in (1, 1000, 100000):
                        await client.send(b"x" * size)
                        assert await client.recv() == b"x" * size
            talloc_free(a)
            talloc_free(b)

        run(main)


class TestCoroutineAsRequest:
    def test_returns_a_value(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """After awaiting requests on a plain loop, without asyncio."""

        async def work() -> str:
            for _ in range(3):
                req = await tevent_wakeup_send(top, ev, tevent_timeval_zero())
                assert tevent_wakeup_recv(req)
                talloc_free(req)
            return "done"

        req = coroutine_send(top, ev, work())
        assert tevent_req_is_in_progress(req)
        assert tevent_req_poll(req, ev)
        assert coroutine_recv(req) == "done"

    def test_over_at_once_is_posted(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """The callback comes from the loop."""

        async def work() -> int:
            return 7

        fired: list[object] = []
        req = coroutine_send(top, ev, work())
        tevent_req_set_callback(req, lambda req: fired.append(coroutine_recv(req)), None)
        assert fired == []
        tevent_loop_once(ev)
        assert fired == [7]

    @pytest.mark.parametrize(
        ("error", "number"), [(OSError(errno.EPIPE, "pipe"), errno.EPIPE), (ValueError("value"), errno.EIO)]
    )
    def test_exceptions_cross(self, top: TALLOC_CTX, ev: tevent_context, error: Exception, number: int) -> None:
        """As an errno for callers in C's manner, as themselves for coroutine_recv()."""

        async def inner() -> None:
            await tevent_wakeup_send(top, ev, tevent_timeval_zero())
            raise error

        async def outer() -> None:
            coroutine_recv(await coroutine_send(top, ev, inner()))

        req = coroutine_send(top, ev, outer())
        tevent_req_poll(req, ev)
        assert tevent_req_is_error(req)[2] == number
        with pytest.raises(type(error)) as caught:
            coroutine_recv(req)
        assert caught.value is error

    def test_cancel_is_thrown_in(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """What is waited for is cancelled and freed; without a handler the request fails with ECANCELED."""
        log: list[str] = []
        sub = request(top)
        talloc_set_destructor(sub, lambda sub: log.append("free"))

        async def work() -> None:
            try:
                await sub
            finally:
                log.append("finally")

        req = coroutine_send(top, ev, work())
        assert tevent_req_cancel(req)
        assert log == ["free", "finally"]
        assert tevent_req_is_error(req)[2] == errno.ECANCELED
        with pytest.raises(Cancelled):
            coroutine_recv(req)

    def test_cancel_may_be_caught(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """Then the coroutine goes on, and may even succeed."""

        async def work() -> str:
            try:
                await request(top)
            except Cancelled:
                await tevent_wakeup_send(top, ev, tevent_timeval_zero())
            return "cleaned up"

        req = coroutine_send(top, ev, work())
        assert tevent_req_cancel(req)
        assert tevent_req_poll(req, ev)
        assert not tevent_req_cancel(req)
        assert coroutine_recv(req) == "cleaned up"

    @pytest.mark.parametrize("how", ["free", "endtime", "received"])
    def test_the_end_from_outside_closes_it(self, top: TALLOC_CTX, ev: tevent_context, how: str) -> None:
        """The finally blocks run, what it waits for is freed."""
        log: list[str] = []
        sub = request(top)
        talloc_set_destructor(sub, lambda sub: log.append("sub freed"))

        async def work() -> None:
            try:
                await sub
            finally:
                log.append("finally")

        req = coroutine_send(top, ev, work())
        if how == "free":
            talloc_free(req)
        elif how == "received":
            tevent_req_received(req)
        else:
            tevent_req_set_endtime(req, ev, timeval(1, 0))
            assert tevent_req_poll(req, ev)
            with pytest.raises(TimeoutError):
                coroutine_recv(req)
        assert log == ["sub freed", "finally"]

    def test_freeing_its_own_request(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """The coroutine is closed at the next place where it waits."""
        log: list[str] = []
        owner = talloc_new(top)

        async def work() -> None:
            try:
                await tevent_wakeup_send(top, ev, tevent_timeval_zero())
                talloc_free(owner)
                await request(top)
            finally:
                log.append("closed")

        coroutine_send(owner, ev, work())
        tevent_loop_once(ev)
        assert log == ["closed"]

    def test_what_it_waits_for_is_freed(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """RequestFreed is raised there."""
        sub = request(top)

        async def work() -> str:
            with pytest.raises(RequestFreed):
                await sub
            return "told"

        req = coroutine_send(top, ev, work())
        TALLOC_FREE(sub)
        assert coroutine_recv(req) == "told"

    def test_only_requests_can_be_awaited(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """A future of asyncio is refused with a hint."""

        class other:
            """Something else that can be awaited."""

            def __await__(self) -> Iterator[object]:
                yield self

        async def work() -> None:
            await other()

        req = coroutine_send(top, ev, work())
        with pytest.raises(TypeError, match=r"other.*task_send"):
            coroutine_recv(req)

    def test_awaiting_outside_of_any_loop(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """A coroutine that nobody runs gets a clear error."""

        async def work() -> None:
            await request(top)

        coroutine = work()
        with pytest.raises(RuntimeError, match="coroutine_send"):
            coroutine.send(None)

    def test_bad_arguments(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """No coroutine; receiving too early."""
        with pytest.raises(TypeError, match="coroutine"):
            coroutine_send(top, ev, 3)  # type: ignore[arg-type]

        async def work() -> None:
            await request(top)

        with pytest.raises(OSError, match="IN_PROGRESS"):
            coroutine_recv(coroutine_send(top, ev, work()))

    def test_serious_exceptions_pass(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """What is no Exception also leaves the loop."""

        async def work() -> None:
            await tevent_wakeup_send(top, ev, tevent_timeval_zero())
            raise KeyboardInterrupt

        req = coroutine_send(top, ev, work())
        with pytest.raises(KeyboardInterrupt):
            tevent_req_poll(req, ev)
        assert not tevent_req_is_in_progress(req)

    def test_a_pdu_server_without_callbacks(self, top: TALLOC_CTX, ev: tevent_context) -> None:
        """The queue helpers work as with callbacks."""
        ret, a, b = tstream_unix_socketpair(top, top)
        assert ret == 0
        queue = tevent_queue_create(top, "reads")
        got: list[bytes] = []

        async def serve() -> None:
            while len(got) < 3:
                parts: list[bytearray] = []

                def next_vector(stream: Any, private: Any, mem_ctx: Any, parts: Any = parts) -> Any:
                    if len(parts) == 2:
                        return 0, None
                    parts.append(bytearray(parts[0][0] if parts else 1))
                    return 0, [parts[-1]]

                req = await tstream_readv_pdu_queue_send(top, ev, a, queue, next_vector, None)
                assert tstream_readv_pdu_queue_recv(req)[1] == 0
                talloc_free(req)
                got.append(bytes(parts[1]))

        req = coroutine_send(top, ev, serve())
        for word in (b"one", b"three", b"seven"):
            talloc_free(tstream_writev_send(top, ev, b, [bytes([len(word)]), word]))
        assert tevent_req_poll(req, ev)
        coroutine_recv(req)
        assert got == [b"one", b"three", b"seven"]


class TestTaskAsRequest:
    def test_a_result(self, run: Any, top: TALLOC_CTX) -> None:
        """Work of asyncio's, seen by ported code as a request with a callback."""

        async def main(ev: tevent_context) -> None:
            finished = asyncio.get_running_loop().create_future()

            async def work() -> str:
                await asyncio.sleep(0.001)
                return "asyncio's"

            req = task_send(top, ev, work())
            assert talloc_get_name(req)
            tevent_req_set_callback(req, lambda req: finished.set_result(task_recv(req)), None)
            assert await finished == "asyncio's"

        run(main)

    def test_real_streams_of_asyncio(self, run: Any, top: TALLOC_CTX, tmp_path: Any) -> None:
        """A server and a client of asyncio's own in the same loop."""

        async def main(ev: tevent_context) -> None:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(await reader.readexactly(5))
                writer.close()

            server = await asyncio.start_unix_server(echo, str(tmp_path / "socket"))

            async def client() -> bytes:
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
                writer.write(b"hello")
                answer = await reader.read()
                writer.close()
                return answer

            assert task_recv(await task_send(top, ev, client())) == b"hello"
            server.close()
            await server.wait_closed()

        run(main)

    def test_exceptions(self, run: Any, top: TALLOC_CTX) -> None:
        """They arrive as errno and as themselves."""

        async def main(ev: tevent_context) -> None:
            async def work() -> None:
                await asyncio.sleep(0)
                raise ConnectionResetError(errno.ECONNRESET, "reset")

            req = await task_send(top, ev, work())
            assert tevent_req_is_error(req)[2] == errno.ECONNRESET
            with pytest.raises(ConnectionResetError):
                task_recv(req)

        run(main)

    @pytest.mark.parametrize("how", ["cancel", "free"])
    def test_cancelling(self, run: Any, top: TALLOC_CTX, how: str) -> None:
        """Both the cancel and the free of the request cancel the task."""

        async def main(ev: tevent_context) -> None:
            ended: list[str] = []

            async def work() -> None:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    ended.append("cancelled")
                    raise

            req = task_send(top, ev, work())
            await asyncio.sleep(0)
            if how == "cancel":
                assert tevent_req_cancel(req)
                await req
                assert tevent_req_is_error(req)[2] == errno.ECANCELED
                with pytest.raises(Cancelled):
                    task_recv(req)
            else:
                talloc_free(req)
                await asyncio.sleep(0)
            assert ended == ["cancelled"]

        run(main)
