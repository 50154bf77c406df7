"""Which tensors of a module are shared, under which name, and which are not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

import attrs
import torch
from torch import Tensor, nn

from learnae.errors import ConfigError, Problem
from learnae.records import TensorSpec
from learnae.trainer.local import Kept, is_finite, why_local
from learnae.trainer.shareable import why_not

NOTHING = ("model", "nothing is shared: no parameter requires gradients", "check requires_grad and [model] keep_local")


@attrs.frozen
class Place:
    """Where one tensor lives. It is looked up at each use, since modules may rebind their buffers."""

    name: str
    owner: nn.Module = attrs.field(repr=False)
    attribute: str
    spec: TensorSpec

    def tensor(self) -> Tensor:
        """Raises ConfigError if the module was rebuilt with another shape."""
        tensor: Tensor = getattr(self.owner, self.attribute)
        if tuple(tensor.shape) != self.spec.shape:
            what = f"has the shape {tuple(tensor.shape)} now and had {self.spec.shape} at learnae.join()"
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

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(place.spec for place in self.places)


@attrs.frozen
class _Found:
    """One tensor of the module under all its names, the canonical one first."""

    names: tuple[str, ...]
    paths: tuple[str, ...]  # the same before names of wrappers are taken off
    tensor: Tensor = attrs.field(repr=False)
    trained: bool
    buffer: bool = False


def find_shared(model: nn.Module, keep_local: Sequence[str] = (), kept_before: Collection[str] = ()) -> Shared:
    """Parameters that require gradients and persistent buffers, less what matches `keep_local` and what stays local by itself.

    `kept_before` stayed local by themselves in an earlier run of this model, and do so again whatever they hold now.
    Tied tensors count once, under the first of their names. Raises ConfigError, with all tensors that cannot be shared.
    """
    found = list(_tensors(model))
    mine = [one for one in found if not _matches(one.names, keep_local)]
    if problems := list(_problems(mine)):
        raise ConfigError(problems)
    kept = tuple(_kept(model, mine, kept_before))
    local = {one.name for one in kept}
    trained = [one for one in mine if one.trained and one.names[0] not in local]
    if not trained:
        raise ConfigError(Problem(*NOTHING))
    names = [name for one in found for name in one.names]
    places = sorted((_place(model, one) for one in trained), key=lambda place: place.name)
    return Shared(
        tuple(places),
        _digest([one for one in mine if not one.trained]),
        unmatched=tuple(pattern for pattern in keep_local if not _matches(names, [pattern])),
        kept=kept,
        broken=tuple(one.names[0] for one in trained if not one.buffer and not is_finite(one.tensor)),
    )


def clean_names(names: Sequence[str]) -> list[str]:
    """Names without what torch.compile and the parallel wrappers put before them."""
    bare = [".".join(part for part in name.split(".") if part != "_orig_mod") for name in names]
    while bare and all(name.startswith("module.") for name in bare):
        bare = [name.removeprefix("module.") for name in bare]
    return bare


def _tensors(model: nn.Module) -> Iterator[_Found]:
    persistent = model.state_dict(keep_vars=True).keys()
    named: list[tuple[str, Tensor]] = list(model.named_parameters(remove_duplicate=False))
    named += [(name, buffer) for name, buffer in model.named_buffers(remove_duplicate=False) if name in persistent]
    groups: dict[object, list[int]] = {}
    for index, (_, tensor) in enumerate(named):
        groups.setdefault(_identity(tensor), []).append(index)
    names = clean_names([name for name, _ in named])
    for members in groups.values():
        tensor = named[members[0]][1]
        gradient = any(named[i][1].requires_grad for i in members)
        trained = gradient or any(not isinstance(named[i][1], nn.Parameter) for i in members)
        yield _Found(tuple(names[i] for i in members), tuple(named[i][0] for i in members), tensor, trained, buffer=not gradient)


def _identity(tensor: Tensor) -> object:
    """Equal for tensors that are one: the same object, or two views of all of the same memory."""
    if why_not(tensor) or tensor.numel() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _problems(found: Sequence[_Found]) -> Iterator[Problem]:
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


def _kept(model: nn.Module, found: Iterable[_Found], before: Collection[str]) -> Iterator[Kept]:
    for one in found:
        if not (one.trained and one.buffer):
            continue
        owners = (_owner(model, path) for path in one.paths)
        why = next((reason for owner, attribute in owners if (reason := why_local(owner, attribute, one.tensor))), "")
        if why or one.names[0] in before:
            yield Kept(one.names[0], why or "stayed local in the run that this one resumes")


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    module, _, attribute = path.rpartition(".")
    return model.get_submodule(module), attribute


def _place(model: nn.Module, one: _Found) -> Place:
    spec = TensorSpec(one.names[0], str(one.tensor.dtype).removeprefix("torch."), tuple(one.tensor.shape), one.buffer)
    return Place(spec.name, *_owner(model, one.paths[0]), spec)


def _digest(frozen: Sequence[_Found]) -> bytes:
    if not frozen:
        return b""
    digest = hashlib.sha256()
    for one in sorted(frozen, key=lambda one: one.names[0]):
        digest.update(f"{one.names[0]} {one.tensor.dtype} {tuple(one.tensor.shape)}\n".encode())
        digest.update(one.tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
