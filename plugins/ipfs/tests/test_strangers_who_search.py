"""Blocks that are nowhere, and addresses that never answer: whoever asks for them keeps nobody else waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from learnae import UnavailableError
from learnae.lowlevel import raw_cid
from learnae.testing.published import fetched, payloads, published, same
from learnae_ipfs import meetings
from learnae_ipfs.line import KuboRefusedError
from learnae_ipfs.meetings import DAEMONS, DIALS, HUNG_SECONDS, MEET_SECONDS, STRANGE, Meetings
from learnae_ipfs.storage import IpfsStorage
from learnae_ipfs.turns import LONGEST_SECONDS, SEARCHES, TURN_SECONDS, SearchCall, SearchTurns, Turn

Storages = Callable[..., IpfsStorage]

UPDATE, OTHER = published("u", *payloads(5)), published("other", *payloads(3))
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
LONG_SECONDS = 1000.0


@pytest.fixture
def at(at: Storages) -> Storages:
    return partial(at, search_seconds=LONG_SECONDS)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """It is connected to, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as server:
        yield server.getsockname()[1]


def invented_hints(port: int, number: int, count: int = 8) -> list[str]:
    """Of so many daemons, each with another key."""
    return [
        f"/ip4/127.0.0.1/tcp/{port}/p2p/{_name(bytes([0, 36, 8, 1, 18, 32]) + number.to_bytes(31, 'big') + bytes([each]))}"
        for each in range(count)
    ]


def _name(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


async def test_blocks_that_are_nowhere_keep_no_other_call_from_searching(new_kubo: Any, at: Storages) -> None:
    one, two = new_kubo(), new_kubo()

    async with (
        at(one) as store,
        at(two, "b") as reader,
        trio.open_nursery() as nursery,
    ):
        await store.put(UPDATE.root, UPDATE.blocks)
        for call in range(2 * SEARCHES):
            nowhere = [raw_cid(bytes([call, number])) for number in range(8)]
            nursery.start_soon(partial(reader.get, nowhere, print))
        await trio.sleep(0.5)
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)
        nursery.cancel_scope.cancel()


async def test_addresses_that_never_answer_keep_no_put_and_no_fetch_waiting(
    new_kubo: Any, silent_port: int, at: Storages, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = new_kubo(), new_kubo()
    monkeypatch.setattr(meetings, "MEET_SECONDS", LONG_SECONDS)
    monkeypatch.setattr(meetings, "WAIT_SECONDS", LONG_SECONDS)

    async with (
        at(one) as store,
        at(two, "b") as reader,
        trio.open_nursery() as nursery,
    ):
        await store.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)  # they have met
        await store.put(OTHER.root, OTHER.blocks)
        for stranger in range(8):
            nursery.start_soon(partial(reader.get, [raw_cid(bytes([stranger]))], print, hints=invented_hints(silent_port, stranger)))
        await trio.sleep(0.5)
        await reader.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(reader, UPDATE.cids), UPDATE)
        assert same(await fetched(reader, OTHER.cids, store.hints()), OTHER)
        nursery.cancel_scope.cancel()


@attrs.define
class Lines:
    """In the place of a daemon: whom it was told to meet, and who answers."""

    answering: Callable[[str], bool]
    dialled: list[str] = attrs.field(factory=list)
    at_once: int = 0
    most: int = 0

    async def call(self, function: Callable[[Any], Any], limit: trio.CapacityLimiter | None = None) -> None:
        asked: list[str] = []
        function(_Asked(asked))
        self.dialled += asked
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await trio.sleep(0.1 if self.answering(asked[0]) else LONG_SECONDS)
        finally:
            self.at_once -= 1


@attrs.define
class _Asked:
    addresses: list[str]

    def order(self, _: str, *addresses: str) -> None:
        self.addresses += addresses


def hint(name: str) -> str:
    return f"/ip4/127.0.0.1/tcp/4001/p2p/{name}"


@pytest.mark.virtual_time
async def test_of_meetings_with_strangers_few_are_under_way_and_one_call_causes_few() -> None:
    lines = Lines(lambda address: False)
    those = Meetings(lines)
    async with trio.open_nursery() as nursery:
        for call in range(6):
            nursery.start_soon(those.meet, [hint(f"{call}x{number}") for number in range(8)])
    assert lines.most == STRANGE
    assert all(sum(f"/{call}x" in address for address in lines.dialled) <= DAEMONS for call in range(6))


