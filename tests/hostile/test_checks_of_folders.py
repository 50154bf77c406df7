"""A check of a folder refuses what a run would refuse, and is led nowhere else either."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.config.folders import check_folder
from learnae.errors import ConfigError
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.bulletin import channel_folder
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.testing.context import make_context
from tests.support.hostile.linked_folders import linked


@pytest.mark.parametrize("what", ["blocks", "announcements", "channel"])
@pytest.mark.parametrize("deep", [False, True], ids=["there", "to be made"])
def test_the_check_of_a_folder_refuses_the_links_that_the_run_does(tmp_path: Path, what: str, deep: bool) -> None:
    meeting, elsewhere = tmp_path / "meeting", tmp_path / "elsewhere"
    link = {
        "blocks": meeting / "blocks",
        "announcements": meeting / "announcements",
        "channel": channel_folder(meeting / "announcements", "c"),
    }[what]
    linked(link, elsewhere, os.geteuid())
    if not deep:
        elsewhere.mkdir()
    context = make_context(tmp_path / "home", meeting=meeting)

    async def check() -> None:
        await DirectoryStorage(DirectoryStorageOptions(), context).check()
        await DirectoryAnnouncer(DirectoryAnnouncerOptions(), context).check()

    with pytest.raises(ConfigError, match="link"):
        trio.run(check)
    assert not elsewhere.exists() or list(elsewhere.iterdir()) == []


def test_the_check_makes_its_trial_in_the_folder_that_it_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    before, original = elsewhere.stat().st_mtime_ns, os.mkdir

    def exchanged(name: str, *args: Any, **how: Any) -> None:
        if not (tmp_path / "moved").exists():
            there.rename(tmp_path / "moved")
            there.symlink_to(elsewhere)
        original(name, *args, **how)

    monkeypatch.setattr(os, "mkdir", exchanged)
    check_folder(there / "blocks" / "deep", "storage.path")
    assert elsewhere.stat().st_mtime_ns == before and list((tmp_path / "moved").iterdir()) == []
