# SPDX-License-Identifier: LGPL-3.0-or-later
"""
What only few chunks have: references, a memory limit, a pool. Pure bookkeeping; nothing here walks a tree.

Prior art: ``struct talloc_memlimit``, ``struct talloc_pool_hdr``, ``tc_alloc_pool()``, ``_tc_free_poolmem()`` and
``tc_memlimit_update_on_free()`` in lib/talloc/talloc.c. Sizes are those of C on a 64-bit machine, so that limits and
pools are full when they would be full in C. Cost: O(1), or O(limits above).
"""

from __future__ import annotations

from . import _abort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

    from ._chunk import chunk, reference_handle

__all__ = ["memlimit", "pool_space", "rare"]

#: Bytes of C's chunk header, pool header and reference handle.
HEADER_BYTES = 96
POOL_BYTES = 32
HANDLE_BYTES = 32

#: Answers of `rebook`.
REFUSED = 0
KEEP = 1
RENAME = 2


def align16(size: int) -> int:
    """Round *size* up to a multiple of 16, as C does with what goes into a pool."""
    return (size + 15) & ~15


class rare:
    """The rare fields of one chunk; a chunk without any of them has none of these."""

    __slots__ = ("asked", "body", "limit", "member", "pool", "refs", "size", "start")

    def __init__(self) -> None:
        #: The newest reference to the chunk, head of a list.
        self.refs: reference_handle | None = None
        #: The nearest memory limit, maybe the chunk's own.
        self.limit: memlimit | None = None
        #: The pool that this chunk is.
        self.pool: pool_space | None = None
        #: The pool that this chunk lives in, and where in it.
        self.member: pool_space | None = None
        self.start: int = 0
        #: Size as limits and pools have it on their books: a buffer may have been resized behind our back.
        self.size: int = 0
        #: Where the free of an event was called whose handler runs, so that it goes when that returns.
        self.asked: tuple[CodeType, int] | None = None
        #: Size of a plain TALLOC_CTX: 1 where TALLOC_CTX was the type argument.
        self.body: int = 0


class memlimit:
    """A limit on the memory of a chunk and all below it."""

    __slots__ = ("cur_size", "max_size", "owner", "upper")

    def __init__(self, owner: chunk, max_size: int) -> None:
        self.owner: chunk = owner
        self.max_size: int = max_size
        self.cur_size: int = 0
        self.upper: memlimit | None = None


class pool_space:
    """The space of a pool: offsets count from the end of the pool's own header."""

    __slots__ = ("count", "end", "first", "owner", "size")

    def __init__(self, owner: chunk, size: int, body: int) -> None:
        self.owner: chunk = owner
        self.size: int = size
        #: Where the first member goes: behind the object of a pooled object.
        self.first: int = align16(body)
        self.end: int = self.first
        #: Members alive, and one for the pool itself while it lives.
        self.count: int = 1

    def alone(self) -> bool:
        """Whether one member is all that lives in the pool, the pool itself left aside."""
        return self.count - (self.owner.obj is not None) == 1


def limit_allows(limit: memlimit | None, size: int) -> bool:
    """Whether *limit* and all above it have room for *size* bytes more."""
    while limit is not None:
        if limit.max_size != 0 and (limit.max_size <= limit.cur_size or limit.max_size - limit.cur_size < size):
            return False
        limit = limit.upper
    return True


def limit_grow(limit: memlimit | None, size: int) -> None:
    """Charge *size* bytes to *limit* and all above it."""
    while limit is not None:
        limit.cur_size += size
        limit = limit.upper


def limit_shrink(limit: memlimit | None, size: int) -> None:
    """Give *size* bytes back to *limit* and all above it; more than was charged is a logic error, as in C."""
    while limit is not None:
        if limit.cur_size < size:
            _abort.abort("logic error in talloc_memlimit_shrink\n")
            return
        limit.cur_size -= size
        limit = limit.upper


def pool_take(pool: pool_space | None, extra: rare, size: int, prefix: int) -> bool:
    """Give a chunk of *size* bytes a place in *pool*; False where there is none left."""
    if pool is None:
        return False
    needed = align16(HEADER_BYTES + size + prefix)
    if pool.size - pool.end < needed:
        return False
    extra.member = pool
    extra.start = pool.end + prefix
    pool.end += needed
    pool.count += 1
    return True


