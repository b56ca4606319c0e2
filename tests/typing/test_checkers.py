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

    Complaints = dict[str, dict[int, str]]
    Checker = Callable[[pathlib.Path], Complaints]

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


def by_file(found: list[tuple[str, int, str]], folder: pathlib.Path) -> Complaints:
    """What was said of each file in *folder*: line and text. All of it is about one of them."""
    said: Complaints = {path.name: {} for path in folder.glob("*.py")}
    for where, line, text in found:
        said[pathlib.Path(where).name][line] = text
    return said


def mypy(folder: pathlib.Path) -> Complaints:
    """The complaints of mypy, by file and line."""
    cache = f"--cache-dir={folder / 'cache'}"
    files = sorted(folder.glob("*.py"))
    said = run("mypy", "--strict", "--follow-imports=silent", "--config-file=", cache, "--no-error-summary", *files)
    found = re.findall(r"^(.*?):(\d+): error: (.*)$", said, re.MULTILINE)
    return by_file([(where, int(line), text) for where, line, text in found], folder)


def pyright(folder: pathlib.Path) -> Complaints:
    """The complaints of pyright, by file and line."""
    files = [path.name for path in folder.glob("*.py")]
    settings = folder / "pyrightconfig.json"
    config = {
        "include": files,
        "typeCheckingMode": "strict",
        "extraPaths": [str(ROOT)],
        # pyright's own taste, for packages that are installed: a port imports flat, as the headers do.
        "reportWildcardImportFromLibrary": False,
    }
    settings.write_text(json.dumps(config), encoding="utf-8")
    said = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", settings))
    assert said["summary"]["filesAnalyzed"] == len(files), said
    found = said["generalDiagnostics"]
    return by_file([(each["file"], each["range"]["start"]["line"] + 1, each["message"]) for each in found], folder)


def translations(page: pathlib.Path) -> str:
    """The Python that stands beside C on a page of the manual, as one program."""
    beside = re.findall(r"^.. container:: beside\n((?:   .*\n|\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    code = [re.search(r"^   .. code-block:: python\n((?:      .*\n|\n)+)", each, re.MULTILINE) for each in beside]
    assert len(code) > 2
    assert all(code)
    heads = [f"from {package} import *" for package in ("talloc_py", "tevent", "tsocket")]
    return "\n".join([*heads, *(textwrap.dedent(each[1]) for each in code if each)])


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def complaints(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Complaints:
    """What each of the checkers that is installed says of all programs, which takes as long as of one."""
    check: Checker = request.param
    if importlib.util.find_spec(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed; the extra lint has it")
    folder = tmp_path_factory.mktemp("programs")
    for name in ("expectations.py", "refused.py"):
        shutil.copy(HERE / name, folder)
    (folder / "ported.py").write_text(translations(ROOT / "docs" / "porting.rst"), encoding="utf-8")
    return check(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_inferred_types(complaints: Complaints) -> None:
    """Every assert_type holds, and a port with C's own checks needs neither cast nor assert."""
    assert complaints["expectations.py"] == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_refused(complaints: Complaints) -> None:
    """Exactly the marked lines are mistakes."""
    marked = {
        number
        for number, line in enumerate((HERE / "refused.py").read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# refused")
    }
    assert complaints["refused.py"].keys() == marked
    assert len(marked) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_translations_of_the_porting_guide(complaints: Complaints) -> None:
    """What the manual sets beside C, line by line, is accepted as it stands."""
    assert complaints["ported.py"] == {}
