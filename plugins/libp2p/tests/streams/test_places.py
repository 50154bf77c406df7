"""Who asks and does not go on keeps nobody else from being answered; who holds streams keeps nobody else from having one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import structlog
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.asking import PROTOCOL, BacklogServer, ask
from learnae_libp2p.messages import KeptMessages
from learnae_libp2p.streams.exchange import PEERS_PROTOCOL
from learnae_libp2p.streams.reachability import OUTSIDE_PROTOCOL, look
from learnae_libp2p.streams.transport import StreamClosedError, UnreachableError
from plugins.libp2p.tests.support.exchanging_peers import ExchangingSwarm, asked, in_exchanging_swarm
from plugins.libp2p.tests.support.stream_peers import membership
from tests.support.libp2p_peers import NEEDS_LIBP2P

TRIES = 10


async def asks_for_ever(swarm: ExchangingSwarm, name: str, holder: str, protocol: str, question: bytes) -> None:
    """It asks again whenever its stream has ended, and neither says more nor hangs up."""
    transport = swarm.network.host(name)
    swarm.network.join(name, holder)
    while True:
        with suppress(StreamClosedError, UnreachableError):
            stream = await transport.open_stream(holder, protocol)
            await stream.send_all(question)
            while await stream.receive_some(1 << 16):
                pass
            await trio.sleep(30.0)
            await stream.reset()
        await trio.sleep(0.4)


async def backlog(swarm: ExchangingSwarm) -> bool:
    return await ask(swarm.network.transports["friend"], "holder", ["topic"], lambda wire: True)


async def exchange(swarm: ExchangingSwarm) -> bool:
    return bool(await asked(swarm, "friend", "holder"))


async def outside(swarm: ExchangingSwarm) -> bool:
    transport = swarm.network.transports["friend"]
    stream = await transport.open_stream("holder", OUTSIDE_PROTOCOL)
    await look(stream, membership("friend"), transport.place, transport.outside, mapped=False)
    await stream.reset()
    return True


TOPICS = b"\x00\x00\x00\x03\x81\x61t"  # a list of one topic, with its length


@pytest.mark.parametrize(
    ("protocol", "question", "friend", "strangers"),
    [(PROTOCOL, TOPICS, backlog, 20), (PEERS_PROTOCOL, b"", exchange, 40), (OUTSIDE_PROTOCOL, b"", outside, 12)],
    ids=["backlog", "peers", "outside"],
)
def test_strangers_who_ask_and_do_not_go_on_keep_nobody_from_being_answered(
    tmp_path: Path, protocol: str, question: bytes, friend: object, strangers: int
) -> None:
    async def main(swarm: ExchangingSwarm) -> int:
        holder = swarm.start("holder", routers=True, exchanges=protocol == PEERS_PROTOCOL)
        holder.transport.serve(PROTOCOL, BacklogServer(KeptMessages(trio.current_time)).serve)
        swarm.network.host("friend")
        swarm.network.join("friend", "holder")
        for number in range(strangers):
            swarm.network.nursery.start_soon(asks_for_ever, swarm, f"stranger{number}", "holder", protocol, question)
        await trio.sleep(10.0)
        answered = 0
        for _ in range(TRIES):
            with suppress(StreamClosedError, UnreachableError, AssertionError, trio.TooSlowError), trio.fail_after(20.0):
                answered += await friend(swarm)  # type: ignore[operator]
            await trio.sleep(30.0)
        return answered

    assert in_exchanging_swarm(tmp_path, main) >= TRIES // 2


@attrs.frozen(eq=False)
class _Stream:
    """As much of a stream of the library's as its guard looks at."""

    peer_id: str
    ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def muxed_conn(self) -> _Stream:
        return self

    def get_protocol(self) -> str:
        return "/any/1"

    async def reset(self) -> None:
        self.ended.set()


def test_who_holds_all_streams_gives_way_to_one_who_has_none_and_to_nobody_who_has_as_many() -> None:
    pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)
    from learnae_libp2p.guards import StreamGuard

    async def waits(stream: _Stream) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        guard = StreamGuard(structlog.get_logger(), streams=8)
        async with trio.open_nursery() as nursery:

            async def opened(*peers: str) -> list[_Stream]:
                made = [_Stream(peer) for peer in peers]
                for stream in made:
                    nursery.start_soon(guard.around(waits), stream)
                    await trio.testing.wait_all_tasks_blocked()
                return made

            held = await opened(*["a"] * 4, *["b"] * 4)
            (friend,) = await opened("friend")
            assert not friend.ended.is_set()
            assert [stream.ended.is_set() for stream in held] == [True] + 7 * [False]
            (more,) = await opened("b")
            assert more.ended.is_set(), "it has the most already"
            assert not friend.ended.is_set()
            nursery.cancel_scope.cancel()

    run_in_virtual_time(main)
