"""Members of a swarm who publish what harms it, signed and sound as to its form: ready-made, for tests and benches of gates and merges.

An attacker knows more than one in the field: a simulation tells it what the honest published last. It makes its model anew in each round:
from the mean of the honest ones, a copy of which it trains on as they do.

    knowledge = Knowledge(initial)
    honest = knowledge.watch("peer-1", train)  # of each honest peer, in place of its own function
    hostile = attacker(FlippedMean(), train, knowledge)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

Model = dict[str, Any]  # of numpy arrays; only floating ones are poisoned
Train = Callable[[Model], int]


@attrs.frozen(kw_only=True)
class Known:
    """What an attacker knows in one round. All models have the same tensors."""

    initial: Model  # what all began with
    before: Model  # the mean of what the honest published one round earlier
    honest: Sequence[Model]  # what they published last, at least one
    mean: Model  # of these
    own: Model  # the mean after the attacker's own training


class Attack(ABC):
    """What an attacker does to the model that it publishes."""

    flips_labels: ClassVar[bool] = False
    """Whether the rows that it trains on should have the labels of `flip_labels`."""

    @abstractmethod
    def poison(self, known: Known) -> Model:
        """Return the model that is published in place of an honest one. Changes none of the known ones."""


@attrs.define
class Knowledge:
    """What all attackers of one simulation know, gathered from the training functions of the honest peers."""

    initial: Model
    _last: dict[str, Model] = attrs.field(factory=dict)
    _earlier: dict[str, Model] = attrs.field(factory=dict)

    def watch(self, name: str, train: Train) -> Train:
        """The training function of the honest peer `name`, which from now on tells here what it has trained."""

        def watched(model: Model) -> int:
            steps = train(model)
            self._earlier[name] = self._last.get(name, self.initial)
            self._last[name] = _copy(model)
            return steps

        return watched

    def known(self, train: Train) -> tuple[Known, int]:
        """What is known now, and how many steps the attacker trained for it."""
        honest = list(self._last.values()) or [self.initial]
        mean = mean_of(honest)
        own = _copy(mean)
        steps = train(own)
        before = mean_of(list(self._earlier.values()) or [self.initial])
        return Known(initial=self.initial, before=before, honest=honest, mean=mean, own=own), steps


def attacker(attack: Attack, train: Train, knowledge: Knowledge) -> Train:
    """The training function of an attacker: it puts in the place of the model what the attack makes. `train` is an honest one."""

    def poisoned(model: Model) -> int:
        known, steps = knowledge.known(train)
        poison = attack.poison(known)
        for name, tensor in model.items():
            if _floating(tensor):
                tensor[...] = poison[name]
        return steps

    return poisoned


def flip_labels(labels: Any, classes: int) -> Any:
    """Each label y becomes classes - 1 - y."""
    return classes - 1 - labels


def mean_of(models: Sequence[Model]) -> Model:
    """Of each value; integers are those of the first model."""
    return _each(lambda *rows: np.mean(rows, axis=0, dtype=np.float64).astype(rows[0].dtype), *models)


def norm(model: Mapping[str, Any]) -> float:
    """The Euclidean norm of all floating values."""
    return math.sqrt(sum(float(np.sum(np.square(tensor, dtype=np.float64))) for tensor in model.values() if _floating(tensor)))


@attrs.frozen
class NotFinite(Attack):
    """NaN, or infinity, in one value of each tensor."""

    value: float = math.nan

    def poison(self, known: Known) -> Model:
        poison = _copy(known.own)
        for tensor in poison.values():
            if _floating(tensor):
                tensor.reshape(-1)[:1] = self.value
        return poison


@attrs.frozen
class Scaled(Attack):
    """The honest model, times `factor`."""

    factor: float = 1000.0

    def poison(self, known: Known) -> Model:
        return _each(lambda own: own * self.factor, known.own)


class FlippedOwn(Attack):
    """The own model with all signs turned."""

    def poison(self, known: Known) -> Model:
        return _each(lambda own: -own, known.own)


class FlippedMean(Attack):
    """The mean of the honest models with all signs turned: all attackers say the same."""

    def poison(self, known: Known) -> Model:
        return _each(lambda mean: -mean, known.mean)


class Stale(Attack):
    """What all began with, for ever, under new numbers."""

    def poison(self, known: Known) -> Model:
        return _copy(known.initial)


@attrs.frozen
class FarPoint(Attack):
    """One point for all attackers: random weights, `times` as long as the initial ones."""

    times: float = 10.0
    seed: int = 12345

    def poison(self, known: Known) -> Model:
        direction = _random(known.initial, self.seed)
        return _each(lambda way: self.times * norm(known.initial) * way, direction)


class FlippedLabels(Attack):
    """Trains well on rows with other labels (`flip_labels`), and publishes what it has learned."""

    flips_labels = True

    def poison(self, known: Known) -> Model:
        return _copy(known.own)


@attrs.define
class Gaussian(Attack):
    """Each value drawn anew from N(0, variance)."""

    variance: float = 200.0
    seed: int = 0
    _rng: np.random.Generator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def poison(self, known: Known) -> Model:
        deviation = math.sqrt(self.variance)
        return _each(lambda own: self._rng.normal(0.0, deviation, own.shape).astype(own.dtype), known.own)


@attrs.frozen
class ReversedUpdate(Attack):
    """b - times (m - b): from the mean b of a round ago, what the honest learned since, turned round."""

    times: float = 4.0

    def poison(self, known: Known) -> Model:
        return _each(lambda before, mean: before - self.times * (mean - before), known.before, known.mean)


@attrs.frozen
class LittleIsEnough(Attack):
    """ALIE: the mean of the honest models minus `deviations` standard deviations of each value (arXiv:1902.06156)."""

    deviations: float = 1.5

    def poison(self, known: Known) -> Model:
        return _each(lambda mean, *rows: mean - self.deviations * np.std(rows, axis=0), known.mean, *known.honest)


@attrs.frozen
class InnerProduct(Attack):
    """IPM: the mean of the honest models times minus `epsilon` (arXiv:1903.03936)."""

    epsilon: float = 0.1

    def poison(self, known: Known) -> Model:
        return _each(lambda mean: -self.epsilon * mean, known.mean)


@attrs.frozen
class Dissensus(Attack):
    """x + strength (x - m): drives the honest model x, the `victim`th, away from the mean m (arXiv:2202.01545, one model for all)."""

    strength: float = 1.0
    victim: int = 0

    def poison(self, known: Known) -> Model:
        chosen = known.honest[self.victim % len(known.honest)]
        return _each(lambda own, mean: own + self.strength * (own - mean), chosen, known.mean)


@attrs.frozen(kw_only=True)
class InBall(Attack):
    """m + share radius |m| u: within the radius of the gate `balance`, which it knows, from the mean m of the honest models.

    The direction u is one of four: "opposed" to m - initial, "zero", "random" (the same for all, and always), or "labels", toward what
    is learned from rows with other labels (which its caller gives it).
    """

    toward: str
    radius: float = 0.3
    share: float = 0.9
    seed: int = 12345

    @property
    def flips_labels(self) -> bool:  # type: ignore[override]  # of a class, where all of its attackers do
        return self.toward == "labels"

    def poison(self, known: Known) -> Model:
        way = self._direction(known)
        reach = self.share * self.radius * norm(known.mean) / (norm(way) or 1.0)
        return _each(lambda mean, step: mean + reach * step, known.mean, way)

    def _direction(self, known: Known) -> Model:
        ways: Mapping[str, Callable[[], Model]] = {
            "opposed": lambda: _each(np.subtract, known.initial, known.mean),
            "zero": lambda: _each(np.negative, known.mean),
            "random": lambda: _random(known.initial, self.seed),
            "labels": lambda: _each(np.subtract, known.own, known.mean),
        }
        return ways[self.toward]()


ATTACKS: Mapping[str, Callable[[], Attack]] = {
    "NaN": NotFinite,
    "infinity": lambda: NotFinite(math.inf),
    "times 1,000": Scaled,
    "sign flip of own": FlippedOwn,
    "sign flip of the mean": FlippedMean,
    "stale models": Stale,
    "common far point": FarPoint,
    "label flip": FlippedLabels,
    "Gaussian": Gaussian,
    "reversed update": ReversedUpdate,
    "mean minus 1.5 sigma": LittleIsEnough,
    "inner product": InnerProduct,
    "dissensus": Dissensus,
    "in the ball, opposed": lambda: InBall(toward="opposed"),
    "in the ball, to zero": lambda: InBall(toward="zero"),
    "in the ball, random": lambda: InBall(toward="random"),
    "in the ball, other labels": lambda: InBall(toward="labels"),
}
"""All attacks, by the names that benches print. Each call makes a new one, with its usual parameters."""


def _random(like: Model, seed: int) -> Model:
    rng = np.random.default_rng(seed)
    drawn = _each(lambda tensor: rng.normal(size=tensor.shape), like)
    length = norm(drawn)
    return _each(lambda tensor: (tensor / length).astype(np.float32), drawn)


def _each(change: Callable[..., Any], *models: Model) -> Model:
    """Of each floating tensor; others are copies of the first model's."""
    return {
        name: np.asarray(change(*(model[name] for model in models)), tensor.dtype) if _floating(tensor) else tensor.copy()
        for name, tensor in models[0].items()
    }


def _copy(model: Model) -> Model:
    return {name: tensor.copy() for name, tensor in model.items()}


def _floating(tensor: Any) -> bool:
    return bool(np.issubdtype(tensor.dtype, np.floating))
