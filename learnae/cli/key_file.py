"""The file that holds the key of a private swarm."""

from __future__ import annotations

import os
from pathlib import Path

from learnae.errors import ConfigError, Problem


def write_key(path: Path, line: str) -> None:
    """Make this file, which only its owner may read. Raises ConfigError, also if it is there."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise ConfigError(Problem(str(path), "is there already, and a key is never written over", "name a new file")) from error
    except OSError as error:
        raise ConfigError(Problem(str(path), f"no key was written: {error.strerror}", "name a new file in a folder of yours")) from error
