"""What a relay says where, what it keeps, and what it does when too much comes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.content.cids import raw_cid
from learnae.node.assembly import Named
from learnae.node.carrying import NEWEST, Carrying
from learnae.node.fetching import Transfer
from learnae.node.forwarding import LONGEST_SECONDS, MESSAGES_A_SECOND, MOST_WAITING, Forwarding
from learnae.node.inbox import Entry, Inbox
from learnae.node.keeping import Keeping
from learnae.node.outages import Outages
from learnae.node.pace import Pace
from learnae.node.peers import Peers
from learnae.node.publishing import Publisher
from learnae.node.relay import Relay
from learnae.node.services import Services
from learnae.records import Announcement, Kind, Leaving, Present, Update
from learnae.strategies import Announcer
from learnae.testing.context import peer_named
from learnae.testing.virtual_time import run_in_virtual_time

BODIES = {
    Kind.PRESENT: Present(),
    Kind.LEAVING: Leaving(),
    Kind.UPDATE: Update(raw_cid(b"root"), 1, b"l" * 8, b"s" * 8, 0, False, 0, 0, 0.0, "int8"),
}


def entry(peer: str, number: int, kind: Kind = Kind.PRESENT, *, root: str = "") -> Entry:
    body = BODIES[kind]
    if isinstance(body, Update):
        body = attrs.evolve(body, root=raw_cid(f"{peer} {number} {root}".encode()))
    name = f"{peer}/{kind.value}/{number}".encode()
    return Entry(Announcement(b"s" * 16, peer_named(peer), number, body), hashlib.sha256(name).digest(), name, 0.0, 1, False)


class Medium(Announcer):
    """Notes when what was said, under which key."""

    max_bytes = 4096

    def __init__(self) -> None:
        self.said: list[tuple[float, bytes, bytes]] = []

    async def __aenter__(self) -> Medium:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.said.append((trio.current_time(), replaces, message))

    async def listen(self, channels: Sequence[str], deliver: Any) -> None: ...

    @property
    def messages(self) -> list[bytes]:
        return [message for *_, message in self.said]


def alias(text: str) -> bytes:
    return text.encode()


@attrs.define
class Nothing:
    """Stands for a peer with one storage: there is nothing to carry."""

    needed: bool = False

    async def run(self, done: Any) -> None: ...


Heard = st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.integers(1, 6), st.sampled_from([Kind.PRESENT, Kind.LEAVING]), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(Heard, max_size=30))
def test_on_each_medium_numbers_rise_and_nothing_comes_that_was_heard_there_before(heard):
    """The third field of what is heard is a step of the number: as the inbox lets through."""

    async def main() -> None:
        numbers: dict[Any, int] = {}
        known: dict[tuple[int, bytes], bool] = {}
        async with trio.open_nursery() as nursery:
            services = Services(Outages(structlog.get_logger()))
            named = [Named(f"m{i}", "plugin", Medium(), True, f"announcer m{i}") for i in range(3)]
            await services.open(named, nursery)
            forwarding = {one: Forwarding(one, "channel", services, lambda peer: peer == peer_named("a")) for one in named}
            relay = Relay(peer_named("relay"), forwarding, Nothing(), alias)  # type: ignore[arg-type]
            nursery.start_soon(relay.run)
            for medium, peer, step, kind, pause in heard:
                numbers[peer, kind] = numbers.get((peer, kind), 0) + step
                said = entry(peer, numbers[peer, kind], kind)
                relay.hear(named[medium], said, news=True)
                known[medium, said.message] = True
                relay.hear(named[(medium + step) % 3], said, news=False)
                known[(medium + step) % 3, said.message] = True
                if pause:
                    await trio.sleep(1)
            await trio.sleep(10)
            for index, one in enumerate(named):
                messages = one.strategy.messages
                assert len(set(messages)) == len(messages)
                assert not [message for message in messages if (index, message) in known]
                for replaces in {replaces for _, replaces, _ in one.strategy.said}:
                    of_key = [int(message.split(b"/")[-1]) for _, key, message in one.strategy.said if key == replaces]
                    assert of_key == sorted(of_key)
            nursery.cancel_scope.cancel()

    run_in_virtual_time(main)


@pytest.fixture
def said_by(bench):
    """What one medium was told, when a relay has heard these on another one at once."""

    def run(*heard: Entry, trusted: Any = lambda peer: True, ready: bool = True, seconds: float = 20.0) -> Medium:
        async def main() -> Medium:
            async with trio.open_nursery() as nursery:
                made = await bench(nursery, Medium(), Medium())
                forwarding = {named: Forwarding(named, "channel", made.services, trusted) for named in made.named}
                relay = Relay(peer_named("relay"), forwarding, Nothing(), alias)  # type: ignore[arg-type]
                for one in heard:
                    relay.hear(made.named[0], one, news=True)
                await trio.sleep(0 if ready else LONGEST_SECONDS + 1)
                nursery.start_soon(relay.run)
                await trio.sleep(seconds)
                nursery.cancel_scope.cancel()
                return made.named[1].strategy

        return run_in_virtual_time(main)

    return run


def test_of_what_waits_under_one_key_the_newest_is_said(said_by):
    assert said_by(entry("a", 1), entry("a", 2), entry("b", 1), entry("a", 3)).messages == [b"a/4/3", b"b/4/1"]


def test_the_key_is_that_of_its_owner(said_by):
    ((_, replaces, _),) = said_by(entry("a", 1)).said
    assert replaces == f"{peer_named('a')}/{Kind.PRESENT.value}".encode()


def test_a_flood_of_strangers_is_bounded_slow_and_holds_up_nobody_who_is_known(said_by):
    flood = [entry(f"stranger-{i}", 1) for i in range(1000)]
    medium = said_by(*flood, entry("friend", 1), *flood[:10], trusted=lambda peer: peer == peer_named("friend"))
    assert medium.messages[0] == b"friend/4/1"
    assert len(medium.messages) <= MOST_WAITING
    times = [seconds for seconds, *_ in medium.said]
    assert min(b - a for a, b in pairwise(times)) >= 1 / MESSAGES_A_SECOND - 1e-9


def test_what_has_waited_too_long_is_not_said_any_more(said_by):
    assert said_by(entry("a", 1), ready=False).messages == []


# -- carrying --------------------------------------------------------------------------------------------------------------------


@attrs.define
class Stock:
    """A Carrying, with the shelves that it puts into."""

    carrying: Carrying
    shelves: list[Any]
    done: list[int] = attrs.field(factory=list)

    async def carry(self, one: Entry, size: int = 10, origin: str = "storage s0") -> None:
        data = f"{one.peer} {one.announcement.number}".encode().ljust(size, b".")
        self.carrying.inbox.put(one)
        self.carrying.add(one, Transfer(10**6, bytes=size, blocks={raw_cid(data): data}, origin=origin))
        await trio.sleep(1)

    def held(self, shelf: int) -> int:
        return len(self.shelves[shelf].held)


@pytest.fixture
def with_stock(bench, shelf):
    def run(main: Any, *, writes: Sequence[bool] = (True, True), quota: int = 10**6, own: int = 0, trusted: Sequence[str] = ()) -> Any:
        async def inside() -> Any:
            async with trio.open_nursery() as nursery:
                shelves = [shelf() for _ in writes]
                made = await bench(nursery, *shelves, writes=writes)
                peers = Peers(100)
                for name in trusted:
                    peers.note(peer_named(name)).ever_accepted = True
                publisher = Publisher(
                    identity=None,
                    swarm=None,
                    specs=(),
                    signature=b"",
                    assembly=attrs.make_class("Assembly", {"storages": attrs.field()})(made.named),
                    history=None,
                    hearing=None,
                    services=made.services,
                    outages=made.services.outages,
                    in_thread=None,
                    rng=None,
                )
                keeping, pace = Keeping(quota, own), Pace(10.0)
                stock = Stock(Carrying(publisher, keeping, Inbox(100, peers.trusts), peers, pace, 2, trio.current_time), shelves)
                nursery.start_soon(stock.carrying.run, lambda one: stock.done.append(one.announcement.number))
                result = await main(stock)
                nursery.cancel_scope.cancel()
                return result

        return run_in_virtual_time(inside)

    return run


def test_it_goes_where_it_has_not_come_from_and_where_writing_is_allowed(with_stock):
    async def main(stock: Stock) -> list[int]:
        await stock.carry(entry("a", 1, Kind.UPDATE), origin="storage s1")
        assert stock.done == [1]
        return [stock.held(index) for index in range(3)]

    assert with_stock(main, writes=(True, True, False)) == [1, 0, 0]


def test_where_there_is_nowhere_to_put_it_nothing_is_said(with_stock):
    async def main(stock: Stock) -> list[int]:
        await stock.carry(entry("a", 1, Kind.UPDATE), origin="storage s0")
        return stock.done

    assert with_stock(main, writes=(True, False)) == []


def test_the_newest_of_each_peer_are_kept(with_stock):
    async def main(stock: Stock) -> tuple[int, int]:
        for number in range(1, 10):
            for peer in "ab":
                await stock.carry(entry(peer, number, Kind.UPDATE))
        return stock.held(1), len(stock.carrying.carried)

    held, known = with_stock(main)
    assert held == known
    assert 2 * NEWEST <= held <= 2 * (NEWEST + 1)


def test_what_someone_may_still_be_fetching_is_kept(with_stock):
    async def main(stock: Stock) -> int:
        stock.carrying.pace.slowest_seconds = 3.0  # 6 s are granted, and one is carried each second
        for number in range(1, 12):
            await stock.carry(entry("a", number, Kind.UPDATE))
        return stock.held(1)

    assert with_stock(main) in (6, 7)


def test_own_updates_come_first_in_the_quota_and_strangers_go_first_from_it(with_stock):
    async def main(stock: Stock) -> set[str]:
        await stock.carry(entry("friend", 1, Kind.UPDATE), size=300)
        await stock.carry(entry("stranger", 1, Kind.UPDATE), size=300)
        await stock.carry(entry("other", 1, Kind.UPDATE), size=300)
        return {item.peer for item in stock.carrying.carried.values()}

    assert with_stock(main, quota=1000, own=400, trusted=["friend"]) == {peer_named("friend"), peer_named("other")}
    assert with_stock(main, quota=1000, own=701, trusted=["friend"]) == set()


def test_what_is_kept_of_a_peer_that_is_forgotten_is_dropped(with_stock):
    async def main(stock: Stock) -> int:
        await stock.carry(entry("a", 1, Kind.UPDATE))
        stock.carrying.inbox.forget(peer_named("a"))
        await stock.carry(entry("b", 1, Kind.UPDATE))
        return stock.held(1)

    assert with_stock(main) == 1


def test_of_many_that_wait_the_first_fetched_are_left_out(with_stock):
    async def main(stock: Stock) -> list[int]:
        for number, peer in enumerate("abcde", 1):
            one = entry(peer, number, Kind.UPDATE)
            stock.carrying.inbox.put(one)
            stock.carrying.add(one, Transfer(10**6, bytes=1, blocks={raw_cid(b"x"): b"x"}, origin="storage s0"))
        await trio.sleep(1)
        return stock.done

    assert with_stock(main) == [4, 5]


def test_a_peer_that_has_left_meanwhile_is_not_announced(with_stock):
    async def main(stock: Stock) -> list[int]:
        one = entry("a", 1, Kind.UPDATE)
        stock.carrying.inbox.put(one)
        stock.carrying.add(one, Transfer(10**6, bytes=1, blocks={raw_cid(b"x"): b"x"}, origin="storage s0"))
        stock.carrying.inbox.leave_behind(one.peer)
        await trio.sleep(1)
        return stock.done

    assert with_stock(main) == []
