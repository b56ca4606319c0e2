# SPDX-License-Identifier: LGPL-3.0-or-later
"""
``async`` and ``await`` around requests, in every direction.

Nothing here has a counterpart in C:

- ``await req`` waits until a request is finished and gives it back, in an asyncio task (with a context of the backend
  ``asyncio``) as well as in a coroutine that `coroutine_send` runs on any tevent loop, without asyncio;
- `coroutine_send` makes a request out of a coroutine that awaits other requests;
- `task_send` makes a request out of whatever asyncio can await.

**Whoever gives up waiting gives up the request:** a cancelled task, or a coroutine that is closed, cancels the request
that it waits for (`tevent_req_cancel`), then frees it.

Cost: an ``await`` is one chunk and one callback more than the callback style; a request that is finished already costs
neither.  Importing this module does not import asyncio.
"""

from __future__ import annotations

import errno
import sys
from _thread import _local

from talloc_py.core import TALLOC_CTX, location_text, talloc_free, talloc_set_destructor, talloc_zero

from ._base import check_context
from ._request import (
    DONE,
    IN_PROGRESS,
    NO_MEMORY,
    TIMED_OUT,
    error_of,
    is_request,
    state_of,
    tevent_req,
)
from .req import (
    tevent_req_callback_data,
    tevent_req_cancel,
    tevent_req_create,
    tevent_req_data,
    tevent_req_done,
    tevent_req_error,
    tevent_req_is_in_progress,
    tevent_req_post,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_cancel_fn,
    tevent_req_set_cleanup_fn,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from typing import Any

    from .context import tevent_context
    from .enumerations import tevent_req_state

__all__ = [
    "Cancelled",
    "RequestFreed",
    "coroutine_recv",
    "coroutine_send",
    "task_recv",
    "task_send",
]


class Cancelled(BaseException):
    """Thrown into the coroutine of a request by `tevent_req_cancel`; not an Exception, like that of asyncio."""


class RequestFreed(Exception):
    """Raised by an ``await`` whose request is freed by somebody else before it is finished."""


class _per_thread(_local):
    """Which coroutine of `coroutine_send` runs in this thread."""

    running: tevent_req | None = None


_thread = _per_thread()


# -- waiting for a request --------------------------------------------------------------------------------------------


class _waiter(TALLOC_CTX):
    """A child of the request that is waited for: it hears when that is freed."""

    __slots__ = ("gone",)

    gone: Callable[[], object] | None


def _waiter_freed(waiter: _waiter | None) -> int:
    assert waiter is not None
    gone, waiter.gone = waiter.gone, None
    if gone is not None:
        gone()
    return 0


def wait_for_request(req: tevent_req) -> Generator[Any, None, tevent_req]:
    """What ``await req`` does; see `tevent_req.__await__`."""
    if not is_request(req):
        raise RequestFreed(f"{req!r} cannot be awaited")
    if req.status != IN_PROGRESS:
        return req
    waiter: _waiter | None = talloc_zero(req, _waiter)
    if waiter is None:
        raise MemoryError("a memory limit forbids to await the request")
    talloc_set_destructor(waiter, _waiter_freed)
    try:
        if _thread.running is not None:
            waiter.gone = _leave_coroutine(_thread.running, req)
            yield req
        else:
            yield from _future_of(req, waiter)
    except RequestFreed:
        raise
    except BaseException:
        _abandon(req, waiter)
        raise
    waiter.gone = None
    talloc_free(waiter)
    return req


def _abandon(req: tevent_req, waiter: _waiter) -> None:
    """Nobody waits for *req* any more: cancel it, then free it, unless somebody else was faster."""
    if waiter.gone is None:
        return
    waiter.gone = None
    tevent_req_set_callback(req, None, None)
    if req.status == IN_PROGRESS:
        tevent_req_cancel(req)
    if req._talloc_chunk.obj is req:
        talloc_free(req)


def _future_of(req: tevent_req, waiter: _waiter) -> Generator[Any, None, None]:
    """Wait for *req* in a task of asyncio."""
    events = sys.modules.get("asyncio.events")
    loop: asyncio.AbstractEventLoop | None = None if events is None else events._get_running_loop()
    if loop is None:
        raise RuntimeError("a request is awaited in a coroutine that neither asyncio nor coroutine_send() runs")
    future = loop.create_future()

    def finished(_req: tevent_req) -> None:
        if not future.done():
            future.set_result(None)

    def gone() -> None:
        if not future.done():
            future.set_exception(_freed(req))

    waiter.gone = gone
    tevent_req_set_callback(req, finished, None)
    yield from future


def _freed(req: tevent_req) -> RequestFreed:
    return RequestFreed(f"the request made at {location_text(req.created)} was freed while it was awaited")


# -- a coroutine as a request -----------------------------------------------------------------------------------------


class coroutine_state(TALLOC_CTX):
    """The state of `coroutine_send`."""

    __slots__ = ("coroutine", "error", "ev", "left", "result", "steps")

    coroutine: Coroutine[Any, Any, Any]
    ev: tevent_context
    result: Any
    error: BaseException | None
    left: bool  # nobody wants the coroutine to go on
    steps: bool  # the coroutine runs at this moment


def coroutine_send(
    mem_ctx: TALLOC_CTX | None, ev: tevent_context, coroutine: Coroutine[Any, Any, object]
) -> tevent_req | None:
    """
    Run *coroutine*, which awaits requests and nothing else, as a request of its own.

    Args:
        mem_ctx: The owner of the request.

        ev: The context, on which a coroutine that is over at once is posted.

        coroutine: What calling an ``async def`` function gives. It runs inside this call until it first waits.

    Returns:
        The request; None, and the coroutine is closed, where a memory limit forbids it.

    `tevent_req_cancel` throws `Cancelled` into the coroutine where it waits. Freeing the request, and its endtime,
    close the coroutine: its ``finally`` blocks run, and the request it waits for is cancelled and freed. It fails with
    the errno of an OSError, with ECANCELED when it ends by `Cancelled`, else with EIO; `coroutine_recv` raises the
    exception itself.
    """
    if not hasattr(coroutine, "send") or not hasattr(coroutine, "throw"):
        raise TypeError(f"a coroutine is needed, not {type(coroutine).__name__}")
    if not check_context(ev):
        return None
    req, state = tevent_req_create(mem_ctx, coroutine_state)
    if req is None:
        coroutine.close()
        return None
    state.coroutine = coroutine
    state.ev = ev
    state.left = state.steps = False
    tevent_req_set_cancel_fn(req, _cancel_coroutine)
    tevent_req_set_cleanup_fn(req, _close_coroutine)
    _step(req, state, None)
    if req._talloc_chunk.obj is req and req.status != IN_PROGRESS:
        return tevent_req_post(req, ev)
    return req


def _step(req: tevent_req, state: coroutine_state, error: BaseException | None) -> None:
    """Let the coroutine run until it waits for the next request, or is over."""
    coroutine = state.coroutine
    outer, _thread.running = _thread.running, req
    state.steps = True
    try:
        awaited = coroutine.send(None) if error is None else coroutine.throw(error)
    except StopIteration as stop:
        state.steps = False
        _finish(req, state, stop.value, None)
        return
    except BaseException as problem:
        state.steps = False
        _finish(req, state, None, problem)
        if not isinstance(problem, (Exception, Cancelled)):
            raise
        return
    finally:
        state.steps = False
        _thread.running = outer
    if state.left:
        coroutine.close()
    elif type(awaited) is tevent_req:
        tevent_req_set_callback(awaited, _go_on, req)
    else:
        what = type(awaited).__name__
        _step(req, state, TypeError(f"only requests can be awaited here, not {what}; asyncio's need task_send()"))


def _finish(req: tevent_req, state: coroutine_state, result: object, error: BaseException | None) -> None:
    if state.left:
        return  # by a free from inside the coroutine
    state.result = result
    state.error = error
    if error is None:
        tevent_req_done(req)
    else:
        tevent_req_error(req, _errno_of(error))


def _errno_of(error: BaseException) -> int:
    if isinstance(error, Cancelled):
        return errno.ECANCELED
    number = error.errno if isinstance(error, OSError) else None
    return number or errno.EIO


def _go_on(subreq: tevent_req) -> None:
    """What the coroutine waits for is finished."""
    req = tevent_req_callback_data(subreq, tevent_req)
    tevent_req_set_callback(subreq, None, None)
    _step(req, tevent_req_data(req, coroutine_state), None)


def _leave_coroutine(req: tevent_req, awaited: tevent_req) -> Callable[[], None]:
    """What is done when *awaited* is freed under a coroutine."""

    def gone() -> None:
        if req._talloc_chunk.obj is req and tevent_req_is_in_progress(req):
            state = tevent_req_data(req, coroutine_state)
            if not state.steps:
                _step(req, state, _freed(awaited))

    return gone


def _cancel_coroutine(req: tevent_req) -> bool:
    state = tevent_req_data(req, coroutine_state)
    if state.steps or not tevent_req_is_in_progress(req):
        return False
    _step(req, state, Cancelled())
    return True


def _close_coroutine(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function: whatever ends the request ends the coroutine."""
    state = tevent_req_data(req, coroutine_state)
    state.left = True
    if not state.steps:
        state.coroutine.close()


def coroutine_recv(req: tevent_req) -> Any:
    """
    The value that the coroutine of *req* has returned.

    Raises:
        The exception that the coroutine has ended with; TimeoutError after the endtime of *req*; MemoryError; OSError
        with EIO while *req* is in progress.
    """
    return _result_of(req, coroutine_state)


def _result_of(req: tevent_req, kind: type[coroutine_state | task_state]) -> Any:
    state = tevent_req_data(req, kind)
    status = req.status
    result, error = state.result, state.error
    number = error_of(req)
    tevent_req_received(req)
    if status == DONE:
        return result
    if error is not None:
        raise error
    if status == TIMED_OUT:
        raise TimeoutError(errno.ETIMEDOUT, "the endtime of the request has passed")
    if status == NO_MEMORY:
        raise MemoryError
    raise OSError(number or errno.EIO, f"the request ended in state {state_of(status).name}")


# -- what asyncio awaits, as a request --------------------------------------------------------------------------------


class task_state(TALLOC_CTX):
    """The state of `task_send`."""

    __slots__ = ("error", "future", "result")

    future: asyncio.Future[Any] | None
    result: Any
    error: BaseException | None


def task_send(mem_ctx: TALLOC_CTX | None, ev: tevent_context, awaitable: Awaitable[object]) -> tevent_req | None:
    """
    Let asyncio work on *awaitable*, a coroutine, task or future, as a request.

    Args:
        mem_ctx: The owner of the request.

        ev: A context of the backend ``asyncio``, whose loop runs in this thread.

        awaitable: Becomes a task, if it is none.

    Returns:
        The request; None where a memory limit forbids it.

    `tevent_req_cancel` and freeing the request cancel the task. Its exception makes the request fail as that of a
    coroutine does: with the errno of an OSError, ECANCELED, or EIO.
    """
    import asyncio

    if not check_context(ev):
        return None
    req, state = tevent_req_create(mem_ctx, task_state)
    if req is None:
        return None
    future = asyncio.ensure_future(awaitable)
    state.future = future

    def over(_future: asyncio.Future[Any]) -> None:
        if state.future is not None and req._talloc_chunk.obj is req:
            _task_over(req, state, future)

    tevent_req_set_cancel_fn(req, _cancel_task)
    tevent_req_set_cleanup_fn(req, _drop_task)
    future.add_done_callback(over)
    return req


def _task_over(req: tevent_req, state: task_state, future: asyncio.Future[Any]) -> None:
    state.future = None
    if future.cancelled():
        state.error = Cancelled()
    else:
        state.error = future.exception()
    if state.error is not None:
        tevent_req_error(req, _errno_of(state.error))
        return
    state.result = future.result()
    tevent_req_done(req)


def _cancel_task(req: tevent_req) -> bool:
    future = tevent_req_data(req, task_state).future
    return future is not None and future.cancel()


def _drop_task(req: tevent_req, req_state: tevent_req_state) -> None:
    """The cleanup function: a task that nobody waits for is cancelled."""
    state = tevent_req_data(req, task_state)
    future, state.future = state.future, None
    if future is not None:
        future.cancel()


def task_recv(req: tevent_req) -> Any:
    """
    The result of the task of *req*.

    Raises:
        The task's exception, `Cancelled` if it was cancelled, and what `coroutine_recv` raises.
    """
    return _result_of(req, task_state)
