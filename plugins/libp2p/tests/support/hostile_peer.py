"""A program: a member of the swarm with a real host. It gives nobody the blocks that he has asked for, and may flood whom it meets.

Argument: a JSON object as for `lone_peer`. Its behaviour is the last part of its name: `evil-drips`.
"""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import trio

from learnae.testing.context import SharedResources, make_context
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.messages import topic_of
from learnae_libp2p.options import GossipsubOptions
from learnae_libp2p.streams.frames import FrameKind, FrameReader, frame
from learnae_libp2p.streams.greeting import SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.serving import BLOCK_PROTOCOL
from learnae_libp2p.streams.transport import Stream, StreamClosedError, UnreachableError
from plugins.libp2p.tests.support.hostile_behaviours import BEHAVIOURS, Behave
from plugins.libp2p.tests.support.lone_peer import orders, tell

AGAIN_SECONDS = 0.2


async def asks_and_reads_nothing(stream: Stream, cids: list[bytes]) -> None:
    """Wants all that it has heard of, and takes none of it."""
    await stream.send_all(frame(FrameKind.WANT, *cids))
    await trio.sleep_forever()


REAL = ("drips", "lies", "floods", "silent")
"""Of all behaviours those that a real host has too: the others cost the same there, and are tested in virtual time."""


class Hostile:
    """All that it does to whoever is connected."""

    def __init__(self, announcer: GossipsubAnnouncer, behave: Behave) -> None:
        self.announcer = announcer
        self.behave = behave
        self.proof = SwarmProof.of(announcer.transport.peer, None, "c", lambda: secrets.token_bytes(32))
        self.cids: list[bytes] = []

    async def hold(self, stream: Stream) -> None:
        reader = FrameReader(stream)
        await greet_as_holder(stream, reader, self.proof)
        tell(event="asked", name="")
        await self.behave(stream, reader)

    async def flood_announcements(self) -> None:
        """As fast as they go, most of them of no form."""
        while True:
            if (gossip := self.announcer._gossip) is not None:
                for length in (0, 10, 60_000):
                    await gossip.publish(topic_of("c"), secrets.token_bytes(length))
            await trio.sleep(0.001)

    async def flood_streams(self) -> None:
        """Opens what can be opened, writes garbage, and leaves it open."""
        while True:
            for connection in self.announcer.transport.connections():
                for protocol in ("/meshsub/1.1.0", BLOCK_PROTOCOL, "/learnae/backlog/1", "/learnae/heartbeat/1"):
                    with suppress(StreamClosedError, UnreachableError):
                        stream = await self.announcer.transport.open_stream(connection.peer, protocol)
                        await stream.send_all(secrets.token_bytes(1000))
                        tell(event="floods", name="")
            await trio.sleep(AGAIN_SECONDS)

    async def ask_and_read_nothing(self, peer: str) -> None:
        while True:
            with suppress(StreamClosedError, UnreachableError):
                stream = await self.announcer.transport.open_stream(peer, BLOCK_PROTOCOL)
                await greet_as_asker(stream, FrameReader(stream), self.proof)
                tell(event="asks", name="")
                await asks_and_reads_nothing(stream, self.cids)
            await trio.sleep(AGAIN_SECONDS)


async def main(name: str, home: str, listen: list[str], peers: list[str]) -> None:
    behaviour = name.rpartition("-")[2]
    context = make_context(Path(home), peer=name, shared=SharedResources())
    said: dict[str, Any] = {"listen": tuple(listen), "peers": tuple(peers), "mdns": False}
    announcer = GossipsubAnnouncer(GossipsubOptions(**said), context)
    async with announcer, trio.open_nursery() as nursery:
        hostile = Hostile(announcer, BEHAVIOURS[behaviour])
        announcer.transport.serve(BLOCK_PROTOCOL, hostile.hold)
        nursery.start_soon(announcer.listen, ["c"], lambda heard: None)

        def do(order: Any) -> None:
            hostile.cids = [bytes.fromhex(cid) for cid in order["cids"]]
            nursery.start_soon(hostile.ask_and_read_nothing, order["peer"])

        if behaviour == "floods":
            nursery.start_soon(hostile.flood_announcements)
            nursery.start_soon(hostile.flood_streams)
        tell(event="ready", peer=announcer.transport.peer)
        await orders(do)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    given = json.loads(sys.argv[1])
    trio.run(main, given["name"], given["home"], given["listen"], given["peers"])
