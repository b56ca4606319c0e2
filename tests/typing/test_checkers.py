# SPDX-License-Identifier: LGPL-3.0-or-later
"""mypy and pyright, both strict, find the types that `expectations` says, and refuse what `refused` marks."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Checker = Callable[[pathlib.Path, pathlib.Path], dict[int, str]]

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def run(*arguments: object) -> str:
    """What a checker prints. It ends with 1 where it has complaints, with more where it could not do its work."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(path: pathlib.Path, folder: pathlib.Path) -> dict[int, str]:
    """The complaints of mypy, by line."""
    cache = f"--cache-dir={folder}"
    said = run("mypy", "--strict", "--follow-imports=silent", "--config-file=", cache, "--no-error-summary", path)
    found = re.findall(r"^(.*?):(\d+): error: (.*)$", said, re.MULTILINE)
    assert {pathlib.Path(where).name for where, _line, _text in found} <= {path.name}, said
    return {int(line): text for _where, line, text in found}


def pyright(path: pathlib.Path, folder: pathlib.Path) -> dict[int, str]:
    """The complaints of pyright, by line."""
    shutil.copy(path, folder)
    settings = folder / "pyrightconfig.json"
    config = {
        "include": [path.name],
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT)],
        # pyright's own taste, for packages that are installed: a port imports flat, as the headers do.
        "reportWildcardImportFromLibrary": False,
    }
    settings.write_text(json.dumps(config), encoding="utf-8")
    said = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", settings))
    assert said["summary"]["filesAnalyzed"] == 1, said
    return {found["range"]["start"]["line"] + 1: found["message"] for found in said["generalDiagnostics"]}


def translations(page: pathlib.Path) -> str:
    """The Python that stands beside C on a page of the manual, as one program."""
    beside = re.findall(r"^.. container:: beside\n((?:   .*\n|\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    code = [re.search(r"^   .. code-block:: python\n((?:      .*\n|\n)+)", each, re.MULTILINE) for each in beside]
    assert len(code) > 2
    assert all(code)
    heads = [f"from {package} import *" for package in ("talloc_py", "tevent", "tsocket")]
    return "\n".join([*heads, *(textwrap.dedent(each[1]) for each in code if each)])


@pytest.fixture(params=[mypy, pyright], ids=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> Checker:
    """Each of the checkers that is installed."""
    check: Checker = request.param
    if importlib.util.find_spec(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed; the extra lint has it")
    return check


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_inferred_types(checker: Checker, tmp_path: pathlib.Path) -> None:
    """Every assert_type holds, and a port with C's own checks needs neither cast nor assert."""
    assert checker(HERE / "expectations.py", tmp_path) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_refused(checker: Checker, tmp_path: pathlib.Path) -> None:
    """Exactly the marked lines are mistakes."""
    path = HERE / "refused.py"
    marked = {
        number
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }
    assert checker(path, tmp_path).keys() == marked
    assert len(marked) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_translations_of_the_porting_guide(checker: Checker, tmp_path: pathlib.Path) -> None:
    """What the manual sets beside C, line by line, is accepted as it stands."""
    path = tmp_path / "guide" / "ported.py"
    path.parent.mkdir()
    path.write_text(translations(ROOT / "docs" / "porting.rst"), encoding="utf-8")
    assert checker(path, tmp_path) == {}
