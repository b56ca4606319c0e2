# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pictures that the manual's build draws of a program show what the program does."""

from __future__ import annotations

import importlib
import pathlib
import sys
import xml.etree.ElementTree as ET
from typing import Any

import pytest

EXTENSIONS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "_ext"


@pytest.fixture(scope="module")
def seeing() -> Any:
    """The part of the build that draws them."""
    sys.path.insert(0, str(EXTENSIONS))
    try:
        return importlib.import_module("seeing")
    finally:
        sys.path.remove(str(EXTENSIONS))


def texts(picture: str) -> list[str]:
    """What is written in a picture, which has to be well formed."""
    root = ET.fromstring(picture)
    return ["".join(each.itertext()) for each in root.iter() if each.tag.endswith("}text")]


def test_pictures(seeing: Any) -> None:
    """The timeline has its tracks, bars and one red mark; the dump is the text; the graphs have all requests."""
    seen = seeing.look()
    timeline = seeing.draw_timeline(seen["timeline"])
    written = texts(timeline)
    assert {"loop of MainThread", "requests 1", "requests 2", "job_send"} <= set(written)
    assert timeline.count(seeing.RED) == 1
    titles = [each.text or "" for each in ET.fromstring(timeline).iter() if each.tag.endswith("}title")]
    assert len([title for title in titles if title.startswith("tevent_wakeup_send")]) == 6
    assert len([title for title in titles if title.startswith("job_send")]) == 2
    assert texts(seeing.draw_dump(seen["dump"]))[0] == "outstanding requests: 4"
    assert seen["requests"].count("->") == 2
    assert 'label="struct tevent_context' in seen["ownership"]


def test_graph_without_graphviz(seeing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its program is missing the page gets the text."""
    monkeypatch.setattr(seeing.shutil, "which", lambda name: None)
    assert seeing.graph("any", "digraph {\n}\n") == ".. code-block:: dot\n\n   digraph {\n   }\n"
