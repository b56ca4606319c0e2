# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What there is at one moment, counted, so that two moments can be compared: chunks, descriptors, events, queue entries.

Chunks are counted by their names and those of their owners, not one by one: a peer that has begun another request of
the same kind in the place of the last one has left nothing behind.  Looking changes nothing: children that the library
makes only for reports are not made here.

Cost: O(chunks).
"""

from __future__ import annotations

import gc
from collections import Counter

from talloc_py._chunk import CONTENT, chunk, chunk_of, lazy_children, name_of, reference_handle, talloc_string, world
from talloc_py.core import TALLOC_CTX

from . import _sys
from ._base import handler_name_of, tevent_context
from .immediate import tevent_immediate
from .queue import tevent_queue, tevent_queue_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_clean", "stock", "take_stock"]

path = tuple[str, ...]
#: What chunks of the classes in `lazy_children` may get as a child at any time.
_MADE_LATE = (talloc_string, tevent_immediate, tevent_queue_entry)


class stock:
    """
    What there was at one moment; made by `take_stock`.

    Attributes:
        chunks: How many chunks of each path: its own name first, then those of its owners.

        events: How many timers, immediates and fd events of each handler, and how many entries in each queue.

        descriptors: The numbers of the open descriptors.
    """

    __slots__ = ("chunks", "descriptors", "events")

    def __init__(self) -> None:
        self.chunks: Counter[path] = Counter()
        self.events: Counter[str] = Counter()
        self.descriptors: set[int] = _sys.open_descriptors()

    def __repr__(self) -> str:
        chunks, events = self.chunks.total(), self.events.total()
        return f"<stock of {chunks} chunks, {events} events, {len(self.descriptors)} descriptors>"


def take_stock(*roots: TALLOC_CTX, ev: tevent_context | None = None, but: tuple[TALLOC_CTX, ...] = ()) -> stock:
    """
    Count what there is now.

    Args:
        roots: The chunks below which chunks and the entries of queues are counted. Chunks without an owner are counted
            in any case while `talloc_enable_null_tracking` is on.

        ev: The context whose timers, immediates and fd events are counted.

        but: Chunks that are left out, with all below them and all events that belong to them.
    """
    found = stock()
    left_out = {id(c) for ptr in but if (c := chunk_of(ptr)) is not None}
    tops = [(c, _name(c)) for ptr in roots if (c := chunk_of(ptr)) is not None]
    left_out |= {id(c) for c, _ in tops}
    for c, name in tops:
        _count_below(found, c, (name,), left_out)
    if world.null is not None and id(world.null) not in left_out:
        _count_below(found, world.null, (), left_out)
    if ev is not None:
        _count_events(found, ev, {id(c) for ptr in but if (c := chunk_of(ptr)) is not None})
    return found


def _count_below(found: stock, root: chunk, root_path: path, left_out: set[int]) -> None:
    todo = [(root, root_path)]
    while todo:
        owner, owner_path = todo.pop()
        for c in _children(owner):
            if id(c) in left_out:
                continue
            own_path = (_name(c), *owner_path)
            found.chunks[own_path] += 1
            if type(c.obj) is tevent_queue:
                found.events[f"entries in queue {c.obj.name!r}"] += c.obj.length
            todo.append((c, own_path))


def _children(c: chunk) -> Iterator[chunk]:
    """The children of *c*, without those that the library makes late, for who looks or when it needs them."""
    late = _MADE_LATE if type(c.obj) in lazy_children else ()
    child = c.child
    while child is not None:
        if type(child.obj) not in late:
            yield child
        child = child.next


def _name(c: chunk) -> str:
    if isinstance(c, reference_handle):
        return f"reference to {_name(c.target)}"
    # A string is called like its content, which may be another one each time.
    return "a string" if c.name is CONTENT else name_of(c) or "unnamed"


def _count_events(found: stock, ev: tevent_context, left_out: set[int]) -> None:
    for te in ev.timer_events:
        if not _below(te._talloc_chunk, left_out):
            found.events[f"timer {te.handler_name}"] += 1
    for node in ev.immediate_events:
        header: chunk = getattr(node, "_talloc_chunk")  # noqa: B009  # whatever stands in that list is a chunk
        if not _below(header, left_out):
            found.events["immediate " + handler_name_of(getattr(node, "handler", None))] += 1
    for fde in ev.fd_events:
        if fde is not ev.wakeup_fde and not _below(fde._talloc_chunk, left_out):
            found.events[f"fd event {fde.handler_name}"] += 1


def _below(c: chunk | None, left_out: set[int]) -> bool:
    while c is not None:
        if id(c) in left_out:
            return True
        c = c.parent
    return False


def check_clean(before: stock, after: stock) -> None:
    """
    Check that nothing is left behind.

    Raises:
        AssertionError: *after* has what *before* had not; the message lists it.
    """
    left = _chunks_left(before, after) + [f"{n} x {what}" for what, n in sorted((after.events - before.events).items())]
    descriptors = after.descriptors - before.descriptors
    if descriptors:
        gc.collect()  # what is unreachable is not left behind, it is only not gone yet
        descriptors &= _sys.open_descriptors()
    if descriptors:
        left.append("descriptors " + ", ".join(map(str, sorted(descriptors))))
    if left:
        raise AssertionError("left behind: " + "; ".join(left))


def _chunks_left(before: stock, after: stock) -> list[str]:
    """A line for each kind of chunk that there are more of; not for what only lies below such."""
    more = after.chunks - before.chunks
    return [
        f"{count} x {' in '.join(names)}"
        for names, count in sorted(more.items(), key=lambda item: (len(item[0]), item[0]))
        if more[names[1:]] == 0
    ]
