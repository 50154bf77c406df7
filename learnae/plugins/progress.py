"""Gates that measure others by the own training, about which nobody can lie: `progress` and `pace`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import ge, gt

from learnae.config.tables import option
from learnae.plugins.gate import distance
from learnae.readers import reader_of
from learnae.records import Judged, LocalModel, Received, State, Verdict
from learnae.strategies import Gate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learnae.records import Array

REMEMBERED = 20
MOST_SAMPLED = 1 << 18
"""Coordinates that are looked at, about. Of a larger model each peer draws its own, so that nobody knows which."""
OPPOSED = 0.7
ALIKE = 0.25


@attrs.frozen(kw_only=True)
class ProgressOptions:
    """How far back an update may lie."""

    behind: float = option(0.7, "The largest share of the progress of this peer that an update may take back.", gt(0.0))
    rounds: int = option(30, "About how many own rounds the progress is looked at over.", ge(1))


class Progress(Gate):
    """Refuses an update that lies behind: it would take back what was learned lately, as models of long ago do under new numbers.

    The progress p = start - anchor, where the anchor follows the own merged model: anchor += (start - anchor) / rounds. An update u lies
    behind by b = -(u - start) . p / |p|^2: by 0 where it is as far as this peer is, by 1 at the anchor. It is refused if b is more than
    `behind` above the lower quartile of the last 20, this one among them, and u - start points against p (cosine below -0.7). Measured
    against what others say, this does not lock out a peer that went its own way, to which all others are behind: one of two peers that
    train on different rows is always behind to the other. Where nothing is learned any more, the
    progress is noise, and the angle tells. Our own design; HeLoCo (arXiv:2606.00271) corrects stale steps by the same angle.
    """

    Options = ProgressOptions
    options: ProgressOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        sample = _Sample.of(local, state.get("offset"), lambda: int(self.context.rng.integers(1 << 31)))
        start = sample.values(local.start)
        anchor = state.get("anchor")
        if not isinstance(anchor, np.ndarray) or anchor.shape != start.shape:
            anchor, state = start, {}
        behind = _Behind(start, start.astype(np.float64) - anchor)
        found = [behind.of(sample.received(local, item)) if item.weight > 0 else None for item in received]
        told = [lies for lies, _ in filter(None, found) if math.isfinite(lies)]
        history = np.append(np.asarray(state.get("behind", ()), np.float64), told)[-REMEMBERED:]
        limit = self.options.behind + (max(0.0, float(np.quantile(history, ALIKE))) if history.size else 0.0)
        moved = anchor + (start - anchor) / self.options.rounds
        changed = {"offset": sample.offset, "anchor": moved.astype(np.float32), "behind": history}
        return Judged([_verdict(each, limit) for each in found], changed)


@attrs.frozen(eq=False)
class _Sample:
    """Which coordinates of a model are looked at: of each trained tensor every so many, from one that is drawn."""

    names: tuple[str, ...]
    stride: int
    offset: int

    @classmethod
    def of(cls, local: LocalModel, offset: object, draw: Callable[[], int]) -> _Sample:
        names = tuple(name for name, own in local.start.items() if np.issubdtype(own.dtype, np.floating) and name not in local.buffers)
        stride = math.ceil(sum(local.start[name].size for name in names) / MOST_SAMPLED) | 1  # odd: not a column of a matrix of 64
        if not isinstance(offset, int):
            offset = draw() if stride > 1 else 0
        return cls(names, stride, offset)

    def values(self, model: Mapping[str, Array]) -> Array:
        return self._joined(self._some(model[name]) for name in self.names)

    def received(self, local: LocalModel, item: Received) -> Array:
        """What did not come counts as the own value."""
        return self._joined(self._came(local.current[name], item, name) for name in self.names)

    def _came(self, own: Array, item: Received, name: str) -> Array:
        mask, came = item.masks.get(name), reader_of(item.tensors, name).every(self.offset % self.stride, self.stride)
        return came if mask is None else np.where(self._some(mask), came, self._some(own))

    def _some(self, tensor: Any) -> Any:
        """A copy, so that the tensor itself can go."""
        return tensor.reshape(-1)[self.offset % self.stride :: self.stride].copy()

    def _joined(self, parts: Iterable[Array]) -> Array:
        return np.concatenate([np.zeros(0, np.float32), *parts])


@attrs.frozen(eq=False)
class _Behind:
    """By how much an update lies behind, and how straight."""

    start: Array
    progress: NDArray[np.float64]

    def of(self, update: Array) -> tuple[float, float]:
        """The share of the progress that it would take back, and the cosine of that way: 1 is straight back."""
        with np.errstate(over="ignore", invalid="ignore"):
            away = update.astype(np.float64) - self.start
            back, way, far = -float(away @ self.progress), float(self.progress @ self.progress), float(away @ away)
        if not math.isfinite(back) or not math.isfinite(far):
            return math.nan, math.nan
        return (back / way if way else 0.0), (back / math.sqrt(way * far) if way and far else 0.0)


def _verdict(found: tuple[float, float] | None, limit: float) -> Verdict:
    if found is None:
        return Verdict(weight=0.0, reason="refused before")
    behind, straight = found
    if not math.isfinite(behind):
        return Verdict(weight=0.0, reason="non-finite")
    if behind > limit and straight > OPPOSED:
        return Verdict(weight=0.0, reason=f"behind: it takes back {behind:.2f} of the own progress, {limit:.2f} at most")
    return Verdict()


@attrs.frozen(kw_only=True)
class OwnPaceOptions:
    """How far an update may move the model."""

    factor: float = option(2.5, "The limit, in units of the own pace.", gt(0.0))
    rounds: int = option(10, "About how many own rounds the pace is a mean of.", ge(1))


class OwnPace(Gate):
    """Scales the displacement of an update (from the own `current`) down to `factor` times the own pace. Refuses no update.

    The pace is a running mean of the own displacement from one merge to the next: pace += (|current - start| - pace) / rounds. No peer can
    lie about it, so no number of liars raises the limit. A peer that has not trained yet has no pace, and limits nothing. Our own design.
    """

    Options = OwnPaceOptions
    options: OwnPaceOptions

    def judge(self, local: LocalModel, received: Sequence[Received], state: State) -> Judged:
        before, own = float(state.get("pace", 0.0)), distance(local.start, local.current)
        pace = before + (own - before) / self.options.rounds if before and own else own or before
        limit = self.options.factor * pace or math.inf
        return Judged([_scaled(local, item, limit) for item in received], {"pace": pace} if math.isfinite(pace) else None)


def _scaled(local: LocalModel, item: Received, limit: float) -> Verdict:
    if not item.weight > 0:
        return Verdict(weight=0.0, reason="refused before")
    far = distance(local.current, item.tensors, item.masks)
    if not math.isfinite(far):
        return Verdict(weight=0.0, reason="non-finite")
    if far <= limit:
        return Verdict()
    return Verdict(scale=limit / far, reason=f"norm {far:.4g} scaled down to {limit:.4g}, by the own pace")
