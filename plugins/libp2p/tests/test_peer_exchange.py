"""Real hosts that all name one introducer, and what is known of their connections."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from learnae import PeerConnection, PeerId
from learnae.testing.context import make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.connecting import membership
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.streams.exchange import PEERS_PROTOCOL
from learnae_libp2p.streams.frames import FrameError, FrameReader
from learnae_libp2p.streams.greeting import greet_as_asker
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)


def announcer(folder: Path, name: str, *peers: str, secret: bytes | None = None) -> GossipsubAnnouncer:
    context = make_context(folder / name, peer=name, secret=lambda purpose: secret)
    return GossipsubAnnouncer(GossipsubOptions(listen=LOOPBACK, peers=peers, mdns=False), context)


def shown(one: GossipsubAnnouncer) -> Sequence[PeerConnection]:
    """Those that are open."""
    return [connection for connection in one.connections() if connection.connected]


def key(one: GossipsubAnnouncer) -> PeerId:
    return one.context.peer


async def until(one: GossipsubAnnouncer, condition: Callable[[], bool]) -> None:
    while True:
        news = one.host.news
        if condition():
            return
        await news.wait()


def _introducer(folder: str, sent: multiprocessing.connection.Connection[str, None]) -> None:
    async def main() -> None:
        async with announcer(Path(folder), "introducer") as introducer:
            sent.send(introducer.transport.local_addresses()[0])
            await trio.sleep_forever()

    trio.run(main)


@asynccontextmanager
async def introducer_process(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Its address and its process."""
    context = multiprocessing.get_context("spawn")
    received, sent = context.Pipe(duplex=False)
    process = context.Process(target=_introducer, args=(str(folder), sent), daemon=True)
    process.start()
    try:
        address = await trio.to_thread.run_sync(received.recv)
        assert process.pid is not None
        yield address, process.pid
    finally:
        process.kill()
        process.join()


@pytest.mark.slow  # five hosts and a process
def test_a_star_is_a_mesh_in_seconds_and_goes_on_when_its_introducer_is_killed(tmp_path: Path) -> None:
    async def test() -> None:
        async with introducer_process(tmp_path) as (address, pid), AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(announcer(tmp_path, f"p{number}", address)) for number in range(4)]
            keys = {key(peer) for peer in peers}
            for peer in peers:
                await until(peer, lambda peer=peer: keys <= {one.peer for one in shown(peer)} | {key(peer)})  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            for peer in peers:
                await until(peer, lambda peer=peer: len(shown(peer)) == len(peers) - 1)  # type: ignore[misc]
            heard = trio.Event()
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(peers[3].listen, ["c"], lambda message: message.message == b"after" and heard.set())
            while not heard.is_set():
                await peers[0].announce(b"after", channel="c", replaces=b"k")
                with trio.move_on_after(0.5):
                    await heard.wait()
            nursery.cancel_scope.cancel()

    in_trio(test)


def test_connections_say_how_they_came_about_and_how_they_are(tmp_path: Path) -> None:
    async def test() -> None:
        async with announcer(tmp_path, "hub") as hub:
            (address,) = hub.transport.local_addresses()
            async with announcer(tmp_path, "a", address) as a, announcer(tmp_path, "b", address) as b:
                await until(a, lambda: len(shown(a)) == 2)
                await until(b, lambda: len(shown(b)) == 2)
                while not all(one.rtt_seconds for one in shown(a)):  # noqa: ASYNC110  # nobody tells of a heartbeat
                    await trio.sleep(0.05)
                by_peer = {one.peer: one for one in shown(a)}
                to_hub = by_peer[key(hub)]
                assert (to_hub.found_by, to_hub.inbound, to_hub.relayed, to_hub.interface) == ("file", False, False, "lo")
                assert to_hub.bytes_in > 0 < to_hub.bytes_out
                assert to_hub.address == address.partition("/p2p/")[0]
                assert to_hub.rtt_seconds is not None and 0 < to_hub.rtt_seconds < 10
                pair = [next(one for one in shown(this) if one.peer == key(that)) for this, that in ((a, b), (b, a))]
                assert sorted(one.found_by for one in pair if not one.inbound) in (["exchange"], ["exchange", "exchange"])
                assert all(one.found_by == "" for one in pair if one.inbound)
                assert all(one.inbound and one.found_by == "" for one in shown(hub))

    in_trio(test)


def test_who_does_not_belong_to_the_swarm_is_told_of_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with announcer(tmp_path, "hub", secret=b"s" * 32) as hub:
            (address,) = hub.transport.local_addresses()
            async with announcer(tmp_path, "member", address, secret=b"s" * 32), announcer(tmp_path, "stranger", address) as stranger:
                await until(hub, lambda: len(shown(hub)) == 2)
                stream = await stranger.transport.open_stream(hub.transport.peer, PEERS_PROTOCOL)
                with pytest.raises(FrameError):
                    await greet_as_asker(stream, FrameReader(stream), membership(stranger.context, stranger.transport))
                assert {one.peer for one in shown(stranger)} == {key(hub)}
                while not all(any("another swarm or key" in one.why for one in shown(this)) for this in (hub, stranger)):  # noqa: ASYNC110  # nobody tells
                    await trio.sleep(0.05)
                assert [one.peer for one in shown(hub) if one.why] == [key(stranger)]

    in_trio(test)


def test_who_is_named_and_missing_is_shown_with_the_reason_and_the_next_try(tmp_path: Path) -> None:
    async def test() -> None:
        async with announcer(tmp_path, "hub") as hub:
            (address,) = hub.transport.local_addresses()
        async with announcer(tmp_path, "a", address) as a:
            while not (a.connections() and a.connections()[0].why != "not tried yet"):  # noqa: ASYNC110  # nobody tells of a dial that failed
                await trio.sleep(0.05)
            (missing,) = a.connections()
            assert (missing.peer, missing.connected, missing.found_by, missing.address) == (key(hub), False, "file", address)
            assert missing.why and (missing.next_try_seconds is None or missing.next_try_seconds < 100)
            assert list(a.addresses()) == list(a.transport.local_addresses())
        assert not a.connections() and not a.addresses()

    in_trio(test)
