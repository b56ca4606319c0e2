# SPDX-License-Identifier: LGPL-3.0-or-later
"""Scenarios for `growth.py`: events, queues and requests."""

from __future__ import annotations

import os
import signal
import threading
import time

from connections import allow_descriptors
from events import scattered
from growing import Steps, scenario

from talloc_py import TALLOC_CTX, TALLOC_FREE, talloc_free, talloc_new
from tevent import (
    TEVENT_FD_READ,
    TEVENT_FD_WRITE,
    tevent_add_fd,
    tevent_add_signal,
    tevent_add_timer,
    tevent_context_init,
    tevent_context_init_byname,
    tevent_create_immediate,
    tevent_fd_set_flags,
    tevent_loop_once,
    tevent_loop_wait,
    tevent_queue_add,
    tevent_queue_add_entry,
    tevent_queue_create,
    tevent_queue_length,
    tevent_queue_start,
    tevent_queue_stop,
    tevent_queue_wait_send,
    tevent_req_create,
    tevent_req_defer_callback,
    tevent_req_done,
    tevent_req_post,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_reset_immediate,
    tevent_schedule_immediate,
    tevent_threaded_context_create,
    tevent_threaded_schedule_immediate,
    tevent_timeval_current_ofs,
    tevent_timeval_zero,
    tevent_update_timer,
    timeval,
)

DESCRIPTORS = (1_000, 4_000, 8_000, 16_000)


class item_state(TALLOC_CTX):
    """Of a request."""

    value: int


def nothing(*_: object) -> None:
    """A handler."""


def world():
    """A context below a chunk of its own."""
    top = talloc_new(None)
    return top, tevent_context_init(top)


# -- timers -----------------------------------------------------------------------------------------------------------


@scenario()
def timers(steps: Steps, size: int) -> None:
    """Timers at scattered times."""
    top, ev = world()
    offsets = scattered(size)

    def insert():
        return [tevent_add_timer(ev, top, tevent_timeval_current_ofs(0, usecs), nothing, None) for usecs in offsets]

    with steps("inserted"):
        timers = insert()
    with steps("cancelled"):
        for timer in timers:
            TALLOC_FREE(timer)
    timers = insert()
    with steps("cancelled, the other way round"):
        for timer in reversed(timers):
            TALLOC_FREE(timer)
    timers = insert()
    with steps("given other times"):
        for timer, usecs in zip(timers, reversed(offsets), strict=True):
            tevent_update_timer(timer, tevent_timeval_current_ofs(0, usecs))
    time.sleep(5 * size / 1e6)
    with steps("fired"):
        tevent_loop_wait(ev)
    insert()
    with steps("freed with their owner"):
        talloc_free(top)


@scenario()
def equal_timers(steps: Steps, size: int) -> None:
    """Timers at one and the same time, in the past."""
    top, ev = world()
    with steps("inserted"):
        for _ in range(size):
            tevent_add_timer(ev, top, timeval(1, 0), nothing, None)
    with steps("fired"):
        tevent_loop_wait(ev)
    talloc_free(top)


@scenario()
def ordered_timers(steps: Steps, size: int) -> None:
    """Timers in order of time."""
    top, ev = world()
    with steps("later and later: inserted"):
        for n in range(size):
            tevent_add_timer(ev, top, timeval(n, 0), nothing, None)
    with steps("fired"):
        tevent_loop_wait(ev)
    with steps("sooner and sooner: inserted"):
        for n in range(size, 0, -1):
            tevent_add_timer(ev, top, timeval(n, 0), nothing, None)
    talloc_free(top)


@scenario()
def zero_timers(steps: Steps, size: int) -> None:
    """Timers at the time zero."""
    top, ev = world()
    for n in range(1000):
        tevent_add_timer(ev, top, timeval(1 + n, 0), nothing, None)
    with steps("inserted before a thousand others"):
        timers = [tevent_add_timer(ev, top, tevent_timeval_zero(), nothing, None) for _ in range(size)]
    with steps("cancelled"):
        for timer in timers:
            TALLOC_FREE(timer)
    for _ in range(size):
        tevent_add_timer(ev, top, tevent_timeval_zero(), nothing, None)
    with steps("fired"):
        for _ in range(size):
            tevent_loop_once(ev)
    talloc_free(top)


@scenario()
def again_timer(steps: Steps, size: int) -> None:
    """A timer that is given another time, again and again, among a thousand."""
    top, ev = world()
    timers = [tevent_add_timer(ev, top, tevent_timeval_current_ofs(1000 + n, 0), nothing, None) for n in range(1000)]
    with steps("given"):
        for n in range(size):
            tevent_update_timer(timers[500], tevent_timeval_current_ofs(500 + n % 1000, 0))
    talloc_free(top)


