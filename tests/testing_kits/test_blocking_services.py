"""Storages and announcers with plain methods pass the kits as those with async ones do; wrong ones are caught."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from learnae.records import Block, Cid
from learnae.strategies import NoOptions
from learnae.testing.announcer_kit import AnnouncerConformance
from learnae.testing.context import SharedResources, make_context
from learnae.testing.kit import failing
from learnae.testing.storage_kit import StorageConformance
from tests.support.blocking import BoardAnnouncer, FolderStorage, Latch


@contextmanager
def broken(service: FolderStorage | BoardAnnouncer) -> Iterator[None]:
    service.latch.broken = True
    yield
    service.latch.broken = False


class TestFolderStorage(StorageConformance):
    def out_of_order(self, storage: FolderStorage) -> Any:
        return broken(storage)

    @pytest.fixture
    def storage(self, learnae_contexts):
        return lambda peer: FolderStorage(NoOptions(), learnae_contexts(peer))


class TestBoardAnnouncer(AnnouncerConformance):
    def out_of_order(self, announcer: BoardAnnouncer) -> Any:
        return broken(announcer)

    async def garbage(self, announcer: BoardAnnouncer) -> None:
        announcer.announce(b"\xff" * 100, channel="c", replaces=b"garbage")

    @pytest.fixture
    def announcer(self, learnae_contexts):
        return lambda peer: BoardAnnouncer(NoOptions(), learnae_contexts(peer))


class Deaf(BoardAnnouncer):
    """Sleeps where it should wait: nobody can end it."""

    def wait(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True


class Impatient(BoardAnnouncer):
    """Looks once."""

    def wait(self, seconds: float) -> bool:
        return False


class OneVoice(BoardAnnouncer):
    """Mixes up what two threads send at once."""

    def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        self.sending = message, channel, replaces
        time.sleep(0.02)
        message, channel, replaces = self.sending
        super().announce(message, channel=channel, replaces=replaces)


class Piecemeal(FolderStorage):
    """Names a root before its blocks are there."""

    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        super().put(root, ())
        super().put(root, blocks)


class Forgetful(FolderStorage):
    """Does not say what is missing."""

    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        super().get([cid for cid in cids if (self.blocks / cid).exists()], deliver)


class BriefStorageKit(StorageConformance):
    timeout_seconds = 5.0


class BriefAnnouncerKit(AnnouncerConformance):
    timeout_seconds = 3.0


@pytest.mark.parametrize(
    ("wrong", "caught"),
    [
        (Piecemeal, "test_a_put_that_breaks_off_keeps_nothing"),
        (Forgetful, "test_unknown_blocks_are_named_after_the_others_were_delivered"),
    ],
)
def test_a_wrong_blocking_storage_is_caught(wrong: type[FolderStorage], caught: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    def fixture() -> Callable[[str], FolderStorage]:
        shared, place = SharedResources(), tmp_path_factory.mktemp("place")
        return lambda peer: wrong(NoOptions(), make_context(place / peer, meeting=place, peer=peer, shared=shared))

    assert caught in failing(BriefStorageKit(), fixture)


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (Impatient, AnnouncerConformance.test_a_silent_medium_is_waited_at_until_cancelled),
        (Deaf, AnnouncerConformance.test_a_listener_can_be_cancelled_and_another_one_begin_at_any_moment),
        (OneVoice, AnnouncerConformance.test_peers_that_send_at_once_are_all_heard),
    ],
)
def test_a_wrong_blocking_announcer_is_caught(wrong: type[BoardAnnouncer], test: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared, place = SharedResources(), tmp_path_factory.mktemp("place")
    try:
        with pytest.raises(Exception):  # noqa: B017, PT011  # of any kind: a kit fails as it likes
            test(BriefAnnouncerKit(), lambda peer: wrong(NoOptions(), make_context(place / peer, peer=peer, shared=shared)))
    finally:
        shared(Latch).broken = True  # ends the threads that nobody could end
