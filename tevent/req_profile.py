# SPDX-License-Identifier: LGPL-3.0-or-later
"""
Profiles of requests: when a request and its subrequests began and ended, where in the source, and how.

Mirrors the profile functions of ``lib/tevent/tevent_req.c`` and ``lib/util/tevent_req_profile.c``.  A request without a
profile pays one test of an attribute for all of this; one with a profile pays a chunk, two clock calls and a few list
operations, all O(1).  Text, packing and unpacking are O(size), without recursion: the depth of a tree of profiles is
limited by memory alone, also where it comes out of a packet from somebody else.

A running subrequest's profile is a child chunk of the subrequest, yet stands in the list of its parent profile already;
when the subrequest has finished, the chunk moves below the parent profile.
"""

from __future__ import annotations

import errno

from talloc_py.core import (
    TALLOC_CTX,
    attach,
    chunk_of,
    destructor_guards,
    guarded_by,
    location_text,
    talloc_free,
    talloc_get_name,
    talloc_steal,
)
from talloc_py.string import talloc_strdup

from . import _sys, trace
from ._request import NO_MEMORY, RECEIVED, error_at, error_of, finish, finished_at, is_request, rare_of, state_of
from .abort import tevent_abort
from .timed import tevent_timeval_until, timeval

TYPE_CHECKING = False
if TYPE_CHECKING:
    from talloc_py._chunk import talloc_string

    from ._request import Location
    from .enumerations import tevent_req_state
    from .req import tevent_req

__all__ = [
    "tevent_req_get_profile",
    "tevent_req_move_profile",
    "tevent_req_profile",
    "tevent_req_profile_append_sub",
    "tevent_req_profile_create",
    "tevent_req_profile_get_name",
    "tevent_req_profile_get_start",
    "tevent_req_profile_get_status",
    "tevent_req_profile_get_stop",
    "tevent_req_profile_get_subprofiles",
    "tevent_req_profile_next",
    "tevent_req_profile_pack",
    "tevent_req_profile_set_name",
    "tevent_req_profile_set_start",
    "tevent_req_profile_set_status",
    "tevent_req_profile_set_stop",
    "tevent_req_profile_string",
    "tevent_req_profile_unpack",
    "tevent_req_set_profile",
]

_MAX = 2**64 - 1
_NEVER = timeval(0, 0)


class tevent_req_profile(TALLOC_CTX):
    """
    What is known of one request's run; made by `tevent_req_profile_create`, `tevent_req_set_profile` and unpacking.

    C: ``struct tevent_req_profile``
    """

    __slots__ = (
        "_first",
        "_last",
        "_next",
        "_parent",
        "_prev",
        "_req",
        "name",
        "pid",
        "start_location",
        "start_time",
        "state",
        "stop_location",
        "stop_time",
        "user_error",
    )

    def __init__(self) -> None:
        self._parent: tevent_req_profile | None = None
        self._prev: tevent_req_profile | None = None
        self._next: tevent_req_profile | None = None
        self._first: tevent_req_profile | None = None
        self._last: tevent_req_profile | None = None
        self._req: tevent_req | None = None  # the request that still writes here
        self.name: str | None = None
        self.start_location: Location | str | None = None
        self.start_time: timeval = _NEVER
        self.stop_location: Location | str | None = None
        self.stop_time: timeval = _NEVER
        self.pid: int = 0
        self.state: int = 0
        self.user_error: int = 0


def _live(profile: tevent_req_profile) -> bool:
    """Whether *profile* may be used: TypeError for anything else, abort function (then False) for a freed one."""
    if type(profile) is not tevent_req_profile:
        raise TypeError(f"a tevent_req_profile is needed, not {type(profile).__name__}")
    return chunk_of(profile) is not None


def _text(location: Location | str | None) -> str | None:
    return location_text(location) if isinstance(location, tuple) else location


# -- the tree of profiles ---------------------------------------------------------------------------------------------


def _link(parent: tevent_req_profile, sub: tevent_req_profile) -> None:
    """Make *sub*, which stands nowhere, the last subprofile of *parent*."""
    sub._parent = parent
    sub._prev = last = parent._last
    parent._last = sub
    if last is None:
        parent._first = sub
    else:
        last._next = sub


