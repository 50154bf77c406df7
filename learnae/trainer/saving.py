"""When a checkpoint is written, and what happens if it cannot be."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from learnae.errors import ConfigError, LearnaeError, Problem
from learnae.trainer import checkpoint


@attrs.define
class Saver:
    """Writes what `capture` gives, every so many seconds. A full disk ends no training: it is told once, and tried again."""

    folder: Path | None  # None: nothing is saved
    seconds: float
    capture: Callable[[], checkpoint.State]
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
            checkpoint.save(self.folder, self.capture())
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
            kept = "the one before" if (self.folder / checkpoint.FILE).exists() else "none was made yet"
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
            checkpoint.save(self.folder, self.capture())
        except OSError as error:
            remedy = "make room there; the one before is whole, and the same command goes on from it"
            message = f"the last checkpoint could not be written: {error.strerror or error}"
            raise ConfigError(Problem(str(self.folder), message, remedy)) from error


def _cause(error: OSError | LearnaeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
