"""Two users of one group, each with the umask of its machine, in one folder: with real users, which only root can be."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from learnae.config.folders import check_folder
from learnae.errors import ConfigError
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import Heard
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published, same
from tests.support.users import ANNA, BERT, GROUP, OTHER_GROUP, folder_for_all, needs_root
from tests.support.users import as_user as run_as

UPDATE = published("one", *payloads(4))

pytestmark = needs_root


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can reach, unlike that of pytest."""
    with folder_for_all(0o755) as folder:
        yield folder


def shared(place: Path, mode: int) -> Path:
    folder = place / "swarm"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(mode)
    return folder


def as_user(user: int, umask: int, work: Callable[[], object], group: int = GROUP, more: tuple[int, ...] = ()) -> str:
    return run_as(user, work, umask=umask, group=group, more=more)


def publish(folder: Path, name: str) -> Callable[[], None]:
    """What a peer does of its own accord: put a model, announce it."""

    async def work() -> None:
        context = make_context(folder / "home", peer=name)
        async with (
            DirectoryStorage(DirectoryStorageOptions(folder / "blocks"), context) as storage,
            DirectoryAnnouncer(DirectoryAnnouncerOptions(folder / "announcements"), context) as announcer,
        ):
            await storage.put(UPDATE.root, UPDATE.blocks)
            await announcer.announce(name.encode(), channel="c", replaces=name.encode())

    return lambda: trio.run(work)


def hear(folder: Path, name: str, expected: set[bytes]) -> Callable[[], None]:
    """What it hears of others, and reads."""

    async def work() -> None:
        context, heard = make_context(folder / "home", peer=name), set[bytes]()
        async with (
            DirectoryStorage(DirectoryStorageOptions(folder / "blocks"), context) as storage,
            DirectoryAnnouncer(DirectoryAnnouncerOptions(folder / "announcements"), context) as announcer,
        ):
            with trio.fail_after(60), trio.CancelScope() as limit:

                def deliver(item: Heard) -> None:
                    heard.add(item.message)
                    if heard >= expected:
                        limit.cancel()

                await announcer.listen(["c"], deliver)
            assert heard == expected
            assert same(await fetched(storage, UPDATE.cids), UPDATE)

    return lambda: trio.run(work)


@pytest.mark.parametrize("mode", [0o2775, 0o2770, 0o770, 0o775, 0o3770], ids=oct)
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_two_users_of_one_group_hear_and_read_each_other(place: Path, mode: int, umask: int) -> None:
    folder = shared(place, mode)
    assert as_user(ANNA, umask, publish(folder, "anna"), group=OTHER_GROUP, more=(GROUP,)) == ""
    assert as_user(BERT, umask, publish(folder, "bert")) == ""
    for user, name in ((ANNA, "anna"), (BERT, "bert")):
        assert as_user(user, umask, hear(folder, name, {b"anna", b"bert"})) == ""
    for path in folder.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o777 & ~mode
        assert path.stat().st_gid == GROUP


def test_where_the_group_cannot_be_had_another_one_gets_no_more_than_everybody(place: Path) -> None:
    folder = shared(place, 0o777)
    folder.chmod(0o775)
    os.chown(folder, ANNA, GROUP)
    assert as_user(ANNA, 0o022, publish(folder, "anna"), group=OTHER_GROUP) == ""
    blocks = (folder / "blocks").stat()
    assert (blocks.st_gid, stat.S_IMODE(blocks.st_mode)) == (OTHER_GROUP, 0o755)


@pytest.mark.parametrize("closed", ["blocks", "announcements"])
def test_a_folder_that_does_not_let_this_user_in_is_named_with_its_owner_and_the_remedy(place: Path, closed: str) -> None:
    folder = shared(place, 0o2775)
    (folder / closed).mkdir(mode=0o755)
    os.chown(folder / closed, ANNA, GROUP)
    (folder / closed).chmod(0o2755)
    said = as_user(BERT, 0o022, publish(folder, "bert"))
    assert said.startswith("UnavailableError") and f"cannot use {folder / closed}:" in said
    assert f"user {ANNA}" in said and f"chmod g+rwxs {folder / closed}" in said


def test_nobody_is_sent_into_the_private_group_of_another(place: Path) -> None:
    folder = shared(place, 0o1777)
    (folder / "announcements").mkdir()
    os.chown(folder / "announcements", ANNA, ANNA)
    (folder / "announcements").chmod(0o755)
    said = as_user(BERT, 0o022, publish(folder, "bert"))
    assert f"cannot use {folder / 'announcements'}:" in said and f"user {ANNA}" in said
    assert "chmod g+rwxs" in said and f"chmod g+rwxs {folder}" not in said


def test_the_sub_folder_of_a_channel_is_named_where_only_it_is_closed(place: Path) -> None:
    folder = shared(place, 0o2775)
    assert as_user(ANNA, 0o022, publish(folder, "anna")) == ""
    (channel,) = (folder / "announcements").iterdir()
    channel.chmod(0o2755)
    said = as_user(BERT, 0o022, publish(folder, "bert"))
    assert f"cannot use {channel}:" in said and f"chmod g+rwxs {channel}" in said


@pytest.mark.parametrize("of_announcer", [False, True])
def test_the_check_of_a_folder_tries_what_the_run_will_do(place: Path, of_announcer: bool) -> None:
    folder = shared(place, 0o2775)
    assert as_user(ANNA, 0o022, publish(folder, "anna")) == ""
    closed = next((folder / "announcements").iterdir()) if of_announcer else folder / "blocks"
    context = make_context(folder / "home", peer="bert")

    async def check() -> None:
        await DirectoryStorage(DirectoryStorageOptions(folder / "blocks"), context).check()
        await DirectoryAnnouncer(DirectoryAnnouncerOptions(folder / "announcements"), context).check()

    before = sorted(folder.rglob("*"))
    assert as_user(BERT, 0o022, lambda: trio.run(check)) == ""
    closed.chmod(0o2755)
    said = as_user(BERT, 0o022, lambda: trio.run(check))
    assert said.startswith(ConfigError.__name__) and f"chmod g+rwxs {closed}" in said
    assert sorted(folder.rglob("*")) == before


def test_a_folder_above_that_cannot_be_entered_is_the_one_that_is_named(place: Path) -> None:
    folder = shared(place, 0o700)
    said = as_user(BERT, 0o022, lambda: check_folder(folder / "blocks" / "deep", "storage.path"))
    assert f"cannot use {folder}:" in said
    assert f"chmod g+x {folder} " in said.replace(",", " ")


@pytest.mark.parametrize("deep", ["", "closed/home"])
def test_nobody_is_told_to_open_a_home_to_others(place: Path, deep: str) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    said = as_user(BERT, 0o022, lambda: check_folder(closed / deep, "peer.home", shared=False))
    assert f"cannot use {closed}:" in said and "name another" in said and "chmod" not in said
