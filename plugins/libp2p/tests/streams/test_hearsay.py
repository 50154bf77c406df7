"""What others say makes a peer dial little: whoever says it, by whatever way, and under whatever names."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import structlog
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.dialling import FROM_FILE, FROM_HINT, Dialler
from learnae_libp2p.streams.hearsay import HOST_AT_ONCE, HOST_SECONDS, WAY_AT_ONCE, WAY_SECONDS, TooSoonError
from learnae_libp2p.streams.transport import UnreachableError
from plugins.libp2p.tests.support.network import FakeNetwork

MINUTE = 60.0


class Dialling:
    """Tries what it is told, as often as it is told; `tried` counts."""

    def __init__(self, network: FakeNetwork, folder: Path, name: str = "a") -> None:
        self.network = network
        self.transport = network.host(name)
        self.book = AddressBook(path=folder / name, now=trio.current_time, log=structlog.get_logger())
        self.dialler = Dialler(transport=self.transport, book=self.book)

    async def try_for(self, seconds: float, *tellings: tuple[str, str, str]) -> None:
        """Each telling a peer, an address and a way, in which {} is a new number each time; ten of each in a second."""
        numbers = itertools.count()
        with trio.move_on_after(seconds):
            while True:
                for peer, address, way in tellings:
                    number = next(numbers)
                    await self.tries(peer.format(number), address.format(number), way)
                await trio.sleep(0.1)

    async def tries(self, peer: str, address: str, way: str) -> bool:
        try:
            await self.dialler.dial(peer, [address], way)
        except UnreachableError:
            return False
        return True

    def dialled(self, start: str) -> int:
        return sum(address.startswith(start) for address in self.network.dialled)


@pytest.fixture
def in_world(tmp_path: Path):
    def run(main):
        async def world():
            async with trio.open_nursery() as nursery:
                result = await main(Dialling(FakeNetwork(nursery), tmp_path))
                nursery.cancel_scope.cancel()
            return result

        return run_in_virtual_time(world)

    return run


@pytest.mark.parametrize("ways", [("hint",), ("mdns",), ("exchange",), ("hint", "mdns", "exchange")])
def test_an_address_where_nobody_answers_is_dialled_ever_less_whoever_is_said_to_be_there(in_world, ways) -> None:
    async def main(a: Dialling) -> int:
        await a.try_for(MINUTE, *[("nobody{}", "victim:1", way) for way in ways])
        return a.dialled("victim:1")

    assert 1 < in_world(main) <= 8


@pytest.mark.parametrize("ways", [("hint",), ("hint", "mdns", "exchange")])
def test_the_ports_of_one_machine_are_dialled_seldom_by_all_ways_together(in_world, ways) -> None:
    async def main(a: Dialling) -> int:
        await a.try_for(10 * MINUTE, *[("nobody{}", "victim:{}", way) for way in ways])
        return a.dialled("victim:")

    assert HOST_AT_ONCE <= in_world(main) <= HOST_AT_ONCE + 10 * MINUTE / HOST_SECONDS + 1


def test_many_machines_that_do_not_answer_are_few_a_minute_and_one_way_takes_nothing_from_another(in_world) -> None:
    async def main(a: Dialling) -> None:
        await a.try_for(10 * MINUTE, ("nobody{}", "net{}:1", "hint"))
        assert WAY_AT_ONCE <= a.dialled("net") <= WAY_AT_ONCE + 10 * MINUTE / WAY_SECONDS + 1
        a.network.host("b")
        assert await a.tries("b", "b", "exchange")

    in_world(main)


def test_who_answers_takes_nothing_from_others(in_world) -> None:
    async def main(a: Dialling) -> None:
        for number in range(3 * WAY_AT_ONCE):
            a.network.host(f"b{number}")
            assert await a.tries(f"b{number}", f"b{number}", "exchange")
            a.network.part("a", f"b{number}")

    in_world(main)


def test_what_the_file_names_and_what_has_answered_is_dialled_whatever_others_have_said(in_world) -> None:
    async def main(a: Dialling) -> None:
        a.network.host("b")
        assert await a.tries("b", "b", "exchange")
        a.network.part("a", "b")
        for number in range(20):
            assert not await a.tries(f"other{number}", "b", FROM_HINT)
        assert await a.tries("b", "b", FROM_HINT)
        a.network.host("c")
        await a.try_for(MINUTE, ("nobody{}", "c:{}", "hint"))
        before = a.dialled("c")
        assert await a.tries("c", "c", FROM_FILE)
        assert a.dialled("c") == before + 1

    in_world(main)


def test_a_hint_leads_to_no_address_that_is_nearer_than_where_this_peer_listens(in_world) -> None:
    async def main(a: Dialling) -> None:
        a.transport.listens = ["lan1:1", "lo:1"]
        await a.tries("b", "lo:2", FROM_HINT)
        await a.tries("b", "dns-name:1", FROM_HINT)
        await a.tries("b", "lan2:2", FROM_HINT)
        assert a.network.dialled == ["lan2:2"]
        a.transport.listens = ["lo:1"]
        await a.tries("b", "lo:2", FROM_HINT)
        assert a.network.dialled == ["lan2:2", "lo:2"]

    in_world(main)


def test_who_dials_is_told_when_it_may(in_world) -> None:
    async def main(a: Dialling) -> None:
        assert not await a.tries("b", "victim:1", "mdns")
        with pytest.raises(TooSoonError) as told:
            await a.dialler.dial("c", ["victim:1"], "mdns")
        assert 0 < told.value.seconds <= 1.0

    in_world(main)