# -- immediates -------------------------------------------------------------------------------------------------------


@scenario()
def immediates(steps: Steps, size: int) -> None:
    """Immediates that all wait at once."""
    top, ev = world()
    with steps("made"):
        waiting = [tevent_create_immediate(top) for _ in range(size)]

    def schedule():
        for immediate in waiting:
            tevent_schedule_immediate(immediate, ev, nothing, None)

    with steps("scheduled"):
        schedule()
    with steps("scheduled again"):
        schedule()
    with steps("run"):
        tevent_loop_wait(ev)
    schedule()
    with steps("cancelled"):
        for immediate in waiting:
            tevent_reset_immediate(immediate)
    schedule()
    with steps("freed, last one first"):
        for immediate in reversed(waiting):
            TALLOC_FREE(immediate)
    talloc_free(top)


@scenario()
def threaded(steps: Steps, size: int) -> None:
    """Immediates handed over by another thread."""
    top, ev = world()
    context = tevent_threaded_context_create(top, ev)
    waiting = [tevent_create_immediate(top) for _ in range(size)]
    left = size

    def done(*_):
        nonlocal left
        left -= 1

    def hand_over():
        for immediate in waiting:
            tevent_threaded_schedule_immediate(context, immediate, done, None)

    with steps("handed over"):
        thread = threading.Thread(target=hand_over)
        thread.start()
        thread.join()
    with steps("run"):
        while left:
            tevent_loop_once(ev)
    talloc_free(top)


# -- descriptors ------------------------------------------------------------------------------------------------------


@scenario(*DESCRIPTORS)
def descriptors(steps: Steps, size: int) -> None:
    """Descriptors in epoll."""
    allow_descriptors()
    top, ev = world()
    fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(size)]
    left = size

    def ready(ev, fde, flags, fd):
        nonlocal left
        left -= 1
        os.eventfd_read(fd)

    with steps("added"):
        events = [tevent_add_fd(ev, top, fd, TEVENT_FD_READ, ready, fd) for fd in fds]
    with steps("changed and changed back"):
        for event in events:
            tevent_fd_set_flags(event, TEVENT_FD_READ | TEVENT_FD_WRITE)
            tevent_fd_set_flags(event, TEVENT_FD_READ)
    with steps("one ready among idle ones"):
        for fd in fds:
            os.eventfd_write(fd, 1)
            tevent_loop_once(ev)
    left = size
    for fd in fds:
        os.eventfd_write(fd, 1)
    with steps("all ready at once"):
        while left:
            tevent_loop_once(ev)
    with steps("freed, oldest first"):
        for event in events:
            TALLOC_FREE(event)
    for fd in fds:
        tevent_add_fd(ev, top, fd, TEVENT_FD_READ, ready, fd)
    with steps("freed with their owner"):
        talloc_free(top)
    for fd in fds:
        os.close(fd)


@scenario(250, 500, 1_000, 2_000, grows={"one ready among idle ones": "poll looks at all, as in C"})
def polled(steps: Steps, size: int) -> None:
    """Descriptors in poll."""
    allow_descriptors()
    top = talloc_new(None)
    ev = tevent_context_init_byname(top, "poll")
    fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(size)]

    def ready(ev, fde, flags, fd):
        os.eventfd_read(fd)

    with steps("added"):
        events = [tevent_add_fd(ev, top, fd, TEVENT_FD_READ, ready, fd) for fd in fds]
    with steps("one ready among idle ones"):
        for fd in fds:
            os.eventfd_write(fd, 1)
            tevent_loop_once(ev)
    with steps("freed, oldest first"):
        for event in events:
            TALLOC_FREE(event)
    talloc_free(top)
    for fd in fds:
        os.close(fd)


@scenario(100, 1_000, 2_000, 4_000)
def contexts(steps: Steps, size: int) -> None:
    """Contexts."""
    allow_descriptors()
    top = talloc_new(None)
    with steps("made"):
        for _ in range(size):
            tevent_context_init(top)
    with steps("freed"):
        talloc_free(top)


@scenario(100, 500, 1_000, 4_000)
def signals(steps: Steps, size: int) -> None:
    """Handlers of one signal."""
    top, ev = world()
    left = size

    def caught(*_):
        nonlocal left
        left -= 1

    with steps("added"):
        events = [tevent_add_signal(ev, top, signal.SIGUSR1, 0, caught, None) for _ in range(size)]
    with steps("run"):
        os.kill(os.getpid(), signal.SIGUSR1)
        while left:
            tevent_loop_once(ev)
    with steps("freed, oldest first"):
        for event in events:
            TALLOC_FREE(event)
    talloc_free(top)


# -- queues and requests ----------------------------------------------------------------------------------------------


