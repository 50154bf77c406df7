"""What a swarm tells about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from learnae.records import RoundReport


@attrs.frozen
class Status:
    """Where this peer stands."""

    node: str  # "starting", "running", "down" or "left"
    node_starts: int
    lineage: bytes = attrs.field(repr=bytes.hex)
    age: int  # optimiser steps in the history of the model
    steps: int  # of this trainer
    samples: int
    adoptions: int
    rounds: int
    heard: int  # peers with a fresh update, in the last round
    merged: int  # updates, in all rounds
    refused: int
    facts: Mapping[str, Any] = attrs.field(repr=False)  # what the node added to its last report
    last_words: str = ""  # of the last node that ended and was not asked to: why
    benched: Mapping[str, int] = attrs.field(factory=dict)  # strategies that hung: for how many rounds they are not called yet
    lost: int = 0  # updates that a plugin of this peer has spoiled


@attrs.define
class Tally:
    """Counts the rounds of this trainer's nodes."""

    rounds: int = 0
    heard: int = 0
    merged: int = 0
    refused: int = 0
    lost: int = 0
    facts: Mapping[str, Any] = attrs.field(factory=dict)

    def add(self, report: RoundReport, facts: Mapping[str, Any]) -> None:
        self.rounds += 1
        self.heard = report.heard
        self.merged += report.merged
        self.refused += report.refused
        self.lost += report.lost
        self.facts = facts
