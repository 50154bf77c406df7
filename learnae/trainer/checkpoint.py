"""Checkpoints: model, optimizer, progress and random state, saved whole and loaded without pickle."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import attrs
import numpy as np
import safetensors.torch
import torch
from torch import nn

from learnae import opening
from learnae.errors import ConfigError, LearnaeError, Problem
from learnae.identity.home_folder import HomeFolder, open_home
from learnae.plugins.calls import theirs
from learnae.trainer.checkpoint_reader import ReadModel, read_model
from learnae.trainer.storable import revived, storable
from learnae.trainer.swarm import Swarm


def save_file(tensors: Mapping[str, torch.Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Bit for bit. Raises OSError."""
    safetensors.torch.save_file(dict(tensors), path, metadata=dict(metadata))


FILE, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
DRAFT = f"{FILE}.new"
State = dict[str, Any]
Read = TypeVar("Read")


def save(folder: Path, state: State) -> None:
    """Write, flush and rename: a crash at any moment leaves the last checkpoint or the one before. `folder` lies in a home.

    Raises OSError, and ConfigError for a folder of others, or in which they may write.
    """
    with open_home(folder.parent) as home, home.subfolder(folder.name, make=True) as opened:
        descriptor = opened.fd
        with opening.draft_in(descriptor, DRAFT) as file:
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
    """The newest checkpoint that can be read, or None if there is none; `folder` lies in a home.

    Raises ConfigError if there are some and all are broken, and for what others may have put there.
    """

    def read(file: BinaryIO) -> State:
        state: State = revived(torch.load(file, map_location="cpu", weights_only=True))
        return state

    return _newest(folder, log, read)


def newest_model(folder: Path, log: Any, *, trained: bool = False) -> ReadModel | None:
    """Only the model of that, and its progress, from a folder that somebody else may have written. Raises ConfigError as `newest`.

    The model is the one that was merged last, if the checkpoint has it, or else what it was `trained` to.
    """
    return _newest(folder, log, partial(read_model, trained=trained), looking=True)


def _newest(folder: Path, log: Any, read: Callable[[BinaryIO], Read], *, looking: bool = False) -> Read | None:
    try:
        with open_home(folder.parent, looking=looking) as home, home.subfolder(folder.name) as opened:
            return _newest_in(opened, log, read)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(Problem(str(folder), f"cannot be read: {error.strerror}", "move it away to start anew")) from error


def _newest_in(folder: HomeFolder, log: Any, read: Callable[[BinaryIO], Read]) -> Read | None:
    cause = ""
    present = [name for name in (FILE, PREVIOUS) if opening.look(name, at=folder.fd) is not None]
    for name in present:
        descriptor = folder.open(name, links=None)  # what others may have written is refused: the one before helps nobody then
        try:
            with os.fdopen(descriptor, "rb") as file:
                found = read(file)
        except Exception as error:  # a broken file may raise anything
            cause = " ".join(str(error).split())
            log.warning("checkpoint.unreadable", path=str(folder.path / name), error=cause)
        else:
            return found
    if present:
        raise ConfigError(Problem(str(folder.path), f"none of its checkpoints can be read: {cause}", "move them away to start anew"))
    return None


def capture(model: nn.Module, optimizer: Any, swarm: Swarm, **more: Any) -> State:
    """All that a trainer needs to go on: `more` are further objects with a `state_dict`, or None.

    "merged" has what is another tensor in the last merged model, for `learnae export`; it is missing if the last round has merged nothing.
    Raises ConfigError that names the first value that could not be read again, and EntryError for what a `state_dict` raises.
    """
    parts = {"model": model, "optimizer": optimizer, **more}
    with theirs("state_dict()", "giving what is saved"):
        states = {name: part.state_dict() for name, part in parts.items() if part is not None}
    merged = swarm.merged_tensors(states["model"])
    beside = {} if merged is None else {"merged": merged}
    return storable({**states, **beside, "swarm": swarm.state_dict(), "random": _random_state()})


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


@attrs.define
class Saver:
    """Writes what `capture` gives, every so many seconds. A full disk ends no training: it is told once, and tried again."""

    folder: Path | None  # None: nothing is saved
    seconds: float
    capture: Callable[[], State]
    log: Any
    _due: float = attrs.field(init=False)
    _failing: bool = False

    def __attrs_post_init__(self) -> None:
        self._due = time.monotonic() + self.seconds

    def look(self) -> None:
        """Save if it is time to."""
        if self.folder is None or time.monotonic() < self._due:
            return
        try:
            save(self.folder, self.capture())
        except (OSError, ConfigError) as error:
            if not self._failing:
                self.log.warning("checkpoint.failed", folder=str(self.folder), cause=_cause(error), kept="the one before")
            self._failing = True
        else:
            if self._failing:
                self.log.warning("checkpoint.works_again", folder=str(self.folder))
            self._failing = False
        self._due = time.monotonic() + self.seconds

    def check(self) -> None:
        """Raises ConfigError, after the first step, for what could not be read again: later it would cost hours of work."""
        if self.folder is not None:
            self.capture()

    def keep(self) -> None:
        """The step that is under way will never be finished, so that what could be saved now is neither here nor there."""
        if self.folder is not None:
            kept = "the one before" if (self.folder / FILE).exists() else "none was made yet"
            self.log.warning("checkpoint.kept", folder=str(self.folder), why="the last step was not finished", kept=kept)

    def rescue(self) -> None:
        """Save for the last time, while an error is under way that matters more than whether that is possible."""
        try:
            self.finish()
        except LearnaeError as error:
            self.log.warning("checkpoint.failed", folder=str(self.folder), cause=_cause(error), kept="the one before")

    def finish(self) -> None:
        """Save for the last time. Raises ConfigError if that is not possible: what was made since the last one is lost."""
        if self.folder is None:
            return
        try:
            save(self.folder, self.capture())
        except OSError as error:
            remedy = "make room there; the one before is whole, and the same command goes on from it"
            message = f"the last checkpoint could not be written: {error.strerror or error}"
            raise ConfigError(Problem(str(self.folder), message, remedy)) from error


def _cause(error: OSError | LearnaeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