def become_pool(c: chunk, size: int, body: int) -> None:
    """Let a new chunk be a pool of *size* bytes, of which the first *body* are taken by the object itself."""
    extra = c.extra
    if extra is None:
        extra = c.extra = rare()
    extra.size = body
    extra.pool = pool_space(c, size, body)


def admit(new: chunk, parent_extra: rare, size: int, prefix: int = 0) -> bool:
    """
    Enter a new chunk below one that has rare fields: into its pool, else on the books of its limits.

    False where a limit refuses it. *prefix* is the header of a pool.
    """
    pool = parent_extra.pool or parent_extra.member
    limit = parent_extra.limit
    if pool is None and limit is None:
        return True
    extra = new.extra or rare()
    extra.limit = limit
    extra.size = size
    if not pool_take(pool, extra, size, prefix):
        charge = HEADER_BYTES + size + prefix
        if not limit_allows(limit, charge):
            return False
        limit_grow(limit, charge)
        if limit is None and new.extra is None:
            return True
    new.extra = extra
    return True


def release(dead: chunk) -> None:
    """Take a chunk that has just died off the books."""
    extra = dead.extra
    if extra is None:
        return
    pool = extra.pool
    if pool is None:
        dead.extra = None
    else:
        pool.count -= 1
        if pool.count != 0:
            return  # Stolen members keep the space.
    if extra.member is not None:
        _leave_pool(extra)
    else:
        _leave_limit(extra)


def _leave_limit(extra: rare) -> None:
    size = HEADER_BYTES + extra.size
    if extra.pool is not None:
        size += POOL_BYTES  # but not the pool's space: so in C
    limit, extra.limit = extra.limit, None
    limit_shrink(limit, size)


def _leave_pool(extra: rare) -> None:
    pool = extra.member
    assert pool is not None
    extra.member = None
    pool.count -= 1
    owner = pool.owner
    if pool.count == 1 and owner.obj is not None:
        pool.end = pool.first
    elif pool.count == 0:
        owner_extra = owner.extra
        assert owner_extra is not None
        if owner_extra.member is not None:
            _leave_pool(owner_extra)
        else:
            _leave_limit(owner_extra)
    elif pool.end == extra.start + align16(HEADER_BYTES + extra.size):
        pool.end = extra.start


def rebook(c: chunk, old: int, size: int) -> int:
    """
    Enter a new size of a chunk that is no pool. C's rules also say whether the chunk gets a new name.

    REFUSED: a limit has no room. KEEP: in C the memory stays as it is, and so does the name. RENAME: it is new memory.
    """
    extra = c.extra
    if extra is None or (extra.limit is None and extra.member is None):
        return KEEP if size <= old < size + 1024 else RENAME
    old = extra.size
    if size == old:
        return KEEP
    if extra.member is not None:
        return _rebook_member(extra, extra.member, size)
    if size > old and not limit_allows(extra.limit, size - old):
        return REFUSED
    extra.size = size
    if size > old:
        limit_grow(extra.limit, size - old)
    else:
        limit_shrink(extra.limit, old - size)
    return RENAME


def _rebook_member(extra: rare, pool: pool_space, size: int) -> int:
    """The new size of a chunk in a pool, in C's order of attempts."""
    here = align16(HEADER_BYTES + extra.size)
    needed = align16(HEADER_BYTES + size)
    is_last = extra.start + here == pool.end
    if size < extra.size and extra.limit is None:
        extra.size = size
        if is_last:
            pool.end = extra.start + needed
        return KEEP
    if pool.alone():
        if pool.size - pool.first >= needed:
            extra.start = pool.first
            extra.size = size
            pool.end = pool.first + needed
            return RENAME
        is_last = False
    if needed == here:
        extra.size = size
        return KEEP
    # C takes the difference without a sign: a chunk that shrinks by more than its padding does not stay.
    if is_last and needed > here and pool.size - pool.end >= needed - here:
        extra.size = size
        pool.end = extra.start + needed
        return KEEP
    return _move_member(extra, pool, size)


def _move_member(extra: rare, pool: pool_space, size: int) -> int:
    """Give a member a new place in its pool, or one outside: that is charged, but without a header."""
    place = rare()
    if not pool_take(pool, place, size, 0):
        if not limit_allows(extra.limit, size):
            return REFUSED
    _leave_pool(extra)
    extra.member = place.member
    extra.start = place.start
    extra.size = size
    if place.member is None:
        limit_grow(extra.limit, size)
    return RENAME
