"""Programs that somebody has put where a command looks for one."""

from __future__ import annotations

from pathlib import Path

# Each names the folder of work in one of the ways that a PATH has.
PATHS_OF_THE_FOLDER_OF_WORK = ("", ".", ":/nowhere", "/nowhere:", "bin", "./bin:/nowhere", ".nodes")


def put_program(path: Path) -> Path:
    """A program that does nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def put_in_folder_of_work(folder: Path, name: str) -> None:
    """At each place there where one could be looked for."""
    for place in (".", "bin", ".nodes"):
        put_program(folder / place / name)
