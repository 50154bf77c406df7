"""What would silently undo an adoption, found before training begins."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from learnae.errors import ConfigError, Problem
from learnae.trainer.arguments import optimizers_in
from learnae.trainer.shareable import LOW_PRECISION

MASTERS = (
    "keeps float32 copies of parameters of lower precision, and writes them over what is adopted",
    "hold the parameters in float32 and compute with torch.autocast, or use an optimizer without master weights",
)


def refuse_masters(optimizer: Any, model: nn.Module) -> None:
    """Raises ConfigError for an optimizer, or one of a list, that keeps its own copies of the parameters, or that trains another model."""
    for one in optimizers_in(optimizer):
        if one is not None:
            _refuse_masters(_unwrap(one), model)


def _refuse_masters(inner: Any, model: nn.Module) -> None:
    params = list(model.parameters())
    own = {id(param) for param in params}
    foreign = [param for group in inner.param_groups for param in group["params"] if id(param) not in own]
    if any(_masters(inner, foreign, params)):
        raise ConfigError(Problem("optimizer", *MASTERS))
    if foreign and not any(id(param) in own for group in inner.param_groups for param in group["params"]):
        raise ConfigError(Problem("optimizer", "trains none of the model's parameters", "build it from model.parameters()"))


def refuse_many_processes(environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError where several processes train one replica each: adoptions in one of them would let them drift apart."""
    size = environ.get("WORLD_SIZE", "")
    grouped = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
    if grouped or (size.isdecimal() and int(size) > 1):
        what = "several processes train this model together (WORLD_SIZE > 1), which is not supported yet"
        raise ConfigError(Problem("world_size", what, "start each process as a peer of its own, without torch.distributed"))


def _unwrap(optimizer: Any) -> Any:
    """The optimizer inside wrappers such as accelerate's."""
    for _ in range(8):
        inner = getattr(optimizer, "optimizer", None)
        if not hasattr(inner, "param_groups"):
            break
        optimizer = inner
    return optimizer


def _masters(optimizer: Any, foreign: list[Tensor], params: list[nn.Parameter]) -> Iterator[bool]:
    low = {tuple(param.shape) for param in params if param.dtype in LOW_PRECISION}
    yield any(param.dtype == torch.float32 and tuple(param.shape) in low for param in foreign)
    yield bool(low) and any(getattr(optimizer, name, False) is not False for name in ("master_weights", "param_groups_master"))
    yield any(
        "master" in str(key) for state in dict(getattr(optimizer, "state", {})).values() if isinstance(state, Mapping) for key in state
    )
    yield hasattr(optimizer, "_amp_stash") and bool(getattr(optimizer._amp_stash, "fp32_from_fp16_params", None))
