"""The fault wrappers do to a call what their plan says, and nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from learnae.content.cids import check
from learnae.errors import UnavailableError
from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage
from learnae.records import Heard
from learnae.strategies import NoOptions
from learnae.testing.context import SharedResources, make_context
from learnae.testing.faults import Fault, FaultyAnnouncer, FaultyStorage, always, at_random, garbled, nth
from learnae.testing.published import fetched, payloads, published, same

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from learnae.records import Block

HOME = Path("never made")
UPDATE = published("u", *payloads(6))  # and meta, part and root: nine blocks


def virtually(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def test_nth_hits_one_call_of_the_methods_that_it_names() -> None:
    plan = nth(1, Fault.SLOW, "put", "get")
    assert [plan("put", call) for call in range(3)] == [None, Fault.SLOW, None]
    assert plan("get", 1) is Fault.SLOW
    assert plan("drop", 1) is None
    assert nth(0, Fault.BEFORE)("anything", 0) is Fault.BEFORE


def test_random_faults_come_as_often_as_planned_and_repeat_with_the_seed() -> None:
    plan = at_random(7, {Fault.BEFORE: 0.2, Fault.SILENCE: 0.1})
    faults = [plan("get", call) for call in range(2000)]
    assert faults == [at_random(7, {Fault.BEFORE: 0.2, Fault.SILENCE: 0.1})("get", call) for call in range(2000)]
    counts = Counter(faults)
    assert 330 < counts[Fault.BEFORE] < 470  # 400, and four deviations of 18
    assert 145 < counts[Fault.SILENCE] < 255
    assert counts.keys() == {Fault.BEFORE, Fault.SILENCE, None}


@pytest.mark.parametrize("data", [b"", b"\0", b"abc"])
def test_garbled_bytes_differ(data: bytes) -> None:
    assert garbled(data) != data


def test_a_storage_without_faults_is_the_one_inside() -> None:
    async def scenario() -> None:
        async with FaultyStorage(MemoryStorage(NoOptions(), make_context(HOME)), lambda method, call: None) as store:
            await store.put(UPDATE.root, UPDATE.blocks)
            assert same(await fetched(store, UPDATE.cids), UPDATE)
            assert list(await store.roots()) == [UPDATE.root]
            await store.drop(UPDATE.root)
            assert list(await store.roots()) == []
            assert store.faults.calls == {"put": 1, "get": 1, "roots": 2, "drop": 1}

    virtually(scenario)


def test_a_put_that_fails_before_or_half_way_keeps_nothing() -> None:
    async def scenario() -> None:
        inner = MemoryStorage(NoOptions(), make_context(HOME))
        for fault in (Fault.BEFORE, Fault.HALFWAY):
            store = FaultyStorage(inner, nth(0, fault))
            with pytest.raises(UnavailableError, match="on purpose"):
                await store.put(UPDATE.root, UPDATE.blocks)
            assert inner.store.blocks == {}
            await store.put(UPDATE.root, UPDATE.blocks)
            assert same(await fetched(inner, UPDATE.cids), UPDATE)
            await inner.drop(UPDATE.root)

    virtually(scenario)


@pytest.mark.parametrize(("fault", "delivered"), [(Fault.BEFORE, 0), (Fault.HALFWAY, 4)])
def test_a_get_that_fails_names_what_it_did_not_deliver(fault: Fault, delivered: int) -> None:
    async def scenario() -> None:
        store = FaultyStorage(MemoryStorage(NoOptions(), make_context(HOME)), always(fault, "get"))
        await store.put(UPDATE.root, UPDATE.blocks)
        found: list[Block] = []
        with pytest.raises(UnavailableError) as caught:
            await store.get(UPDATE.cids, found.append)
        assert [block.cid for block in found] == UPDATE.cids[:delivered]
        assert list(caught.value.missing) == UPDATE.cids[delivered:]

    virtually(scenario)


@pytest.mark.parametrize("method", ["put", "get"])
def test_garbage_has_the_right_cids_and_the_wrong_bytes(method: str) -> None:
    async def scenario() -> None:
        store = FaultyStorage(MemoryStorage(NoOptions(), make_context(HOME)), always(Fault.GARBAGE, method))
        await store.put(UPDATE.root, UPDATE.blocks)
        found: list[Block] = []
        await store.get(UPDATE.cids, found.append)
        assert [block.cid for block in found] == UPDATE.cids
        assert not any(map(check, found))

    virtually(scenario)


def test_silence_lasts_until_cancelled_and_slowness_passes() -> None:
    async def scenario() -> None:
        inner = MemoryStorage(NoOptions(), make_context(HOME))
        with trio.move_on_after(10_000) as scope:
            await FaultyStorage(inner, always(Fault.SILENCE)).put(UPDATE.root, UPDATE.blocks)
        assert scope.cancelled_caught
        assert inner.store.blocks == {}
        before = trio.current_time()
        await FaultyStorage(inner, always(Fault.SLOW), slow_seconds=30).put(UPDATE.root, UPDATE.blocks)
        assert trio.current_time() - before == pytest.approx(30)
        assert same(await fetched(inner, UPDATE.cids), UPDATE)

    virtually(scenario)


async def heard_by(inner: MemoryAnnouncer) -> list[Heard]:
    """All that lies on the medium."""
    found: list[Heard] = []
    with trio.move_on_after(1):
        await inner.listen(["c"], found.append)
    return found


@pytest.mark.parametrize(
    ("fault", "message"),
    [(Fault.BEFORE, None), (Fault.HALFWAY, b"hello"), (Fault.SLOW, b"hello"), (Fault.GARBAGE, garbled(b"hello")), (Fault.SILENCE, None)],
)
def test_an_announcement_meets_its_fault(fault: Fault, message: bytes | None) -> None:
    async def scenario() -> None:
        inner = MemoryAnnouncer(NoOptions(), make_context(HOME))
        async with FaultyAnnouncer(inner, always(fault)) as announcer:
            assert announcer.max_bytes == inner.max_bytes
            with trio.move_on_after(10) as scope:
                if fault in (Fault.BEFORE, Fault.HALFWAY):
                    with pytest.raises(UnavailableError):
                        await announcer.announce(b"hello", channel="c", replaces=b"k")
                else:
                    await announcer.announce(b"hello", channel="c", replaces=b"k")
        assert scope.cancelled_caught == (fault is Fault.SILENCE)
        assert [heard.message for heard in await heard_by(inner)] == ([] if message is None else [message])

    virtually(scenario)


def test_a_listener_meets_its_fault() -> None:
    async def receiver(fault: Fault) -> list[bytes]:
        shared, found = SharedResources(), list[bytes]()
        sender = MemoryAnnouncer(NoOptions(), make_context(HOME, shared=shared))
        for message in (b"one", b"two", b"three"):
            await sender.announce(message, channel="c", replaces=message)
        listener = FaultyAnnouncer(MemoryAnnouncer(NoOptions(), make_context(HOME, peer="b", shared=shared)), always(fault), half=2)
        with trio.move_on_after(10):
            await listener.listen(["c"], lambda heard: found.append(heard.message))
        return found

    async def scenario() -> None:
        assert await receiver(Fault.SLOW) == [b"one", b"two", b"three"]
        assert await receiver(Fault.GARBAGE) == [garbled(b"one"), garbled(b"two"), garbled(b"three")]
        assert await receiver(Fault.SILENCE) == []
        for fault in (Fault.BEFORE, Fault.HALFWAY):
            with pytest.raises(UnavailableError):
                await receiver(fault)

    virtually(scenario)
