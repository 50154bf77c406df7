"""What the folder itself does: events and looks, faults of disks, strangers' files, processes that are killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.directory import announcer, bulletin
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.bulletin import FolderEvents, Reader, channel_folder, post
from learnae.records import Heard
from learnae.testing.announcer_talk import Listener
from learnae.testing.context import make_context

if TYPE_CHECKING:
    from collections.abc import Sequence

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: elsewhere the folder is looked at")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    return tmp_path / "announcements"


@pytest.fixture
def channel(board: Path) -> Path:
    folder = channel_folder(board, "c")
    folder.mkdir(parents=True)
    return folder


def announcer_in(board: Path, peer: str = "a", poll_seconds: float = 2.0) -> DirectoryAnnouncer:
    return DirectoryAnnouncer(
        DirectoryAnnouncerOptions(path=board, poll_seconds=poll_seconds), make_context(board.parent / peer, peer=peer)
    )


def test_without_a_path_the_folder_is_in_the_meeting_place(tmp_path: Path) -> None:
    context = make_context(tmp_path / "home", meeting=tmp_path / "meeting")
    assert DirectoryAnnouncer(DirectoryAnnouncerOptions(), context).folder == tmp_path / "meeting" / "announcements"


def test_each_key_has_one_file_that_holds_its_newest_message(channel: Path) -> None:
    for key, message in ((b"k", b"old"), (b"another", b"other"), (b"k", b"new"), (b"../k", b"hostile")):
        post(channel, key, message)
    assert sorted(path.read_bytes() for path in channel.iterdir()) == [b"hostile", b"new", b"other"]


@linux
async def test_an_event_wakes_the_listener(board: Path) -> None:
    ear = Listener()
    async with announcer_in(board, poll_seconds=10_000.0) as announcer, trio.open_nursery() as nursery:
        await announcer.announce(b"before", channel="c", replaces=b"1")
        nursery.start_soon(announcer.listen, ["c"], ear.deliver)
        await ear.hears(b"before")
        for number in range(20):
            await announcer.announce(b"%d" % number, channel="c", replaces=b"k")
            assert await ear.hears(b"%d" % number) == Heard(b"%d" % number)
        nursery.cancel_scope.cancel()


class NoEvents:
    """Watches, and never sees anything, as on a network share; or reports that it lost something."""

    def __init__(self, folders: Sequence[Path], losing: bool = False) -> None:
        self._losing = losing

    def __enter__(self) -> NoEvents:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    async def arrivals(self) -> None:
        await trio.sleep(0.01 if self._losing else float("inf"))


@pytest.mark.parametrize("losing", [False, True], ids=["no events come", "events are lost"])
async def test_looks_find_what_no_event_told(board: Path, losing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcer, "FolderEvents", lambda folders: NoEvents(folders, losing))
    ear = Listener()
    async with announcer_in(board, poll_seconds=10_000.0 if losing else 0.05) as ours, trio.open_nursery() as nursery:
        await ours.announce(b"before", channel="c", replaces=b"1")
        nursery.start_soon(ours.listen, ["c"], ear.deliver)
        await ear.hears(b"before")
        await ours.announce(b"after", channel="c", replaces=b"2")
        assert await ear.hears(b"after") == Heard(b"after")
        nursery.cancel_scope.cancel()
    assert [heard.message for heard in ear.heard] == [b"before", b"after"]


@pytest.mark.parametrize("with_events", [pytest.param(True, marks=linux), False])
async def test_a_folder_that_goes_is_unavailable_and_what_it_brings_back_is_backlog(
    board: Path, with_events: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = board.parent / "away"
    if not with_events:
        monkeypatch.setattr(announcer, "FolderEvents", _refused)
    ear = Listener()
    async with announcer_in(board, poll_seconds=0.05) as ours:
        await ours.announce(b"kept", channel="c", replaces=b"k")
        with pytest.raises(UnavailableError):
            await ours.listen(["c"], lambda heard: None if away.exists() else _move(board, away))
        with pytest.raises(UnavailableError, match="No such file"):
            await ours.announce(b"lost", channel="c", replaces=b"k")
        with pytest.raises(UnavailableError, match="No such file"):
            await ours.listen(["c"], ear.deliver)
        _move(away, board)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.listen, ["c"], ear.deliver)
            assert await ear.hears(b"kept") == Heard(b"kept", backlog=True)
            nursery.cancel_scope.cancel()


@linux
async def test_a_channel_that_is_removed_under_a_listener_is_unavailable(board: Path) -> None:
    async with announcer_in(board, poll_seconds=10_000.0) as announcer:
        await announcer.announce(b"hello", channel="c", replaces=b"k")
        with pytest.raises(UnavailableError, match="gone"):
            await announcer.listen(["c"], lambda heard: shutil.rmtree(board))


async def test_a_failed_announcement_leaves_nothing_behind(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, target: str, **where: int) -> None:
        raise OSError(28, "No space left on device")

    async with announcer_in(board) as announcer:
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", full)
            with pytest.raises(UnavailableError, match="No space left"):
                await announcer.announce(b"hello", channel="c", replaces=b"k")
    assert [list(folder.iterdir()) for folder in board.iterdir()] == [[]]


def test_only_what_changed_is_read_again(channel: Path) -> None:
    reader = Reader([channel], 4096)
    post(channel, b"1", b"one")
    post(channel, b"2", b"two")
    assert sorted(reader.look()) == [b"one", b"two"]
    assert reader.look() == []
    post(channel, b"2", b"new")
    assert reader.look() == [b"new"]


def test_a_peer_that_is_gone_leaves_no_trace_in_memory(channel: Path) -> None:
    reader = Reader([channel], 4096)
    for number in range(50):
        post(channel, b"%d" % number, b"x")
    assert len(reader.look()) == 50
    shutil.rmtree(channel)
    channel.mkdir()
    assert reader.look() == []
    assert not reader._seen


def test_old_files_are_removed_whoever_wrote_them(channel: Path) -> None:
    post(channel, b"dead", b"from a dead peer")
    (channel / "new.0123456789abcdef").write_bytes(b"half written")
    quarter = 90 * 86_400
    for path in channel.iterdir():
        os.utime(path, (time.time() - quarter - 60,) * 2)
    post(channel, b"alive", b"from a live peer")
    assert Reader([channel], 4096).look() == [b"from a live peer"]
    assert [path.read_bytes() for path in channel.iterdir()] == [b"from a live peer"]


def test_a_look_has_an_end_however_many_files_there_are(channel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulletin, "_MAX_FILES", 5)
    for number in range(20):
        post(channel, b"%d" % number, b"x")
    assert len(Reader([channel], 4096).look()) == 5


def test_what_strangers_put_there_is_not_read(channel: Path) -> None:
    (channel / ("a" * 32)).write_bytes(bytes(4097))
    (channel / "notes.txt").write_bytes(b"a stray file")
    (channel / ("b" * 32)).mkdir()
    (channel / ("c" * 32)).symlink_to("/dev/zero")
    os.mkfifo(channel / ("d" * 32))
    post(channel, b"k", b"hello")
    assert Reader([channel], 4096).look() == [b"hello"]


@linux
async def test_a_cancelled_listener_leaves_no_descriptor_open(board: Path) -> None:
    async with announcer_in(board) as announcer:
        await announcer.announce(b"hello", channel="c", replaces=b"k")

        async def listen_once() -> None:
            with trio.CancelScope() as scope:
                await announcer.listen(["c"], lambda heard: scope.cancel())

        await listen_once()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            await listen_once()
        assert len(os.listdir("/proc/self/fd")) <= before


@linux
def test_a_folder_that_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        FolderEvents([tmp_path, tmp_path / "missing"])
    assert len(os.listdir("/proc/self/fd")) <= before


CHILD = """
import hashlib, itertools, random, sys, trio
from pathlib import Path
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.testing.context import make_context

