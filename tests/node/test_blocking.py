"""How calls of services with plain methods are run, ended, and left alone."""

from __future__ import annotations

import asyncio  # noqa: TID251  # as an author does whose client speaks it
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from learnae.blocking_services import BlockingStorage
from learnae.content.cids import raw_cid
from learnae.errors import UnavailableError
from learnae.node import blocking
from learnae.node.blocking import asynchronous
from learnae.node.runtime import in_worker_threads, inline
from learnae.plugins.offers import StrategyOffer
from learnae.records import Block, Cid, Heard
from learnae.strategies import NoOptions, Storage
from learnae.testing.context import SharedResources, make_context
from learnae.testing.swarm import run_in_virtual_time
from tests.support.blocking import BoardAnnouncer, FolderStorage

BLOCK = Block(raw_cid(b"block"), b"block")
ROOT = BLOCK.cid


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "GRACE_SECONDS", 0.05)


class Stuck(BlockingStorage):
    """Does not return before `free` is set; does not know that it can be interrupted."""

    threads = 2

    def __init__(self, home: Path) -> None:
        super().__init__(NoOptions(), make_context(home))
        self.free, self.ended, self.dropped = threading.Event(), threading.Semaphore(0), threading.Semaphore(0)

    def stay(self) -> None:
        try:
            assert self.free.wait(30)
        finally:
            self.ended.release()

    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.stay()

    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        self.stay()
        deliver(BLOCK)

    def drop(self, root: Cid) -> None:
        self.dropped.release()

    def roots(self) -> Sequence[Cid]:
        return []


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    storage = Stuck(tmp_path)
    yield storage
    storage.free.set()


async def give_up(call: Callable[[], Any]) -> None:
    with trio.move_on_after(0.05) as scope:
        await call()
    assert scope.cancelled_caught


async def test_a_call_that_does_not_end_is_left_alone_and_the_node_ends_without_it(stuck: Stuck) -> None:
    async with asynchronous(stuck) as storage:
        await give_up(lambda: storage.get([ROOT], lambda block: None))
    assert not stuck.ended.acquire(blocking=False)


async def test_what_a_call_delivers_after_it_was_left_alone_counts_for_nothing(stuck: Stuck) -> None:
    delivered: list[Block] = []

    storage = asynchronous(stuck)
    await give_up(lambda: storage.get([ROOT], delivered.append))
    stuck.free.set()
    await trio.to_thread.run_sync(stuck.ended.acquire)
    assert list(await storage.roots()) == []
    assert delivered == []


async def test_threads_that_hang_are_counted_and_are_back_when_they_end(stuck: Stuck) -> None:
    storage = asynchronous(stuck)
    for _ in range(Stuck.threads):
        await give_up(lambda: storage.get([ROOT], lambda block: None))
    with pytest.raises(UnavailableError, match="hang"):
        await storage.roots()
    stuck.free.set()
    while True:
        try:
            assert list(await storage.roots()) == []
            break
        except UnavailableError:
            await trio.sleep(0.001)


async def test_a_put_that_succeeds_after_it_was_left_alone_is_dropped(stuck: Stuck) -> None:
    storage = asynchronous(stuck)
    await give_up(lambda: storage.put(ROOT, [BLOCK]))
    with pytest.raises(UnavailableError, match="earlier call"):
        await storage.put(ROOT, [BLOCK])
    stuck.free.set()
    assert await trio.to_thread.run_sync(lambda: stuck.dropped.acquire(timeout=30))


class SlowToOpen(Stuck):
    def open(self) -> None:
        self.stay()

    def close(self) -> None:
        self.dropped.release()


async def test_an_open_that_succeeds_after_it_was_left_alone_is_closed_and_no_other_one_meets_it(tmp_path: Path) -> None:
    stuck = SlowToOpen(tmp_path)

    storage = asynchronous(stuck)
    await give_up(storage.__aenter__)
    with pytest.raises(UnavailableError, match="earlier"):
        await storage.__aenter__()
    assert list(await storage.roots()) == [], "a call had no thread for itself"
    stuck.free.set()
    assert await trio.to_thread.run_sync(lambda: stuck.dropped.acquire(timeout=30))


async def test_the_cores_own_threads_do_not_wait_behind_those_of_a_service(stuck: Stuck) -> None:
    storage, in_thread = asynchronous(stuck), in_worker_threads(1)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(storage.get, [ROOT], lambda block: None)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(30):
            assert await in_thread(lambda: "done") == "done"
        nursery.cancel_scope.cancel()


class Interruptible(Stuck):
    """Its connection is closed from another thread."""

    def stay(self) -> None:
        with self.interruptible(self.hang_up):
            super().stay()
            raise ConnectionResetError("closed")

    def hang_up(self) -> None:
        self.closer = threading.get_ident()
        self.free.set()


async def test_what_is_interruptible_is_interrupted_from_another_thread_and_what_it_raises_then_is_not_told(tmp_path: Path) -> None:
    stuck = Interruptible(tmp_path)

    await give_up(lambda: asynchronous(stuck).put(ROOT, [BLOCK]))
    assert stuck.ended.acquire(blocking=False)
    assert stuck.closer != threading.get_ident()


class Nested(Stuck):
    """The interrupt of the inner one raises; the outer one is what ends the call."""

    def stay(self) -> None:
        with self.interruptible(self.free.set), self.interruptible(self.fail):
            super().stay()

    def fail(self) -> None:
        raise SystemExit(3)


