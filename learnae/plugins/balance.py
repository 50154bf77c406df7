"""Gates that refuse what lies too far from the own model: against members who publish nonsense."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs.validators import ge, gt, optional

from learnae.config.tables import option
from learnae.plugins.gate import distance, length
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

if TYPE_CHECKING:
    from numpy.typing import NDArray

REMEMBERED = 20
FEWEST = 3  # a stranger that is refused waits 2, 4, 8 rounds for its next turn: of a single other one, 20 would never be judged
MANY = 1 / 3


@attrs.frozen(kw_only=True)
class BalanceOptions:
    """How far from the own model an update may lie."""

    radius: float = option(0.3, "The largest distance that is accepted, as a share of the norm of the own model.", gt(0.0))
    decay: float = option(1.0, "The radius shrinks to exp(-decay) times its size over `horizon_steps`.", ge(0.0))
    horizon_steps: int | None = option(None, "Optimiser steps until it has shrunk; none named: it never does.", optional(gt(0)))


class RadiusGate(Gate):
    """What both gates share: an update is accepted if its distance from the own model is no more than a limit.

    Peers that come back, the two halves of a swarm that was parted, or two peers that train on different rows may all be too far away. If
    more than a third of the last 20 updates were refused, or of the first three and more, the nearest of those that would be refused is
    accepted, scaled down to the limit: liars who stay within the limit gain as much.
    """

    Options = BalanceOptions
    options: BalanceOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        judged = [distance(local.current, item.tensors, item.masks) if item.weight > 0 else None for item in received]
        distances = np.array([math.nan if far is None else far for far in judged])
        limit = self.limit(local, distances[np.isfinite(distances)])
        refused = np.isfinite(distances) & (distances > limit)
        before = np.asarray(state.get("refused", ()), np.int64)
        history = np.append(before, refused[np.isfinite(distances)])[-REMEMBERED:]
        chance = _nearest(distances, refused) if before.size >= FEWEST and history.mean() > MANY else None
        verdicts = [_verdict(far, limit, scaled=place == chance) for place, far in enumerate(judged)]
        return Judged(verdicts, {"refused": history})

    @abstractmethod
    def limit(self, local: LocalModel, distances: NDArray[np.float64]) -> float:
        """The largest distance that is accepted, where these are those of all updates of this round."""

    def radius(self, local: LocalModel) -> float:
        """The radius of BALANCE: radius * exp(-decay * r) * norm of the own model, where r goes from 0 to 1 over `horizon_steps`."""
        horizon = self.options.horizon_steps
        progress = min(local.age / horizon, 1.0) if horizon else 0.0
        return self.options.radius * math.exp(-self.options.decay * progress) * length(local.current)


class Balance(RadiusGate):
    """Refuses an update that is further from the own model than a share of its norm (BALANCE, arXiv:2406.10416)."""

    def limit(self, local: LocalModel, distances: NDArray[np.float64]) -> float:
        return self.radius(local)


@attrs.frozen(kw_only=True)
class BalanceOwnOptions(BalanceOptions):
    """How far from the own model an update may lie."""

    own: float = option(3.0, "The limit is never less than the own displacement since the last merge, times this.", ge(0.0))


class BalanceOwn(RadiusGate):
    """As `balance`, and the limit is never less than three times the own displacement since the last merge.

    Where peers train long between two merges, or begin with small weights, honest models lie further apart than a share of their norm:
    `balance` accepts nobody then. Nobody can lie about the own displacement. Our own design.
    """

    Options = BalanceOwnOptions
    options: BalanceOwnOptions

    def limit(self, local: LocalModel, distances: NDArray[np.float64]) -> float:
        limit = self.radius(local)
        if not distances.size or distances.max() <= limit:
            return limit  # the usual case: the two own models need not be read
        return max(limit, self.options.own * distance(local.start, local.current))


class BalanceAuto(RadiusGate):
    """As `balance`, and the limit is no more than twice the lower quartile of the distances in this round.

    It is never less than twice the own displacement since the last merge. Nobody can lie about that: a copy of the own model, which lies
    nearer than any honest one, keeps no honest one out. So liars who know the radius gain little while at least a quarter of what is
    fetched is honest. Our own design.
    """

    def limit(self, local: LocalModel, distances: NDArray[np.float64]) -> float:
        if not distances.size:
            return self.radius(local)
        quartile = float(np.sort(distances)[(distances.size - 1) // 4])
        return min(self.radius(local), 2 * max(quartile, distance(local.start, local.current)))


def _nearest(distances: NDArray[np.float64], refused: NDArray[np.bool_]) -> int | None:
    return int(np.where(refused, distances, np.inf).argmin()) if refused.any() else None


def _verdict(far: float | None, limit: float, *, scaled: bool) -> Verdict:
    if far is None:
        return Verdict(weight=0.0, reason="refused before")
    if not math.isfinite(far):
        return Verdict(weight=0.0, reason="non-finite")
    if far <= limit:
        return Verdict(reason=f"distance {far:.4g} within the limit {limit:.4g}")
    if scaled:
        return Verdict(scale=limit / far, reason=f"distance {far:.4g} scaled down to the limit {limit:.4g}: too many were refused")
    return Verdict(weight=0.0, reason=f"too-far: distance {far:.4g} beyond the limit {limit:.4g}", blames=False)
