# SPDX-License-Identifier: LGPL-3.0-or-later
"""The text of a request, and the places in the source that it names."""

from __future__ import annotations

import errno
import re
import sys

import pytest
from req_kit import Bench, job_state, opened, silent_aborts

from talloc_py import (
    TALLOC_CTX,
    talloc_abort_error,
    talloc_free,
    talloc_get_name,
    talloc_parent,
    talloc_set_name_const,
    talloc_strdup,
)
from tevent import (
    NT_STATUS_ACCESS_DENIED,
    WERR_TIMEOUT,
    tevent_req,
    tevent_req_create,
    tevent_req_default_print,
    tevent_req_done,
    tevent_req_error,
    tevent_req_nomem,
    tevent_req_notify_callback,
    tevent_req_nterror,
    tevent_req_oom,
    tevent_req_print,
    tevent_req_received,
    tevent_req_set_callback,
    tevent_req_set_endtime,
    tevent_req_set_print_fn,
    tevent_req_simple_finish_ntstatus,
    tevent_req_simple_finish_werror,
    tevent_req_werror,
    timeval,
)

bench = pytest.fixture(opened, name="bench")

FORM = re.compile(
    r"tevent_req\[(0x[0-9a-f]+)/(.+:\d+)\]: state\[(\d)\] error\[(-?\d+) \(0x([0-9A-F]+)\)\] "
    r" state\[(.*) \((0x[0-9a-f]+|\(nil\))\)\] timer\[(0x[0-9a-f]+|\(nil\))\] finish\[(.+)\]"
)


def parts(text: str | None) -> tuple[str, ...]:
    """The fields of a text of the default form: PTR CREATE N D H TYPE SPTR TPTR FIN."""
    assert text is not None
    match = FORM.fullmatch(text)
    assert match is not None, text
    return match.groups()


def here() -> str:
    """``file:line`` of the caller."""
    frame = sys._getframe(1)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class TestDefaultPrint:
    def test_fresh_request(self, bench: Bench) -> None:
        """Every field of a request in progress."""
        req, _ = tevent_req_create(bench.root, job_state); place = here()  # fmt: skip # noqa: E702
        assert req is not None
        pointer, create, state, error, hexadecimal, type_, state_pointer, timer, finish = parts(
            tevent_req_default_print(req, bench.root)
        )
        assert create == place
        assert (state, error, hexadecimal, type_) == ("1", "0", "0", "struct job_state")
        assert (timer, finish) == ("(nil)", "(null)")
        assert pointer != state_pointer

    def test_result_is_a_chunk_of_mem_ctx(self, bench: Bench) -> None:
        """The text is a string chunk on mem_ctx, or at top level for None."""
        req, _ = bench.make()
        text = tevent_req_default_print(req, bench.root)
        assert isinstance(text, str)
        assert isinstance(text, TALLOC_CTX)
        assert talloc_parent(text) is bench.root
        text = tevent_req_default_print(req, None)
        assert isinstance(text, TALLOC_CTX)
        assert talloc_parent(text) is None
        assert talloc_free(text) == 0

    @pytest.mark.parametrize(
        ("error", "decimal", "hexadecimal"),
        [
            (5, "5", "5"),
            (255, "255", "FF"),
            (2**63 - 1, "9223372036854775807", "7FFFFFFFFFFFFFFF"),
            (2**63 + 1, "-9223372036854775807", "8000000000000001"),
            (-1, "-1", "FFFFFFFFFFFFFFFF"),
        ],
    )
    def test_error_is_signed_in_decimal(self, bench: Bench, error: int, decimal: str, hexadecimal: str) -> None:
        """The error is a signed decimal and an unsigned upper-case hexadecimal number."""
        req, _ = bench.make()
        tevent_req_error(req, error)
        assert parts(tevent_req_default_print(req, bench.root))[2:5] == ("3", decimal, hexadecimal)

    def test_last_error_number_stays(self, bench: Bench) -> None:
        """done after an error leaves the number in the text."""
        req, _ = bench.make()
        tevent_req_error(req, 5)
        tevent_req_done(req)
        assert parts(tevent_req_default_print(req, bench.root))[2:4] == ("2", "5")

    def test_timer(self, bench: Bench) -> None:
        """With an endtime the timer has an address."""
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(2**33, 0))
        assert parts(tevent_req_default_print(req, bench.root))[7] != "(nil)"

    def test_after_received(self, bench: Bench) -> None:
        """After received the state has no address, but its type is still named."""
        req, _ = bench.make()
        tevent_req_received(req)
        fields = parts(tevent_req_default_print(req, bench.root))
        assert (fields[2], fields[5], fields[6]) == ("6", "struct job_state", "(nil)")

    def test_type_name_is_that_of_creation(self, bench: Bench) -> None:
        """The type is the one given to create, also when the state is renamed."""
        req, state = bench.make()
        talloc_set_name_const(state, "renamed")
        assert parts(tevent_req_default_print(req, bench.root))[5] == "struct job_state"

    def test_print_function_is_ignored(self, bench: Bench) -> None:
        """default_print is what a print function may build on."""
        req, _ = bench.make()
        tevent_req_set_print_fn(req, lambda req, ctx: talloc_strdup(ctx, "mine"))
        assert parts(tevent_req_default_print(req, bench.root))[2] == "1"


