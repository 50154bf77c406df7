"""Each promise of docs/security.md names tests that there are: a promise whose test was renamed or removed is noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
SHOWN_BY = "shown by"


def promises() -> list[tuple[str, str]]:
    """What is promised, and by what it is shown: the first and the last cell of each row in a table that has such a column."""
    rows, inside = [], False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[-1] == SHOWN_BY:
            inside = True
        elif inside and not set(cells[0]) <= {"-", ":"}:
            rows.append((cells[0], cells[-1]))
    return rows


@pytest.mark.parametrize(("promise", "shown_by"), promises())
def test_a_promise_names_tests_that_there_are(promise: str, shown_by: str) -> None:
    named = re.findall(r"`([^`]+)`", shown_by)
    assert named, promise
    assert [name for name in named if not is_there(name)] == []


def test_each_one_who_could_do_harm_has_promises() -> None:
    assert len(promises()) > 30


def is_there(name: str) -> bool:
    """Whether this file, or this test in it, is there."""
    path, _, test = name.partition("::")
    file = ROOT / path
    if not file.is_file():
        return False
    return not test or re.search(rf"^\s*(?:async )?def {re.escape(test)}\(", file.read_text(), re.MULTILINE) is not None
