"""Checkpoints of one trainer: written whole or not at all, and one before the last is kept."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn

from learnae import opening
from learnae.errors import ConfigError, Problem
from learnae.trainer.storable import revived, storable
from learnae.trainer.swarm import Swarm
from learnae.trainer.theirs import theirs

FILE, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
DRAFT = f"{FILE}.new"
State = dict[str, Any]


def save(folder: Path, state: State) -> None:
    """Write, flush and rename: a crash at any moment leaves the last checkpoint or the one before. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with opening.folder(folder) as descriptor:
        with opening.draft_in(descriptor, DRAFT, 0o666) as file:  # the umask decides who may read it, as for any file of the user's
            _write(state, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            os.replace(FILE, PREVIOUS, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.replace(DRAFT, FILE, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)


def _write(state: State, file: BinaryIO) -> None:
    """Where torch closes its archive on a full disk, its own complaint hides the disk's."""
    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def newest(folder: Path, log: Any) -> State | None:
    """The newest checkpoint that can be read, or None if there is none. Raises ConfigError if there are some and all are broken."""
    cause = ""
    present = [path for path in (folder / FILE, folder / PREVIOUS) if os.path.lexists(path)]
    for path in present:
        try:
            with opening.folder(folder) as descriptor, os.fdopen(opening.open_file(path.name, at=descriptor, links=None), "rb") as file:
                state: State = revived(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # a broken file may raise anything
            cause = " ".join(str(error).split())
            log.warning("checkpoint.unreadable", path=str(path), error=cause)
        else:
            return state
    if present:
        raise ConfigError(Problem(str(folder), f"none of its checkpoints can be read: {cause}", "move them away to start anew"))
    return None


def capture(model: nn.Module, optimizer: Any, swarm: Swarm, **more: Any) -> State:
    """All that a trainer needs to go on: `more` are further objects with a `state_dict`, or None.

    Raises ConfigError that names the first value that could not be read again, and EntryError for what a `state_dict` raises.
    """
    parts = {"model": model, "optimizer": optimizer, **more}
    with theirs("state_dict()", "giving what is saved"):
        states = {name: part.state_dict() for name, part in parts.items() if part is not None}
    return storable({**states, "swarm": swarm.state_dict(), "random": _random_state()})


def restore(state: Mapping[str, Any], model: nn.Module, optimizer: Any, folder: Path | None = None, **more: Any) -> None:
    """Take up again all but the swarm's part, which `join` takes. Raises ConfigError, naming `folder`, if it is of another model."""
    state = revived(state)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        remedy = f"move {folder or 'it'} away, or set it aside with `learnae run --fresh`"
        raise ConfigError(Problem(str(folder or "checkpoint"), f"is of another model or optimizer: {words}", remedy)) from error
    for name, part in more.items():
        if part is not None and name in state:
            part.load_state_dict(state[name])
    _set_random_state(state["random"])


def _random_state() -> State:
    numpy: Any = np.random.get_state(legacy=False)
    return {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {"key": numpy["state"]["key"].tolist(), "pos": numpy["state"]["pos"]}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    numpy = state["numpy"]
    random.setstate(state["python"])
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": np.array(numpy["state"]["key"], np.uint32)}})
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