def _unlink(sub: tevent_req_profile) -> None:
    """Take *sub* out of its parent's list, if it stands in one."""
    parent, before, after = sub._parent, sub._prev, sub._next
    if parent is None:
        return
    if before is None:
        parent._first = after
    else:
        before._next = after
    if after is None:
        parent._last = before
    else:
        after._prev = before
    sub._parent = sub._prev = sub._next = None


def _destroy(profile: tevent_req_profile) -> int:
    """Destructor: nobody may be left with a way to the dead profile, neither relatives nor the request."""
    _unlink(profile)
    sub = profile._first
    profile._first = profile._last = None
    while sub is not None:
        after = sub._next
        sub._parent = sub._prev = sub._next = None
        sub = after
    _release(profile)
    return 0


def _release(profile: tevent_req_profile) -> None:
    """Part *profile* from the request that writes there, if there is one."""
    req = profile._req
    if req is not None:
        profile._req = None
        rare_of(req).profile = None
        trace.request_watchers -= 1


destructor_guards[tevent_req_profile] = guarded_by(_destroy)


# -- what a request does with its profile -----------------------------------------------------------------------------


def _profile_of_request(req: tevent_req) -> tevent_req_profile | None:
    """A profile that has begun with *req*, its newest child."""
    profile = tevent_req_profile_create(req)
    if profile is not None:
        profile._req = req
        profile.start_location = req.created
        profile.start_time = _now()
        rare_of(req).profile = profile
        trace.request_watchers += 1
    return profile


