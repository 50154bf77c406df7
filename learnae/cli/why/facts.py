"""What `learnae why` knows, as plain data (docs/watching.md)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.homes.state import HomeState, read_home
from learnae.cli.homes.subjects import Subject, find_subject
from learnae.cli.why.about import about_peer, about_root
from learnae.records import UpdateVerdict


def facts(home: Path, text: str | None, most: int) -> dict[str, Any]:
    """JSON-ready. Raises ConfigError for a subject that is unknown, or that could be several."""
    with read_home(home) as seen:
        subject = find_subject(text, seen.history) if text is not None else Subject()
        return {
            "home": str(home),
            "at": seen.now,
            "peer": subject.peer,
            "root": subject.root,
            "situation": _situation(seen, subject),
            "tried": sum(seen.history.totals().get(fate, 0) for fate in ("merged", "refused", "failed", "lost")),
            "verdicts": _verdicts(seen, _asked_for(seen, subject, most)),
        }


def _asked_for(seen: HomeState, subject: Subject, most: int) -> list[UpdateVerdict]:
    if subject == Subject():
        return seen.history.turned_away(most)
    return seen.history.verdicts(peer=subject.peer, root=subject.root, limit=most)


def _situation(seen: HomeState, subject: Subject) -> list[str]:
    if subject.peer is not None:
        return list(about_peer(seen, subject.peer))
    return list(about_root(seen, subject.root)) if subject.root is not None else []


def _verdicts(seen: HomeState, verdicts: Sequence[UpdateVerdict]) -> list[dict[str, Any]]:
    """With the moment at which their round ended, null for one that is forgotten."""
    times = seen.history.round_times({verdict.round for verdict in verdicts})
    return [{**attrs.asdict(verdict), "at": times.get(verdict.round)} for verdict in verdicts]
