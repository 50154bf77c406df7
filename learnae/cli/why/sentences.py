"""`learnae why` in plain sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from learnae.cli.reasons import meaning
from learnae.cli.units import moment
from learnae.texts import CELL_CHARACTERS, harmless

Facts = dict[str, Any]

_BLANKS = re.compile("[ \u00a0\u2000-\u200a\u3000]{2,}")


def told(found: Facts) -> Iterator[str]:
    """Who or what it is about, how that stands, the fate of each update, and what the reasons mean."""
    about = found["peer"] or found["root"]
    if about:
        yield f"{'peer' if found['peer'] else 'root'} {about}"
    yield from (f"  {sentence}" for sentence in found["situation"])
    if not found["verdicts"]:
        yield _nothing_to_tell(found)
    for verdict in found["verdicts"]:
        whose = "" if found["peer"] else f"peer {verdict['peer'][:8]}, "
        yield f"{_when(verdict, found['at'])}: {whose}update {verdict['number']:,} {fate(verdict)}"
    yield from _legend(found["verdicts"])


def _nothing_to_tell(found: Facts) -> str:
    if found["peer"] or found["root"]:
        return "None of its updates was ever tried."
    return "Every update that was tried has been merged." if found["tried"] else "No update of another peer was ever tried."


def fate(verdict: Facts) -> str:
    """What became of one update."""
    stage, reason = verdict["stage"], _theirs(verdict["reason"])
    if verdict["merged"]:
        return f"fetched, {_scaled(verdict)}merged with weight {verdict['weight']:.3g}{_remark(verdict)}"
    if stage == "fetch":
        return f"could not be fetched: {reason}"
    if stage == "plugin":
        return f"lost here, and refused by nobody: {reason}"
    if stage == "decode":
        return f"refused before any gate: {reason}"
    if stage == "architecture":
        return f"not fetched, since its model is another: {reason}"
    if stage == "join":
        return f"fetched to be adopted, but not adopted: {reason}"
    if verdict["weight"] == 0:
        return f"fetched, refused by gate {stage}: {reason}"
    return f"fetched, accepted with weight {verdict['weight']:.3g}, but not merged: {reason}"


def _theirs(reason: str) -> str:
    """Blanks move nothing to where a line of ours might begin."""
    return harmless(_BLANKS.sub(" ", reason), CELL_CHARACTERS)


def _scaled(verdict: Facts) -> str:
    if verdict["scale"] == 1 or not verdict["scale"]:
        return ""
    return f"scaled to {verdict['scale']:.2g} by {verdict['stage']} ({_quoted(verdict)}), "


def _quoted(verdict: Facts) -> str:
    """A scale of 0.31 means a displacement of 3.2 times the limit."""
    return f"{1 / verdict['scale']:.2g} times the limit: {_theirs(verdict['reason'])}"


def _remark(verdict: Facts) -> str:
    return f" ({verdict['stage']}: {_theirs(verdict['reason'])})" if verdict["reason"] and verdict["scale"] == 1 else ""


def _when(verdict: Facts, now: float) -> str:
    at = f" ({moment(verdict['at'], now)})" if verdict["at"] else ""
    return f"round {verdict['round']:,}{at}"


def _legend(verdicts: list[Facts]) -> Iterator[str]:
    slugs = dict.fromkeys(verdict["reason"].partition(":")[0] for verdict in verdicts if not verdict["merged"])
    meanings = [f"  {slug}: {meaning(slug)}" for slug in slugs if meaning(slug)]
    if meanings:
        yield "where"
        yield from meanings