def _now() -> timeval:
    now = _sys.time_ns() // 1000
    return timeval(now // 1000000, now % 1000000)


def _name_from_request(profile: tevent_req_profile) -> None:
    """The name of a request is that of its state; of a library operation, that which the state has in C."""
    req = profile._req
    if profile.name is not None or req is None:
        return
    if req.data is not None:
        profile.name = talloc_get_name(req.data)
    else:
        assert req.op is not None
        profile.name = req.op.name


def profile_for_subrequest(req: tevent_req, parent_req: tevent_req) -> bool:
    """Give the fresh *req* a profile below that of *parent_req*, which has one; False where memory forbids it."""
    parent = rare_of(parent_req).profile
    profile = _profile_of_request(req)
    if profile is None or parent is None:
        return False
    _link(parent, profile)
    return True


def profile_named(req: tevent_req) -> None:
    """The state of *req* exists by now: it gives the profile its name, and is the elder child."""
    profile = rare_of(req).profile
    assert profile is not None
    _name_from_request(profile)
    talloc_steal(req, profile)


def profile_finished(req: tevent_req, status: int) -> None:
    """
    Record the end of *req* in the state *status*.

    A subrequest's profile is handed over to the profile that it belongs to.
    """
    profile = rare_of(req).profile
    assert profile is not None
    _name_from_request(profile)
    profile.stop_location = finished_at(req)
    profile.stop_time = _now()
    profile.state = status
    profile.user_error = error_of(req)
    if profile._parent is not None:
        _release(profile)
        talloc_steal(profile._parent, profile)


def tevent_req_set_profile(req: tevent_req) -> bool:
    """
    Record the run of *req*, and of all subrequests that are made on its state from now on.

    C: ``bool tevent_req_set_profile(struct tevent_req *req)``

    Returns:
        True. False where *req* has a profile already, after it has been finished with the error `EINVAL`; and where a
        memory limit forbids the profile, after it has been finished with `TEVENT_REQ_NO_MEMORY`.

    Ownership: the profile is a child of *req*.
    """
    if not is_request(req):
        return False
    if req.profile is not None:
        error_at(req, errno.EINVAL, 1)
        return False
    if req.data is None and req.op is None:
        tevent_abort(None, "tevent_req_set_profile() of a request that was received already")
        return False
    profile = _profile_of_request(req)
    if profile is None:
        finish(req, NO_MEMORY, (tevent_req_set_profile.__code__, 0))
        return False
    _name_from_request(profile)
    return True


def tevent_req_get_profile(req: tevent_req) -> tevent_req_profile | None:
    """
    The profile of *req*; None without one, and for a subrequest that has finished.

    C: ``const struct tevent_req_profile *tevent_req_get_profile(struct tevent_req *req)``
    """
    return req.profile if is_request(req) else None


def tevent_req_move_profile(req: tevent_req, mem_ctx: TALLOC_CTX | None) -> tevent_req_profile | None:
    """
    Take the profile away from *req*, so that it can outlive the request.

    C: ``struct tevent_req_profile *tevent_req_move_profile(struct tevent_req *req, TALLOC_CTX *mem_ctx)``

    Returns:
        The profile, now a child of *mem_ctx*; None if *req* has none. *req* records nothing in it any more, but
        subrequests that are still running do.
    """
    if not is_request(req):
        return None
    profile = req.profile
    if profile is None or talloc_steal(mem_ctx, profile) is None:
        return None
    _name_from_request(profile)
    _release(profile)
    return profile


# -- reading and writing a profile ------------------------------------------------------------------------------------


def tevent_req_profile_create(mem_ctx: TALLOC_CTX | None) -> tevent_req_profile:
    """
    Make an empty profile.

    C: ``struct tevent_req_profile *tevent_req_profile_create(TALLOC_CTX *mem_ctx)``

    Returns:
        The profile, a child of *mem_ctx*: no name, no locations, times of 0, state `TEVENT_REQ_INIT`. None only where
        a memory limit forbids it.
    """
    profile = tevent_req_profile()
    if attach(profile, mem_ctx, tevent_req_profile, _destroy) is None:
        return None  # type: ignore[return-value]  # a limit is rare, and C's callers of set_profile have to do without
    return profile


def tevent_req_profile_get_name(profile: tevent_req_profile) -> str | None:
    """
    The name of *profile*: the type of the request's state, or what `tevent_req_profile_set_name` said.

    C: ``void tevent_req_profile_get_name(const struct tevent_req_profile *profile, const char **req_name)``
    """
    if not _live(profile):
        return None
    _name_from_request(profile)
    return profile.name


def tevent_req_profile_get_start(profile: tevent_req_profile) -> tuple[str | None, timeval]:
    """
    Where and when the request was made.

    C: ``void tevent_req_profile_get_start(const struct tevent_req_profile *profile, const char **start_location, struct
    timeval *start_time)``

    Returns:
        ``file:line`` and the time since the epoch.
    """
    if not _live(profile):
        return None, _NEVER
    return _text(profile.start_location), profile.start_time


def tevent_req_profile_get_stop(profile: tevent_req_profile) -> tuple[str | None, timeval]:
    """
    Where and when the request was finished; ``(None, timeval(0, 0))`` before that.

    C: ``void tevent_req_profile_get_stop(const struct tevent_req_profile *profile, const char **stop_location, struct
    timeval *stop_time)``
    """
    if not _live(profile):
        return None, _NEVER
    return _text(profile.stop_location), profile.stop_time


def tevent_req_profile_get_status(profile: tevent_req_profile) -> tuple[int, tevent_req_state | int, int]:
    """
    How the request ended.

    C: ``void tevent_req_profile_get_status(const struct tevent_req_profile *profile, pid_t *pid, enum tevent_req_state
    *state, uint64_t *user_error)``

    Returns:
        The process number, 0 unless `tevent_req_profile_set_status` gave one; the state, a plain int if it is none of
        `tevent_req_state`; the last error number, also of a request that ended well.
    """
    if not _live(profile):
        return 0, state_of(0), 0
    state = profile.state
    return profile.pid, state_of(state) if 0 <= state <= RECEIVED else state, profile.user_error


def tevent_req_profile_get_subprofiles(profile: tevent_req_profile) -> tevent_req_profile | None:
    """
    The first of the subrequests' profiles, in order of their creation; None without any.

    C: ``const struct tevent_req_profile *tevent_req_profile_get_subprofiles(const struct tevent_req_profile *profile)``
    """
    return profile._first if _live(profile) else None


def tevent_req_profile_next(profile: tevent_req_profile) -> tevent_req_profile | None:
    """
    The profile behind *profile* in its parent's list; None at the end.

    C: ``const struct tevent_req_profile *tevent_req_profile_next(const struct tevent_req_profile *profile)``
    """
    return profile._next if _live(profile) else None


def tevent_req_profile_set_name(profile: tevent_req_profile, name: str | None) -> bool:
    """
    Name *profile*.

    C: ``bool tevent_req_profile_set_name(struct tevent_req_profile *profile, const char *req_name)``

    Returns:
        True; False for None, and where a memory limit forbids the copy, both of which leave it without a name.

    Ownership: the copy of *name* is a child of *profile*.
    """
    if not _live(profile):
        return False
    profile.name = talloc_strdup(profile, name)
    return profile.name is not None


def tevent_req_profile_set_start(profile: tevent_req_profile, start_location: str | None, start_time: timeval) -> bool:
    """
    Say where and when the request was made.

    C: ``bool tevent_req_profile_set_start(struct tevent_req_profile *profile, const char *start_location, struct
    timeval start_time)``

    Returns:
        True; False for a *start_location* of None, or one that a memory limit forbids. The time is set in any case.
    """
    if not _live(profile):
        return False
    profile.start_time = _time(start_time)
    profile.start_location = talloc_strdup(profile, start_location)
    return profile.start_location is not None


def tevent_req_profile_set_stop(profile: tevent_req_profile, stop_location: str | None, stop_time: timeval) -> bool:
    """
    Say where and when the request was finished.

    C: ``bool tevent_req_profile_set_stop(struct tevent_req_profile *profile, const char *stop_location, struct timeval
    stop_time)``

    Returns:
        As `tevent_req_profile_set_start`.
    """
    if not _live(profile):
        return False
    profile.stop_time = _time(stop_time)
    profile.stop_location = talloc_strdup(profile, stop_location)
    return profile.stop_location is not None


def _time(value: timeval) -> timeval:
    if type(value) is not timeval:
        raise TypeError(f"a timeval is needed, not {type(value).__name__}")
    return value


def tevent_req_profile_set_status(
    profile: tevent_req_profile, pid: int, state: tevent_req_state | int, user_error: int
) -> None:
    """
    Say how the request ended, and in which process.

    C: ``void tevent_req_profile_set_status(struct tevent_req_profile *profile, pid_t pid, enum tevent_req_state state,
    uint64_t user_error)``

    *pid* and *state* are signed 32-bit numbers, *user_error* is an unsigned 64-bit one; more is cut off.
    """
    for number in (pid, state, user_error):
        if not isinstance(number, int):
            raise TypeError(f"an int is needed, not {type(number).__name__}")
    if _live(profile):
        profile.pid = _signed(pid, 32)
        profile.state = _signed(state, 32)
        profile.user_error = user_error & _MAX


def _signed(number: int, bits: int) -> int:
    half = 1 << bits - 1
    return (number + half & (1 << bits) - 1) - half


def tevent_req_profile_append_sub(parent_profile: tevent_req_profile, sub_profile: tevent_req_profile) -> None:
    """
    Make *sub_profile* the last subprofile of *parent_profile*.

    C: ``void tevent_req_profile_append_sub(struct tevent_req_profile *parent_profile, struct tevent_req_profile
    **sub_profile)``

    Ownership: *sub_profile* becomes a child of *parent_profile*; the caller forgets it. One that stands below another
    profile leaves that. A profile cannot go below itself: that is the abort function.
    """
    if not _live(parent_profile) or not _live(sub_profile):
        return
    above: tevent_req_profile | None = parent_profile
    while above is not None:
        if above is sub_profile:
            tevent_abort(None, "tevent_req_profile_append_sub: the profile would stand below itself")
            return
        above = above._parent
    _unlink(sub_profile)
    talloc_steal(parent_profile, sub_profile)
    _link(parent_profile, sub_profile)


# -- text -------------------------------------------------------------------------------------------------------------


def tevent_req_profile_string(
    mem_ctx: TALLOC_CTX | None, profile: tevent_req_profile, indent: int, max_indent: int
) -> talloc_string | None:
    """
    Write *profile* and its subprofiles as text, one line each.

    C: ``char *tevent_req_profile_string(TALLOC_CTX *mem_ctx, const struct tevent_req_profile *profile, unsigned indent,
    unsigned max_indent)``

    Args:
        mem_ctx: The owner of the result.

        profile: The profile.

        indent: Number of blanks before the first line; each level below has one more.

        max_indent: Levels with this number of blanks or more are left out, but for the first line.

    Returns:
        The text. Times are local, durations in seconds.
    """
    if not _live(profile):
        return None
    lines = [_line(profile, indent)]
    # Depth first along the lists, without recursion: each level remembers where its parent's list goes on.
    waiting = [profile._first] if indent + 1 < max_indent else []
    while waiting:
        sub = waiting.pop()
        if sub is None:
            continue
        level = indent + 1 + len(waiting)
        lines.append(_line(sub, level))
        waiting.append(sub._next)
        if level + 1 < max_indent:
            waiting.append(sub._first)
    return talloc_strdup(mem_ctx, "".join(lines))


def _line(profile: tevent_req_profile, indent: int) -> str:
    name = _cut(tevent_req_profile_get_name(profile), "(null)")
    start = _cut(_text(profile.start_location), "(null)")
    stop = _cut(_text(profile.stop_location), "(null)")
    took = tevent_timeval_until(profile.start_time, profile.stop_time)
    state = profile.state
    return (
        f"{' ' * indent}[{name}] {start} [{_local_time(profile.start_time)}] {stop} [{_local_time(profile.stop_time)}] "
        f"[{took.tv_sec & _MAX}.{took.tv_usec & _MAX:06d}] -> "
        f"{state_of(state).name if 0 <= state <= RECEIVED else 'unknown'} ({state} {profile.user_error}))\n"
    )


def _cut(text: str | None, absent: str) -> str:
    """*text* up to its first NUL, as C sees it; *absent* for None."""
    return absent if text is None else text.partition("\0")[0]


def _local_time(when: timeval) -> str:
    import time

    try:
        day = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(when.tv_sec))
    except (OverflowError, OSError, ValueError):  # a year that no calendar has
        return f"{when.tv_sec}.{when.tv_usec:06d} seconds since the Epoch"
    return f"{day}.{when.tv_usec:06d}"


