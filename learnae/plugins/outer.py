"""Outer optimisers: after each merge a step with momentum, from the model that the last merge left to the one that this merge made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs.validators import and_, ge, gt, le, lt

from learnae.config.tables import option
from learnae.elementwise import PIECE, pieces
from learnae.records import LocalModel, Merged, State
from learnae.strategies import Outer

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

    def step(self, local: LocalModel, merged: Iterator[tuple[str, Array | None]], masks: Mapping[str, Any], state: State) -> Merged:
        changed = dict(state)
        return Merged(self._stepped(local, merged, masks, changed), changed)

    def _stepped(
        self, local: LocalModel, merged: Iterator[tuple[str, Array | None]], masks: Mapping[str, Any], state: dict[str, Any]
    ) -> Iterator[tuple[str, Array]]:
        scratch = np.empty(PIECE, np.float32)
        for name, tensor in merged:
            current = local.current[name]
            result = np.array(current if tensor is None else tensor, np.float32)
            del tensor
            state[name] = momentum = _momentum(state.get(name), result)
            mask = masks.get(name)
            for piece in pieces(result.size):
                came = None if mask is None else mask.reshape(-1)[piece]
                self._step_piece(_Piece.of(local.start[name], current, result, momentum, piece), came, scratch)
            yield name, result
            del result

    def _step_piece(self, piece: _Piece, came: NDArray[np.bool_] | None, scratch: Array) -> None:
        """In place: 64 k values at a time, while they are in the cache."""
        mu, rate = np.float32(self.options.momentum), np.float32(self.options.rate)
        displacement = scratch[: piece.result.size]
        np.subtract(piece.start, piece.result, out=displacement)
        before = None if came is None else piece.momentum.copy()
        np.multiply(piece.momentum, mu, out=piece.momentum)
        np.add(piece.momentum, displacement, out=piece.momentum)
        if self.nesterov:
            displacement += mu * piece.momentum
        else:
            displacement[:] = piece.momentum
        np.multiply(displacement, rate, out=displacement)
        np.subtract(piece.start, displacement, out=piece.result)
        if came is not None and before is not None:
            np.copyto(piece.result, piece.current, where=~came)
            np.copyto(piece.momentum, before, where=~came)


@attrs.frozen
class _Piece:
    """The same piece of four tensors, each flat."""

    start: Array
    current: Array
    result: Array
    momentum: Array

    @classmethod
    def of(cls, start: Array, current: Array, result: Array, momentum: Array, piece: slice) -> _Piece:
        return cls(*(array.reshape(-1)[piece] for array in (start, current, result, momentum)))


def _momentum(before: Any, like: Array) -> Array:
    """A copy of what was remembered, or zeros for a tensor that is new, or has another shape than it had."""
    known = isinstance(before, np.ndarray) and before.shape == like.shape and before.dtype == np.float32
    return np.array(before) if known else np.zeros_like(like)


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
