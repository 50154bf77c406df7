"""What every selector must keep to."""

from __future__ import annotations

from collections.abc import Iterable

from learnae.records import Candidate, View


def fitting(view: View) -> list[Candidate]:
    """The candidates that could be fetched at all."""
    return [candidate for candidate in view.candidates if 0 <= candidate.bytes <= view.budget_bytes]


def within(view: View, wanted: Iterable[Candidate]) -> list[Candidate]:
    """The most wanted ones: at most `view.count`, and no more than `view.budget_bytes` together."""
    chosen: list[Candidate] = []
    left = view.budget_bytes
    for candidate in wanted:
        if len(chosen) < view.count and candidate.bytes <= left:
            chosen.append(candidate)
            left -= candidate.bytes
    return chosen
