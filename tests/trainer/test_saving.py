"""Checkpoints on a disk that is full: `/dev/full` in the place of the file that is written first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from learnae.errors import ConfigError
from learnae.logs import make_logger
from learnae.trainer import checkpoint
from learnae.trainer.checkpoint import Saver


def saver(folder: Path, log: Any = None) -> Saver:
    return Saver(folder, 0.0, lambda: {"model": {"weight": torch.zeros(1000)}}, log or make_logger())


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learnae.opening.draft_in", lambda *_: os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb"))


def test_a_full_disk_is_told_once_until_it_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, told = tmp_path / "checkpoint", []

    class Log:
        def warning(self, event: str, **facts: Any) -> None:
            told.append(event)

    saving = saver(folder, Log())
    fill(monkeypatch)
    saving.look()
    saving.look()
    monkeypatch.undo()
    saving.look()
    saving.look()
    assert told == ["checkpoint.failed", "checkpoint.works_again"]
    assert checkpoint.newest(folder, None) is not None


def test_what_was_saved_before_the_disk_was_full_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoint"
    saving = saver(folder)
    saving.look()
    fill(monkeypatch)
    with capture_logs():
        saving.look()
    assert checkpoint.newest(folder, None) is not None


def test_a_last_checkpoint_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    with pytest.raises(ConfigError, match="the last checkpoint could not be written: No space left on device"):
        saver(tmp_path / "checkpoint").finish()


def test_without_a_folder_nothing_is_saved() -> None:
    saving = Saver(None, 0.0, lambda: pytest.fail("captured"), make_logger())
    saving.look()
    saving.finish()
