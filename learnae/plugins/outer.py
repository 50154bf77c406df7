"""Outer optimisers: after each merge a step with momentum, from the model that the last merge left to the one that this merge made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le, lt

from learnae import kernels
from learnae.config.tables import option
from learnae.readers import ArrayReader, TensorReader, read_into
from learnae.records import LocalModel, Merged, State
from learnae.strategies import Outer

if TYPE_CHECKING:
    from learnae.records import Array

MOMENTUM = and_(ge(0.0), lt(1.0))
RATE = and_(gt(0.0), le(2.0))


@attrs.frozen(kw_only=True)
class QuasiGlobalOptions:
    """Momentum and rate of the outer step."""

    momentum: float = option(0.9, "The share of the last step that goes on; 0.8 and a rate of 0.5 where many peers come and go.", MOMENTUM)
    rate: float = option(0.7, "How much of the step is taken.", RATE)


@attrs.frozen(kw_only=True)
class NoLocoOptions:
    """Momentum and rate of the outer step."""

    momentum: float = option(0.5, "The share of the last step that goes on.", MOMENTUM)
    rate: float = option(0.7, "How much of the step is taken.", RATE)


class OuterMomentum(Outer):
    """What both outer optimisers share. `start` is the model as the last merge left it, `merged` what this merge made:

    displacement = start - merged, over the own steps and the merge; momentum m := mu m + displacement.

    What did not come from anybody keeps its own value, and its momentum: a step over it would be taken again and again, and diverge.
    """

    options: QuasiGlobalOptions | NoLocoOptions

    nesterov: bool
    """Whether the step looks ahead along the momentum."""
    takes_readers = True

    def step(self, local: LocalModel, merged: Iterator[tuple[str, Array | None]], masks: Mapping[str, Any], state: State) -> Merged:
        changed = dict(state)
        return Merged(self._stepped(local, merged, masks, changed), changed)

    def _stepped(
        self, local: LocalModel, merged: Iterator[tuple[str, Any]], masks: Mapping[str, Any], state: dict[str, Any]
    ) -> Iterator[tuple[str, Any]]:
        for name, tensor in merged:
            start, current = local.start[name], local.current[name]
            reader = tensor if isinstance(tensor, TensorReader) else ArrayReader(current if tensor is None else np.asarray(tensor))
            before = _momentum(state.get(name), start)
            state[name] = after = np.empty(start.shape, np.float32)
            stepped = _SteppedReader(self, reader, start, before, after)
            mask = masks.get(name)
            if isinstance(tensor, TensorReader) and mask is None:
                yield name, stepped
                continue
            result = stepped.whole()
            if mask is not None:
                np.copyto(result, current, where=~mask)
                np.copyto(after, 0.0 if before is None else before, where=~mask)
            yield name, result
            del result


class _SteppedReader(TensorReader):
    """One tensor after the step. Each piece of it is read once, and fills the same piece of `after`, the new momentum."""

    def __init__(self, outer: OuterMomentum, merged: TensorReader, start: Array, before: Array | None, after: Array) -> None:
        self._merged, self._start, self._after = merged, start.reshape(-1), after.reshape(-1)
        self._before = None if before is None else before.reshape(-1)
        self._options, self._nesterov = outer.options, outer.nesterov
        self.shape, self.size = merged.shape, merged.size

    def read(self, piece: slice, room: Array) -> Array:
        read_into(self._merged, piece, room)
        before = np.zeros(room.size, np.float32) if self._before is None else self._before[piece]
        mu, rate = self._options.momentum, self._options.rate
        kernels.step(self._start[piece], room, before, self._after[piece], mu, rate, self._nesterov)
        return room


def _momentum(before: Any, like: Array) -> Array | None:
    """What was remembered; None for a tensor that is new, or has another shape than it had."""
    known = isinstance(before, np.ndarray) and before.shape == like.shape and before.dtype == np.float32
    return before if known else None


class QuasiGlobal(OuterMomentum):
    """Nesterov's outer step over the displacement *after* the merge: start - rate (displacement + momentum m).

    The step is that of DiLoCo (arXiv:2311.08105), fed with the quasi-global displacement of QG-DSGDm (arXiv:2102.04761). The combination
    is our own. `diloco` and `qgo` are two names of it: where a round merges all peers, it is DiLoCo. It wants an inner learning rate no
    higher than plain averaging does.
    """

    Options = QuasiGlobalOptions
    options: QuasiGlobalOptions
    nesterov = True


class NoLoco(OuterMomentum):
    """Heavy-ball momentum over the displacement after the merge: start - rate m.

    This is NoLoCo's step (arXiv:2506.10911) where its consensus term weighs as much as the outer gradient, as in its authors' repository.
    Then alone the models of others, without their starts, are enough.
    """

    Options = NoLocoOptions
    options: NoLocoOptions
    nesterov = False
