"""A peer of one user with its folders, and links of another: for tests of who leads it where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import trio

from learnae.errors import ConfigError, UnavailableError
from learnae.plugins.directory.announcer import DirectoryAnnouncer, DirectoryAnnouncerOptions
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.records import Heard
from learnae.testing.context import make_context
from learnae.testing.published import fetched, payloads, published, same

VICTIM, STRANGER = 53_011, 53_012
UPDATE, OLD = published("one", *payloads(4)), published("old", *payloads(2))


def live(meeting: Path, blocks: Path | None = None, board: Path | None = None) -> Callable[[], None]:
    """All that a peer does with its folders; whatever of it goes wrong, the rest is tried as well."""

    async def work() -> None:
        context, failures = make_context(meeting / "home", peer="victim", meeting=meeting), list[str]()

        async def store() -> None:
            async with DirectoryStorage(DirectoryStorageOptions(blocks), context) as storage:
                await storage.put(UPDATE.root, UPDATE.blocks)
                await storage.drop(OLD.root)
                assert same(await fetched(storage, UPDATE.cids), UPDATE)

        async def talk() -> None:
            heard = list[Heard]()
            async with DirectoryAnnouncer(DirectoryAnnouncerOptions(board), context) as announcer:
                await announcer.announce(b"hello", channel="c", replaces=b"key")
                with trio.fail_after(60), trio.CancelScope() as limit:

                    def deliver(item: Heard) -> None:
                        heard.append(item)
                        limit.cancel()

                    await announcer.listen(["c"], deliver)
            assert [item.message for item in heard] == [b"hello"]

        for part in (store, talk):
            try:
                await part()
            except (UnavailableError, ConfigError) as error:
                failures.append(str(error))
        if failures:
            raise UnavailableError("; ".join(failures))

    return lambda: trio.run(work)


def linked(link: Path, target: Path, user: int) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    os.lchown(link, user, user)
    return link