async def test_an_interrupt_that_raises_keeps_none_of_the_others_from_being_called(tmp_path: Path) -> None:
    stuck = Nested(tmp_path)

    with trio.move_on_after(0.05):
        await asynchronous(stuck).put(ROOT, [BLOCK])
    assert await trio.to_thread.run_sync(lambda: stuck.ended.acquire(timeout=20))
    assert stuck.free.is_set()


class Late(Stuck):
    """Becomes interruptible when its call is no longer wanted, and again when it was interrupted."""

    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.interrupted = list[str]()
        while self.wait(30):
            pass
        with self.interruptible(lambda: self.interrupted.append("outer")), self.interruptible(lambda: self.interrupted.append("inner")):
            self.seen = list(self.interrupted)
        self.stay()


async def test_what_becomes_interruptible_too_late_is_interrupted_at_once_and_once(tmp_path: Path) -> None:
    stuck = Late(tmp_path)
    stuck.free.set()

    with trio.move_on_after(0.05):
        await asynchronous(stuck).put(ROOT, [BLOCK])
    assert await trio.to_thread.run_sync(lambda: stuck.ended.acquire(timeout=20))
    assert stuck.seen == stuck.interrupted == ["outer", "inner"]


class Waiting(Stuck):
    """Has attributes of its own, and does not call the constructor of its base."""

    def __init__(self, home: Path) -> None:
        self.options, self.context = NoOptions(), make_context(home)
        self.ended, self.running = threading.Semaphore(0), True

    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        while self.wait(30):
            pass
        self.ended.release()


async def test_no_attribute_of_the_author_and_no_constructor_stands_between_a_call_and_its_end(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)

    with trio.move_on_after(0.05):
        await asynchronous(waiting).put(ROOT, [BLOCK])
    assert await trio.to_thread.run_sync(lambda: waiting.ended.acquire(timeout=20))


async def test_a_service_that_calls_another_one_waits_no_longer_than_its_own_call(tmp_path: Path) -> None:
    waiting, outer = Waiting(tmp_path), Stuck(tmp_path)
    outer.stay = lambda: waiting.put(ROOT, [BLOCK])  # type: ignore[method-assign]

    with trio.move_on_after(0.05):
        await asynchronous(outer).put(ROOT, [BLOCK])
    assert await trio.to_thread.run_sync(lambda: waiting.ended.acquire(timeout=20))


class Asyncio(Stuck):
    """As somebody writes it whose client speaks asyncio."""

    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        asyncio.run(self._get(cids, deliver))

    async def _get(self, cids: Sequence[Cid], deliver: Callable[[Block], None]) -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        with self.interruptible(lambda: loop.call_soon_threadsafe(task.cancel)):
            try:
                deliver(BLOCK)
                await asyncio.sleep(30 if len(cids) > 1 else 0)
            finally:
                self.ended.release()


async def test_a_client_of_asyncio_works_in_a_thread_and_is_cancelled_with_its_call(tmp_path: Path) -> None:
    storage, delivered = Asyncio(tmp_path), list[Block]()

    await asynchronous(storage).get([ROOT], delivered.append)
    assert storage.ended.acquire(blocking=False)
    await give_up(lambda: asynchronous(storage).get([ROOT, ROOT], delivered.append))
    assert delivered == [BLOCK, BLOCK]
    assert storage.ended.acquire(blocking=False)


def test_calls_in_virtual_time_take_no_real_time_and_are_the_same_each_time(tmp_path: Path) -> None:
    async def main() -> list[tuple[float, bytes]]:
        shared, heard = SharedResources(), list[tuple[float, bytes]]()

        def announcer(peer: str) -> Any:
            return asynchronous(BoardAnnouncer(NoOptions(), make_context(tmp_path, peer=peer, shared=shared, in_thread=inline)))

        def hear(one: Heard) -> None:
            token.run_sync_soon(lambda: heard.append((trio.current_time(), one.message)))

        token = trio.lowlevel.current_trio_token()
        async with announcer("a") as a, announcer("b") as b, trio.open_nursery() as nursery:
            nursery.start_soon(b.listen, ["c"], hear)
            for number in range(3):
                await trio.sleep(1000.0)
                await a.announce(b"%d" % number, channel="c", replaces=b"k")
            await trio.sleep(1.0)
            nursery.cancel_scope.cancel()
        return heard

    BoardAnnouncer.look_seconds, before = 7.0, BoardAnnouncer.look_seconds
    try:
        first, second = run_in_virtual_time(main), run_in_virtual_time(main)
    finally:
        BoardAnnouncer.look_seconds = before
    assert first == second
    assert [message for _, message in first] == [b"0", b"1"]


class Both(BlockingStorage):
    """`async` where the core calls in a thread."""

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None: ...  # type: ignore[override]
    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None: ...
    def drop(self, root: Cid) -> None: ...
    def roots(self) -> Sequence[Cid]: ...


class NoThreads(FolderStorage):
    threads = 0


class OneThread(BoardAnnouncer):
    threads = 1


@pytest.mark.parametrize(
    ("kind", "found", "flaw"), [("storage", Both, "async def"), ("storage", NoThreads, "threads"), ("announcer", OneThread, "threads")]
)
def test_a_blocking_service_that_cannot_be_called_is_named_when_it_is_loaded(kind: str, found: type, flaw: str) -> None:
    with pytest.raises(Exception, match=flaw):
        StrategyOffer(kind, "wrong", "p", found).load()


def test_the_core_calls_a_blocking_service_as_it_does_an_async_one(tmp_path: Path) -> None:
    assert isinstance(asynchronous(FolderStorage(NoOptions(), make_context(tmp_path))), Storage)