board = Path(sys.argv[1])

async def main():
    rng = random.Random(0)
    async with DirectoryAnnouncer(DirectoryAnnouncerOptions(path=board), make_context(board.parent / "child", peer="child")) as announcer:
        for number in itertools.count():
            data = rng.randbytes(4000)
            await announcer.announce(hashlib.sha256(data).digest() + data, channel="c", replaces=b"child")
            if number == 50:
                print("at work", flush=True)

trio.run(main)
"""


async def test_a_process_that_is_killed_while_it_announces_leaves_only_whole_messages(board: Path) -> None:
    def whole(message: bytes) -> bool:
        return hashlib.sha256(message[32:]).digest() == message[:32]

    def _run_and_kill() -> None:
        with subprocess.Popen([sys.executable, "-c", CHILD, str(board)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "at work\n"
            process.kill()

    ear = Listener()
    async with announcer_in(board) as announcer, trio.open_nursery() as nursery:
        await announcer.announce(hashlib.sha256(b"first").digest() + b"first", channel="c", replaces=b"k")
        nursery.start_soon(announcer.listen, ["c"], ear.deliver)
        await ear.hears(hashlib.sha256(b"first").digest() + b"first")
        await trio.to_thread.run_sync(_run_and_kill)
        await announcer.announce(hashlib.sha256(b"last").digest() + b"last", channel="c", replaces=b"k")
        await ear.hears(hashlib.sha256(b"last").digest() + b"last")
        nursery.cancel_scope.cancel()
    assert len(ear.heard) > 10
    assert all(whole(heard.message) for heard in ear.heard)


def _refused(folders: Sequence[Path]) -> FolderEvents:
    raise OSError("no file-system events")


def _move(source: Path, target: Path) -> None:
    source.rename(target)
