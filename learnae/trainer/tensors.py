"""Which tensors a module has, under all their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
from torch import Tensor, nn

from learnae.trainer.shareable import why_not


@attrs.frozen
class Found:
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


def tensors(model: nn.Module) -> Iterator[Found]:
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
        yield Found(tuple(names[i] for i in members), tuple(named[i][0] for i in members), tensor, trained, buffer=not gradient)


def _identity(tensor: Tensor) -> object:
    """Equal for tensors that are one: the same object, or two views of all of the same memory."""
    if why_not(tensor) or tensor.numel() == 0:
        return id(tensor)
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
