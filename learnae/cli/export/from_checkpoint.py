"""The model in the checkpoint of `learnae run`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from learnae.cli.export.model import Model
from learnae.errors import NeedsTorch
from learnae.logs import make_logger

if TYPE_CHECKING:
    from learnae.cli.homes.state import HomeState


def model_in_checkpoint(seen: HomeState) -> Model:
    """Raises NeedsTorch, ConfigError."""
    try:
        from learnae.trainer.checkpoint import newest
        from learnae.trainer.plain import save_file, tensors_of
    except ImportError as error:
        raise NeedsTorch("learnae export") from error
    folder = seen.home / "checkpoint"
    state: dict[str, Any] = newest(folder, make_logger()) or {}
    tensors = tensors_of(state.get("model", {}))
    save = functools.partial(save_file, tensors, metadata=_metadata(seen, state))
    age = int(state.get("swarm", {}).get("age", 0))
    return Model(f"from the checkpoint at age {age:,}", len(tensors), save)


def _metadata(seen: HomeState, state: dict[str, Any]) -> dict[str, str]:
    swarm = state.get("swarm", {})
    known = {
        "swarm": seen.swarm.name if seen.swarm else "",
        "peer": seen.own or "",
        "lineage": str(swarm.get("lineage", "")),
        "age": str(swarm.get("age", "")),
    }
    return {"format": "pt", **{f"learnae.{name}": value for name, value in known.items() if value}}
