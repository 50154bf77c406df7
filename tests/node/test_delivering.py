"""`deliver` may be called from any thread, with whatever, at any time: it never raises, and after the end nothing counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import structlog
import trio
import trio.testing

from learnae.errors import UnavailableError
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.runtime import Outages
from learnae.node.services import MOST_WAITING, Messages
from learnae.records import BLOCK_BYTES, Block, Heard

pytestmark = pytest.mark.virtual_time

MODEL = {"w": np.arange(300_000, dtype=np.float32)}
LIMIT = 10_000_000


class Touchy:
    """Raises at every look."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("do not look at me")


def released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


NONSENSE: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "a number": lambda: 7,
    "bytes": lambda: b"bytes",
    "a pair": lambda: ("cid", b"data"),
    "touchy": Touchy,
}
NO_BLOCKS: dict[str, Callable[[], Any]] = {
    "a list for a name": lambda: Block([], b"x"),  # type: ignore[arg-type]
    "no data": lambda: Block("cid", None),  # type: ignore[arg-type]
    "text": lambda: Block("cid", "text"),  # type: ignore[arg-type]
    "released memory": lambda: Block("cid", released()),  # type: ignore[arg-type]
}
NO_MESSAGES: dict[str, Callable[[], Any]] = {
    "a block": lambda: Block("cid", b"x"),  # type: ignore[arg-type]
    "no data": lambda: Heard(None),  # type: ignore[arg-type]
    "text": lambda: Heard("text"),  # type: ignore[arg-type]
    "released memory": lambda: Heard(released()),  # type: ignore[arg-type]
}


@pytest.fixture
def fetched(bench):
    """Fetches a publication from storages; in real time, since threads take part."""

    def run(publication, *storages):
        transfer, told = Transfer(LIMIT), {}

        async def main():
            async with trio.open_nursery() as nursery:
                made = await bench(nursery, *storages)
                fetcher = Fetcher(made.named, made.services, lambda peer, storage: (), structlog.get_logger())
                try:
                    with trio.fail_after(60):
                        (await fetcher.fetch(publication.announcement, transfer)).check()
                finally:
                    told.update(made.outages)
                    nursery.cancel_scope.cancel()

        trio.run(main)
        return transfer, told

    return run


@pytest.fixture
def threaded(shelf):
    """A storage that delivers out of a thread."""

    class Threaded(type(shelf())):
        def _deliver(self, cids, deliver) -> None:
            for cid in cids:
                if cid in self.blocks:
                    deliver(self.blocks[cid])

        async def get(self, cids, deliver, *, hints=()):
            await trio.to_thread.run_sync(self._deliver, cids, deliver)
            if missing := [cid for cid in cids if cid not in self.blocks]:
                raise UnavailableError("not on the shelf", missing)

    return lambda *blocks: Threaded(shelf().context, blocks)


@pytest.mark.parametrize("count", [1, 2, 3], ids=["one storage", "two", "three"])
def test_blocks_may_be_delivered_from_a_thread_however_many_storages_there_are(fetched, publication, threaded, count):
    update = publication(MODEL)
    blocks = update.packed.blocks
    transfer, told = fetched(update, *(threaded(*blocks[index::count]) for index in range(count)))
    assert transfer.bytes == update.packed.bytes
    assert told == {}


