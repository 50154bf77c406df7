"""How far a trainer's model has come. It belongs to the model: it lies in its checkpoint, not in the home."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

import attrs

from learnae.link.contract import Offer, Progress


@attrs.frozen
class _Standing:
    """Where a model stands since its last adoption: replaced as a whole, so that an interrupt finds it old or new."""

    lineage: bytes = b""  # empty: none yet
    age_before: int = 0  # its age, less the steps of this run
    by: Offer | None = None


@attrs.define
class Journey:
    """Counts of one trainer run, and the lineage and age of its model."""

    run: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    steps: int = 0
    samples: int = 0
    loss: Any = None  # a number or a tensor; read only when a snapshot is taken
    resumed: str = ""
    resumed_adoption: int = 0
    step_seconds: float = 0.0
    round_seconds: float = 0.0
    _standing: _Standing = attrs.field(factory=lambda: _Standing())
    _last_steps: int = 0
    _last_time: float = attrs.field(factory=time.monotonic)

    @property
    def lineage(self) -> bytes:
        return self._standing.lineage

    @property
    def age(self) -> int:
        return self._standing.age_before + self.steps

    def progress(self, adoption: int, *, told: bool = True) -> Progress:
        """What a snapshot of the present model says; with the loss that the user told, unless another thread asks."""
        loss = float(getattr(self.loss, "detach", lambda: self.loss)()) if told and self.loss is not None else None
        return Progress(adoption, self.lineage, self.age, self.steps, self.samples, self.step_seconds, loss)

    def adopted(self, offer: Offer) -> None:
        """Once for each offer, however often it is told: who was interrupted tells it again."""
        before = self._standing  # looked at once: a handler may come in between, and tell it too
        if before.by is not offer:
            self._standing = _Standing(offer.lineage, before.age_before + offer.age_gain, offer)

    def round_ended(self, paused: float) -> None:
        """A snapshot was taken: measure the round, of which the trainer stood still for `paused` seconds."""
        now, steps = time.monotonic(), self.steps - self._last_steps
        self.round_seconds = now - self._last_time
        if steps > 0:
            self.step_seconds = max(0.0, self.round_seconds - paused) / steps
        self._last_steps, self._last_time = self.steps, now

    def state_dict(self, adoption: int) -> dict[str, Any]:
        """Plain values."""
        position = {"run": self.run, "adoption": adoption, "lineage": self.lineage.hex()}
        return {**position, "age": self.age, "steps": self.steps, "samples": self.samples}

    def is_at(self, state: Mapping[str, Any]) -> bool:
        """Whether this is the journey that went on from there, before its first step."""
        return (self.resumed, self.resumed_adoption, self.steps) == (state["run"], state["adoption"], state["steps"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there under a name of its own, since adoptions count from 0 again."""
        self.run = uuid.uuid4().hex
        self.steps, self.samples, self._last_steps = state["steps"], state["samples"], state["steps"]
        self._standing = _Standing(bytes.fromhex(state["lineage"]), state["age"] - self.steps)
        self.resumed, self.resumed_adoption = state["run"], state["adoption"]
        self._last_time, self.loss = time.monotonic(), None
