"""What happens in one round, noted as it happens."""

from __future__ import annotations

import attrs

from learnae.node.history import Published
from learnae.node.inbox import Entry
from learnae.node.judging import Judgement
from learnae.records import RoundReport, Update, UpdateVerdict

REASON_CHARACTERS = 500


@attrs.define
class Tally:
    round: int
    started: float
    published: Published | None = None
    fetched_bytes: int = 0
    heard: int = 0
    chosen: int = 0
    verdicts: list[UpdateVerdict] = attrs.field(factory=list)
    splits: tuple[bytes, ...] = ()
    outcome: str = "alone"

    def failed(self, entry: Entry, stage: str, reason: str) -> None:
        """An update that never reached the gates."""
        self.verdicts.append(_verdict(self.round, entry, merged=False, weight=0.0, scale=1.0, stage=stage, reason=reason))

    def judged(self, entry: Entry, judgement: Judgement, *, merged: bool, failure: str = "") -> None:
        """An update that the gates have seen; `failure` says why an accepted one was not merged."""
        weight, reason = judgement.received.weight, failure or judgement.reason
        self.verdicts.append(
            _verdict(self.round, entry, merged=merged, weight=weight, scale=judgement.scale, stage=judgement.stage, reason=reason)
        )

    def report(self, now: float, lineage: bytes, age: int) -> RoundReport:
        merged = sum(verdict.merged for verdict in self.verdicts)
        failed = sum(verdict.stage == "fetch" for verdict in self.verdicts)
        return RoundReport(
            round=self.round,
            seconds=now - self.started,
            lineage=lineage,
            age=age,
            published=self.published.root if self.published else None,
            published_bytes=self.published.bytes if self.published else 0,
            fetched_bytes=self.fetched_bytes,
            heard=self.heard,
            chosen=self.chosen,
            merged=merged,
            refused=len(self.verdicts) - merged - failed,
            failed=failed,
            outcome=self.outcome,
            verdicts=tuple(self.verdicts),
            splits=self.splits,
        )


def _verdict(round_: int, entry: Entry, *, merged: bool, weight: float, scale: float, stage: str, reason: str) -> UpdateVerdict:
    body = entry.announcement.body
    assert isinstance(body, Update)
    return UpdateVerdict(round_, entry.peer, entry.announcement.number, body.root, merged, weight, scale, stage, reason[:REASON_CHARACTERS])