@pytest.mark.virtual_time
async def test_who_has_hung_is_left_alone_for_a_while() -> None:
    lines = Lines(lambda address: False)
    those = Meetings(lines)
    for _ in range(2):
        assert not await those.meet([hint("silent")])
    assert len(lines.dialled) == 1
    await trio.sleep(HUNG_SECONDS)
    await those.meet([hint("silent")])
    assert len(lines.dialled) == 2


@pytest.mark.virtual_time
async def test_who_refused_may_be_met_again_at_once() -> None:
    class Refusing(Lines):
        async def call(self, function: Callable[[Any], Any], limit: trio.CapacityLimiter | None = None) -> None:
            function(_Asked(self.dialled))
            await trio.sleep(0.01)
            raise KuboRefusedError("connection refused")

    lines = Refusing(lambda address: True)
    those = Meetings(lines)
    for _ in range(2):
        assert not await those.meet([hint("restarting")])
    assert len(lines.dialled) == 2


@pytest.mark.virtual_time
async def test_strangers_who_hang_delay_no_meeting_with_one_that_was_met_before() -> None:
    lines = Lines(lambda address: address.endswith("friend"))
    those = Meetings(lines)
    assert await those.meet([hint("friend")])
    async with trio.open_nursery() as nursery:
        for call in range(6):
            nursery.start_soon(those.meet, [hint(f"{call}x{number}") for number in range(8)])
        await trio.sleep(0.1)
        with trio.fail_after(MEET_SECONDS / 2):
            assert await those.meet([hint("friend")])
        nursery.cancel_scope.cancel()


@pytest.mark.virtual_time
async def test_strangers_cause_no_more_than_so_many_dials_a_minute() -> None:
    lines = Lines(lambda address: True)
    those = Meetings(lines)
    began, number = trio.current_time(), 0
    while trio.current_time() - began < 120:
        number += 1
        await those.meet([hint(f"stranger{number}")])
        await trio.sleep(0.1)
    assert DIALS <= len(lines.dialled) <= 3 * DIALS


async def search_for_nothing(turns: SearchTurns, owner: SearchCall) -> None:
    async def search(turn: Turn) -> None:
        await trio.sleep_forever()

    while True:
        await turns.run(owner, search)


async def find_each(seconds: float, count: int, found: list[int], turn: Turn) -> None:
    while len(found) < count:
        turn.renew()
        await trio.sleep(seconds)
        found.append(len(found))


@pytest.mark.virtual_time
@pytest.mark.parametrize("silent", [2, SEARCHES, 2 * SEARCHES])
async def test_calls_that_search_for_nothing_leave_one_that_finds_its_share(silent: int) -> None:
    turns, found = SearchTurns(), list[int]()
    async with trio.open_nursery() as nursery:
        for owner in [SearchCall() for _ in range(silent)]:
            for _ in range(2):
                nursery.start_soon(search_for_nothing, turns, owner)
        await trio.sleep(10)
        with trio.fail_after(10 + 4 * TURN_SECONDS):
            while not await turns.run(SearchCall(), partial(find_each, 0.2, 40, found)):
                assert turns.running <= SEARCHES
        nursery.cancel_scope.cancel()
    assert turns.running == 0


@pytest.mark.virtual_time
async def test_who_finds_something_now_and_then_does_not_keep_the_others_out() -> None:
    turns = SearchTurns()

    async def drip(owner: SearchCall) -> None:
        while True:
            await turns.run(owner, partial(find_each, 0.9 * TURN_SECONDS, 10**6, []))

    async with trio.open_nursery() as nursery:
        for owner in [SearchCall() for _ in range(SEARCHES)]:
            nursery.start_soon(drip, owner)
        await trio.sleep(1)
        with trio.fail_after(2 * LONGEST_SECONDS):
            assert await turns.run(SearchCall(), partial(find_each, 0.2, 5, []))
        nursery.cancel_scope.cancel()


@pytest.mark.virtual_time
async def test_where_nobody_waits_a_search_goes_on() -> None:
    turns = SearchTurns()
    async with trio.open_nursery() as nursery:
        for owner in [SearchCall() for _ in range(SEARCHES)]:
            nursery.start_soon(turns.run, owner, partial(find_each, 100 * TURN_SECONDS, 1, []))
    assert await turns.run(SearchCall(), partial(find_each, 100 * TURN_SECONDS, 1, []))


@pytest.mark.virtual_time
async def test_a_search_that_fails_leaves_its_turn_to_others() -> None:
    async def fail(turn: Turn) -> None:
        raise UnavailableError("no daemon")

    turns = SearchTurns()
    for _ in range(3 * SEARCHES):
        with pytest.raises(UnavailableError):
            await turns.run(SearchCall(), fail)
    assert turns.running == 0
