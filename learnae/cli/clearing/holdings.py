"""The roots of one peer in its storages: found, and dropped. What one storage cannot do keeps no other from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import attrs
import trio

from learnae.errors import LearnaeError
from learnae.node.assembly import Named
from learnae.node.services import CLOSE_SECONDS, OPEN_SECONDS
from learnae.records import Cid
from learnae.strategies import Storage

LIST_SECONDS = 60.0
DROP_SECONDS = 30.0  # for each root


@attrs.define
class Holding:
    """What one storage has of this peer, and what has become of it; `failure` is why not all of it could be told, or dropped."""

    storage: Named[Storage]
    roots: tuple[Cid, ...] = ()
    dropped: int = 0
    failure: str | None = None


async def find_roots(storages: Iterable[Named[Storage]]) -> list[Holding]:
    """One for each storage."""
    holdings = [Holding(storage) for storage in storages]
    for holding in holdings:
        await _in_it(holding, _find)
    return holdings


async def drop_roots(holdings: Iterable[Holding]) -> None:
    """All that was found."""
    for holding in holdings:
        if holding.roots:
            await _in_it(holding, _drop)


async def _find(holding: Holding, limit: trio.CancelScope) -> None:
    limit.deadline = trio.current_time() + LIST_SECONDS
    holding.roots = tuple(await holding.storage.strategy.roots())


async def _drop(holding: Holding, limit: trio.CancelScope) -> None:
    for root in holding.roots:
        limit.deadline = trio.current_time() + DROP_SECONDS
        await holding.storage.strategy.drop(root)
        holding.dropped += 1
    limit.deadline = trio.current_time() + LIST_SECONDS
    if left := {*holding.roots} & {*await holding.storage.strategy.roots()}:
        holding.dropped -= len(left)
        holding.failure = f"{len(left)} of its roots are still there after they were dropped"


async def _in_it(holding: Holding, work: Callable[[Holding, trio.CancelScope], Awaitable[None]]) -> None:
    storage = holding.storage
    limit = trio.CancelScope(deadline=trio.current_time() + OPEN_SECONDS)
    try:
        with limit, storage.calling(f"looking after the own roots in {storage.label}", ours=(LearnaeError,)):
            async with storage.strategy:
                await work(holding, limit)
                limit.deadline = trio.current_time() + CLOSE_SECONDS
    except LearnaeError as error:
        holding.failure = str(error)
    if limit.cancelled_caught:
        holding.failure = "it did not answer in time"
