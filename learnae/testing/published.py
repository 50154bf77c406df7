"""Made-up updates for tests of storages, and helpers that fetch and compare them."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import trio

from learnae.content.cids import raw_cid
from learnae.content.roots import Root, encode_parts, encode_root
from learnae.errors import Problem, UnavailableError
from learnae.plugins.calls import ungrouped
from learnae.records import Block, Cid
from learnae.strategies import Context, Service, Storage
from learnae.testing.kit import Kit, in_trio


@attrs.frozen
class MadeUpUpdate:
    """A root with all its blocks, as the core would put them."""

    root: Cid
    blocks: tuple[Block, ...]

    @property
    def cids(self) -> list[Cid]:
        return [block.cid for block in self.blocks]


def published(name: str, *payloads: bytes) -> MadeUpUpdate:
    """Make a root with these blocks. The name goes into its meta, so that roots of the same blocks differ."""
    blocks = [Block(raw_cid(data), data) for data in (name.encode(), *payloads)]
    parts = encode_parts([block.cid for block in blocks[1:]])
    root = encode_root(Root(blocks[0].cid, tuple(part.cid for part in parts)))
    return MadeUpUpdate(root.cid, (*blocks, *parts, root))


def payloads(count: int, seed: int = 0, length: int = 1000) -> list[bytes]:
    """Make so many payloads of `length` random bytes. The same seed gives the same ones."""
    rng = random.Random(seed)
    return [rng.randbytes(length) for _ in range(count)]


async def fetched(storage: Storage, cids: Sequence[Cid], hints: Sequence[str] = ()) -> dict[Cid, bytes]:
    """Get these blocks, and return what the storage delivers. Raises UnavailableError, never in an exception group."""
    found: dict[Cid, bytes] = {}
    with ungrouped():
        await storage.get(cids, lambda block: found.update({block.cid: bytes(block.data)}), hints=hints)
    return found


async def missing_in(storage: Storage, cids: Sequence[Cid]) -> set[Cid]:
    """The CIDs that a storage names as missing."""
    try:
        await fetched(storage, cids)
    except UnavailableError as outage:
        return set(outage.missing)
    return set()


def same(found: dict[Cid, bytes], update: MadeUpUpdate) -> bool:
    """Whether exactly the blocks of this update came, byte for byte."""
    return found == {block.cid: block.data for block in update.blocks}


def breaking_off(blocks: Sequence[Block], after: int | None = None) -> Iterator[Block]:
    """A core that fails after so many blocks, or half way."""
    yield from blocks[: len(blocks) // 2 if after is None else after]
    raise ZeroDivisionError


def cancelling(blocks: Sequence[Block], scope: trio.CancelScope, after: int | None = None) -> Iterator[Block]:
    """A core that cancels the call after so many blocks, or half way, whichever thread takes them."""
    return doing_between(blocks, in_loop(scope.cancel), after)


def doing_between(blocks: Sequence[Block], function: Callable[[], object], after: int | None = None) -> Iterator[Block]:
    """Calls this function after so many blocks, or half way, in whichever thread takes them."""
    for number, block in enumerate(blocks):
        if number == (len(blocks) // 2 if after is None else after):
            function()
        yield block


def in_loop(function: Callable[[], object]) -> Callable[[], None]:
    """The same, to be called from any thread: it runs soon in the loop of the caller of this."""
    return functools.partial(trio.lowlevel.current_trio_token().run_sync_soon, function)


CHECK_SECONDS = 20.0
LINE_CHARACTERS = 500

OpenStorage = Callable[[str], Storage]
"""Makes a storage, not yet entered, for a peer of this name; all that one test makes use the same place."""


async def checked(service: Service) -> None:
    """A check is over in time, and says what is well, or may be, in short lines."""
    with trio.fail_after(CHECK_SECONDS):
        lines = await service.check()
    assert isinstance(lines, list | tuple)
    assert {type(line) for line in lines} <= {str, Problem}
    assert all(0 < len(str(line)) <= LINE_CHARACTERS and "\n" not in str(line) for line in lines)


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
