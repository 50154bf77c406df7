"""How far a model has come, when its next snapshot is due, and how long the trainer waits for a merge. It belongs to the checkpoint."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from torch import Tensor

from learnae.content.validators import MAX_INTEGER
from learnae.errors import ConfigError, Problem
from learnae.link.messages import Evaluation, MergeResult, TrainerProgress
from learnae.trainer.arguments import whole

LONGEST_SECONDS = 0.5


@attrs.define
class WaitBudget:
    """A budget: `share` of the time of each round is saved, up to half a second, and spent on whole merges.

    A merge that takes twice what one round gives is waited for in every second round. A bound for each round on its own, below which
    merges must come, would wait for none of them: a merged model that comes late costs steps, and the pause before it brings nothing.
    """

    share: float
    saved: float = 0.0
    latency: float | None = None
    """Seconds from a snapshot to its merge, of the last merge that came."""

    def earn(self, round_seconds: float) -> None:
        """A round is over."""
        self.saved = min(LONGEST_SECONDS, self.saved + self.share * round_seconds)

    @property
    def seconds(self) -> float:
        """How long to wait now: all that was saved, or not at all where that would not have been enough the last time."""
        return self.saved if self.latency is None or self.latency <= self.saved else 0.0

    def spend(self, seconds: float) -> None:
        """So long was waited."""
        self.saved = max(0.0, self.saved - seconds)


JOINING_SECONDS = 1.0


@attrs.define
class SnapshotSchedule:
    """After so many steps or so much time, whichever comes first; while the model has no lineage yet, with the first step after a second.

    Steps are counted by the trainer, time by whoever looks now and then: so a slow trainer is asked for nothing in its steps.
    """

    local_steps: int
    round_seconds: float
    clock: Callable[[], float] = time.monotonic
    _step: int = 0
    _time: float = 0.0

    def at_once(self, steps: int) -> None:
        """With the next step."""
        self._step, self._time = steps, self.clock()

    def taken(self, steps: int, *, joined: bool) -> None:
        """A snapshot was taken of the model after so many steps."""
        seconds = self.round_seconds if joined else min(JOINING_SECONDS, self.round_seconds)
        self._step, self._time = steps + self.local_steps, self.clock() + seconds

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._time - self.clock())

    @property
    def step(self) -> int:
        """The step with which a snapshot is due, as things stand; 0 when its time has come."""
        return self._step if self.seconds_left > 0 else 0


@attrs.frozen
class _Position:
    """Where a model stands since its last adoption: replaced as a whole, so that an interrupt finds it old or new."""

    lineage: bytes = b""  # empty: none yet
    age_before: int = 0  # its age, less the steps of this run
    by: MergeResult | None = None


@attrs.define
class ModelProgress:
    """Counts of one trainer run, and the lineage and age of its model."""

    run: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    steps: int = 0
    samples: int = 0
    loss: Any = None  # a number or a tensor; read only when a snapshot is taken
    resumed: str = ""
    resumed_adoption: int = 0
    step_seconds: float = 0.0
    round_seconds: float = 0.0
    evaluation: Evaluation | None = None
    _position: _Position = attrs.field(factory=lambda: _Position())
    _last_steps: int = 0
    _last_time: float = attrs.field(factory=time.monotonic)

    @property
    def lineage(self) -> bytes:
        return self._position.lineage

    @property
    def age(self) -> int:
        return self._position.age_before + self.steps

    def progress(self, adoption: int, *, told: bool = True) -> TrainerProgress:
        """What a snapshot of the present model says; with the loss that the user told, unless another thread asks."""
        loss = float(getattr(self.loss, "detach", lambda: self.loss)()) if told and self.loss is not None else None
        return TrainerProgress(adoption, self.lineage, self.age, self.steps, self.samples, self.step_seconds, loss, self.evaluation)

    def adopted(self, offer: MergeResult) -> None:
        """Once for each offer, however often it is told: who was interrupted tells it again."""
        before = self._position  # looked at once: a handler may come in between, and tell it too
        if before.by is not offer:
            self._position = _Position(offer.lineage, before.age_before + offer.age_gain, offer)

    def evaluated(self, adoption: int, metrics: Mapping[str, float]) -> None:
        """The model as it was after this adoption was measured."""
        self.evaluation = Evaluation(self.evaluation.number + 1 if self.evaluation else 1, adoption, metrics)

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
        """Whether this is the run that went on from there, before its first step."""
        return (self.resumed, self.resumed_adoption, self.steps) == (state["run"], state["adoption"], state["steps"])

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there under a name of its own, since adoptions count from 0 again."""
        self.run = uuid.uuid4().hex
        self.steps, self.samples, self._last_steps = state["steps"], state["samples"], state["steps"]
        self._position = _Position(bytes.fromhex(state["lineage"]), state["age"] - self.steps)
        self.resumed, self.resumed_adoption = state["run"], state["adoption"]
        self._last_time, self.loss = time.monotonic(), None


KEY = "resume"
LINEAGE_BYTES = (0, 8)
REMEDY = "give what swarm.state_dict() gave when the model was saved"


def checked(state: Any) -> dict[str, Any]:
    """A state of `Swarm.state_dict()` in plain values. Raises ConfigError that names all keys that are wrong."""
    if not isinstance(state, Mapping):
        raise ConfigError(Problem(KEY, f"is {type(state).__name__}, and no state of a swarm", REMEDY))
    if "run" not in state and isinstance(state.get("swarm"), Mapping):
        raise ConfigError(Problem(KEY, "is a whole checkpoint", 'give its part of the swarm: resume=checkpoint["swarm"]'))
    complete = {"local": (), **state}
    values: dict[str, Any] = {}
    problems = list(_read(complete, values))
    if problems:
        raise ConfigError(problems)
    return values


def _read(state: Mapping[str, Any], values: dict[str, Any]) -> Iterator[Problem]:
    for key, read in READERS.items():
        if key not in state:
            yield Problem(f"{KEY}: {key}", "is missing", REMEDY)
            continue
        try:
            values[key] = read(state[key])
        except (ValueError, TypeError) as error:
            yield Problem(f"{KEY}: {key}", str(error), REMEDY)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 100:
        raise ValueError(f"{value!r:.80} is not the name of a run")
    return value


def _lineage(value: Any) -> str:
    if not isinstance(value, str) or len(bytes.fromhex(value)) not in LINEAGE_BYTES:
        raise ValueError(f"{value!r:.80} is no lineage, which has 16 hexadecimal digits or none")
    return value


def _count(value: Any) -> int:
    return whole(value, "it", MAX_INTEGER)


def _residues(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) and isinstance(rest, Tensor) for name, rest in value.items()):
        raise ValueError("wanted are tensors by name")
    return dict(value)


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ValueError("wanted are names of tensors")
    return tuple(value)


READERS: Mapping[str, Callable[[Any], Any]] = {
    "run": _text,
    "adoption": _count,
    "lineage": _lineage,
    "age": _count,
    "steps": _count,
    "samples": _count,
    "residues": _residues,
    "local": _names,
}
