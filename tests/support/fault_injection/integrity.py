"""Integrity check: every file of every peer is whole, or it is named here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import torch

from learnae.content.cids import check
from learnae.errors import LearnaeError
from learnae.identity.keys import Identity
from learnae.plugins.directory.packs import BrokenPackError, Pack

UNFINISHED = ("*.new", "new.*", "*-journal")


def unfinished_files(state: Path) -> list[str]:
    """What was being written when a process was killed. The next life of a peer clears its own away: none is left where all ended well."""
    return sorted({str(path.relative_to(state)) for pattern in UNFINISHED for path in state.rglob(pattern)})


def broken_files(state: Path) -> list[str]:
    """Look at all homes and meetings under a state folder in which nobody works any more; what is broken, in words.

    What stands under the name of a file that is not finished yet is never read by anyone, so it isn't broken: `unfinished_files` names it.
    """
    unfinished = set(unfinished_files(state))
    return [f"{name}: {flaw}" for path, flaw in _flaws(state) if (name := str(path.relative_to(state))) not in unfinished]


def _flaws(state: Path) -> Iterator[tuple[Path, str]]:
    for path in state.rglob("history.sqlite"):
        yield from ((path, flaw) for flaw in _of_history(path))
    for path in state.rglob("homes/*/*/key"):
        yield from ((path, flaw) for flaw in _of_key(path))
    for path in state.rglob("checkpoint*.pt"):
        yield from ((path, flaw) for flaw in _of_checkpoint(path))
    for path in state.rglob("blocks/*"):
        yield from ((path, flaw) for flaw in _of_pack(path))


def _of_history(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
    if answer != "ok":
        yield str(answer)


def _of_key(path: Path) -> Iterator[str]:
    try:
        Identity.load_or_create(path)
    except LearnaeError as error:
        yield str(error)


def _of_checkpoint(path: Path) -> Iterator[str]:
    try:
        torch.load(path, weights_only=True)
    except Exception as error:  # a broken file may raise anything
        yield f"{type(error).__name__}: {error}"


def _of_pack(path: Path) -> Iterator[str]:
    try:
        with Pack(path) as pack:
            index = pack.index()
            yield from (f"block {cid} is not what it is named by" for cid, place in index.items() if not check(pack.read(cid, place)))
    except BrokenPackError as error:
        yield str(error)
