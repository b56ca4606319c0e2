# SPDX-License-Identifier: LGPL-3.0-or-later
"""The plugin for pytest, in runs of pytest of its own."""

from __future__ import annotations

import os
import pathlib
import re
import textwrap

import pytest

import tevent

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

#: Where the tests have the packages from, installed or not.
ROOT = pathlib.Path(tevent.__file__).parents[1]
#: Where the packages are installed pytest knows the plugin by its entry point; it is registered once in any case.
PLUGIN = ["-p", "no:tsocket", "-p", "tevent._pytest_plugin", "-p", "no:cacheprovider"]

IMPORTS = """
    import os
    import pytest
    from talloc_py import talloc_free, talloc_named_const, talloc_new, talloc_reference, talloc_set_destructor
    from tevent import tevent_add_timer, tevent_loop_once, tevent_req_poll
    from tevent import tevent_timeval_current, tevent_timeval_current_ofs, tevent_wakeup_send
"""


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages are found where they are not installed, and no other plugin is in the way."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    """
    Run the tests in *code*, in a process of their own.

    In this one, pytester would forget the modules that they import, and others would get a second copy of them.
    """
    pytester.makepyfile(IMPORTS + code)
    return pytester.runpytest_subprocess(*PLUGIN, "--strict-markers", "-Werror", *options)


class TestFrame:
    def test_what_hangs_on_it_is_freed(self, pytester: pytest.Pytester) -> None:
        """A test may leave anything below the frame; it is freed behind the test."""
        result = run(
            pytester,
            """
    freed = []

    def test_one(talloc_frame):
        chunk = talloc_new(talloc_frame)
        talloc_set_destructor(chunk, lambda chunk: freed.append(chunk) or 0)

    def test_two():
        assert len(freed) == 1
    """,
        )
        result.assert_outcomes(passed=2)

    def test_leaked_chunk(self, pytester: pytest.Pytester) -> None:
        """A chunk without an owner that is left fails the test, by name; the next test is not blamed for it."""
        result = run(
            pytester,
            """
    def test_leaks(talloc_frame):
        talloc_named_const(None, 0, "forgotten")

    def test_clean(talloc_frame):
        talloc_free(talloc_named_const(None, 0, "thought of"))
    """,
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["*ERROR at teardown of test_leaks*", "left behind: 1 x forgotten"])
        result.stdout.no_fnmatch_line("*During handling*")

    def test_leaked_descriptor(self, pytester: pytest.Pytester) -> None:
        """An open descriptor that is left fails the test."""
        result = run(
            pytester,
            """
    kept = []

    def test_leaks(talloc_frame):
        kept.append(os.open(os.devnull, os.O_RDONLY))

    def test_closes():
        os.close(kept.pop())
    """,
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["left behind: descriptors *"])

    def test_frame_that_stays(self, pytester: pytest.Pytester) -> None:
        """A frame that cannot be freed fails the test."""
        result = run(
            pytester,
            """
    keepers = []

    def test_holds(talloc_frame):
        keepers.append(talloc_new(None))
        talloc_set_destructor(talloc_frame, lambda frame: -1 if keepers else 0)

    def test_after():
        talloc_free(keepers.pop())
    """,
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["the frame cannot be freed*"])

    def test_failed_test_is_not_blamed_for_leaks(self, pytester: pytest.Pytester) -> None:
        """A test that failed before its cleaning up has one failure, not two."""
        result = run(
            pytester,
            """
    def test_fails(talloc_frame):
        chunk = talloc_new(None)
        assert not chunk
        talloc_free(chunk)
    """,
        )
        result.assert_outcomes(failed=1)


class TestWorld:
    def test_virtual_time(self, pytester: pytest.Pytester) -> None:
        """The context of a test with a world lives in it, whichever of the two is named first."""
        result = run(
            pytester,
            """
    def test_one(tevent_ev, tevent_world):
        req = tevent_wakeup_send(tevent_ev, tevent_ev, tevent_timeval_current_ofs(3600, 0))
        assert tevent_req_poll(req, tevent_ev)
        assert tevent_world.elapsed_us == 3600 * 1000000

    def test_other(tevent_world, tevent_ev):
        assert tevent_world.contexts == [tevent_ev]
    """,
        )
        result.assert_outcomes(passed=2)

    def test_frame_is_freed_in_the_world(self, pytester: pytest.Pytester) -> None:
        """Destructors below the frame still see the clock of the world."""
        result = run(
            pytester,
            """
    times = []

    def test_one(talloc_frame, tevent_world):
        talloc_set_destructor(talloc_new(talloc_frame), lambda chunk: times.append(tevent_timeval_current()) or 0)

    def test_two():
        assert times == [(1000000000, 0)]
    """,
        )
        result.assert_outcomes(passed=2)

    def test_marker(self, pytester: pytest.Pytester) -> None:
        """The marker says what the world is made with."""
        result = run(
            pytester,
            """
    @pytest.mark.tevent_world(replay=[2, 1])
    def test_one(tevent_world):
        assert [tevent_world.choose(3, "which") for _ in range(3)] == [2, 1, 0]
    """,
        )
        result.assert_outcomes(passed=1)

    def test_real_context(self, pytester: pytest.Pytester) -> None:
        """Without a world the context is a real one, which belongs to the frame."""
        result = run(
            pytester,
            """
    def test_one(tevent_ev, talloc_frame):
        fired = []
        soon = tevent_timeval_current()
        tevent_add_timer(tevent_ev, talloc_frame, soon, lambda ev, te, now, data: fired.append(data), "timer")
        assert tevent_loop_once(tevent_ev) == 0
        assert fired == ["timer"]
    """,
        )
        result.assert_outcomes(passed=1)


class TestReport:
    def test_sections(self, pytester: pytest.Pytester) -> None:
        """A failing test shows what was outstanding, who owned what, what happened, and how to see it again."""
        result = run(
            pytester,
            """
    def test_fails(tevent_world, tevent_ev):
        tevent_world.choose(2, "left or right")
        tevent_wakeup_send(tevent_ev, tevent_ev, tevent_timeval_current_ofs(3600, 0))
        assert False
    """,
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            [
                "*- outstanding requests -*",
                "*tevent_wakeup_state IN_PROGRESS*",
                "*waits for its endtime*",
                "*- ownership tree -*",
                "full talloc report on 'talloc_frame'*",
                "* struct tevent_context *",
                "* struct tevent_wakeup_state *",
                "*- simulated world -*",
                "*tevent_wakeup_send#1 begins",
                "to see it again: simulation(replay=*",
                "*@pytest.mark.tevent_world(replay=*",
            ]
        )

    def test_none_for_others(self, pytester: pytest.Pytester) -> None:
        """A test that uses none of the fixtures fails as it always did."""
        result = run(pytester, "\n    def test_fails():\n        assert False\n")
        result.assert_outcomes(failed=1)
        result.stdout.no_fnmatch_line("*ownership tree*")

    def test_none_for_success(self, pytester: pytest.Pytester) -> None:
        """A test that passes shows nothing, also where all output is shown."""
        result = run(pytester, "\n    def test_passes(talloc_frame):\n        pass\n", "-rA")
        result.assert_outcomes(passed=1)
        result.stdout.no_fnmatch_line("*ownership tree*")

    def test_listed(self, pytester: pytest.Pytester) -> None:
        """The fixtures and the marker are listed with what they are for."""
        fixtures = run(pytester, "", "--fixtures").stdout
        fixtures.fnmatch_lines_random(["talloc_frame --*", "tevent_world --*", "tevent_ev --*"])
        run(pytester, "", "--markers").stdout.fnmatch_lines(["@pytest.mark.tevent_world(?*arguments)*"])


def test_entry_point(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin is found by its entry point."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    about = pytester.mkdir("installed") / "tsocket_by_hand-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.4\nName: tsocket-by-hand\nVersion: 1\n", encoding="utf-8")
    (about / "RECORD").write_text("", encoding="utf-8")
    (about / "entry_points.txt").write_text("[pytest11]\ntsocket = tevent._pytest_plugin\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(about.parent), str(ROOT)]))
    pytester.makepyfile("def test_one(tevent_world):\n    assert tevent_world.active\n")
    others = [f"no:{name}" for name in ("hypothesispytest", "pytest_cov", "randomly", "timeout", "cacheprovider")]
    pytester.runpytest_subprocess(*(word for name in others for word in ("-p", name))).assert_outcomes(passed=1)


def test_guide(pytester: pytest.Pytester) -> None:
    """The tests on the page about testing are found and pass: one of each sort."""
    page = pathlib.Path(__file__).resolve().parents[2] / "docs" / "testing.rst"
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    pytester.makepyfile("\n".join(textwrap.dedent(block) for block in blocks))
    result = pytester.runpytest_subprocess(*PLUGIN, "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(["*::test_answer_or_error PASSED*", "*::TestAsks::*", "*::test_ask PASSED*"])


def test_alone(pytester: pytest.Pytester) -> None:
    """The plugin works without Hypothesis, and imports tsocket for nobody who does not use it."""
    pytester.makepyfile(hypothesis="raise ImportError('not installed')")
    result = run(
        pytester,
        """
    def test_one(tevent_world, tevent_ev):
        assert tevent_world.contexts == [tevent_ev]

    def test_nothing_else():
        import sys
        assert "tsocket" not in sys.modules
        with pytest.raises(ImportError):
            import hypothesis
    """,
    )
    result.assert_outcomes(passed=2)
