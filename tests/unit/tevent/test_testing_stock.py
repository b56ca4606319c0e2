# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is left behind: chunks, descriptors, events, queue entries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from talloc_py import (
    TALLOC_CTX,
    talloc_disable_null_tracking,
    talloc_enable_null_tracking,
    talloc_free,
    talloc_named_const,
    talloc_new,
    talloc_reference,
    talloc_strdup,
    talloc_total_blocks,
    talloc_zero,
)
from tevent import (
    TEVENT_FD_READ,
    tevent_add_fd,
    tevent_add_timer,
    tevent_create_immediate,
    tevent_queue_create,
    tevent_queue_wait_send,
    tevent_req_create,
    tevent_schedule_immediate,
    tevent_timeval_current_ofs,
)
from tevent.testing import check_clean, simulation, take_stock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tevent import tevent_context


class foo_state(TALLOC_CTX):
    """A state of something."""


class thing(TALLOC_CTX):
    """Something else."""


@pytest.fixture
def world() -> Iterator[simulation]:
    with simulation() as made:
        yield made


@pytest.fixture
def ev(world: simulation) -> tevent_context:
    return world.context()


@pytest.fixture
def root() -> Iterator[TALLOC_CTX]:
    ctx = talloc_named_const(None, 0, "root")
    assert ctx is not None
    yield ctx
    talloc_free(ctx)


def left(*roots: TALLOC_CTX, make: Any, **arguments: Any) -> str:
    """What the message says of what *make* leaves behind; empty if nothing."""
    before = take_stock(*roots, **arguments)
    make()
    try:
        check_clean(before, take_stock(*roots, **arguments))
    except AssertionError as error:
        return str(error)
    return ""


def test_chunks(root: TALLOC_CTX) -> None:
    """A chunk that is left is named with its owners; what only lies below it is not."""

    def make() -> None:
        for _ in range(2):
            state = talloc_zero(root, foo_state)
            talloc_zero(state, thing)

    assert left(root, make=make) == "left behind: 2 x struct foo_state in root"
    assert left(root, make=lambda: [talloc_zero(root, kind) for kind in (thing, foo_state, foo_state)]) == (
        "left behind: 2 x struct foo_state in root; 1 x struct thing in root"
    )


def test_the_same_again(root: TALLOC_CTX) -> None:
    """Another chunk of the same name in the place of one that has gone is nothing left behind; so is a string."""
    first, text = talloc_zero(root, foo_state), talloc_strdup(root, "one")

    def make() -> None:
        talloc_free(first)
        talloc_free(text)
        talloc_zero(root, foo_state)
        talloc_strdup(root, "two")

    assert left(root, make=make) == ""


def test_references(root: TALLOC_CTX) -> None:
    """A reference that is left is named after what it refers to."""
    state, holder = talloc_zero(root, foo_state), talloc_named_const(root, 0, "holder")
    assert left(root, make=lambda: talloc_reference(holder, state)) == (
        "left behind: 1 x reference to struct foo_state in holder in root"
    )


def test_what_is_left_out(root: TALLOC_CTX) -> None:
    """What lies below chunks that are left out is not counted, and nor are these."""
    out = talloc_named_const(root, 0, "out")
    assert out is not None
    assert left(root, make=lambda: talloc_zero(talloc_zero(out, thing), thing), but=(out,)) == ""
    assert left(root, make=lambda: talloc_zero(root, thing), but=(out,)) == "left behind: 1 x struct thing in root"


def test_without_an_owner(root: TALLOC_CTX) -> None:
    """Chunks without an owner are counted while null tracking is on."""
    made: list[Any] = []
    assert left(root, make=lambda: made.append(talloc_zero(None, thing))) == ""
    talloc_enable_null_tracking()
    try:
        assert left(root, make=lambda: made.append(talloc_zero(None, thing))) == "left behind: 1 x struct thing"
    finally:
        talloc_disable_null_tracking()
    for each in made:
        talloc_free(each)


def test_descriptors(root: TALLOC_CTX) -> None:
    """An open descriptor is left behind; one that only the collector has to close is not."""
    opened: list[int] = []
    message = left(root, make=lambda: opened.append(os.open(os.devnull, os.O_RDONLY)))
    os.close(opened[0])
    assert message == f"left behind: descriptors {opened[0]}"

    def cycle() -> None:
        ring: list[Any] = [os.scandir("/")]
        ring.append(ring)

    with pytest.warns(ResourceWarning):
        assert left(root, make=cycle) == ""


def test_events(ev: tevent_context, root: TALLOC_CTX) -> None:
    """Timers and immediates are counted by the names of their handlers, whoever owns them."""

    def handler(*_: Any) -> None:
        """Never runs."""

    def make() -> None:
        tevent_add_timer(ev, root, tevent_timeval_current_ofs(1, 0), handler, None)
        im = tevent_create_immediate(root)
        assert im is not None
        tevent_schedule_immediate(im, ev, handler, None)

    assert left(ev=ev, make=make) == "left behind: 1 x immediate handler; 1 x timer handler"
    assert left(ev=ev, make=make, but=(root,)) == ""


def test_fd_events(epoll_ev: tevent_context, pipe: tuple[int, int]) -> None:
    """fd events are counted too, and looked for on any backend."""

    def handler(*_: Any) -> None:
        """Never runs."""

    message = left(ev=epoll_ev, make=lambda: tevent_add_fd(epoll_ev, None, pipe[0], TEVENT_FD_READ, handler, None))
    assert message == "left behind: 1 x fd event handler"


def test_queue_entries(ev: tevent_context, root: TALLOC_CTX) -> None:
    """An entry that is left in a queue is counted with the queue, and its request where that is."""
    queue = tevent_queue_create(root, "things")
    assert queue is not None
    elsewhere = talloc_new(None)
    assert elsewhere is not None
    message = left(root, make=lambda: tevent_queue_wait_send(elsewhere, ev, queue))
    talloc_free(elsewhere)
    assert message == "left behind: 1 x entries in queue 'things'"


def test_made_late(root: TALLOC_CTX, ev: tevent_context) -> None:
    """What the library makes below its own objects when somebody else looks is nothing left behind."""
    queue = tevent_queue_create(root, "things")
    assert queue is not None
    tevent_queue_wait_send(root, ev, queue)
    message = left(root, make=lambda: (talloc_total_blocks(root), talloc_zero(queue, thing)))
    assert message == "left behind: 1 x struct thing in struct tevent_queue in root"


def test_looking_changes_nothing(root: TALLOC_CTX) -> None:
    """What the library makes only for a report is not made, and not counted."""
    req, _ = tevent_req_create(root, foo_state)
    assert req is not None
    found = take_stock(root)
    assert repr(found) == f"<stock of 2 chunks, 0 events, {len(found.descriptors)} descriptors>"
    assert req.rare is None


def test_freed_root() -> None:
    """A root that is freed is a mistake that is reported, like any use of a freed chunk."""
    top = talloc_new(None)
    assert top is not None
    talloc_free(top)
    with pytest.raises(RuntimeError, match="access after free"):
        take_stock(top)
