"""Records with values that nobody looks at, so that a test names those that matter."""

from __future__ import annotations

from typing import Any

from learnae.observations import RoundReport, UpdateVerdict
from learnae.records import Cid, Update

_CLAIMS: dict[str, Any] = {
    "bytes": 1,
    "lineage": b"l" * 8,
    "architecture": b"s" * 8,
    "age": 0,
    "provisional": False,
    "own_steps": 0,
    "samples": 0,
    "step_seconds": 0.0,
    "codec": "int8",
}

_ROUND: dict[str, Any] = {
    "round": 1,
    "seconds": 1.0,
    "lineage": b"l" * 8,
    "age": 0,
    "published": None,
    "published_bytes": 0,
    "fetched_bytes": 0,
    "heard": 0,
    "chosen": 0,
    "merged": 0,
    "refused": 0,
    "failed": 0,
    "outcome": "alone",
}


def an_update(root: Cid | str = "root", **claims: Any) -> Update:
    """What a peer announces of one."""
    return Update(**{"root": Cid(root), **_CLAIMS, **claims})


def a_report(**facts: Any) -> RoundReport:
    """Of a round in which nothing happened but this."""
    return RoundReport(**{**_ROUND, **facts})


def a_full_report(number: int, *verdicts: UpdateVerdict) -> RoundReport:
    """Of a round in which each thing that is counted has happened."""
    return RoundReport(
        round=number,
        seconds=0.5,
        lineage=b"l" * 8,
        age=20,
        published=Cid("root"),
        published_bytes=10,
        fetched_bytes=20,
        heard=3,
        chosen=2,
        merged=1,
        refused=1,
        failed=0,
        outcome="merged",
        verdicts=verdicts,
    )
