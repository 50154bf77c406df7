"""The merge strategy, then the outer one, tensor by tensor into a page; nothing that they return is believed (DESIGN 4, step 8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.elementwise import pieces
from learnae.node.assembly import Named
from learnae.node.finite import finite
from learnae.node.states import checked_state
from learnae.records import LocalModel, Merged, Received, State
from learnae.strategies import Merge, Outer

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.frozen
class Merger:
    """Raises PluginError when a strategy fails or returns nonsense; the page is then worthless, the own model untouched."""

    merge: Named[Merge]
    outer: Named[Outer] | None

    def run(
        self, local: LocalModel, accepted: Sequence[Received], page: Mapping[str, Array], states: Mapping[str, State]
    ) -> dict[str, State]:
        """Fill the page with the merged model; returns the strategies' new states."""
        changed: dict[str, State | None] = {}
        with self.merge.calling(self._merging):
            merged = _checked(self.merge.strategy.merge(local, accepted, states.get("merge", {})))
        tensors, changed["merge"] = _drawn(self.merge, self._merging, merged.tensors), merged.state
        if self.outer is not None:
            masks = dict(_union_of_masks(accepted))
            with self.outer.calling(self._stepping):
                stepped = _checked(self.outer.strategy.step(local, tensors, masks, states.get("outer", {})))
            tensors, changed["outer"] = _drawn(self.outer, self._stepping, stepped.tensors), stepped.state
        with (self.outer or self.merge).calling(self._stepping if self.outer else self._merging, within=math.inf):
            _write(tensors, local, page)
        return {name: state for name, state in changed.items() if state is not None}

    @property
    def _merging(self) -> str:
        return f"merging by {self.merge.name!r}"

    @property
    def _stepping(self) -> str:
        return f"taking the outer step by {self.outer.name!r}" if self.outer else ""


def _drawn(
    strategy: Named[Merge] | Named[Outer], action: str, tensors: Iterable[tuple[str, Array | None]]
) -> Iterator[tuple[str, Array | None]]:
    """A call for each tensor: it is this strategy's whoever asks for it, and a large model may take long as long as something comes."""
    with strategy.calling(action):
        remaining = iter(tensors)
    while True:
        with strategy.calling(action):
            item = next(remaining, None)
        if item is None:
            return
        yield item


def _checked(merged: Any) -> Merged:
    if not isinstance(merged, Merged):
        raise TypeError(f"expected a Merged, got {type(merged).__name__}")
    checked_state(merged.state)
    return merged


def _write(tensors: Iterable[tuple[str, Array | None]], local: LocalModel, page: Mapping[str, Array]) -> None:
    missing = set(page)
    for name, tensor in tensors:
        if name not in missing:
            raise ValueError(f"tensor {name!r} came twice, or was never asked for")
        missing.discard(name)
        target = page[name]
        if tensor is None:
            np.copyto(target, local.current[name])
            continue
        _check(name, tensor, target)
        _copy_finite(name, tensor, target)
    if missing:
        raise ValueError(f"{len(missing)} tensors did not come, {min(missing)!r} among them")


def _check(name: str, tensor: Any, target: Array) -> None:
    if not isinstance(tensor, np.ndarray) or tensor.shape != target.shape or tensor.dtype != target.dtype:
        got = f"{getattr(tensor, 'dtype', type(tensor).__name__)} {getattr(tensor, 'shape', '')}"
        raise ValueError(f"tensor {name!r} must be a {target.dtype} array of shape {target.shape}, not {got}")


def _copy_finite(name: str, tensor: Array, target: Array) -> None:
    """In pieces, so that each value is read from memory once."""
    values, room = tensor.reshape(-1), target.reshape(-1)
    for piece in pieces(values.size):
        if not finite([values[piece]]):
            raise ValueError(f"tensor {name!r} holds values that are not finite")
        room[piece] = values[piece]


def _union_of_masks(accepted: Sequence[Received]) -> Iterator[tuple[str, Any]]:
    """The coordinates that came from at least one update, for tensors that came whole from none."""
    for name in {name for item in accepted for name in item.masks}:
        masks = [item.masks[name] for item in accepted if name in item.masks]
        if len(masks) == len(accepted):
            yield name, np.logical_or.reduce(masks)
