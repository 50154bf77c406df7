"""The table of reasons against the code and the document."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from learnae.cli.why import MESSAGES, SLICES, UPDATES
from learnae.node.inbox import Arrival

ROOT = Path(__file__).parents[2]
COUNTED = {Arrival.REPLAY.value, Arrival.DUPLICATE.value, "denied", "not-allowed"}  # which reach UpdateRejectedError by a variable
PASSED_ON = {"refused before"}  # what a gate says that sees an update another has refused


def constants(call: ast.Call) -> Iterator[str]:
    """The reason that a call of UpdateRejectedError or Verdict spells out."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name == "UpdateRejectedError":
        reasons = call.args[:1]
    elif name == "Verdict":
        reasons = [word.value for word in call.keywords if word.arg == "reason"]
    else:
        return
    yield from (reason.value for reason in reasons if isinstance(reason, ast.Constant) and isinstance(reason.value, str))


def reasons_in_code() -> set[str]:
    folders = [path for path in (ROOT / "learnae").iterdir() if path.is_dir() and path.name not in ("testing", "scaffold", "demo")]
    trees = [ast.parse(file.read_text()) for folder in folders for file in folder.rglob("*.py")]
    return {reason for tree in trees for call in ast.walk(tree) if isinstance(call, ast.Call) for reason in constants(call)}


def test_every_reason_in_the_code_has_a_meaning_and_every_meaning_a_reason():
    assert (reasons_in_code() | COUNTED) - PASSED_ON == {*MESSAGES, *UPDATES, *SLICES}


def test_the_document_lists_all_of_them_with_the_same_meaning():
    page = (ROOT / "docs" / "watching.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", page, re.MULTILINE))
    assert {reason: rows.get(reason) for reason in (*MESSAGES, *UPDATES, *SLICES)} == {**MESSAGES, **UPDATES, **SLICES}
