"""Whether a model still is what was joined: looked at before each snapshot and each adoption, so that none of them misses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.trainer.shared import (
    FoundTensor,
    SharedModel,
    SharedTensor,
    kept_by_itself,
    listed,
    matches,
    place_of,
    spec_of,
    tensors,
    why_not,
)

REMEDY = "call swarm.leave(), and learnae.join() again with the model as it is now; a change of its architecture is one for all peers"


class ModelStructure:
    """Follows a model whose modules or tensors are replaced by others like them, and refuses one that became another model.

    What is not shared may come, go and change; it is told once.
    """

    def __init__(self, shared: SharedModel, log: Any) -> None:
        self._shared, self._log = shared, log
        self._imprint = imprint(shared.model)
        self._joined = {name: one for one in map(_outline, tensors(shared.model)) for name in one.names}
        self._told: set[str] = set()

    def follow(self) -> SharedModel:
        """What is shared, where it is now; the same object if nothing has moved. Raises ConfigError that names what cannot be followed."""
        seen = imprint(self._shared.model)
        if seen != self._imprint:
            self._look_again()
            self._imprint = seen
        return self._shared

    def _look_again(self) -> None:
        found = list(tensors(self._shared.model))
        now = {name: one for one in found for name in one.names}
        known = {place.name for place in self._shared.places} | {kept.name for kept in self._shared.kept}
        unknown = [one for one in found if one.trained and known.isdisjoint(one.names) and not matches(one.names, self._shared.keep_local)]
        kept = tuple(kept_by_itself(self._shared.model, (one for one in unknown if not why_not(one.tensor))))
        local = {one.name for one in kept}
        if wrong := [*self._lost(now), *(self._why_unshared(one) for one in unknown if one.names[0] not in local)]:
            raise ConfigError(Problem("model", f"it is not what was joined: {listed(wrong, most=8, between='; ')}", REMEDY))
        self._tell_of_what_is_frozen(found)
        places = tuple(self._moved(place, now[place.name]) for place in self._shared.places)
        self._tell("kept_local", sorted(local), "they came after join, and could not be merged")
        self._shared = attrs.evolve(self._shared, places=places, kept=(*self._shared.kept, *kept))

    def _moved(self, place: SharedTensor, one: FoundTensor) -> SharedTensor:
        return attrs.evolve(place_of(self._shared.model, one), spec=place.spec)

    def _lost(self, now: dict[str, FoundTensor]) -> Iterator[str]:
        """Shared tensors that are there no more, or no longer the same."""
        taken: dict[int, str] = {}
        for place in self._shared.places:
            one = now.get(place.name)
            if one is None:
                yield f"{place.name} is gone"
            elif reason := _difference(place, one) or why_not(one.tensor):
                yield f"{place.name} {reason}"
            elif id(one) in taken:
                yield f"{place.name} is tied to {taken[id(one)]} now"
            else:
                taken[id(one)] = place.name

    def _why_unshared(self, one: FoundTensor) -> str:
        """It is trained now, or kept in checkpoints, and the swarm does not know of it."""
        name, before = one.names[0], self._joined.get(one.names[0])
        if before is None:
            return f"{name} is new"
        if not before.trained:
            return f"{name} was frozen at join and is trained now"
        return f"{name} was tied to {before.names[0]} and is no more" if before.names[0] != name else f"{name} is another tensor"

    def _tell_of_what_is_frozen(self, found: Iterable[FoundTensor]) -> None:
        now = {name: one for one in map(_outline, found) for name in one.names}
        trained = [name for name, one in self._joined.items() if one.gradient and not now.get(name, one).gradient]
        self._tell(
            "model.frozen", trained, "they stay shared, and merges still change them; a peer that joins with them frozen is another model"
        )
        frozen = {name for name, one in (self._joined | now).items() if not one.trained}
        changed = sorted(
            name for name in frozen if name not in self._joined or name not in now or self._joined[name].kind != now[name].kind
        )
        self._tell("model.frozen_changed", changed, "they are not shared; a peer that joins with the model as it is now is another model")

    def _tell(self, event: str, names: list[str], advice: str) -> None:
        if news := [name for name in names if name not in self._told]:
            self._told.update(news)
            self._log.warning(event, tensors=listed(news), advice=advice)


@attrs.frozen
class _Outline:
    """What was found, without the tensor itself, which may be dropped meanwhile."""

    names: tuple[str, ...]
    trained: bool
    gradient: bool
    kind: tuple[object, ...]


def _outline(one: FoundTensor) -> _Outline:
    return _Outline(one.names, one.trained, one.trained and not one.buffer, _kind(one.tensor))


def _kind(tensor: Tensor) -> tuple[object, ...]:
    try:
        return tensor.dtype, tuple(tensor.shape)
    except (RuntimeError, ValueError):  # of a lazy module
        return ()


def _difference(place: SharedTensor, one: FoundTensor) -> str:
    was, now = place.spec, spec_of(one)
    if was.shape != now.shape:
        return f"has the shape {now.shape} now and had {was.shape}"
    if was.dtype != now.dtype:
        return f"is {now.dtype} now and was {was.dtype}"
    if was.buffer != now.buffer and was.buffer != (not isinstance(one.tensor, nn.Parameter)):
        return "is a parameter now and was a buffer" if was.buffer else "is a buffer now and was a parameter"
    return ""


def imprint(model: nn.Module) -> list[object]:
    """Equal for two moments if all tensors are where they were: the same memory, shape, type and training.

    It runs at each snapshot, about a microsecond for each tensor, and so goes by the modules' own dictionaries.
    """
    found: list[object] = []
    _imprint(model, "", found)
    return found


def _imprint(module: nn.Module, prefix: str, found: list[object]) -> None:
    passing = getattr(module, "_non_persistent_buffers_set", ())
    for name, parameter in module._parameters.items():
        if parameter is not None:
            found.append((prefix, name, _memory(parameter)))
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in passing:
            found.append((prefix, name, _memory(buffer)))
    for name, child in module._modules.items():
        if child is not None:
            _imprint(child, f"{prefix}{name}.", found)


def _memory(tensor: Tensor) -> object:
    try:
        return type(tensor), tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.requires_grad
    except (RuntimeError, ValueError):  # sparse, or without values: it is not shared
        return id(tensor)
