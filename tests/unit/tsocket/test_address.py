# SPDX-License-Identifier: LGPL-3.0-or-later
"""Addresses whatever their kind: a backend of one's own, text, copies, the two small structures."""

from __future__ import annotations

import copy
from errno import EINVAL
from typing import Any

import pytest

import tsocket
from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_array,
    talloc_free,
    talloc_get_name,
    talloc_get_size,
    talloc_get_type,
    talloc_memdup,
    talloc_new,
    talloc_parent,
    talloc_set_abort_fn,
    talloc_set_memlimit,
    talloc_strdup,
    talloc_total_blocks,
)
from tsocket import (
    get_errno,
    iovec,
    set_errno,
    sockaddr,
    tsocket_address,
    tsocket_address_bsd_sockaddr,
    tsocket_address_copy,
    tsocket_address_create,
    tsocket_address_inet_addr_string,
    tsocket_address_inet_from_strings,
    tsocket_address_inet_port,
    tsocket_address_inet_set_port,
    tsocket_address_is_inet,
    tsocket_address_is_unix,
    tsocket_address_ops,
    tsocket_address_string,
    tsocket_address_unix_from_path,
    tsocket_address_unix_path,
)


class pipe_state(TALLOC_CTX):
    """The state of the backend that these tests make."""

    number: int


