"""Rounds as curves for TensorBoard: files in a folder, which it shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tensorboard.summary import Writer  # its own: the one of torch would bring torch into the node

from learnae.errors import ConfigError, Problem
from learnae.hookspecs import hookimpl
from learnae.identity.home_folder import check_own_folder
from learnae.observations import RoundReport
from learnae.opening import open_folder
from learnae.shared_folder import FolderHandle

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

SCALARS = {
    "round/seconds": "seconds",
    "round/published_bytes": "published_bytes",
    "round/fetched_bytes": "fetched_bytes",
    "updates/heard": "heard",
    "updates/chosen": "chosen",
    "updates/merged": "merged",
    "updates/refused": "refused",
    "updates/failed": "failed",
    "updates/lost": "lost",
}


class TensorBoard:
    """Writes one point of each curve for each round; the horizontal axis is the age of the model, in optimiser steps."""

    def __init__(self, folder: Path) -> None:
        self._path, self._above = folder, FolderHandle(folder.parent)
        self._descriptor = -1
        self._writer: Writer | None = self._new_writer()

    @hookimpl
    def learnae_round_finished(self, report: RoundReport) -> None:
        """Raises OSError for a full disk, and begins a new file at the next round: a writer that has failed stays broken."""
        writer, self._writer = self._writer or self._new_writer(), None
        for tag, field in SCALARS.items():
            writer.add_scalar(tag, getattr(report, field), report.age)
        for name, value in report.metrics.items():
            writer.add_scalar(f"evaluation/{name}", value, report.age)
        writer.flush()
        self._writer = writer

    def _new_writer(self) -> Writer:
        """In a folder of this user's own, which no link leads to: it may lie where neighbours may write. Raises OSError, ConfigError."""
        self._above.make(parents=True)
        with self._above.opened() as above:
            with suppress(FileExistsError):
                os.mkdir(self._path.name, 0o755, dir_fd=above)
            descriptor = open_folder(self._path.name, at=above)
        self._let_go()
        self._descriptor = descriptor
        check_own_folder(self._path, descriptor)
        opened = f"/proc/self/fd/{descriptor}"  # TensorBoard takes paths alone
        return Writer(opened if os.path.isdir(opened) else str(self._path))

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def close(self) -> None:
        """What is not on the disk by now never will be."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        self._let_go()


@contextmanager
def writing(folder: Path, log: FilteringBoundLogger) -> Iterator[TensorBoard]:
    """An observer that writes into this folder. Raises ConfigError where it cannot be made."""
    try:
        observer = TensorBoard(folder)
    except OSError as error:
        raise ConfigError(
            Problem("metrics.tensorboard", f"{folder} cannot be written to: {error.strerror}", "name another folder")
        ) from error
    log.info("metrics.written", folder=str(folder))
    try:
        yield observer
    finally:
        observer.close()