def requests(top, size: int):
    """So many of them."""
    return [tevent_req_create(top, item_state)[0] for _ in range(size)]


@scenario()
def queue(steps: Steps, size: int) -> None:
    """Entries of one queue."""
    top, ev = world()
    line = tevent_queue_create(top, "line")

    def trigger(req, private_data):
        tevent_req_done(req)

    def received(req):
        TALLOC_FREE(req)

    def fill():
        waiting = requests(top, size)
        for req in waiting:
            tevent_req_set_callback(req, received, None)
            tevent_queue_add(line, ev, req, trigger, None)
        return waiting

    tevent_queue_stop(line)
    with steps("filled"):
        waiting = fill()
    with steps("asked for its length"):
        for _ in range(size):
            assert tevent_queue_length(line) == size
    tevent_queue_start(line)
    with steps("worked off"):
        while tevent_queue_length(line):
            tevent_loop_once(ev)
    for order in ("first one first", "last one first"):
        tevent_queue_stop(line)
        waiting = fill()
        with steps(f"requests freed, {order}"):
            for req in waiting if order == "first one first" else reversed(waiting):
                TALLOC_FREE(req)
    fill()
    with steps("freed with its owner"):
        talloc_free(top)


@scenario()
def queue_entries(steps: Steps, size: int) -> None:
    """Entries of one queue, each an object that is freed."""
    top, ev = world()
    line = tevent_queue_create(top, "line")
    tevent_queue_stop(line)
    waiting = requests(top, size)
    with steps("added"):
        entries = [tevent_queue_add_entry(line, ev, req, nothing, None) for req in waiting]
    with steps("freed"):
        for entry in entries:
            TALLOC_FREE(entry)
    talloc_free(top)


@scenario()
def queue_waits(steps: Steps, size: int) -> None:
    """Requests that wait for their turn in one queue."""
    top, ev = world()
    line = tevent_queue_create(top, "line")
    left = size

    def turn(req):
        nonlocal left
        left -= 1
        TALLOC_FREE(req)

    with steps("made"):
        for _ in range(size):
            tevent_req_set_callback(tevent_queue_wait_send(top, ev, line), turn, None)
    with steps("worked off"):
        while left:
            tevent_loop_once(ev)
    talloc_free(top)


@scenario()
def posted(steps: Steps, size: int) -> None:
    """Requests that all end at once."""
    top, ev = world()
    left = size

    def done(req):
        nonlocal left
        left -= 1
        TALLOC_FREE(req)

    with steps("made"):
        waiting = requests(top, size)
    with steps("done and posted"):
        for req in waiting:
            tevent_req_done(req)
            tevent_req_set_callback(tevent_req_post(req, ev), done, None)
    with steps("called back"):
        while left:
            tevent_loop_once(ev)
    left = size
    waiting = requests(top, size)
    with steps("deferred and done"):
        for req in waiting:
            tevent_req_set_callback(req, done, None)
            tevent_req_defer_callback(req, ev)
            tevent_req_done(req)
    with steps("called back, deferred"):
        while left:
            tevent_loop_once(ev)
    talloc_free(top)


@scenario(100, 1_000, 10_000, 100_000)
def subrequests(steps: Steps, size: int) -> None:
    """Children of one request."""
    top, ev = world()
    left = size

    def done(subreq):
        nonlocal left
        left -= 1
        TALLOC_FREE(subreq)

    req, state = tevent_req_create(top, item_state)
    with steps("made"):
        waiting = requests(state, size)
    with steps("done and posted"):
        for subreq in waiting:
            tevent_req_done(subreq)
            tevent_req_set_callback(tevent_req_post(subreq, ev), done, req)
    with steps("called back"):
        while left:
            tevent_loop_once(ev)
    requests(state, size)
    with steps("freed with it"):
        TALLOC_FREE(req)
    talloc_free(top)


@scenario()
def endtimes(steps: Steps, size: int) -> None:
    """Requests with an end time."""
    top, ev = world()
    waiting = requests(top, size)
    with steps("set"):
        for req in waiting:
            tevent_req_set_endtime(req, ev, tevent_timeval_current_ofs(1000, 0))
    with steps("done before"):
        for req in waiting:
            tevent_req_set_callback(req, nothing, None)
            tevent_req_done(req)
    with steps("freed"):
        for req in waiting:
            TALLOC_FREE(req)
    talloc_free(top)


@scenario()
def nested(steps: Steps, size: int) -> None:
    """Requests, each a child of the one before."""
    top, _ = world()
    with steps("made"):
        state: TALLOC_CTX = top
        for _ in range(size):
            _, state = tevent_req_create(state, item_state)
    with steps("freed"):
        talloc_free(top)
