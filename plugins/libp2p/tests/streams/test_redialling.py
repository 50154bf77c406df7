"""Connections that are lost come back, frozen peers are found, and nobody is dialled too often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import attrs
import pytest
import structlog
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.dialling import ADDRESS_SECONDS, STAGGER_SECONDS, Dialler
from learnae_libp2p.streams.heartbeats import ANSWER_SECONDS, BEAT_SECONDS, HEARTBEAT_PROTOCOL, LEAST_SECONDS, Heartbeats
from learnae_libp2p.streams.redialling import DIALLED_AT_ONCE, LIMIT_SECONDS, NAMED_LIMIT_SECONDS, Redialler
from learnae_libp2p.streams.transport import Stream, StreamClosedError, UnreachableError
from plugins.libp2p.tests.support.network import FakeNetwork, FakeTransport
from plugins.libp2p.tests.support.stream_peers import inline


@attrs.define(eq=False)
class DiallingPeer:
    """One peer that keeps its connections up."""

    transport: FakeTransport
    book: AddressBook
    dialler: Dialler
    heartbeats: Heartbeats
    redialler: Redialler

    def connected(self) -> set[str]:
        return {connection.peer for connection in self.transport.connections()}


@attrs.define
class World:
    network: FakeNetwork
    folder: Path

    def peer(self, name: str, **keys: Any) -> DiallingPeer:
        """A new run of this peer, with the book that an earlier one has left."""
        transport, log = self.network.host(name), structlog.get_logger().bind(peer=name)
        book = AddressBook(path=self.folder / name, now=trio.current_time, log=log)
        book.load()
        dialler = Dialler(transport=transport, book=book)
        heartbeats = Heartbeats(transport=transport, nonce=lambda: name.encode().ljust(32), log=log)
        transport.serve(HEARTBEAT_PROTOCOL, heartbeats.answer)
        redialler = Redialler(
            transport=transport, book=book, dialler=dialler, heartbeats=heartbeats, rng=Random(name), in_thread=inline, log=log, **keys
        )
        return DiallingPeer(transport, book, dialler, heartbeats, redialler)

    def start(self, peer: DiallingPeer) -> None:
        self.network.nursery.start_soon(peer.redialler.run)


def in_world(folder: Path, main: Callable[[World], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with trio.open_nursery() as nursery:
            result = await main(World(FakeNetwork(nursery), folder))
            nursery.cancel_scope.cancel()
        return result

    return run_in_virtual_time(run)


def test_a_named_peer_is_connected_and_again_whenever_it_was_lost(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.peer("b")
        a = world.peer("a", named={"b": ["b"]})
        world.start(a)
        for _ in range(5):
            await trio.sleep(100.0)
            assert a.connected() == {"b"}
            world.network.part("a", "b")
            assert a.connected() == set()
            assert [one.peer for one in a.redialler.unconnected()] == ["b"]
            await trio.sleep(3.0)
            assert a.connected() == {"b"}
        assert a.redialler.unconnected() == []

    in_world(tmp_path, main)


def test_a_peer_that_is_away_for_a_day_is_dialled_less_and_less_and_for_ever(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = world.peer("a", named={"b": ["b"]})
        world.network.answers["b"] = ("b", 0.0)
        world.start(a)
        await trio.sleep(100.0)
        early = len(world.network.dialled)
        await trio.sleep(86_400.0)
        late = len(world.network.dialled) - early
        assert early >= 4
        assert 86_400 / NAMED_LIMIT_SECONDS * 0.6 < late < 86_400 / NAMED_LIMIT_SECONDS * 1.6
        (away,) = a.redialler.unconnected()
        assert away.why == "does not answer at b" and (away.found_by, away.addresses) == ("file", ("b",))
        assert away.next_try is None or away.next_try <= 1.5 * NAMED_LIMIT_SECONDS
        world.peer("b")
        await trio.sleep(1.5 * NAMED_LIMIT_SECONDS)
        assert a.connected() == {"b"}

    in_world(tmp_path, main)


def test_peers_that_lost_one_together_do_not_come_back_at_the_same_moment(tmp_path: Path) -> None:
    async def main(world: World) -> list[float]:
        world.peer("hub")
        others = [world.peer(f"p{number}", named={"hub": ["hub"]}) for number in range(20)]
        for other in others:
            world.start(other)
        await trio.sleep(100.0)
        begin, back = trio.current_time(), list[float]()
        world.peer("hub")  # killed and started anew
        while len(back) < len(others):
            await trio.sleep(0.01)
            back += [trio.current_time() - begin] * (sum("hub" in other.connected() for other in others) - len(back))
        return back

    back = in_world(tmp_path, main)
    assert back[-1] < 2.0
    assert len(set(back)) > 12


def test_remembered_peers_are_dialled_after_a_restart_though_nobody_names_them(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.peer("b")
        a = world.peer("a", named={"b": ["b"]})
        with trio.move_on_after(50.0):
            await a.redialler.run()
        assert a.connected() == {"b"}
        again = world.peer("a")
        assert again.connected() == set()
        world.start(again)
        await trio.sleep(1.0)
        assert again.connected() == {"b"}

    in_world(tmp_path, main)


def test_a_frozen_peer_is_found_and_let_go_and_comes_back_when_it_wakes_up(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.start(world.peer("b"))
        a = world.peer("a", named={"b": ["b"]})
        world.start(a)
        await trio.sleep(100.0)
        assert a.heartbeats.rtts.keys() == {"b"}
        world.network.frozen.add("b")
        await trio.sleep(BEAT_SECONDS + ANSWER_SECONDS + 1.0)
        assert a.connected() == set()
        assert a.heartbeats.rtts == {}
        await trio.sleep(60.0)
        world.network.thaw("b")
        await trio.sleep(1.5 * NAMED_LIMIT_SECONDS)
        assert a.connected() == {"b"}

    in_world(tmp_path, main)


def test_a_peer_that_has_frozen_before_the_first_heartbeat_is_let_go_as_well(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.start(world.peer("b"))
        a = world.peer("a", named={"b": ["b"]})
        world.network.join("a", "b")
        world.network.frozen.add("b")
        world.start(a)
        await trio.sleep(ANSWER_SECONDS + 1.0)
        assert a.connected() == set()

    in_world(tmp_path, main)


@pytest.mark.parametrize("after", [0.0, 100.0], ids=["before the first heartbeat", "between heartbeats"])
def test_a_peer_to_which_no_stream_can_be_opened_and_nothing_be_cancelled_is_let_go(tmp_path: Path, after: float) -> None:
    def freeze(world: World) -> None:
        world.network.stuck.add("b")
        world.network.frozen.add("b")

    async def main(world: World) -> None:
        world.peer("b")  # which has no heartbeats of its own: a frozen one does nothing
        a = world.peer("a", named={"b": ["b"]})
        world.network.join("a", "b")
        if not after:
            freeze(world)
        world.start(a)
        await trio.sleep(after)
        freeze(world)
        for stream in a.transport.links["b"].streams:  # then a new one is wanted
            await stream.reset()
        await trio.sleep(LEAST_SECONDS + BEAT_SECONDS + ANSWER_SECONDS + 1.0)
        assert a.connected() == set()
        assert not a.heartbeats.rtts
        world.network.stuck.clear()
        world.network.thaw("b")
        await trio.sleep(1.5 * NAMED_LIMIT_SECONDS)
        assert a.connected() == {"b"} and a.heartbeats.rtts.keys() == {"b"}

    in_world(tmp_path, main)


def test_a_connection_that_is_only_quiet_stays(tmp_path: Path) -> None:
    async def main(world: World) -> int:
        world.start(world.peer("b"))
        a = world.peer("a", named={"b": ["b"]})
        world.start(a)
        await trio.sleep(86_400.0)
        assert a.connected() == {"b"}
        return len(world.network.dialled)

    assert in_world(tmp_path, main) == 1


def test_a_peer_without_heartbeats_is_not_taken_for_frozen(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.network.host("b")
        a = world.peer("a", named={"b": ["b"]})
        world.start(a)
        await trio.sleep(1000.0)
        assert a.connected() == {"b"}
        assert len(world.network.dialled) == 1

    in_world(tmp_path, main)


def test_no_more_connections_are_made_than_are_wanted_and_few_at_once(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = world.peer("a", wanted=10, enough=10)
        for number in range(40):
            world.peer(f"p{number}")
            world.network.answers[f"p{number}"] = (f"p{number}", 0.5)
            a.book.heard(f"p{number}", [f"p{number}"], "hint")
        world.start(a)
        await trio.sleep(300.0)
        assert len(a.connected()) == 10
        assert world.network.most_dialling <= DIALLED_AT_ONCE

    in_world(tmp_path, main)


def test_whoever_only_strangers_speak_of_and_never_answers_is_forgotten(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = world.peer("a")
        for number in range(100):
            a.book.heard(f"nobody{number}", [f"nobody{number}"], "hint")
        world.peer("b")
        a.book.heard("b", ["b"], "hint")
        world.start(a)
        await trio.sleep(20 * LIMIT_SECONDS)
        assert [known.peer for known in a.book.peers()] == ["b"]
        assert a.connected() == {"b"}

    in_world(tmp_path, main)


def test_whoever_the_book_has_no_room_for_is_not_kept_in_mind_either(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        a = world.peer("a")
        a.book.heard("nobody", ["nobody"], "hint")
        world.start(a)
        await trio.sleep(1.0)
        assert [one.peer for one in a.redialler.unconnected()] == ["nobody"]
        a.book.forget("nobody")
        a.redialler.look_again()
        await trio.sleep(LIMIT_SECONDS)
        assert not a.redialler.unconnected()

    in_world(tmp_path, main)


@pytest.mark.parametrize("dead", [0, 1, 5, 12])
def test_of_many_addresses_the_fastest_that_answers_is_used(tmp_path: Path, dead: int) -> None:
    async def main(world: World) -> float:
        world.peer("b")
        a = world.peer("a")
        addresses = [f"dead{number}" for number in range(dead)]
        world.network.answers |= dict.fromkeys(addresses, ("b", 1000000.0))
        world.network.answers |= {"slow": ("b", 5.0), "fast": ("b", 0.01)}
        begin = trio.current_time()
        await a.dialler.dial("b", [*addresses, "slow", "fast"])
        assert a.book.addresses("b")[0] == "fast"
        took = trio.current_time() - begin
        await a.transport.disconnect("b")
        begin = trio.current_time()
        await a.dialler.dial("b", [*addresses, "slow", "fast"])
        assert trio.current_time() - begin < STAGGER_SECONDS
        return took

    assert in_world(tmp_path, main) < (dead + 2) * STAGGER_SECONDS


def test_addresses_that_refuse_at_once_cost_no_time(tmp_path: Path) -> None:
    async def main(world: World) -> float:
        world.peer("b")
        a = world.peer("a")
        await a.dialler.dial("b", [*(f"refuses{number}" for number in range(10)), "b"])
        return trio.current_time()

    assert in_world(tmp_path, main) < STAGGER_SECONDS


def test_whoever_answers_nowhere_is_said_to_be_unreachable_in_bounded_time(tmp_path: Path) -> None:
    async def main(world: World) -> float:
        a = world.peer("a")
        world.network.answers |= {f"dead{number}": ("b", 1e6) for number in range(100)}
        with pytest.raises(UnreachableError):
            await a.dialler.dial("b", [f"dead{number}" for number in range(100)])
        with pytest.raises(UnreachableError):
            await a.dialler.dial("nobody")
        return trio.current_time()

    assert in_world(tmp_path, main) <= ADDRESS_SECONDS + 16 * STAGGER_SECONDS


def test_an_address_that_has_not_answered_is_not_taken_for_one_that_has_where_the_peer_came_by_itself(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.peer("b")
        a = world.peer("a")
        a.book.heard("b", ["dead1", "dead2"], "mdns")
        world.network.answers |= dict.fromkeys(["dead1", "dead2"], ("b", 1000000.0))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.dialler.dial, "b")
            await trio.sleep(STAGGER_SECONDS / 2)
            world.network.join("b", "a")
        known = a.book.get("b")
        assert known is not None and known.reached_at is None

    in_world(tmp_path, main)


def test_an_address_where_somebody_else_answers_is_no_address_of_the_peer(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        world.peer("b")
        world.peer("c")
        a = world.peer("a")
        world.network.answers["stolen"] = ("c", 0.0)
        with pytest.raises(UnreachableError):
            await a.dialler.dial("b", ["stolen"])
        assert a.book.addresses("b") == ()

    in_world(tmp_path, main)


def test_a_flood_of_heartbeats_is_answered_slowly(tmp_path: Path) -> None:
    async def main(world: World) -> int:
        world.peer("b")
        a = world.peer("a")
        await a.transport.connect("b", ["b"])
        stream = await a.transport.open_stream("b", HEARTBEAT_PROTOCOL)
        with trio.move_on_after(30.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood, stream)
                with suppress(StreamClosedError):
                    while await stream.receive_some(1000):
                        pass
        return world.network.carried["b", "a"]

    assert in_world(tmp_path, main) < 300


async def flood(stream: Stream) -> None:
    with suppress(StreamClosedError):
        while True:
            await stream.send_all(b"x" * 1000)


def test_halves_that_were_apart_find_each_other_again(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        peers = [world.peer(f"p{number}") for number in range(6)]
        for one in peers:
            for other in peers:
                if one is not other:
                    one.book.heard(other.transport.peer, [other.transport.peer], "file")
            world.start(one)
        await trio.sleep(60.0)
        half = {f"p{number}" for number in range(3)}
        world.network.apart = lambda one, other: (one in half) != (other in half)
        for one in half:
            for number in range(3, 6):
                world.network.part(one, f"p{number}")
        await trio.sleep(1200.0)
        world.network.apart = lambda one, other: False
        await trio.sleep(1.5 * LIMIT_SECONDS)
        assert all(len(peer.connected()) == 5 for peer in peers)

    in_world(tmp_path, main)
