"""The gate `reputation`: how far away the updates of a peer use to lie, beside those of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le

from learnae.config.tables import option
from learnae.plugins.gate import distance
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

REMEMBERED = 20
MOST_PEERS = 512
"""Of more the ones that were judged longest ago are forgotten."""
FEWEST = 3  # updates of a peer before its reputation counts, and over about how many of the last it is a mean
MOST_APART = math.log(4.0)
LEAST_APART = -math.log(1.25)
"""Little: who sends copies of the own model earns no credit to spend on an update from far away."""


@attrs.frozen(kw_only=True)
class ReputationOptions:
    """How much a peer counts whose updates use to lie far away."""

    typical: float = option(1.25, "Up to so many times the median distance a peer counts fully.", ge(1.0))
    power: float = option(4.0, "Beyond that its weight falls with this power of its distance.", ge(0.0))
    least: float = option(0.1, "The least weight. It is not zero: nobody is shut out for good.", and_(gt(0.0), le(1.0)))


class Reputation(Gate):
    """Lowers the weight of a peer whose updates lie further away than those of others, again and again. Refuses no update.

    For an update at the distance d from the own `current`, and m the upper median of the last 20 distances of all, the score s of its
    peer is a running mean of log(d / m), from log 0.8 to log 4: s += (log(d / m) - s) / min(n, 3), in its nth update. From the third one
    on its weight is (typical / exp(s)) ^ power, from `least` to 1.

    A single round tells little, since each honest peer is far away at some time. Who trains on wrong labels is so in every round: the
    others undo what it has learned, so its loss stays high, and it learns the same again. Robust rules need such a memory
    (arXiv:2012.10333, where momentum is it). The score is our own design.
    """

    Options = ReputationOptions
    options: ReputationOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        found = [distance(local.current, item.tensors, item.masks) if item.weight > 0 else None for item in received]
        told = [far for far in found if far is not None and math.isfinite(far)]
        distances = np.append(np.asarray(state.get("distances", ()), np.float64), told)[-REMEMBERED:]
        typical = float(np.sort(distances)[distances.size // 2]) if distances.size else 0.0
        book = _Book.of(state)
        verdicts = [self._verdict(book, item, far, typical) for item, far in zip(received, found, strict=True)]
        return Judged(verdicts, {**book.state(), "distances": distances})

    def _verdict(self, book: _Book, item: Received, far: float | None, typical: float) -> Verdict:
        if far is None:
            return Verdict(weight=0.0, reason="refused before")
        if not math.isfinite(far):
            return Verdict(weight=0.0, reason="non-finite")
        beyond = book.count(item.peer, _apart(far, typical)) - math.log(self.options.typical)
        if beyond <= 0:
            return Verdict()
        weight = max(self.options.least, math.exp(-self.options.power * beyond))
        return Verdict(
            weight=weight, reason=f"reputation: its updates use to lie {self.options.typical * math.exp(beyond):.2g} times as far away"
        )


def _apart(far: float, typical: float) -> float:
    """log(far / typical), within bounds. Where most agree, whoever does not is as far away as can be."""
    if not far or not typical:
        return MOST_APART if far else (LEAST_APART if typical else 0.0)
    return min(max(math.log(far) - math.log(typical), LEAST_APART), MOST_APART)


@attrs.frozen(eq=False)
class _Book:
    """The score of each peer, and how many of its updates were judged. The one that was judged last stands last."""

    scores: dict[str, tuple[float, int]]

    @classmethod
    def of(cls, state: State) -> _Book:
        peers = str(state.get("peers", "")).split()
        scores, counts = np.atleast_1d(state.get("scores", ())), np.atleast_1d(state.get("counts", ()))
        return cls({peer: (float(score), int(count)) for peer, score, count in zip(peers, scores, counts, strict=False)})

    def count(self, peer: str, apart: float) -> float:
        """Take in how far away an update of this peer lies. Returns its score: 0 before there are enough."""
        before, judged = self.scores.pop(peer, (0.0, 0))
        score = before + (apart - before) / min(judged + 1, FEWEST)
        self.scores[peer] = score, judged + 1
        return score if judged + 1 >= FEWEST else 0.0

    def state(self) -> dict[str, object]:
        newest = list(self.scores.items())[-MOST_PEERS:]
        return {
            "peers": " ".join(peer for peer, _ in newest),
            "scores": _column(score for _, (score, _) in newest),
            "counts": _column(count for _, (_, count) in newest),
        }


def _column(values: Iterable[float]) -> object:
    return np.fromiter(values, np.float64)
