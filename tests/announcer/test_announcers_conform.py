"""The built-in announcers pass the kit that every announcer must pass."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from learnae.plugins.directory import announcer
from learnae.plugins.directory.announcer import DirectoryAnnouncer
from learnae.plugins.directory.bulletin import channel_folder
from learnae.plugins.memory import MemoryAnnouncer, MemoryMedium
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae.testing.context import peer_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from learnae import Announcer, Context


class TestDirectoryAnnouncer(AnnouncerConformance):
    @pytest.fixture
    def announcer(self, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        return lambda peer: DirectoryAnnouncer(DirectoryAnnouncer.Options(), learnae_contexts(peer))

    @contextmanager
    def out_of_order(self, announcer: Announcer) -> Iterator[None]:
        """Something else stands where the folder was."""
        assert isinstance(announcer, DirectoryAnnouncer)
        aside = announcer.folder.rename(announcer.folder.with_name("aside"))
        announcer.folder.write_text("no folder")
        yield
        announcer.folder.unlink()
        aside.rename(announcer.folder)

    async def garbage(self, announcer: Announcer) -> None:
        assert isinstance(announcer, DirectoryAnnouncer)
        folder = channel_folder(announcer.folder, "c")
        folder.mkdir(exist_ok=True)
        (folder / "notes.txt").write_bytes(b"a stray file")
        (folder / ("a" * 32)).write_bytes(b"")
        (folder / ("b" * 32)).write_bytes(bytes(announcer.max_bytes + 1))
        (folder / ("c" * 32)).mkdir(exist_ok=True)
        for name, make in (("d", os.mkfifo), ("e", lambda path: os.symlink("/dev/zero", path)), ("f", lambda path: os.symlink(path, path))):
            path = folder / (name * 32)
            path.unlink(missing_ok=True)
            make(path)


class TestDirectoryAnnouncerWithoutEvents(TestDirectoryAnnouncer):
    """As on a system that has none."""

    @pytest.fixture(autouse=True)
    def _no_events(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_events(folders: object) -> None:
            raise OSError("no file-system events")

        monkeypatch.setattr(announcer, "FolderEvents", no_events)


class TestMemoryAnnouncer(AnnouncerConformance):
    """Also shows that the kit runs under virtual time."""

    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)

    async def garbage(self, announcer: Announcer) -> None:
        assert isinstance(announcer, MemoryAnnouncer)
        for message in (b"", b"\xff" * 100, b"probe", b"{}"):
            announcer.medium.send(peer_named("stranger"), ("c", message), message)

    @pytest.fixture
    def announcer(self, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        return lambda peer: MemoryAnnouncer(MemoryAnnouncer.Options(), learnae_contexts(peer))


class TestSlowMemoryAnnouncer(TestMemoryAnnouncer):
    @pytest.fixture
    def announcer(self, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        learnae_contexts("a").share(MemoryMedium).delay = lambda rng: 0.01
        return lambda peer: MemoryAnnouncer(MemoryAnnouncer.Options(), learnae_contexts(peer))


class TestPolledMemoryAnnouncer(TestMemoryAnnouncer):
    @pytest.fixture
    def announcer(self, learnae_contexts: Callable[[str], Context]) -> OpenAnnouncer:
        learnae_contexts("a").share(MemoryMedium).look_seconds = 0.5
        return lambda peer: MemoryAnnouncer(MemoryAnnouncer.Options(), learnae_contexts(peer))