def pipe_string(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> str | None:
    return talloc_strdup(mem_ctx, f"pipe:{addr.private_data.number}")


def pipe_copy(addr: tsocket_address, mem_ctx: TALLOC_CTX | None) -> tsocket_address | None:
    copy, state = tsocket_address_create(mem_ctx, addr.ops, pipe_state)
    state.number = addr.private_data.number
    return copy


PIPE_OPS = tsocket_address_ops("pipe", pipe_string, pipe_copy)


@pytest.fixture
def pipe(top: TALLOC_CTX) -> tsocket_address:
    """An address of a backend that is not the library's."""
    addr, state = tsocket_address_create(top, PIPE_OPS, pipe_state)
    state.number = 7
    return addr


@pytest.fixture
def inet(top: TALLOC_CTX) -> tsocket_address:
    ret, addr = tsocket_address_inet_from_strings(top, "ip", "127.0.0.1", 445)
    assert ret == 0
    assert addr is not None
    return addr


class TestCreate:
    def test_address_and_state(self, top: TALLOC_CTX) -> None:
        """The address belongs to the context given, its state to the address; both are named as in C."""
        addr, state = tsocket_address_create(top, PIPE_OPS, pipe_state)
        assert talloc_parent(addr) is top
        assert talloc_parent(state) is addr
        assert talloc_get_name(addr) == "struct tsocket_address"
        assert talloc_get_name(state) == "struct pipe_state"
        assert addr.private_data is state
        assert addr.ops is PIPE_OPS
        assert state.number == 0

    def test_location_is_that_of_the_call(self, top: TALLOC_CTX) -> None:
        """`location` names the file and line of the caller."""
        addr, _ = tsocket_address_create(top, PIPE_OPS, pipe_state)
        line = this_line()
        assert addr.location == f"{__file__}:{line - 1}"
        addr.location = "elsewhere:1"
        assert addr.location == "elsewhere:1"

    def test_private_data_may_be_replaced(self, pipe: tsocket_address) -> None:
        """`private_data` is the backend's to write."""
        other = pipe_state()
        other.number = 8
        pipe.private_data = other
        assert pipe.private_data is other

    def test_no_context_is_a_top_level_address(self) -> None:
        """None as owner makes an address that nobody owns."""
        addr, _ = tsocket_address_create(None, PIPE_OPS, pipe_state)
        assert talloc_parent(addr) is None
        assert talloc_free(addr) == 0

    @pytest.mark.parametrize("ops", [None, "pipe", object()])
    def test_ops_of_another_type(self, top: TALLOC_CTX, ops: Any) -> None:
        """Only a tsocket_address_ops will do."""
        with pytest.raises(TypeError, match="tsocket_address_ops"):
            tsocket_address_create(top, ops, pipe_state)
        assert talloc_total_blocks(top) == 1

    def test_failing_state_leaves_nothing(self, top: TALLOC_CTX) -> None:
        """When the state cannot be made, the exception passes and no address remains."""

        class broken_state(TALLOC_CTX):
            def __init__(self) -> None:
                raise LookupError("no")

        with pytest.raises(LookupError):
            tsocket_address_create(top, PIPE_OPS, broken_state)
        assert talloc_total_blocks(top) == 1

    def test_memory_limit(self, top: TALLOC_CTX) -> None:
        """Where a memory limit forbids the address or its state there is neither."""
        refused = 0
        for room in range(1, 2000, 16):
            limited = talloc_new(top)
            talloc_set_memlimit(limited, room)
            addr, state = tsocket_address_create(limited, PIPE_OPS, pipe_state)
            if addr is not None:
                break
            assert state is None
            assert talloc_total_blocks(limited) == 1
            refused = room
        assert refused > talloc_get_size(addr) + talloc_get_size(state)

    def test_the_class_is_not_a_constructor(self) -> None:
        """An address is not made by calling the class."""
        with pytest.raises(TypeError, match="not by calling the class"):
            tsocket_address()

    def test_ops_by_position_and_keyword(self) -> None:
        """Members can be given in either way and changed later; what is left out is None."""
        ops = tsocket_address_ops(name="x", copy=pipe_copy)
        assert (ops.name, ops.string, ops.copy) == ("x", None, pipe_copy)
        ops.string = pipe_string
        assert ops.string is pipe_string
        assert repr(ops) == "tsocket_address_ops(name='x')"


def this_line() -> int:
    """The line of the caller."""
    import sys

    return sys._getframe(1).f_lineno


class TestString:
    def test_of_another_backend(self, top: TALLOC_CTX, pipe: tsocket_address) -> None:
        """The backend's own text is passed on."""
        assert tsocket_address_string(pipe, top) == "pipe:7"

    def test_of_none(self, top: TALLOC_CTX) -> None:
        """No address reads NULL."""
        text = tsocket_address_string(None, top)
        assert text == "NULL"
        assert talloc_parent(text) is top

    def test_is_a_chunk_named_by_its_content(self, top: TALLOC_CTX, inet: tsocket_address) -> None:
        """The text belongs to the context given."""
        text = tsocket_address_string(inet, top)
        assert text == "ipv4:127.0.0.1:445"
        assert talloc_parent(text) is top
        assert talloc_get_name(text) == text

    def test_missing_operation(self, top: TALLOC_CTX) -> None:
        """A backend that cannot make a text is named in the error."""
        addr, _ = tsocket_address_create(top, tsocket_address_ops("mute"), pipe_state)
        with pytest.raises(TypeError, match="'mute' has no string"):
            tsocket_address_string(addr, top)
        with pytest.raises(TypeError, match="'mute' has no copy"):
            tsocket_address_copy(addr, top)

    def test_repr_tells_backend_and_place(self, pipe: tsocket_address) -> None:
        """The repr serves debugging, also after the address was freed."""
        assert "'pipe'" in repr(pipe)
        assert __file__ in repr(pipe)
        talloc_free(pipe)
        assert "'pipe'" in repr(pipe)


class TestCopy:
    def test_of_another_backend(self, top: TALLOC_CTX, pipe: tsocket_address) -> None:
        """The backend decides how to copy."""
        other = tsocket_address_copy(pipe, top)
        assert other is not None
        assert other is not pipe
        assert other.private_data.number == 7

    def test_is_independent(self, top: TALLOC_CTX, inet: tsocket_address) -> None:
        """A change of the original's port does not reach the copy, nor its end."""
        owner = talloc_new(top)
        other = tsocket_address_copy(inet, owner)
        assert other is not None
        assert talloc_parent(other) is owner
        assert tsocket_address_inet_set_port(inet, 1) == 0
        talloc_free(inet)
        assert tsocket_address_string(other, top) == "ipv4:127.0.0.1:445"
        assert other.location.startswith(__file__)

    def test_of_python(self, top: TALLOC_CTX, inet: tsocket_address) -> None:
        """Python's own copy is no chunk, and one that talloc makes of it says what the original says."""
        plain = copy.copy(inet)
        with pytest.raises(talloc_abort_error):
            tsocket_address_string(plain, top)
        assert tsocket_address_string(talloc_memdup(top, plain), top) == "ipv4:127.0.0.1:445"


class TestChunks:
    @pytest.mark.parametrize("kind", ["inet", "unix"])
    def test_two_blocks(self, top: TALLOC_CTX, kind: str) -> None:
        """An address of the system is two chunks with the names that C gives them."""
        if kind == "inet":
            ret, addr = tsocket_address_inet_from_strings(top, "ip", None, 0)
        else:
            ret, addr = tsocket_address_unix_from_path(top, "/x")
        assert ret == 0
        assert addr is not None
        assert talloc_total_blocks(addr) == 2
        assert talloc_get_type(addr, tsocket_address) is addr
        assert talloc_get_name(addr.private_data) == "struct samba_sockaddr"
        assert talloc_parent(addr.private_data) is addr
        assert addr.private_data.sa == tsocket_address_bsd_sockaddr(addr)[1]
        assert talloc_total_blocks(addr) == 2

    def test_no_memory_for_the_lower_one(self, top: TALLOC_CTX) -> None:
        """A limit that leaves no room for the lower chunk leaves the address without."""
        for room in range(1, 2000, 16):
            limited = talloc_new(top)
            talloc_set_memlimit(limited, room)
            ret, addr = tsocket_address_inet_from_strings(limited, "ip", "::1", 1)
            if ret == 0:
                break
        assert addr is not None
        assert addr.private_data is None
        assert talloc_total_blocks(addr) == 1
        assert tsocket_address_string(addr, top) == "ipv6:::1:1"

    def test_private_data_may_be_replaced(self, inet: tsocket_address) -> None:
        """As in any address, `private_data` can be written."""
        marker = pipe_state()
        inet.private_data = marker
        assert inet.private_data is marker


FUNCTIONS: list[Any] = [
    lambda addr: tsocket_address_string(addr, None),
    lambda addr: tsocket_address_copy(addr, None),
    lambda addr: tsocket_address_is_inet(addr, "ip"),
    lambda addr: tsocket_address_is_unix(addr),
    lambda addr: tsocket_address_inet_addr_string(addr, None),
    lambda addr: tsocket_address_inet_port(addr),
    lambda addr: tsocket_address_inet_set_port(addr, 1),
    lambda addr: tsocket_address_unix_path(addr, None),
    lambda addr: tsocket_address_bsd_sockaddr(addr),
]


class TestBadAddresses:
    @pytest.mark.parametrize("call", FUNCTIONS)
    @pytest.mark.parametrize("bad", ["127.0.0.1", 5, object()])
    def test_no_address_at_all(self, call: Any, bad: Any) -> None:
        """Anything but an address is a TypeError."""
        with pytest.raises(TypeError, match="tsocket_address is needed"):
            call(bad)

    @pytest.mark.parametrize("call", FUNCTIONS[1:])
    def test_none(self, call: Any) -> None:
        """None is an address for nobody but the text."""
        with pytest.raises(TypeError, match="not NoneType"):
            call(None)

    @pytest.mark.parametrize("call", FUNCTIONS)
    def test_freed(self, call: Any, inet: tsocket_address) -> None:
        """A freed address goes to the abort function."""
        talloc_free(inet)
        with pytest.raises(talloc_abort_error, match="access after free"):
            call(inet)

    @pytest.mark.parametrize(
        ("call", "value"), list(zip(FUNCTIONS, [None, None, False, False, None, 0, -1, None, (-1, None)], strict=True))
    )
    def test_freed_with_an_abort_function_that_returns(self, call: Any, value: Any, inet: tsocket_address) -> None:
        """If the abort function returns, the call gives its failure value."""
        talloc_free(inet)
        reasons: list[str] = []
        talloc_set_abort_fn(reasons.append)
        try:
            assert call(inet) == value
        finally:
            talloc_set_abort_fn(None)
        assert reasons

    @pytest.mark.parametrize("call", FUNCTIONS[:1])
    def test_not_made_by_the_library(self, call: Any) -> None:
        """An instance that is no chunk is told from a real address."""
        with pytest.raises(talloc_abort_error, match="unknown value"):
            call(tsocket_address.__new__(tsocket_address))

    @pytest.mark.parametrize(
        ("call", "value", "errno"),
        [
            (FUNCTIONS[2], False, 0),
            (FUNCTIONS[3], False, 0),
            (FUNCTIONS[4], None, EINVAL),
            (FUNCTIONS[5], 0, EINVAL),
            (FUNCTIONS[6], -1, EINVAL),
            (FUNCTIONS[7], None, EINVAL),
            (FUNCTIONS[8], (-1, None), EINVAL),
        ],
    )
    def test_another_backend(self, call: Any, value: Any, errno: int, pipe: tsocket_address) -> None:
        """What is about the system's sockets does not know another backend's addresses."""
        set_errno(0)
        assert call(pipe) == value
        assert get_errno() == errno

    def test_operations_of_the_system_on_another_address(
        self, top: TALLOC_CTX, pipe: tsocket_address, inet: tsocket_address
    ) -> None:
        """The library's own operations refuse an address that is not theirs."""
        pipe.ops = inet.ops
        assert tsocket_address_string(pipe, top) is None
        assert get_errno() == EINVAL
        set_errno(0)
        assert tsocket_address_copy(pipe, top) is None
        assert get_errno() == EINVAL


class TestIovec:
    def test_length_is_that_of_the_buffer(self) -> None:
        """Left out, the length is the buffer's, in bytes."""
        assert iovec(b"abc").iov_len == 3
        assert iovec(memoryview(bytes(8)).cast("I")).iov_len == 8
        assert iovec().iov_len == 0

    def test_both_attributes_can_be_written(self) -> None:
        """A vector's element is a plain structure."""
        piece = iovec(b"abc", 2)
        assert (piece.iov_base, piece.iov_len) == (b"abc", 2)
        piece.iov_base = bytearray(5)
        piece.iov_len = 4
        assert repr(piece) == "iovec(iov_base=bytearray, iov_len=4)"
        assert repr(iovec(None, 0)) == "iovec(iov_base=None, iov_len=0)"

    def test_in_an_array(self, top: TALLOC_CTX) -> None:
        """As a type argument it makes empty elements of C's size."""
        array = talloc_array(top, iovec, 2)
        assert array is not None
        assert [(each.iov_base, each.iov_len) for each in array] == [(None, 0), (None, 0)]
        assert talloc_get_size(array) == 32

    def test_no_buffer(self) -> None:
        """What is no buffer has no length."""
        with pytest.raises(TypeError):
            iovec("text")  # type: ignore[arg-type]


class TestSockaddr:
    def test_is_a_tuple(self) -> None:
        """It compares by value, has named fields and can be replaced in part."""
        sa = sockaddr(2, ("127.0.0.1", 1))
        assert sa == (2, ("127.0.0.1", 1))
        assert sa.sa_family == 2
        assert sa.address == ("127.0.0.1", 1)
        assert sa._replace(sa_family=10).sa_family == 10
        assert repr(sa) == "sockaddr(sa_family=2, address=('127.0.0.1', 1))"
        assert sockaddr(address="", sa_family=1) == sockaddr(1, "")


def test_errno_is_that_of_tevent() -> None:
    """The package hands on tevent's error number."""
    import tevent

    assert tsocket.get_errno is tevent.get_errno
    assert tsocket.set_errno is tevent.set_errno
