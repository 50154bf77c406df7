"""Numbers that grow, on disk before they are used: nothing is ever announced twice under one number."""

from __future__ import annotations

from pathlib import Path

import attrs

from learnae import ConfigError, Problem
from learnae.lowlevel import MAX_SEQUENCE_NUMBER, read_file, save_file

MOST_BYTES = 32


@attrs.define
class SensorNumbers:
    path: Path
    _last: int = 0

    @classmethod
    def at(cls, path: Path) -> SensorNumbers:
        """Raises ConfigError for a file that is damaged, or cannot be read."""
        try:
            text = read_file(path, MOST_BYTES).decode("ascii", "replace")
        except FileNotFoundError:
            text = "0"
        except OSError as error:
            raise _problem(path, f"cannot be read: {error.strerror}") from error
        if not text.strip().isdigit() or int(text) >= MAX_SEQUENCE_NUMBER:
            raise _problem(path, "is no number")
        return cls(path, int(text))

    def next(self) -> int:
        """Raises ConfigError when the disk does not take it."""
        try:
            save_file(self.path, f"{self._last + 1}\n".encode())
        except OSError as error:
            raise _problem(self.path, f"cannot be written: {error.strerror}") from error
        self._last += 1
        return self._last


def _problem(path: Path, message: str) -> ConfigError:
    return ConfigError(Problem(str(path), message, "check the disk; or begin with an empty folder, and others take it for a new sensor"))