# -- packing ----------------------------------------------------------------------------------------------------------


def tevent_req_profile_pack(profile: tevent_req_profile, buf: bytearray | memoryview | None) -> int:
    """
    Write *profile* and its subprofiles into *buf*, for `tevent_req_profile_unpack` in another process.

    C: ``ssize_t tevent_req_profile_pack(const struct tevent_req_profile *profile, uint8_t *buf, size_t buflen)``

    Args:
        profile: The profile. What it does not know is packed as an empty string.

        buf: A writable buffer, or None to ask for the length.

    Returns:
        The length needed in bytes. If *buf* is shorter nothing is written.
    """
    if not _live(profile):
        return -1
    parts: list[bytes] = []
    waiting: list[tevent_req_profile] = [profile]
    while waiting:
        here = waiting.pop()
        subs: list[tevent_req_profile] = []
        sub = here._first
        while sub is not None:
            subs.append(sub)
            sub = sub._next
        parts.append(_packed(here, len(subs)))
        waiting.extend(reversed(subs))
    packed = b"".join(parts)
    if buf is not None:
        view = memoryview(buf)
        if view.readonly:
            raise TypeError(f"a writable buffer is needed, not {type(buf).__name__}")
        view = view.cast("B")
        if len(view) >= len(packed):
            view[: len(packed)] = packed
    return len(packed)


