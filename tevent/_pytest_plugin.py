# SPDX-License-Identifier: LGPL-3.0-or-later
"""
A plugin for pytest: fixtures for tests of requests, and what was outstanding when such a test failed.

It is found by its entry point, with nothing to import; where the packages are not installed, ``-p
tevent._pytest_plugin`` loads it.  It does nothing to tests that use none of its fixtures.

================  =================================================================================================
`talloc_frame`    an owner for what the test makes; what outlives it fails the test
`tevent_ev`       an event context that belongs to it
`tevent_world`    a simulated world, see `tevent.testing`; `tevent_ev` lives there then
================  =================================================================================================

The marker ``tevent_world`` has the arguments of `simulation`, for example a *seed*, or the *replay* that a failing test
has printed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any, Final

    from talloc_py import TALLOC_CTX

    from ._sim_stock import stock
    from .context import tevent_context
    from .testing import simulation

__all__ = ["talloc_frame", "tevent_ev", "tevent_world"]

#: The frame of a test, its world, and whether the test has failed.
_FRAME: Final = pytest.StashKey["TALLOC_CTX"]()
_WORLD: Final = pytest.StashKey["simulation"]()
_FAILED: Final = pytest.StashKey[bool]()

_MARKER: Final = "tevent_world(**arguments): what the world of the fixture tevent_world is made with, e.g. seed=3"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


# The packages are imported in the fixtures: who tests something else does not wait for them.


@pytest.fixture
def talloc_frame(request: pytest.FixtureRequest) -> Iterator[TALLOC_CTX]:
    """
    A chunk without an owner, freed behind the test.

    The test fails if something has outlived it: a chunk without an owner that was not there before, or a descriptor.
    """
    from talloc_py import talloc_free, talloc_named_const
    from talloc_py._chunk import world
    from talloc_py.debug import talloc_disable_null_tracking, talloc_enable_null_tracking_no_autofree

    from ._sim_stock import check_clean, take_stock

    was_tracked = world.null is not None
    talloc_enable_null_tracking_no_autofree()
    try:
        before = take_stock()
        frame = talloc_named_const(None, 0, "talloc_frame")
        assert frame is not None  # nothing limits what has no owner
        request.node.stash[_FRAME] = frame
        yield frame
        if talloc_free(frame) != 0:
            pytest.fail("the frame cannot be freed: a destructor forbids it, or there are references", pytrace=False)
        # A test that has failed did not come to its own cleaning up.
        if not request.node.stash.get(_FAILED, False):
            _check(check_clean, before, take_stock())
    finally:
        if not was_tracked:
            talloc_disable_null_tracking()


def _check(check_clean: Callable[[stock, stock], None], before: stock, after: stock) -> None:
    try:
        check_clean(before, after)
        return
    except AssertionError as wrong:
        left = str(wrong)
    pytest.fail(left, pytrace=False)


@pytest.fixture
def tevent_world(request: pytest.FixtureRequest, talloc_frame: TALLOC_CTX) -> Iterator[simulation]:
    """A simulated world; what hangs on the frame is freed before it ends."""
    from talloc_py import talloc_free_children

    from .testing import simulation

    marker = request.node.get_closest_marker("tevent_world")
    arguments: dict[str, Any] = {} if marker is None else marker.kwargs
    with simulation(**arguments) as world:
        request.node.stash[_WORLD] = world
        yield world
        talloc_free_children(talloc_frame)


@pytest.fixture
def tevent_ev(request: pytest.FixtureRequest, talloc_frame: TALLOC_CTX) -> tevent_context:
    """An event context below the frame; one of the simulated world where the test has one."""
    if "tevent_world" in request.fixturenames:
        world: simulation = request.getfixturevalue("tevent_world")
        return world.context(talloc_frame)
    from .context import tevent_context_init

    ev = tevent_context_init(talloc_frame)
    assert ev is not None
    return ev


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failing test show what was outstanding, who owned what, and what had happened in its world."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[_FAILED] = True
        if _FRAME in item.stash:
            report.sections += _sections(item)
    return report


def _sections(item: pytest.Item) -> Iterator[tuple[str, str]]:
    from io import StringIO

    from talloc_py import talloc_report_full

    from .dump import dump_requests

    requests, tree = StringIO(), StringIO()
    dump_requests(requests, colour=False)
    yield "outstanding requests", requests.getvalue()
    talloc_report_full(item.stash[_FRAME], tree)
    yield "ownership tree", tree.getvalue()
    if _WORLD in item.stash:
        world = item.stash[_WORLD]
        yield "simulated world", f"{world.report()}\nin a marker: @pytest.mark.tevent_world({_replay(world)})"


def _replay(world: simulation) -> str:
    return world.replay_text().removeprefix("simulation(").removesuffix(")")