def test_blocks_may_be_delivered_by_several_threads_at_once(fetched, publication, shelf):
    update = publication({"w": np.arange(15 * BLOCK_BYTES // 4, dtype=np.float32)})

    class Parallel(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            async with trio.open_nursery() as nursery:
                for cid in cids:
                    nursery.start_soon(trio.to_thread.run_sync, deliver, self.blocks[cid])
                    nursery.start_soon(trio.to_thread.run_sync, deliver, self.blocks[cid])

    transfer, told = fetched(update, Parallel(shelf().context, update.packed.blocks))
    assert transfer.bytes == update.packed.bytes
    assert told == {}


@pytest.mark.parametrize("make", [*NONSENSE.values(), *NO_BLOCKS.values()], ids=[*NONSENSE, *NO_BLOCKS])
@pytest.mark.parametrize("in_thread", [False, True], ids=["in the loop", "in a thread"])
def test_what_is_no_block_is_told_and_the_others_count(fetched, publication, shelf, make, in_thread):
    update, nonsense = publication(MODEL), make()

    class Confused(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            if in_thread:
                await trio.to_thread.run_sync(deliver, nonsense)
            else:
                deliver(nonsense)
            await super().get(cids, deliver, hints=hints)

    transfer, told = fetched(update, Confused(shelf().context, update.packed.blocks), shelf())
    assert transfer.bytes == update.packed.bytes
    assert "no block" in told["reading storage s0"]


@pytest.mark.parametrize("form", [bytearray, memoryview], ids=["bytearray", "memoryview"])
def test_bytes_that_a_storage_changes_afterwards_were_copied(fetched, publication, shelf, form):
    update = publication(MODEL)

    class Reusing(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            for cid in cids:
                buffer = bytearray(self.blocks[cid].data)
                deliver(Block(cid, form(buffer)))
                buffer[:] = bytes(len(buffer))

    transfer, told = fetched(update, Reusing(shelf().context, update.packed.blocks))
    assert transfer.bytes == update.packed.bytes
    assert told == {}


@pytest.mark.parametrize("in_thread", [False, True], ids=["in the loop", "in a thread"])
def test_what_comes_after_the_end_of_get_does_not_count(fetched, publication, shelf, in_thread):
    update = publication(MODEL)
    kept = []

    class Late(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            kept.append((deliver, [self.blocks[cid] for cid in cids if cid in self.blocks]))
            raise UnavailableError("later", cids)

    with pytest.raises(BaseExceptionGroup):
        fetched(update, Late(shelf().context, update.packed.blocks))
    transfer, _ = fetched(update, Late(shelf().context, update.packed.blocks), shelf(*update.packed.blocks))
    before = transfer.bytes
    for deliver, blocks in kept:
        for block in blocks:
            if in_thread:
                thread = threading.Thread(target=deliver, args=(block,))
                thread.start()
                thread.join()
            else:
                deliver(block)
    assert transfer.bytes == before
    assert kept[0][0].transfer.bytes == 0


def test_a_storage_that_returns_without_all_blocks_is_told_and_the_next_one_asked(fetched, publication, shelf):
    update = publication(MODEL)

    class Careless(type(shelf())):
        async def get(self, cids, deliver, *, hints=()):
            for cid in list(cids)[:-1]:
                deliver(self.blocks[cid])

    _, told = fetched(update, Careless(shelf().context, update.packed.blocks), shelf(*update.packed.blocks))
    assert "storage s0" in next(iter(told))


# -- messages ------------------------------------------------------------------------------------------------------------------------


def heard_of(main: Any) -> tuple[list[Heard], list[str]]:
    """What is heard of what an async function delivers, and what is told."""
    heard: list[Heard] = []
    loop, outages = threading.get_ident(), Outages(structlog.get_logger())

    def hear(one: Heard) -> None:
        assert threading.get_ident() == loop
        heard.append(one)

    async def run() -> None:
        messages = Messages(hear, "my-plugin", "listening", outages, trio.current_time())
        await main(messages)
        await trio.testing.wait_all_tasks_blocked()

    trio.run(run)
    return heard, list(outages.broken.values())


def test_messages_may_be_delivered_from_a_thread_and_are_heard_in_the_loop_in_order():
    sent = [Heard(b"%d" % number) for number in range(100)]

    async def main(messages: Messages) -> None:
        await trio.to_thread.run_sync(lambda: [messages(each) for each in sent])

    assert heard_of(main) == (sent, [])


@pytest.mark.parametrize("make", [*NONSENSE.values(), *NO_MESSAGES.values()], ids=[*NONSENSE, *NO_MESSAGES])
@pytest.mark.parametrize("in_thread", [False, True], ids=["in the loop", "in a thread"])
def test_what_is_no_message_is_told_and_the_others_are_heard(make, in_thread):
    async def main(messages: Messages) -> None:
        for each in (make(), Heard(b"hello")):
            if in_thread:
                await trio.to_thread.run_sync(messages, each)
            else:
                messages(each)

    heard, told = heard_of(main)
    assert heard == [Heard(b"hello")]
    assert ["my-plugin" in line for line in told] == [True]


def test_a_message_that_is_changed_afterwards_was_copied():
    buffer = bytearray(b"hello")

    async def main(messages: Messages) -> None:
        messages(Heard(buffer, 1))  # type: ignore[arg-type]
        buffer[:] = b"other"

    assert heard_of(main) == ([Heard(b"hello", backlog=True)], [])


def test_after_the_end_of_listen_nothing_is_heard():
    async def main(messages: Messages) -> None:
        messages(Heard(b"in time"))
        messages.end()
        messages(Heard(b"too late"))
        await trio.to_thread.run_sync(messages, Heard(b"too late"))

    assert heard_of(main) == ([Heard(b"in time")], [])


def test_what_a_thread_delivered_in_time_is_not_heard_once_listen_has_ended():
    async def main(messages: Messages) -> None:
        thread = threading.Thread(target=lambda: [messages(Heard(b"waiting")), messages(None)])  # type: ignore[arg-type]
        thread.start()
        thread.join()  # the loop stands still meanwhile
        messages.end()

    assert heard_of(main) == ([], [])


def test_a_flood_out_of_a_thread_fills_no_memory():
    async def main(messages: Messages) -> None:
        thread = threading.Thread(target=lambda: [messages(Heard(b"x")) for _ in range(3 * MOST_WAITING)])
        thread.start()
        thread.join()  # the loop hears nothing meanwhile

    heard, _ = heard_of(main)
    assert len(heard) == MOST_WAITING


async def test_a_thread_that_delivers_when_the_loop_is_over_disturbs_nobody():
    kept: list[Messages] = []

    kept.append(Messages(lambda heard: None, "p", "listening", Outages(structlog.get_logger()), 0.0))
    thread = threading.Thread(target=kept[0], args=(Heard(b"x"),))
    thread.start()
    thread.join()
