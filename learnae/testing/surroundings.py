"""What the kits ask of every check that a service makes of its outside world."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import trio

from learnae.strategies import Context, Service, Storage
from learnae.testing.kit import Kit, in_trio
from learnae.testing.published import fetched, payloads, published, same

CHECK_SECONDS = 20.0
LINE_CHARACTERS = 500

OpenStorage = Callable[[str], Storage]
"""Makes a storage, not yet entered, for a peer of this name; all that one test makes use the same place."""


async def checked(service: Service) -> None:
    """Where all is well a check is over in time, and says so in short lines."""
    with trio.fail_after(CHECK_SECONDS):
        lines = await service.check()
    assert isinstance(lines, list | tuple)
    assert {type(line) for line in lines} <= {str}
    assert all(0 < len(line) <= LINE_CHARACTERS and "\n" not in line for line in lines)


async def checked_before_the_first_run(service: Service) -> None:
    """Then it leaves nothing behind in the folders of its peer; beside a run others write there."""
    before = _paths(service.context)
    await checked(service)
    assert _paths(service.context) == before


def _paths(context: Context) -> set[Path]:
    return {path for folder in (context.home, context.meeting) for path in (folder, *folder.rglob("*")) if path.exists()}


class StorageChecks(Kit):
    """What the kit of storages asks of `check`."""

    @in_trio
    async def test_a_check_before_the_first_run_leaves_nothing_behind(self, storage: OpenStorage) -> None:
        await checked_before_the_first_run(storage("a"))

    @in_trio
    async def test_a_check_beside_a_run_disturbs_nothing(self, storage: OpenStorage) -> None:
        update = published("u", *payloads(3))
        async with storage("a") as store:
            await store.put(update.root, update.blocks)
            await checked(storage("a"))
            assert list(await store.roots()) == [update.root]
            assert same(await fetched(store, update.cids), update)
