# SPDX-License-Identifier: LGPL-3.0-or-later
"""
How chunks die, and how they change their owner.

Prior art: ``_tc_free_internal()``, ``_tc_free_children_internal()``, ``_talloc_steal_internal()`` and
``talloc_unlink()`` in lib/talloc/talloc.c. The order of everything is theirs; the recursion is not: a chain of a
million chunks is freed with a list for a stack. Cost: O(chunks that die); a leaf costs a few assignments.

The life of a chunk: alive -> dying (`next` is LEFT, `prev` the place of the free: its destructor has agreed, it is out
of its parent's list, its children are going) -> dead (`obj` is None as well).
"""

from __future__ import annotations

from . import _abort
from ._chunk import (
    LEFT,
    RUNNING,
    chunk,
    link_first,
    location_text,
    name_of,
    reference_handle,
    unlink,
    world,
)
from ._rare import limit_grow, limit_shrink, release
from ._walk import limit_total

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "AGREED",
    "TALLOC_MAX_DEPTH",
    "abort_errors",
    "destructor_raised",
    "drop_handle",
    "free_agreed",
    "free_children",
    "free_chunk",
    "free_internal",
    "free_rare",
    "is_ancestor",
    "library_destructors",
    "reference_of",
    "refuses",
    "steal_internal",
    "unlink_from",
]

#: So many levels up talloc_is_parent() looks.
TALLOC_MAX_DEPTH = 10000

#: Exception classes that leave talloc_free() when one of `library_destructors` raises them.
abort_errors: list[type[BaseException]] = [_abort.talloc_abort_error]
#: Destructors that belong to a library built on this one.
library_destructors: set[Any] = set()

#: What most destructors answer; others give None.
AGREED = 0
_REFUSED = -1
_GONE = 0
_DYING = 1


def free_chunk(c: chunk, where: Any) -> int:
    """talloc_free() of a chunk that was found valid; *where* is the place of the call."""
    if c.extra is not None or c.next is LEFT:
        return free_rare(c, where)
    # What free_internal() comes to for a chunk that has neither references nor limits, and no children when its
    # destructor has run: 0.43 us instead of 0.80 for a request. RUNNING, called as a destructor, refuses.
    destructor = c.destructor
    if destructor is not None:
        c.destructor = RUNNING
        try:
            answer: Any = destructor(c.obj)
        except BaseException as error:
            answer = destructor_raised(c, destructor, error)
        if answer is not AGREED and answer is not None and refuses(c, destructor, answer):
            return -1
        if c.next is LEFT or c.extra is not None:
            return free_agreed(c, where)
    if c.child is not None:
        return free_agreed(c, where)
    following = c.next
    before = c.prev
    if before is not None:
        before.next = following
    else:
        parent = c.parent
        if parent is not None:
            parent.child = following
    if following is not None:
        following.prev = before
    c.next = LEFT
    c.prev = where
    c.parent = None
    c.obj = None
    return 0


def free_rare(c: chunk, where: Any) -> int:
    """`free_chunk` of a chunk that has rare fields, or is dying already."""
    extra = c.extra
    if extra is not None and extra.refs is not None:
        if c.parent is world.null and extra.refs.older is None:
            # Only one owner is left in question, so it is known who gets the chunk.
            return unlink_from(world.null, c, where)
        log_references(c, "ERROR: talloc_free with references", where)
        return -1
    return free_internal(c, where)


def free_agreed(c: chunk, where: Any) -> int:
    """The rest of a free whose destructor, if there was any, has agreed, and may have done anything."""
    if c.next is LEFT:
        return 0
    c.destructor = None
    return free_internal(c, where, True)


def log_references(c: chunk, complaint: str, where: Any) -> None:
    """Log the *complaint* about the place *where*, and where each reference was made, newest first."""
    _abort.log(f"{complaint} at {location_text(where)}\n")
    handle = None if c.extra is None else c.extra.refs
    while handle is not None:
        _abort.log(f"\treference at {location_text(handle.made_at)}\n")
        handle = handle.older


def free_internal(c: chunk, where: Any, agreed: bool = False) -> int:
    """
    Free *c* and all below; -1 where its destructor refuses, or a reference from elsewhere takes it over.

    *agreed*: the destructor has agreed already, and with it everybody who could object.
    """
    errors: list[BaseException] = []
    state = _leave_tree(c, where) if agreed else _begin(c, where, errors)
    if state == _DYING:
        if c.child is not None:
            _free_all_children(c, where, errors)
        if c.extra is not None:
            _bury(c, errors)
        else:
            c.obj = c.parent = c.destructor = None
    if errors:
        raise errors[0]
    return -1 if state == _REFUSED else 0


