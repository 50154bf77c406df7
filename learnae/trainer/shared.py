"""Which tensors of a module are shared, under which name, and which stay local and why.

They stay part of the architecture. In a merge a peer keeps its own; who adopts a model takes them with it (docs/decisions/0019).
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from learnae.errors import ConfigError, Problem
from learnae.records import TensorSpec

LOW_PRECISION = frozenset({torch.bfloat16, torch.float16})
FLOATING = LOW_PRECISION | {torch.float32, torch.float64}
WHOLE = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})


def why_not(tensor: Tensor, *, frozen: bool = False) -> str:
    """Why a tensor cannot be shared, with what to do; empty if it can. A frozen one is only hashed, so that its type is free."""
    if is_lazy(tensor):
        return "has no shape yet: run one batch through the model before learnae.join()"
    if tensor.is_meta:
        return "is on the meta device and has no values: materialise the model first"
    if tensor.layout != torch.strided:
        return f"is {tensor.layout}: make it dense"
    if hasattr(tensor, "device_mesh"):
        return _why_not_sharded(tensor, frozen=frozen)
    if is_traceable_wrapper_subclass(tensor):
        return f"is a {type(tensor).__name__}: wrapped tensors are not supported, share the plain model"
    if tensor.is_quantized:
        return "is quantised: share the model before quantising it"
    return "" if frozen else _why_not_plain(tensor)


def _why_not_sharded(tensor: Any, *, frozen: bool) -> str:
    """Of what torch calls a DTensor. That of FSDP2 is sharded by its rows."""
    sharded = [placement for placement in tensor.placements if not placement.is_replicate()]
    if any(type(placement).__name__ != "Shard" or placement.dim != 0 for placement in sharded) or len(sharded) > 1 or not tensor.dim():
        return "is sharded otherwise than by its rows: use torch.distributed.fsdp.fully_shard, which shards those"
    if tensor.dtype != torch.float32 and not frozen:
        return f"is sharded in {tensor.dtype}: hold it in float32, and compute in another type by fully_shard(mp_policy=...)"
    return ""


def own_part(tensor: Any) -> Tensor:
    """What this process holds of it: all, or of one that is sharded over a job its own rows, in the same memory."""
    if not hasattr(tensor, "device_mesh"):
        whole: Tensor = tensor
        return whole
    with torch.no_grad():
        part: Tensor = tensor.to_local()
    return part


def _whole(tensor: Any) -> Tensor:
    """All ranks of a job have to ask for it."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "device_mesh") else tensor
    return whole


