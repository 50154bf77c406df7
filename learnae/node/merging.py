"""The merge strategy, then the outer one for parameters, tensor by tensor into a page (DESIGN 4, step 8)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from learnae.node.assembly import Named
from learnae.node.kinds import is_trained
from learnae.node.states import checked_state
from learnae.node.writing import Writer
from learnae.records import LocalModel, Merged, Received, State, TensorSpec
from learnae.strategies import Merge, Outer

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.frozen
class Merger:
    """Raises PluginError when a strategy fails or returns nonsense; the page is then worthless, the own model untouched."""

    merge: Named[Merge]
    outer: Named[Outer] | None
    specs: Mapping[str, TensorSpec]

    def run(
        self, local: LocalModel, accepted: Sequence[Received], page: Mapping[str, Array], states: Mapping[str, State]
    ) -> dict[str, State]:
        """Fill the page with the merged model; returns the strategies' new states."""
        changed: dict[str, State | None] = {}
        with self.merge.calling(self._merging):
            merged = _checked(self.merge.strategy.merge(local, accepted, states.get("merge", {})))
        tensors, changed["merge"] = _drawn(self.merge, self._merging, merged.tensors), merged.state
        writer = Writer(local, accepted, self.specs, page)
        if self.outer is not None:
            changed["outer"] = self._step(self.outer, local, accepted, tensors, states.get("outer", {}), writer)
        else:
            with self.merge.calling(self._merging, within=math.inf):
                writer.write(tensors)
                writer.check_complete()
        return {name: state for name, state in changed.items() if state is not None}

    def _step(
        self,
        outer: Named[Outer],
        local: LocalModel,
        accepted: Sequence[Received],
        merged: Iterator[tuple[str, Array | None]],
        state: State,
        writer: Writer,
    ) -> State | None:
        """The step over parameters; buffers and integers are written as they were merged. The new state is returned."""
        names = [name for name in local.current if name not in self.specs or is_trained(self.specs[name])]
        shown = attrs.evolve(local, start=_only(names, local.start), current=_only(names, local.current), buffers=())
        masks = dict(_union_of_masks(names, accepted))
        parameters = self._parameters(merged, writer)
        with outer.calling(self._stepping):
            stepped = _checked(outer.strategy.step(shown, parameters, masks, state))
        with outer.calling(self._stepping, within=math.inf):
            writer.write(_drawn(outer, self._stepping, stepped.tensors))
            for _ in parameters:  # what lies behind the last one that it asked for
                pass
            writer.check_complete()
        return stepped.state

    def _parameters(self, merged: Iterator[tuple[str, Array | None]], writer: Writer) -> Iterator[tuple[str, Array | None]]:
        for name, tensor in merged:
            with self.merge.calling(self._merging):  # it is the merge's fault if this cannot be written
                taken = writer.takes(name, tensor)
            if not taken:
                yield name, tensor

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


def _only(names: Iterable[str], tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    return {name: tensors[name] for name in names}


def _union_of_masks(names: Iterable[str], accepted: Sequence[Received]) -> Iterator[tuple[str, Any]]:
    """The coordinates that came from at least one update, for tensors that came whole from none."""
    for name in sorted({name for item in accepted for name in item.masks}.intersection(names)):
        masks = [item.masks[name] for item in accepted if name in item.masks]
        if len(masks) == len(accepted):
            yield name, np.logical_or.reduce(masks)
