"""Whatever lies under any name in a folder that others may write to: nobody is silenced, nothing elsewhere changes, nothing hangs."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.directory import bulletin
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.bulletin import channel_folder
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import Heard
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import fetched, payloads, published, same
from tests.support.users import as_user as run_as

ANNA, BERT, STRANGER = 53_021, 53_022, 53_023
GROUP = 53_020
UPDATE, OTHER = published("one", *payloads(4)), published("other", *payloads(4, seed=1))
KEY = b"the key of anna"


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that other users can reach, unlike that of pytest."""
    with tempfile.TemporaryDirectory(prefix="learnae-evil-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_user(user: int, work: Callable[[], Any]) -> str:
    """Do it in a process of that user, where we are root; what it raises, in words."""
    if os.geteuid() != 0:
        work()
        return ""
    return run_as(user, work, group=GROUP, more=(GROUP,))


# -- the evils: each is put under a name, by a stranger ---------------------------------------------------------------------------


def _link(path: Path, treasure: Path) -> None:
    path.symlink_to(treasure)


def _link_to_nowhere(path: Path, treasure: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def _pipe(path: Path, treasure: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, treasure: Path) -> None:
    with socket.socket(socket.AF_UNIX) as it:
        before = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may not be long
        try:
            it.bind("s")
            Path("s").rename(path.name)
        finally:
            os.chdir(before)


def _folder(path: Path, treasure: Path) -> None:
    (path / "inside").mkdir(parents=True)


def _device(path: Path, treasure: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("needs root: only it can make a device")


def _hard_link(path: Path, treasure: Path) -> None:
    os.link(treasure, path)


def _huge(path: Path, treasure: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _closed(path: Path, treasure: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)


def _empty(path: Path, treasure: Path) -> None:
    path.touch()


def _noise(path: Path, treasure: Path) -> None:
    path.write_bytes(os.urandom(3000))


EVILS = [_link, _link_to_nowhere, _pipe, _socket, _folder, _device, _hard_link, _huge, _closed, _empty, _noise]
BLOCKS, CHANNEL = "blocks", str(channel_folder(Path("board"), "c"))
PLACES = {
    "the peer's message": f"{CHANNEL}/{bulletin._hashed(KEY)}",
    "a message": f"{CHANNEL}/{'a' * 32}",
    "a draft of a message": f"{CHANNEL}/new.{'a' * 16}",
    "the peer's pack": f"{BLOCKS}/{UPDATE.root}.{peer_named('anna')}",
    "a pack of the same root": f"{BLOCKS}/{UPDATE.root}.{peer_named('evil')}",
    "a pack": f"{BLOCKS}/{OTHER.root}.{peer_named('evil')}",
    "another pack of the peer": f"{BLOCKS}/{OTHER.root}.{peer_named('anna')}",
    "the peer's draft of a pack": f"{BLOCKS}/new.{peer_named('anna')}.{'a' * 12}",
    "a draft of a pack": f"{BLOCKS}/new.{peer_named('evil')}.{'a' * 12}",
}


async def _speak(folder: Path) -> None:
    context = make_context(folder / "home", peer="anna")
    async with (
        DirectoryStorage(DirectoryStorageOptions(folder / BLOCKS), context) as storage,
        DirectoryAnnouncer(DirectoryAnnouncerOptions(folder / "board"), context) as announcer,
    ):
        for message in (b"first", b"hello"):
            await storage.put(UPDATE.root, UPDATE.blocks)
            await announcer.announce(message, channel="c", replaces=KEY)
        assert list(await storage.roots()).count(UPDATE.root) == 1
        await storage.drop(OTHER.root)


async def _hear(folder: Path) -> None:
    context, heard = make_context(folder / "home", peer="bert"), set[bytes]()
    async with DirectoryAnnouncer(DirectoryAnnouncerOptions(folder / "board"), context) as announcer:
        with trio.move_on_after(10) as limit:

            def deliver(item: Heard) -> None:
                heard.add(item.message)
                if b"hello" in heard:
                    limit.cancel()

            await announcer.listen(["c"], deliver)
        assert b"hello" in heard and b"first" not in heard
    for hints in ((), (peer_named("anna"),)):
        async with DirectoryStorage(DirectoryStorageOptions(folder / BLOCKS), context) as storage:
            found: dict[str, bytes] = {}
            await storage.get(UPDATE.cids, lambda block: found.update({block.cid: bytes(block.data)}), hints=hints)  # noqa: B023
            assert same(found, UPDATE)  # type: ignore[arg-type]


async def _forget(folder: Path) -> None:
    async with DirectoryStorage(DirectoryStorageOptions(folder / BLOCKS), make_context(folder / "home", peer="anna")) as storage:
        await storage.drop(UPDATE.root)
        assert UPDATE.root not in await storage.roots()
        with pytest.raises(UnavailableError):
            await fetched(storage, UPDATE.cids)


SHARED = [(0o1777, EVILS), (0o2775, [_folder, _closed, _hard_link]), (0o777, [_folder, _link])]


@pytest.mark.parametrize(
    ("mode", "evil"),
    [pytest.param(mode, evil, id=f"{mode:o}-{evil.__name__.strip('_')}") for mode, evils in SHARED for evil in evils],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_a_stranger_puts_there_silences_nobody_and_changes_nothing_elsewhere(
    top: Path, place: str, evil: Callable[[Path, Path], None], mode: int
) -> None:
    treasure, swarm = top / "treasure", top / "swarm"
    for folder in (swarm, swarm / BLOCKS, swarm / "board", swarm / CHANNEL):
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, 0, GROUP)
        folder.chmod(mode)
    treasure.write_bytes(b"of somebody else")
    treasure.chmod(0o666)  # whoever may not write to a file may not link it either, on most machines
    os.utime(treasure, (0, 0))
    evil(swarm / PLACES[place], treasure)
    if os.geteuid() == 0 and evil is not _hard_link:
        os.chown(swarm / PLACES[place], STRANGER, STRANGER, follow_symlinks=False)
    before = treasure.read_bytes(), treasure.stat().st_mtime, treasure.stat().st_mode

    assert as_user(ANNA, lambda: trio.run(_within(20, _speak, swarm))) == ""
    assert as_user(BERT, lambda: trio.run(_within(20, _hear, swarm))) == ""
    assert as_user(ANNA, lambda: trio.run(_within(20, _forget, swarm))) == ""
    assert (treasure.read_bytes(), treasure.stat().st_mtime, treasure.stat().st_mode) == before
    assert not [path for path in swarm.rglob("new.*") if path != swarm / PLACES[place]]


def _within(seconds: float, scenario: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    async def bounded() -> None:
        with trio.fail_after(seconds):
            await scenario(*args)

    return bounded