def _packed(profile: tevent_req_profile, subs: int) -> bytes:
    name = tevent_req_profile_get_name(profile)
    start, stop = _text(profile.start_location), _text(profile.stop_location)
    numbers = (*profile.start_time, *profile.stop_time)
    text = (
        f"{subs} {_cut(name, '')}\0{_cut(start, '')}\0{_cut(stop, '')}\0"
        f"{' '.join(str(number & _MAX) for number in numbers)} {profile.pid} {profile.state} {profile.user_error}\0"
    )
    return text.encode("utf-8", "surrogateescape")


def tevent_req_profile_unpack(
    buf: bytes | bytearray | memoryview, mem_ctx: TALLOC_CTX | None
) -> tuple[int, tevent_req_profile | None]:
    """
    Read what `tevent_req_profile_pack` wrote.

    C: ``ssize_t tevent_req_profile_unpack(const uint8_t *buf, size_t buflen, TALLOC_CTX *mem_ctx, struct
    tevent_req_profile **p_profile)``

    Args:
        buf: The packed profile. Its last byte has to be 0; what follows the profile is ignored.

        mem_ctx: The owner of the result.

    Returns:
        The number of bytes used and the profile; ``(-1, None)`` if *buf* holds no profile.
    """
    data = memoryview(buf).tobytes()
    if not data.endswith(b"\0"):
        return -1, None
    root: tevent_req_profile | None = None
    open_profiles: list[tuple[tevent_req_profile, int]] = []  # with the number of subprofiles still to come
    at = 0
    while True:
        profile, subs, at = _unpack_one(data, at, open_profiles[-1][0] if open_profiles else mem_ctx)
        if profile is None:
            if root is not None:
                talloc_free(root)
            return -1, None
        if root is None:
            root = profile
        else:
            _link(open_profiles[-1][0], profile)
        open_profiles.append((profile, subs))
        while open_profiles and open_profiles[-1][1] == 0:
            open_profiles.pop()
        if not open_profiles:
            return at, root
        parent, subs = open_profiles[-1]
        open_profiles[-1] = parent, subs - 1