class TestPlaces:
    """FIN is the caller of the function that finished or notified."""

    def finished(self, bench: Bench, req: tevent_req) -> str:
        return parts(tevent_req_default_print(req, bench.root))[8]

    def test_each_way_of_finishing(self, bench: Bench) -> None:
        """done, error, oom, nomem, notify, nterror and werror record the line of their caller."""
        req, _ = bench.make()
        tevent_req_done(req); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_error(req, 1); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_oom(req); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_nomem(None, req); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_notify_callback(req); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_nterror(req, NT_STATUS_ACCESS_DENIED); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702
        tevent_req_werror(req, WERR_TIMEOUT); assert self.finished(bench, req) == here()  # fmt: skip # noqa: E702

    def test_what_does_nothing_records_nothing(self, bench: Bench) -> None:
        """error 0 and nomem of something leave the place as it was."""
        req, _ = bench.make()
        tevent_req_error(req, 0)
        tevent_req_nomem(req, req)
        tevent_req_nterror(req, 0)
        assert self.finished(bench, req) == "(null)"

    @pytest.mark.parametrize("status", [0, 5])
    def test_simple_finish(self, bench: Bench, status: int) -> None:
        """The simple_finish helpers record their caller."""
        for finish in (tevent_req_simple_finish_ntstatus, tevent_req_simple_finish_werror):
            req, _ = bench.make()
            subreq, _ = bench.make()
            tevent_req_set_callback(subreq, None, req)
            finish(subreq, status); place = here()  # fmt: skip # noqa: E702
            assert self.finished(bench, req) == place

    def test_timeout(self, bench: Bench) -> None:
        """An endtime has a text of its own."""
        req, _ = bench.make()
        tevent_req_set_endtime(req, bench.ev, timeval(1, 0))
        bench.drain()
        assert self.finished(bench, req) == "tevent_req_timedout"


class TestPrint:
    def test_none(self, bench: Bench) -> None:
        """No request has a text too, a chunk as well."""
        text = tevent_req_print(bench.root, None)
        assert text == "tevent_req[NULL]"
        assert isinstance(text, TALLOC_CTX)
        assert talloc_parent(text) is bench.root

    def test_default(self, bench: Bench) -> None:
        """Without a print function it is the default text."""
        req, _ = bench.make()
        assert tevent_req_print(bench.root, req) == tevent_req_default_print(req, bench.root)

    def test_print_function(self, bench: Bench) -> None:
        """The function gets the request and the context, and its answer is the result."""
        req, _ = bench.make()

        def show(shown: tevent_req, ctx: TALLOC_CTX | None) -> str | None:
            assert shown is req
            assert ctx is bench.root
            return talloc_strdup(ctx, "mine")

        tevent_req_set_print_fn(req, show)
        text = tevent_req_print(bench.root, req)
        assert text == "mine"
        assert talloc_get_name(text) == "mine"  # type: ignore[arg-type]
        tevent_req_set_print_fn(req, lambda req, ctx: None)
        assert tevent_req_print(bench.root, req) is None
        tevent_req_set_print_fn(req, None)
        assert parts(tevent_req_print(bench.root, req))[2] == "1"

    def test_received_brings_the_default_back(self, bench: Bench) -> None:
        """received forgets the print function."""
        req, _ = bench.make()
        tevent_req_set_print_fn(req, lambda req, ctx: talloc_strdup(ctx, "mine"))
        tevent_req_received(req)
        assert parts(tevent_req_print(bench.root, req))[2] == "6"

    def test_raising_print_function(self, bench: Bench) -> None:
        """Its exception passes to the caller."""
        req, _ = bench.make()

        def trouble(req: tevent_req, ctx: TALLOC_CTX | None) -> str:
            raise KeyError

        tevent_req_set_print_fn(req, trouble)
        with pytest.raises(KeyError):
            tevent_req_print(bench.root, req)

    @pytest.mark.parametrize(
        "call", [lambda req, ctx: tevent_req_print(ctx, req), lambda req, ctx: tevent_req_default_print(req, ctx)]
    )
    def test_bad_input(self, bench: Bench, call: object) -> None:
        """What is no request is refused, a freed one is a use after free, and so is a freed mem_ctx."""
        req, _ = bench.make()
        dead, _ = bench.make()
        talloc_free(dead)
        for wrong in ("text", 5, bench.root):
            with pytest.raises(TypeError, match="tevent_req"):
                call(wrong, bench.root)  # type: ignore[operator]
        with pytest.raises(talloc_abort_error, match="access after free"):
            call(dead, bench.root)  # type: ignore[operator]
        with silent_aborts() as reasons:
            assert call(dead, bench.root) is None  # type: ignore[operator]
        assert len(reasons) == 1
        with pytest.raises(talloc_abort_error, match="access after free"):
            call(req, dead)  # type: ignore[operator]

    def test_default_print_of_none(self, bench: Bench) -> None:
        """Only tevent_req_print takes None."""
        with pytest.raises(TypeError):
            tevent_req_default_print(None, bench.root)

    def test_repr_is_not_a_chunk(self, bench: Bench) -> None:
        """repr() is a plain string that leaves nothing in the tree."""
        from talloc_py import talloc_total_blocks

        req, _ = bench.make()
        before = talloc_total_blocks(bench.root)
        assert not isinstance(repr(req), TALLOC_CTX)
        assert talloc_total_blocks(bench.root) == before
        tevent_req_error(req, errno.EIO)
        assert str(errno.EIO) in repr(req)