def free_children(c: chunk, where: Any) -> None:
    """Free all children of *c* but the string that is its present name; that ends as the first child."""
    named: chunk | None = None
    if c.name is not None:
        named = c.child
        while named is not None and named.obj is not c.name:
            named = named.next
    if named is not None:
        unlink(named)
        named.parent = None
    errors: list[BaseException] = []
    _free_all_children(c, where, errors)
    if named is not None and named.obj is not None and named.parent is None:
        if c.obj is not None:
            link_first(named, c)
        else:  # A destructor has freed the owner itself.
            free_internal(named, where)
    if errors:
        raise errors[0]


def _free_all_children(top: chunk, where: Any, errors: list[BaseException]) -> None:
    """Free the children of *top*, newest first, looking at the head of the list anew each time; no recursion."""
    stack: list[chunk] = []
    tc = top
    while True:
        child = tc.child
        if child is None:
            if not stack:
                return
            if tc.extra is not None:
                _bury(tc, errors)
            else:
                tc.obj = None
                tc.parent = None
                tc.destructor = None
            tc = stack.pop()
        elif child.extra is None and child.destructor is None:
            # Nobody else has a word in this: what _begin() and _bury() come to. Half the time for a chain.
            following = child.next
            tc.child = following
            if following is not None:
                following.prev = None
            child.next = LEFT
            child.prev = where
            if child.child is None:
                child.parent = None
                child.obj = None
            else:
                stack.append(tc)
                tc = child
        else:
            # Who gets the child if it cannot be freed is settled before the attempt: the holder of what is now its
            # newest reference.
            refs = None if child.extra is None else child.extra.refs
            heir = None if refs is None else refs.parent
            state = _begin(child, where, errors)
            if state == _DYING:
                stack.append(tc)
                tc = child
            elif state == _REFUSED and child.parent is tc:
                _abandon(child, heir, tc, errors)


def _abandon(child: chunk, heir: chunk | None, dying: chunk, errors: list[BaseException]) -> None:
    """Move a child that cannot be freed away: to *heir*, else to the owner of the chunk that is dying."""
    if (heir is None or heir is world.null) and dying.parent is not None:
        heir = dying.parent
        if heir is child:
            heir = None  # a loop of owners: the child would stay where it is, and C never come to an end
    if heir is not None and heir.obj is None:
        heir = None  # freed meanwhile by a destructor; C would use freed memory
    try:
        steal_internal(heir, child)
    except BaseException as error:  # what the abort function raises; the free has to be finished first
        errors.append(error)


def _begin(c: chunk, where: Any, errors: list[BaseException]) -> int:
    """
    The part of a free before the children go.

    _DYING: go on with the children. _GONE: nothing to do, and success. _REFUSED: the chunk lives.
    """
    while c.extra is not None and c.extra.refs is not None:
        handle = c.extra.refs
        inside = is_ancestor(handle, c)
        drop_handle(handle, where, errors)
        if not inside:
            return _REFUSED
    if c.next is LEFT:
        return _GONE
    if c.destructor is not None:
        if _destructor_refuses(c, errors):
            return _REFUSED
        if c.next is LEFT:
            return _GONE  # The destructor has removed itself and freed the chunk.
    return _leave_tree(c, where)


def _leave_tree(c: chunk, where: Any) -> int:
    """Take a chunk that is to die out of the list of its parent."""
    if c.prev is not None:
        # As in C, where only the first of the siblings knows the parent: a chunk that is freed behind a younger
        # sibling has forgotten it, and what cannot be freed below goes to top level.
        unlink(c)
        c.parent = None
    else:
        unlink(c)
    c.next = LEFT
    c.prev = where
    return _DYING


def _destructor_refuses(c: chunk, errors: list[BaseException]) -> bool:
    destructor = c.destructor
    assert destructor is not None
    c.destructor = RUNNING  # which, called as a destructor, refuses
    try:
        answer: Any = destructor(c.obj)
    except BaseException as error:
        try:
            answer = destructor_raised(c, destructor, error)
        except BaseException as abort_error:
            errors.append(abort_error)
            return True
    if refuses(c, destructor, answer):
        return True
    if c.next is not LEFT:  # else the destructor has freed the chunk itself
        c.destructor = None
    return False


def refuses(c: chunk, destructor: Any, answer: object) -> bool:
    """Whether *answer* is a refusal, after which the destructor is set again unless it has set another itself."""
    # An answer is looked at without calling a method of it.
    if not isinstance(answer, int) or answer != -1:
        return False
    if c.destructor is RUNNING:
        c.destructor = destructor
    return True


