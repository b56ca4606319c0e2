# SPDX-License-Identifier: LGPL-3.0-or-later
"""Packing profiles: what goes in comes out, and arbitrary bytes do no harm."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from talloc_py import talloc_free, talloc_new, talloc_total_blocks
from tevent import (
    tevent_req_profile,
    tevent_req_profile_append_sub,
    tevent_req_profile_create,
    tevent_req_profile_get_name,
    tevent_req_profile_get_start,
    tevent_req_profile_get_status,
    tevent_req_profile_get_stop,
    tevent_req_profile_get_subprofiles,
    tevent_req_profile_next,
    tevent_req_profile_pack,
    tevent_req_profile_set_name,
    tevent_req_profile_set_start,
    tevent_req_profile_set_status,
    tevent_req_profile_set_stop,
    tevent_req_profile_string,
    tevent_req_profile_unpack,
    timeval,
)

# C's strings: any text without NUL, also bytes that are no UTF-8, as surrogate escapes.
TEXTS = st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
SECONDS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.builds(timeval, SECONDS, SECONDS)
INTS = st.integers(-(2**31), 2**31 - 1)
LEAVES = st.tuples(TEXTS, TEXTS, TIMES, TEXTS, TIMES, INTS, INTS, st.integers(0, 2**64 - 1), st.just(()))
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(lambda leaf, subs: (*leaf[:-1], tuple(subs)), LEAVES, st.lists(inner, max_size=3)),
    max_leaves=8,
)


def build(ctx: Any, tree: Any) -> tevent_req_profile:
    """The profile of *tree*."""
    name, start, start_time, stop, stop_time, pid, state, error, subs = tree
    profile = tevent_req_profile_create(ctx)
    assert tevent_req_profile_set_name(profile, name)
    assert tevent_req_profile_set_start(profile, start, start_time)
    assert tevent_req_profile_set_stop(profile, stop, stop_time)
    tevent_req_profile_set_status(profile, pid, state, error)
    for sub in subs:
        tevent_req_profile_append_sub(profile, build(None, sub))
    return profile


def read(profile: tevent_req_profile) -> Any:
    """The tree of *profile*."""
    subs = []
    sub = tevent_req_profile_get_subprofiles(profile)
    while sub is not None:
        subs.append(read(sub))
        sub = tevent_req_profile_next(sub)
    return (
        tevent_req_profile_get_name(profile),
        *tevent_req_profile_get_start(profile),
        *tevent_req_profile_get_stop(profile),
        *tevent_req_profile_get_status(profile),
        tuple(subs),
    )


def pack(profile: tevent_req_profile) -> bytes:
    """The packed form."""
    buf = bytearray(tevent_req_profile_pack(profile, None))
    assert tevent_req_profile_pack(profile, buf) == len(buf)
    return bytes(buf)


@given(TREES, st.binary(max_size=5))
def test_what_goes_in_comes_out(tree: Any, rest: bytes) -> None:
    """A packed profile unpacks to an equal one, also with other things behind it."""
    ctx = talloc_new(None)
    try:
        profile = build(ctx, tree)
        assert read(profile) == tree
        packed = pack(profile)
        assert packed.endswith(b"\0")
        used, back = tevent_req_profile_unpack(packed + rest + b"\0", ctx)
        assert used == len(packed)
        assert back is not None
        assert read(back) == tree
        assert pack(back) == packed
    finally:
        talloc_free(ctx)


@given(TREES, st.data())
def test_no_prefix_of_a_packed_profile_unpacks(tree: Any, data: st.DataObject) -> None:
    """A profile cut short is refused, unless what is left of its last number is one."""
    ctx = talloc_new(None)
    try:
        packed = pack(build(ctx, tree))
        cut = data.draw(st.integers(0, len(packed) - 1))
        assert tevent_req_profile_unpack(packed[:cut], ctx)[0] in (-1, cut) or packed[cut - 1] == 0
        blocks = talloc_total_blocks(ctx)
        used, back = tevent_req_profile_unpack(packed[:cut] + b"\0", ctx)
        if back is None:
            assert used == -1
            assert talloc_total_blocks(ctx) == blocks
        else:
            # The cut went through the error number of the last profile.
            assert used == cut + 1
    finally:
        talloc_free(ctx)


@given(st.lists(st.sampled_from([b"0", b"1", b"9", b" ", b"\0", b"-", b"+", b"a", b"\t", b"\xff"]), max_size=60))
@example([b"1", b" ", *[b"\0"] * 3, *[b"0", b" "] * 6, b"0", b"\0"])
def test_bytes_that_look_like_it(parts: list[bytes]) -> None:
    """Bytes of the right kinds are refused or unpack to a profile that can be used; nothing is left behind."""
    check(b"".join(parts))
    check(b"0 \0\0\0" + b"".join(parts) + b"\0")
    check(b"1 \0\0\x000 0 0 0 0 0 0\0" + b"".join(parts) + b"\0")


@given(st.binary(max_size=80))
def test_arbitrary_bytes(data: bytes) -> None:
    """Any bytes at all."""
    check(data)
    check(data + b"\0")


def check(data: bytes) -> None:
    """Unpack *data*; the result is refused or consistent."""
    ctx = talloc_new(None)
    try:
        used, profile = tevent_req_profile_unpack(data, ctx)
        if profile is None:
            assert used == -1
            assert talloc_total_blocks(ctx) == 1
            return
        assert 0 < used <= len(data)
        assert data[used - 1] == 0
        packed = pack(profile)
        again, copy = tevent_req_profile_unpack(packed, ctx)
        assert again == len(packed)
        assert copy is not None
        assert read(copy) == read(profile)
        text = tevent_req_profile_string(ctx, profile, 0, 99)
        assert text is not None
        assert text == tevent_req_profile_string(ctx, copy, 0, 99)
        talloc_free(profile)
    finally:
        talloc_free(ctx)
