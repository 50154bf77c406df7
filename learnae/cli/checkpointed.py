"""The model in the checkpoint of `learnae run`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from learnae.cli.exporting import Model
from learnae.cli.units import moment
from learnae.errors import NeedsTorch
from learnae.logs import make_logger

if TYPE_CHECKING:
    from learnae.cli.portrait import Portrait


def checkpointed(seen: Portrait) -> Model:
    """Raises NeedsTorch, ConfigError."""
    try:
        from learnae.trainer.checkpoint import FILE, newest
        from learnae.trainer.plain import save_file, tensors_of
    except ImportError as error:
        raise NeedsTorch("learnae export") from error
    folder = seen.home / "checkpoint"
    state: dict[str, Any] = newest(folder, make_logger()) or {}
    tensors = tensors_of(state.get("model", {}))
    saved = moment((folder / FILE).stat().st_mtime, seen.now)
    save = functools.partial(save_file, tensors, metadata=_metadata(seen, state))
    return Model(f"from the checkpoint of {saved}", len(tensors), save)


def _metadata(seen: Portrait, state: dict[str, Any]) -> dict[str, str]:
    swarm = state.get("swarm", {})
    known = {
        "swarm": seen.swarm.name if seen.swarm else "",
        "peer": seen.own or "",
        "lineage": str(swarm.get("lineage", "")),
        "age": str(swarm.get("age", "")),
    }
    return {"format": "pt", **{f"learnae.{name}": value for name, value in known.items() if value}}