def _why_not_plain(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "is complex: hold it as a real tensor (torch.view_as_real)"
    if tensor.dtype not in FLOATING | WHOLE:
        return f"has the type {tensor.dtype}, which is not supported"
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        return "is expanded: several of its elements are one in memory; use .contiguous()"
    return ""


@attrs.frozen
class FoundTensor:
    """One tensor of the module under all its names, the canonical one first."""

    names: tuple[str, ...]
    paths: tuple[str, ...]  # the same before names of wrappers are taken off
    tensor: Tensor = attrs.field(repr=False)
    trained: bool
    buffer: bool = False


def clean_names(names: Sequence[str]) -> list[str]:
    """Names without what torch.compile and the parallel wrappers put before them."""
    bare = [".".join(part for part in name.split(".") if part != "_orig_mod") for name in names]
    while bare and all(name.startswith("module.") for name in bare):
        bare = [name.removeprefix("module.") for name in bare]
    return bare


def tensors(model: nn.Module) -> Iterator[FoundTensor]:
    """Parameters and persistent buffers; tied ones come once."""
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
        yield FoundTensor(tuple(names[i] for i in members), tuple(named[i][0] for i in members), tensor, trained, buffer=not gradient)


def _identity(tensor: Tensor) -> object:
    """Equal for tensors that are one: the same object, or two views of all of the same memory."""
    if why_not(tensor) or tensor.numel() == 0:
        return id(tensor)
    part = own_part(tensor)
    if part.numel() == 0:
        return id(tensor)
    return part.device, part.data_ptr(), part.dtype, tuple(part.shape), part.stride()


_UNIT_VECTOR = re.compile(r"(.*_)?[uv]\d*")
UNIT = 1e-2  # so far from 1 its length may be, in bfloat16 too


def stands_apart(owners: Iterable[tuple[nn.Module, str]], tensor: Tensor) -> bool:
    """Whether this buffer, which is called so in these modules, must not be mixed. Asked at join; each peer goes by its own answer."""
    return any(is_known(owner, name) or _looks_spectral(owner, name, tensor) for owner, name in owners)


def is_known(owner: nn.Module, name: str) -> bool:
    """Whether torch itself made it, so that its name is no guess."""
    return any(rule(owner, name) for rule in APART_RULES)


def _looks_spectral(owner: nn.Module, name: str, tensor: Tensor) -> bool:
    """Singular vectors of anybody's spectral norm: averages of unit vectors are shorter, or cancel each other out.

    `u` and `v`, however adorned, of length 1 and with one value for each row or column of a weight beside them. One that is normalised
    only with the first batch is not seen here; then merges keep its length.
    """
    if not _UNIT_VECTOR.fullmatch(name) or not tensor.is_floating_point() or tensor.numel() != max((0, *tensor.shape)):
        return False
    if not any(tensor.numel() in _sides(parameter) for parameter in owner.parameters(recurse=False) if parameter.dim() > 1):
        return False
    return abs(float(torch.linalg.vector_norm(tensor.detach().to(torch.float32))) - 1) < UNIT


def _sides(weight: Tensor) -> set[int]:
    """Of a weight that is flattened to a matrix along any of its dimensions."""
    return {side for length in weight.shape for side in (length, weight.numel() // max(length, 1))}


def _spectral(owner: nn.Module, name: str) -> bool:
    """Those of both of torch's spectral norms. Whose model has one has imported the module."""
    new = sys.modules.get("torch.nn.utils.parametrizations")
    if new is not None and isinstance(owner, new._SpectralNorm):
        return name in ("_u", "_v")
    old = sys.modules.get("torch.nn.utils.spectral_norm")
    hooks = [hook for hook in getattr(owner, "_forward_pre_hooks", {}).values() if old is not None and isinstance(hook, old.SpectralNorm)]
    return any(name in (f"{hook.name}_u", f"{hook.name}_v") for hook in hooks)


def _pruned(owner: nn.Module, name: str) -> bool:
    """The mask of torch.nn.utils.prune, of zeros and ones: half of a connection is none."""
    return name.endswith("_mask") and name.removesuffix("_mask") + "_orig" in owner._parameters


APART_RULES: tuple[Callable[[nn.Module, str], bool], ...] = (_spectral, _pruned)
"""A rule is given the module that holds the buffer, and the name of the attribute there."""


OBSERVERS = {"observer": "ObserverBase", "fake_quantize": "FakeQuantizeBase"}


@attrs.frozen
class LocalBuffer:
    """A buffer that stays local, and why."""

    name: str
    reason: str


def why_local(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """Why this buffer of a module stays local; empty if it is shared. Asked at join alone, of what could be shared."""
    return next((reason for rule in LOCAL_RULES if (reason := rule(owner, attribute, tensor))), "")


def is_finite(tensor: Tensor) -> bool:
    """Whether all that is copied of it, which is float32, is finite. Integers always are."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.detach().to(torch.float32)).all())


def by_reason(kept: Iterable[LocalBuffer]) -> dict[str, list[str]]:
    """The names of what stays local for one reason."""
    names: dict[str, list[str]] = {}
    for one in kept:
        names.setdefault(one.reason, []).append(one.name)
    return names


def listed(names: Sequence[str], most: int = 6, between: str = ", ") -> str:
    """Some of these names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def _observer(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """Before the first batch they hold infinities, later the range of the own data, in other shapes: what is shared must not go by that."""
    for module, kind in OBSERVERS.items():
        there = sys.modules.get(f"torch.ao.quantization.{module}")  # whose model has one has imported it
        if there is not None and isinstance(owner, getattr(there, kind)):
            return "belongs to an observer of torch.ao.quantization, which watches the data of this peer"
    return ""


def _never_finite(owner: nn.Module, attribute: str, tensor: Tensor) -> str:
    """A causal mask of -inf, a padding of NaN."""
    return "" if is_finite(tensor) else "holds values that are not finite, which nobody can merge"


LOCAL_RULES: Sequence[Callable[[nn.Module, str, Tensor], str]] = (_observer, _never_finite)
"""A rule is given the module that holds the tensor, the name of the attribute there and the buffer, and says why it stays local, or "".

The same model must give the same answer in all peers, whenever they join: what stays local is no part of the architecture.
"""


NOTHING = ("model", "nothing is shared: no parameter requires gradients", "check requires_grad and [model] keep_local")


@attrs.frozen
class SharedTensor:
    """Where one tensor lives. It is looked up at each use, since modules may rebind their buffers."""

    name: str
    owner: nn.Module = attrs.field(repr=False)
    attribute: str
    spec: TensorSpec

    def tensor(self) -> Tensor:
        """What this process holds of it. Raises ConfigError if the module was rebuilt with another shape, or without it."""
        tensor: Tensor | None = getattr(self.owner, self.attribute, None)
        if tensor is None or tuple(tensor.shape) != self.spec.shape:
            now = "is gone" if tensor is None else f"has the shape {tuple(tensor.shape)} now"
            what = f"{now} and had the shape {self.spec.shape} at learnae.join()"
            raise ConfigError(Problem(f"model: {self.name}", what, "join again after changing the model"))
        return own_part(tensor)


@attrs.frozen
class SharedModel:
    """The shared tensors in order of their names, and what else the swarm must agree on."""

    places: tuple[SharedTensor, ...]
    frozen: bytes  # digest of the parameters that are not trained, empty if there are none
    unmatched: tuple[str, ...] = ()  # patterns of keep_local that match no tensor
    kept: tuple[LocalBuffer, ...] = ()  # stay local by themselves
    broken: tuple[str, ...] = ()  # trained parameters that are not finite: nothing is published until they are
    model: nn.Module = attrs.field(factory=nn.Module, repr=False, eq=False)
    keep_local: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return tuple(place.spec for place in self.places)


def find_shared(model: nn.Module, keep_local: Sequence[str] = (), kept_before: Collection[str] = ()) -> SharedModel:
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
    return SharedModel(
        tuple(place_of(model, one) for one in trained),
        _digest([one for one in mine if not one.trained]),
        unmatched=tuple(pattern for pattern in keep_local if not matches(names, [pattern])),
        kept=kept,
        broken=tuple(one.names[0] for one in trained if not one.buffer and not is_finite(own_part(one.tensor))),
        model=model,
        keep_local=tuple(keep_local),
    )


def matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of the names matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _problems(found: Sequence[FoundTensor]) -> Iterator[Problem]:
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


def kept_by_itself(model: nn.Module, found: Iterable[FoundTensor], before: Collection[str] = ()) -> Iterator[LocalBuffer]:
    """Those that stay local though nobody asked for it."""
    for one in found:
        if not (one.trained and one.buffer):
            continue
        owners = (_owner(model, path) for path in one.paths)
        why = next((reason for owner, attribute in owners if (reason := why_local(owner, attribute, one.tensor))), "")
        if why or one.names[0] in before:
            yield LocalBuffer(one.names[0], why or "stayed local in the run that this one resumes")


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    *modules, attribute = path.split(".")
    return reduce(getattr, modules, model), attribute  # get_submodule is not there in scripted modules


def place_of(model: nn.Module, one: FoundTensor) -> SharedTensor:
    """Where that tensor of the model is now."""
    owners = [_owner(model, path) for path in one.paths]
    apart = one.buffer and stands_apart(owners, one.tensor)
    return SharedTensor(one.names[0], *owners[0], attrs.evolve(spec_of(one), apart=apart))


def spec_of(one: FoundTensor) -> TensorSpec:
    """What the swarm is told of a shared tensor."""
    return TensorSpec(
        name=one.names[0], dtype=str(one.tensor.dtype).removeprefix("torch."), shape=tuple(one.tensor.shape), buffer=one.buffer
    )


def _digest(frozen: Sequence[FoundTensor]) -> bytes:
    if not frozen:
        return b""
    digest = hashlib.sha256()
    for one in sorted(frozen, key=lambda one: one.names[0]):
        digest.update(f"{one.names[0]} {one.tensor.dtype} {tuple(one.tensor.shape)}\n".encode())
        digest.update(_whole(one.tensor.detach()).cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()
