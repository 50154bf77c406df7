"""What users read of connections: how a peer was found, and in few words why one is away."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae import PeerId
from learnae_libp2p.streams.shown_connections import ShownConnections
from plugins.libp2p.tests.streams.test_redialling import World, in_world


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"/ip4/192.168.77.1/tcp/4101/p2p/{'Q' * 52}", "192.168.77.1:4101"),
        (f"/ip6/fd00::1/tcp/4101/p2p/{'Q' * 52}", "[fd00::1]:4101"),
        ("/dns4/peer.example/tcp/4101", "peer.example:4101"),
    ],
)
def test_who_does_not_answer_is_told_in_as_many_words_as_it_takes(tmp_path: Path, address: str, shown: str) -> None:
    async def main(world: World) -> None:
        a = world.peer("a", named={"b": [address]})
        world.start(a)
        await trio.sleep(100.0)
        (away,) = a.redialler.unconnected()
        assert away.why == f"does not answer at {shown}"

    in_world(tmp_path, main)


def test_how_a_peer_was_found_tells_this_run_from_an_earlier_one_and_the_local_network_from_a_stranger(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        first = world.peer("a", named={"b": ["b"]})
        world.peer("b")
        first.book.reached("b", "b", "file")
        first.book.save(first.book.content())
        again = world.peer("a")
        assert (first.redialler.found_by("b"), again.redialler.found_by("b")) == ("file", "earlier")
        again.book.heard("c", ["c"], "mdns")
        for name in ("c", "d"):
            await world.peer(name).transport.connect("a", ["a"])
        shown = ShownConnections(
            transport=again.transport, heartbeats=again.heartbeats, redialler=again.redialler, key_of=lambda name: PeerId(name)
        )
        assert {one.peer: one.found_by for one in shown()} == {"c": "mdns", "d": ""}
        assert all(one.inbound for one in shown())

    in_world(tmp_path, main)
