# SPDX-License-Identifier: LGPL-3.0-or-later
"""How the tests of the examples get at an example: as a module, and as a program."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import tsocket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> Any:
    """The example *name* as a module; its names are whatever it defines, hence `Any`."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and NamedTuple look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def environment() -> dict[str, str]:
    """For a program that is to import the packages from where the tests have them, installed or not."""
    return os.environ | {"PYTHONPATH": str(pathlib.Path(tsocket.__file__).parents[1])}


@pytest.fixture(scope="session")
def pdu_echo() -> Any:
    """The example as a module."""
    return load("pdu_echo")


@pytest.fixture(scope="session")
def dns_lookup() -> Any:
    """The example as a module."""
    return load("dns_lookup")


@pytest.fixture(scope="session")
def dcerpc_ping() -> Any:
    """The example as a module."""
    return load("dcerpc_ping")


@pytest.fixture(scope="session")
def ldap_search() -> Any:
    """The example as a module."""
    return load("ldap_search")


@pytest.fixture(scope="session")
def cldap_ping() -> Any:
    """The example as a module."""
    return load("cldap_ping")


@pytest.fixture(scope="session")
def share_list() -> Any:
    """The example as a module."""
    return load("share_list")


@pytest.fixture
def run_example() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example as a user would; warnings are errors there too."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment())

    return run


@pytest.fixture
def start_example() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an example and go on; what still runs at the end of the test is killed."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str) -> subprocess.Popen[str]:
            line = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *arguments]
            program = subprocess.Popen(
                line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
            )
            stack.enter_context(program)
            stack.callback(program.kill)
            return program

        yield start
