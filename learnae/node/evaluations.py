"""How the test loss moved, and whose updates were merged meanwhile. Our own design: docs/how-to/contributions.md says what it can mean."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import attrs

from learnae.link.messages import Evaluation, TrainerProgress
from learnae.records import PeerId

LOSS = "loss"
"""The metric that counts."""
MOST_ADOPTIONS = 1024
"""So many merges are remembered until the next evaluation; where it comes later, it is shared among the last ones."""
LARGEST_CHANGE = 1e12


@attrs.frozen
class LossShare:
    """The part of one peer of how the loss moved, and how many of its merged updates it is about."""

    peer: PeerId
    merged: int
    change: float


@attrs.define
class LossLedger:
    """What was adopted since the last evaluation.

    Between two evaluations the loss moves by d. Of that a peer gets `d * w / (own_weight * n + W)`: w is the weight of its merged updates
    meanwhile, W that of all of them, n the number of merges. So the own model keeps its part, as in the default merge. `own_weight` is
    0 for a peer whose own model counts for nothing.
    """

    own_weight: float = 1.0
    _adopted: OrderedDict[int, Mapping[PeerId, float] | None] = attrs.field(factory=OrderedDict)  # None: another model, as a whole
    _before: float | None = None
    _number: int = 0

    def adopted(self, adoption: int, weights: Mapping[PeerId, float] | None) -> None:
        """The trainer has this merge of updates with these weights, or, without any, the model of another lineage."""
        self._adopted[adoption] = weights
        if len(self._adopted) > MOST_ADOPTIONS:
            self._adopted.popitem(last=False)

    def take(self, progress: TrainerProgress) -> tuple[Evaluation | None, Sequence[LossShare]]:
        """The evaluation that came with this snapshot, if it is a new one, and whose updates it is about.

        A first one, one without a finite loss, and one behind a whole model that was adopted are nobody's: they only say from where on
        the next one counts.
        """
        evaluation = progress.evaluation
        if evaluation is None or evaluation.number == self._number:
            return None, ()
        self._number = evaluation.number
        merges = [self._adopted.pop(adoption) for adoption in list(self._adopted) if adoption <= evaluation.adoption]
        before, self._before = self._before, evaluation.metrics.get(LOSS)
        if before is None or self._before is None or None in merges:
            return evaluation, ()
        return evaluation, self._shares(self._before - before, [merge for merge in merges if merge is not None])

    def _shares(self, change: float, merges: Sequence[Mapping[PeerId, float]]) -> Sequence[LossShare]:
        weights, counts = Counter[PeerId](), Counter[PeerId]()
        for merge in merges:
            counts.update(merge.keys())
            for peer, weight in merge.items():
                weights[peer] += weight  # type: ignore[assignment]  # a Counter of parts
        total = self.own_weight * len(merges) + sum(weights.values())
        change = max(-LARGEST_CHANGE, min(LARGEST_CHANGE, change))
        return [LossShare(peer, counts[peer], change * weight / total) for peer, weight in weights.items()] if total > 0 else []