def destructor_raised(c: chunk, destructor: Any, error: BaseException) -> int:
    """What an exception in a destructor counts as: a refusal where it is to leave the free, else 0 after a report."""
    if _leaves_free(destructor, error):
        if c.destructor is RUNNING:
            c.destructor = destructor
        raise error
    message = f"Exception ignored in the destructor of talloc chunk '{name_of(c) or 'UNNAMED'}'"
    _abort.report_unraisable(error, message, destructor)
    return AGREED


def _leaves_free(destructor: object, error: BaseException) -> bool:
    """Whether it is an abort error out of a destructor of the libraries: that one counts as a refusal and is raised."""
    return isinstance(error, tuple(abort_errors)) and any(destructor is known for known in library_destructors)


def _bury(c: chunk, errors: list[BaseException]) -> None:
    """The end of a dying chunk whose children are gone."""
    c.obj = c.parent = c.destructor = None
    extra = c.extra
    if extra is not None:
        while extra.refs is not None:  # made by a destructor while the chunk was dying
            drop_handle(extra.refs, c.prev, errors)
        try:
            release(c)
        except BaseException as error:  # what the abort function raises; the free has to be finished first
            errors.append(error)


def drop_handle(handle: reference_handle, where: Any, errors: list[BaseException]) -> None:
    """Free a reference; its target does not notice."""
    forget_reference(handle)
    unlink(handle)
    handle.next = LEFT
    handle.prev = where
    _bury(handle, errors)


def forget_reference(handle: reference_handle) -> int:
    """Take *handle* out of the list of its target; the destructor of a handle."""
    older, newer = handle.older, handle.newer
    if newer is not None:
        newer.older = older
    else:
        extra = handle.target.extra
        assert extra is not None
        extra.refs = older
    if older is not None:
        older.newer = newer
    handle.older = handle.newer = None
    return 0


def is_ancestor(c: chunk | None, presumed: chunk) -> bool:
    """Whether *presumed* is *c* or one of its owners, not more than `TALLOC_MAX_DEPTH` levels up."""
    for _level in range(TALLOC_MAX_DEPTH):
        if c is None:
            return False
        if c is presumed:
            return True
        c = c.parent
    return False


def reference_of(c: chunk, holder: chunk | None) -> reference_handle | None:
    """The newest reference to *c* that *holder* (None: nobody) holds."""
    handle = None if c.extra is None else c.extra.refs
    while handle is not None and handle.parent is not holder:
        handle = handle.older
    return handle


def unlink_from(owner: chunk | None, c: chunk, where: Any) -> int:
    """talloc_unlink(): drop a reference that *owner* holds, else its ownership; -1 where it has neither."""
    handle = reference_of(c, owner)
    if handle is not None:
        _drop(handle, where)
        return 0
    if c.parent is not owner:
        return -1
    if c.extra is None or c.extra.refs is None:
        return free_internal(c, where)
    heir = c.extra.refs.parent
    handle = reference_of(c, heir or world.null)
    if handle is None:
        return -1  # held by nobody since before null tracking: C does not find it either
    _drop(handle, where)
    steal_internal(heir, c)
    return 0


def _drop(handle: reference_handle, where: Any) -> None:
    errors: list[BaseException] = []
    drop_handle(handle, where, errors)
    if errors:
        raise errors[0]


def steal_internal(new: chunk | None, c: chunk) -> None:
    """
    Make *c* the first child of *new* (None: null_context or top level), with all below it.

    The move is complete also when the bookkeeping of a memory limit ends in an abort error.
    """
    if c.next is LEFT:
        return  # A dying chunk is beyond being saved; C would leave a dangling pointer in the new list.
    if new is None:
        new = world.null
    error: BaseException | None = None
    if c.extra is not None and c.extra.limit is not None:
        try:
            _leave_limits(c)
        except BaseException as abort_error:
            error = abort_error
    if new is None:
        unlink(c)
        c.parent = None
    elif c is not new and (c.parent is not new or c.prev is not None):
        unlink(c)
        link_first(c, new)
        _enter_limits(c, new)
    if error is not None:
        raise error


def _leave_limits(c: chunk) -> None:
    """As in C only the limits above the nearest get back what moves away, and a limit that is moved forgets those."""
    extra = c.extra
    assert extra is not None
    limit = extra.limit
    assert limit is not None
    size = limit_total(c, None, None)
    upper = limit.upper
    if limit.owner is c:
        limit.upper = None
    else:
        extra.limit = None
    limit_shrink(upper, size)


def _enter_limits(c: chunk, new: chunk) -> None:
    old_limit = None if c.extra is None else c.extra.limit
    new_limit = None if new.extra is None else new.extra.limit
    if old_limit is not None or new_limit is not None:
        limit_grow(new_limit, limit_total(c, old_limit, new_limit))