def _unpack_one(data: bytes, at: int, owner: TALLOC_CTX | None) -> tuple[tevent_req_profile | None, int, int]:
    """One profile at *at*, the number of its subprofiles, and where they begin; None if there is no profile."""
    subs, at = _number(data, at, " ")
    texts: list[str] = []
    for _ in range(3):
        end = data.find(0, at) if at >= 0 else -1
        if end < 0:
            return None, 0, -1
        texts.append(data[at:end].decode("utf-8", "surrogateescape"))
        at = end + 1
    numbers: list[int] = []
    for delimiter in "      \0":
        number, at = _number(data, at, delimiter)
        numbers.append(number)
    if at < 0:
        return None, 0, -1
    profile: tevent_req_profile | None = tevent_req_profile_create(owner)
    if profile is None:
        return None, 0, -1
    start_sec, start_usec, stop_sec, stop_usec = (_signed(number, 64) for number in numbers[:4])
    if (
        tevent_req_profile_set_name(profile, texts[0])
        and tevent_req_profile_set_start(profile, texts[1], timeval(start_sec, start_usec))
        and tevent_req_profile_set_stop(profile, texts[2], timeval(stop_sec, stop_usec))
    ):
        tevent_req_profile_set_status(profile, numbers[4], numbers[5], numbers[6])
        return profile, subs, at
    talloc_free(profile)
    return None, 0, -1


def _number(data: bytes, at: int, delimiter: str) -> tuple[int, int]:
    """
    The number at *at*, which *delimiter* has to follow, and where to go on; -1 there for anything else.

    Reads as C's strtoumax() does: blanks and a sign may come first, no digits at all are 0. *data* ends in NUL, so the
    end needs no test but the first.
    """
    if not 0 <= at < len(data):
        return 0, -1
    end = at
    while data[end] in b" \t\n\v\f\r":
        end += 1
    negative = data[end] == ord("-")
    if data[end] in b"+-":
        end += 1
    first = end
    while data[end] in b"0123456789":
        end += 1
    value = 0
    if end == first:
        end = at
    else:
        digits = data[first:end].lstrip(b"0")
        if len(digits) > 20 or int(digits or b"0") > _MAX:
            return 0, -1
        value = int(digits or b"0")
    if data[end] != ord(delimiter):
        return 0, -1
    return -value & _MAX if negative else value, end + 1
