# SPDX-License-Identifier: LGPL-3.0-or-later
"""
The drivers of the real libraries, for tests that compare with them.

Where a compiler, a library or its headers are missing these tests are skipped, and say why; with the variable
``TSOCKET_REQUIRE_PEERS=1`` they fail instead.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from .real import MissingError, Real

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    """A running driver of the module's ``AREA``."""
    try:
        driver = Real(request.module.AREA)
    except MissingError as missing:
        if os.environ.get("TSOCKET_REQUIRE_PEERS") == "1":
            pytest.fail(f"cannot be compared with the real library: {missing}", pytrace=False)
        pytest.skip(f"cannot be compared with the real library: {missing}")
    yield driver
    driver.close()
