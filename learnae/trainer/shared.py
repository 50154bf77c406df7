"""Which tensors of a module are shared, under which name, and which are not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce

import attrs
import torch
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.records import TensorSpec
from learnae.trainer.apart import stands_apart
from learnae.trainer.local import Kept, is_finite, why_local
from learnae.trainer.shareable import why_not
from learnae.trainer.tensors import Found, tensors

NOTHING = ("model", "nothing is shared: no parameter requires gradients", "check requires_grad and [model] keep_local")


@attrs.frozen
class Place:
    """Where one tensor lives. It is looked up at each use, since modules may rebind their buffers."""

    name: str
    owner: nn.Module = attrs.field(repr=False)
    attribute: str
    spec: TensorSpec

    def tensor(self) -> Tensor:
        """Raises ConfigError if the module was rebuilt with another shape, or without it."""
        tensor: Tensor | None = getattr(self.owner, self.attribute, None)
        if tensor is None or tuple(tensor.shape) != self.spec.shape:
            now = "is gone" if tensor is None else f"has the shape {tuple(tensor.shape)} now"
            what = f"{now} and had the shape {self.spec.shape} at learnae.join()"
            raise ConfigError(Problem(f"model: {self.name}", what, "join again after changing the model"))
        return tensor


@attrs.frozen
class Shared:
    """The shared tensors in order of their names, and what else the swarm must agree on."""

    places: tuple[Place, ...]
    frozen: bytes  # digest of the parameters that are not trained, empty if there are none
    unmatched: tuple[str, ...] = ()  # patterns of keep_local that match no tensor
    kept: tuple[Kept, ...] = ()  # stay local by themselves
    broken: tuple[str, ...] = ()  # trained parameters that are not finite: nothing is published until they are
    model: nn.Module = attrs.field(factory=nn.Module, repr=False, eq=False)
    keep_local: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(place.spec for place in self.places)


def find_shared(model: nn.Module, keep_local: Sequence[str] = (), kept_before: Collection[str] = ()) -> Shared:
    """Parameters that require gradients and persistent buffers, less what matches `keep_local` and what stays local by itself.

    `kept_before` stayed local by themselves in an earlier run of this model, and do so again whatever they hold now.
    Tied tensors count once, under the first of their names. Raises ConfigError, with all tensors that cannot be shared.
    """
    found = list(tensors(model))
    mine = [one for one in found if not matches(one.names, keep_local)]
    if problems := list(_problems(mine)):
        raise ConfigError(problems)
    kept = tuple(kept_by_itself(model, mine, kept_before))
    local = {one.name for one in kept}
    trained = sorted((one for one in mine if one.trained and one.names[0] not in local), key=lambda one: one.names[0])
    if not trained:
        raise ConfigError(Problem(*NOTHING))
    names = [name for one in found for name in one.names]
    return Shared(
        tuple(place_of(model, one) for one in trained),
        _digest([one for one in mine if not one.trained]),
        unmatched=tuple(pattern for pattern in keep_local if not matches(names, [pattern])),
        kept=kept,
        broken=tuple(one.names[0] for one in trained if not one.buffer and not is_finite(one.tensor)),
        model=model,
        keep_local=tuple(keep_local),
    )


def matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of the names matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _problems(found: Sequence[Found]) -> Iterator[Problem]:
    if not any(one.trained for one in found):
        yield Problem(*NOTHING)
    seen: set[str] = set()
    for one in found:
        name = one.names[0]
        if reason := why_not(one.tensor, frozen=not one.trained):
            yield Problem(f"model: {name}", reason, f'or keep it local: [model] keep_local = ["{name}"]')
        if name in seen:
            yield Problem(f"model: {name}", "two tensors have this name once the names of wrappers are taken off", "rename one")
        seen.add(name)


def kept_by_itself(model: nn.Module, found: Iterable[Found], before: Collection[str] = ()) -> Iterator[Kept]:
    """Those that stay local though nobody asked for it."""
    for one in found:
        if not (one.trained and one.buffer):
            continue
        owners = (_owner(model, path) for path in one.paths)
        why = next((reason for owner, attribute in owners if (reason := why_local(owner, attribute, one.tensor))), "")
        if why or one.names[0] in before:
            yield Kept(one.names[0], why or "stayed local in the run that this one resumes")


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    *modules, attribute = path.split(".")
    return reduce(getattr, modules, model), attribute  # get_submodule is not there in scripted modules


def place_of(model: nn.Module, one: Found) -> Place:
    """Where that tensor of the model is now."""
    owners = [_owner(model, path) for path in one.paths]
    apart = one.buffer and stands_apart(owners, one.tensor)
    return Place(one.names[0], *owners[0], attrs.evolve(spec_of(one), apart=apart))


def spec_of(one: Found) -> TensorSpec:
    """What the swarm is told of a shared tensor."""
    return TensorSpec(one.names[0], str(one.tensor.dtype).removeprefix("torch."), tuple(one.tensor.shape), one.buffer)


def _digest(frozen: Sequence[Found]) -> bytes:
    if not frozen:
        return b""
    digest = hashlib.sha256()
    for one in sorted(frozen, key=lambda one: one.names[0]):
        digest.update(f"{one.names[0]} {one.tensor.dtype} {tuple(one.tensor.shape)}\n".encode())
        digest.update(one.tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
