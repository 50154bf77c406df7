"""Whom a node's services are connected to, as `learnae status` finds it in the home: each once, few, and whatever a plugin says."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
import pytest
import structlog
import trio

from learnae.link.messages import Quarantined
from learnae.node.connections import FILE, LOOK_SECONDS, MOST_ASKED, MOST_KEPT, TEXT_CHARACTERS, ConnectionWatch, read_connections
from learnae.node.runtime import PluginCalls, Runtime, SharedResources, inline
from learnae.observations import PeerConnection
from learnae.records import PeerId

pytestmark = pytest.mark.virtual_time

ALICE = PeerConnection(peer=PeerId("a11c" + "0" * 60), found_by="mdns", address="/ip4/10.0.0.1/tcp/1", rtt_seconds=0.01, bytes_in=7)
BOB = PeerConnection(peer=PeerId("b0b0" + "0" * 60), connected=False, why="does not answer", next_try_seconds=4.0)


class Telling:
    """A service that tells what it is made with; what is an error is raised."""

    def __init__(self, connections: Any, addresses: Any = ()) -> None:
        self.told, self.reached_at = connections, addresses

    async def __aenter__(self) -> Telling:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    def connections(self) -> Any:
        if isinstance(self.told, Exception):
            raise self.told
        return self.told

    def addresses(self) -> Any:
        return self.reached_at


def runtime_at(home, calls: PluginCalls | None = None) -> Runtime:
    return Runtime(
        home=home,
        meeting=home,
        clock=trio.current_time,
        seed=0,
        in_thread=inline,
        in_watcher_thread=inline,
        share=SharedResources(),
        log=structlog.get_logger(),
        calls=calls or PluginCalls(),
    )


async def looked(bench, home, *services: Any):
    """What a watch of these has written when it has looked once, and the watch."""
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, *services)
        watch = ConnectionWatch.of(made.services, made.named, runtime_at(home))
        nursery.start_soon(watch.run)
        await trio.sleep(LOOK_SECONDS / 2)
        state = read_connections(home)
        nursery.cancel_scope.cancel()
    return state, watch


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


async def test_what_services_tell_is_found_in_the_home_and_gone_when_the_node_ends(bench, home):
    state, watch = await looked(bench, home, Telling([BOB, ALICE], ["/ip4/10.0.0.2/tcp/1"]))
    assert state.connections == [ALICE, BOB]  # the connected come first
    assert (state.connected, state.known, state.addresses) == (1, 2, ["/ip4/10.0.0.2/tcp/1"])
    assert not (home / FILE).exists() and read_connections(home) is None and watch.connected == 0


async def test_a_connection_that_two_services_share_counts_once(bench, home):
    state, _ = await looked(bench, home, Telling([ALICE]), Telling([attrs.evolve(ALICE, bytes_in=9), BOB]))
    assert [one.peer for one in state.connections] == [ALICE.peer, BOB.peer] and state.connected == 1


async def test_many_connections_are_counted_and_the_first_are_kept(bench, home):
    many = [attrs.evolve(ALICE, address=f"/ip4/10.0.{number // 256}.{number % 256}/tcp/1") for number in range(MOST_ASKED + 5)]
    state, _ = await looked(bench, home, Telling(many, ["x"] * 100))
    assert (state.known, len(state.connections), len(state.addresses)) == (MOST_ASKED, MOST_KEPT, 1)


@pytest.mark.parametrize(
    "told", [RuntimeError("broken"), None, 7, ["x"], [{"peer": "x"}], [attrs.evolve(ALICE, why=7)]], ids=lambda told: str(told)[:20]
)
async def test_a_plugin_that_raises_or_tells_nonsense_hides_no_other(bench, home, told):
    state, watch = await looked(bench, home, Telling(told), Telling([ALICE]))
    assert state.connections == [ALICE]
    assert list(watch.runtime.outages.broken) == ["telling the connections of storage s0"]


async def test_a_service_in_quarantine_is_not_asked_and_hides_no_other(bench, home):
    hung = Quarantined(label="storage s0", rounds=10, why="it hung")
    async with trio.open_nursery() as nursery:
        made = await bench(nursery, Telling([BOB]), Telling([ALICE]))
        calls = PluginCalls(quarantined=[hung])
        named = [attrs.evolve(one, calls=calls) for one in made.named]
        made.services._open = dict(zip(named, made.services._open.values(), strict=True))
        state = ConnectionWatch.of(made.services, named, runtime_at(home, calls)).look()
        nursery.cancel_scope.cancel()
    assert state.connections == [ALICE]


async def test_texts_of_others_are_short_and_harmless(bench, home):
    evil = attrs.evolve(BOB, why="\x1b[2J\n" + "x" * 5000, address="\u202e" + "y" * 5000, bytes_in=-5, rtt_seconds=float("inf"))
    state, _ = await looked(bench, home, Telling([evil]))
    (found,) = state.connections
    assert all(len(text) < TEXT_CHARACTERS + 50 and text.isprintable() for text in (found.why, found.address))
    assert (found.bytes_in, found.rtt_seconds) == (0, None)


async def test_a_full_disk_keeps_no_node_from_running(bench, home):
    os.rmdir(home)
    state, watch = await looked(bench, home, Telling([ALICE]))
    assert state is None and watch.runtime.outages.broken == {}


async def test_who_tells_nothing_costs_nothing_and_what_an_earlier_run_left_is_removed(bench, home, shelf):
    (home / FILE).write_text("left by a node that was killed")
    state, watch = await looked(bench, home, shelf())
    assert state is None and not watch.watched and not (home / FILE).exists()


GOOD = {"at": 1.0, "addresses": ["x"], "connected": 1, "known": 1, "connections": [attrs.asdict(ALICE)]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        json.dumps({**GOOD, "connections": [7]}).encode(),
        json.dumps({**GOOD, "connections": [{"peer": ["x"]}]}).encode(),
        json.dumps({**GOOD, "connections": [{"why": {}}]}).encode(),
        json.dumps({**GOOD, "addresses": 7}).encode(),
        b" " * (2 << 20),
    ],
    ids=range(10),
)
async def test_a_file_that_is_none_of_ours_is_no_file(home, content):
    (home / FILE).write_bytes(content)
    assert read_connections(home) is None


async def test_what_a_stranger_wrote_into_it_is_bounded(home):
    one = {**attrs.asdict(ALICE), "why": "\x1b" * 300, "bytes_in": 1e300, "more": "of a newer version"}
    (home / FILE).write_text(json.dumps({**GOOD, "at": "x", "connected": 1e99, "addresses": ["y"] * 500, "connections": [one] * 200}))
    state = read_connections(home)
    assert state is not None and (state.at, state.connected) == (0.0, 0)
    assert len(state.connections) == MOST_KEPT and len(state.addresses) <= 8
    assert state.connections[0].bytes_in == 0 and "\x1b" not in state.connections[0].why
