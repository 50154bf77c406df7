"""The peers as the demo sees them, from what they report."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs


class State(StrEnum):
    """Where a peer is in its life."""

    STARTING = "loading PyTorch"
    TRAINING = "training"
    KILLED = "killed"
    RETURNING = "returning"
    DONE = "done"
    FAILED = "failed"


@attrs.frozen
class Counts:
    """What one process of a peer has counted."""

    merged: int = 0
    refused: int = 0
    bytes: int = 0


@attrs.define
class Peer:
    """One peer over all of its lives."""

    number: int
    classes: tuple[int, ...]
    state: State = State.STARTING
    steps: int = 0
    heard: int = 0
    accuracy: float | None = None
    curve: list[tuple[float, float]] = attrs.field(factory=list)  # (seconds, accuracy)
    killed_at: float | None = None
    back_at: float | None = None
    now: Counts = attrs.field(factory=Counts)
    before: Counts = attrs.field(factory=Counts)  # of the life that was ended

    @property
    def name(self) -> str:
        return f"peer {self.number}"

    @property
    def knows(self) -> str:
        return " ".join(map(str, self.classes))

    @property
    def total(self) -> Counts:
        return Counts(*(getattr(self.before, name) + getattr(self.now, name) for name in ("merged", "refused", "bytes")))

    @property
    def merged_since_return(self) -> int:
        return self.now.merged if self.back_at is not None else 0

    def hear(self, line: Mapping[str, Any], seconds: float) -> None:
        """Take in a line of its process."""
        if line["event"] == "training":
            self.back_at = seconds if self.state == State.RETURNING else self.back_at
            self.state, self.steps = State.TRAINING, line["steps"]
            return
        self.steps, self.heard, self.accuracy = line["steps"], line["heard"], line["accuracy"]
        self.now = Counts(line["merged"], line["refused"], line["bytes"])
        self.curve.append((seconds, line["accuracy"]))
        if line["event"] == "final":
            self.state = State.DONE

    def die(self, seconds: float) -> None:
        """Its processes were killed: what they counted is history."""
        self.state, self.killed_at, self.heard = State.KILLED, seconds, 0
        self.before, self.now = self.total, Counts()
