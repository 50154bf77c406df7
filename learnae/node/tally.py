"""What happens in one round, noted as it happens."""

from __future__ import annotations

import attrs

from learnae.errors import PluginError, UpdateRejected
from learnae.node.history import Published
from learnae.node.inbox import Entry
from learnae.node.judging import PLUGIN, Judgement
from learnae.records import RoundReport, Update, UpdateVerdict

REASON_CHARACTERS = 500
NOT_HERE = ("unknown-codec", "unusable-codec")  # whoever sends such an update has done nothing wrong


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
        weight, stage, reason = judgement.received.weight, PLUGIN if failure else judgement.stage, failure or judgement.reason
        self.verdicts.append(_verdict(self.round, entry, merged=merged, weight=weight, scale=judgement.scale, stage=stage, reason=reason))

    def take_over(self, other: Tally) -> None:
        """What was noted of fetches that this round takes the results of."""
        self.fetched_bytes += other.fetched_bytes
        self.verdicts += (attrs.evolve(verdict, round=self.round) for verdict in other.verdicts)

    def report(self, now: float, lineage: bytes, age: int) -> RoundReport:
        merged = sum(verdict.merged for verdict in self.verdicts)
        failed, lost = (sum(verdict.stage == stage for verdict in self.verdicts) for stage in ("fetch", PLUGIN))
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
            refused=len(self.verdicts) - merged - failed - lost,
            failed=failed,
            outcome=self.outcome,
            verdicts=tuple(self.verdicts),
            splits=self.splits,
            lost=lost,
        )


def stage_of(error: UpdateRejected | PluginError) -> str:
    """Who must act on an update that could not be decoded: its peer, or whoever runs this one."""
    ours = isinstance(error, PluginError) or error.reason in NOT_HERE
    return PLUGIN if ours else "decode"


def _verdict(round_: int, entry: Entry, *, merged: bool, weight: float, scale: float, stage: str, reason: str) -> UpdateVerdict:
    body = entry.announcement.body
    assert isinstance(body, Update)
    return UpdateVerdict(round_, entry.peer, entry.announcement.number, body.root, merged, weight, scale, stage, reason[:REASON_CHARACTERS])
