"""What `learnae why` knows, as plain data (docs/watching.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.portrait import Portrait, portrait
from learnae.cli.situation import situation, situation_of_root
from learnae.cli.subjects import Subject, find_subject
from learnae.records import UpdateVerdict


def facts(home: Path, text: str | None, most: int) -> dict[str, Any]:
    """JSON-ready. Raises ConfigError for a subject that is unknown, or that could be several."""
    with portrait(home) as seen:
        subject = find_subject(text, seen.history) if text is not None else Subject()
        return {
            "home": str(home),
            "at": seen.now,
            "peer": subject.peer,
            "root": subject.root,
            "situation": list(_situation(seen, subject)),
            "verdicts": _verdicts(seen, _asked_for(seen, subject, most)),
        }


def _asked_for(seen: Portrait, subject: Subject, most: int) -> list[UpdateVerdict]:
    if subject == Subject():
        return seen.history.turned_away(most)
    return seen.history.verdicts(peer=subject.peer, root=subject.root, limit=most)


def _situation(seen: Portrait, subject: Subject) -> Sequence[str]:
    if subject.peer is not None:
        return list(situation(seen, subject.peer))
    return list(situation_of_root(seen, subject.root)) if subject.root is not None else []


def _verdicts(seen: Portrait, verdicts: Sequence[UpdateVerdict]) -> list[dict[str, Any]]:
    """With the moment at which their round ended, null for one that is forgotten."""
    times = seen.history.round_times({verdict.round for verdict in verdicts})
    return [{**attrs.asdict(verdict), "at": times.get(verdict.round)} for verdict in verdicts]
