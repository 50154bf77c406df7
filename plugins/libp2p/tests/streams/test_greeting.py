"""Who does not belong to the swarm gets nothing, and proofs are good for one stream alone."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import pytest
import trio

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader, frame
from learnae_libp2p.streams.greeting import GREETING_SECONDS, VERSION, StrangerError, SwarmProof, greet_as_asker, greet_as_holder
from learnae_libp2p.streams.transport import StreamClosedError
from plugins.libp2p.tests.support.network import FakeNetwork, FakeStream, stream_pair

NONCES = itertools.count(1)


def member(peer: str, key: bytes | None = b"secret", channel: str = "c") -> SwarmProof:
    return SwarmProof.of(peer, key, channel, lambda: next(NONCES).to_bytes(32, "big"))


async def outcome(greet: Callable[[], Awaitable[None]], ends: FakeStream, into: dict[str, object], name: str) -> None:
    try:
        await greet()
        into[name] = None
    except (FrameError, StreamClosedError, trio.TooSlowError) as error:
        into[name] = type(error)
        await ends.reset()


def greeted(asker: SwarmProof, holder: SwarmProof) -> dict[str, object]:
    """What each end makes of the other."""

    async def main() -> dict[str, object]:
        found: dict[str, object] = {}
        async with trio.open_nursery() as nursery:
            one, other = stream_pair(FakeNetwork(nursery), "asker", "holder")
            nursery.start_soon(outcome, lambda: greet_as_asker(one, FrameReader(one), asker), one, found, "asker")
            nursery.start_soon(outcome, lambda: greet_as_holder(other, FrameReader(other), holder), other, found, "holder")
        return found

    return run_in_virtual_time(main)


def test_members_of_a_private_swarm_greet_each_other() -> None:
    assert greeted(member("asker"), member("holder")) == {"asker": None, "holder": None}


def test_in_an_open_swarm_everybody_greets() -> None:
    assert greeted(member("asker", None), member("holder", None)) == {"asker": None, "holder": None}


@pytest.mark.parametrize(
    ("asker", "holder"),
    [
        (member("asker", b"other"), member("holder")),
        (member("asker", None), member("holder")),
        (member("asker", None, "c"), member("holder", None, "d")),
        (member("somebody else"), member("holder")),
        (member("asker"), member("somebody else")),
    ],
    ids=["another key", "no key", "another open swarm", "another asker's name", "another holder's name"],
)
def test_who_does_not_belong_is_refused_by_both(asker: SwarmProof, holder: SwarmProof) -> None:
    found = greeted(asker, holder)
    assert found["asker"] is StrangerError
    assert found["holder"] in (FrameError, StreamClosedError)


def test_a_recorded_greeting_does_not_let_its_player_in() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            network = FakeNetwork(nursery)
            recorded = list[bytes]()
            one, other = stream_pair(network, "asker", "holder")
            send = one.outgoing.send

            async def recording(data: bytes) -> None:
                recorded.append(data)
                await send(data)

            one.outgoing = Recording(recording)  # type: ignore[assignment]
            nursery.start_soon(greet_as_asker, one, FrameReader(one), member("asker"))
            await greet_as_holder(other, FrameReader(other), member("holder"))
            again, other = stream_pair(network, "asker", "holder")
            for data in recorded:
                await again.send_all(data)
            with pytest.raises(FrameError):
                await greet_as_holder(other, FrameReader(other), member("holder"))

    run_in_virtual_time(main)


class Recording:
    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.send = send


@pytest.mark.parametrize(
    "said",
    [b"", frame(FrameKind.HELLO, VERSION), frame(FrameKind.HELLO, b"\x09" + bytes(32)), frame(FrameKind.WANT, bytes(36)), b"\xff" * 100],
    ids=["nothing", "half", "another version", "a question at once", "garbage"],
)
def test_no_holder_waits_for_long_or_says_anything_to_who_does_not_greet(said: bytes) -> None:
    async def main() -> float:
        async with trio.open_nursery() as nursery:
            one, other = stream_pair(FakeNetwork(nursery), "asker", "holder")
            if said:
                await one.send_all(said)
            with pytest.raises((FrameError, trio.TooSlowError)):
                await greet_as_holder(other, FrameReader(other), member("holder"))
            assert not one.incoming.waiting
        return trio.current_time()

    begin = 0.0
    assert run_in_virtual_time(main) - begin <= GREETING_SECONDS


def test_neither_end_shows_the_key() -> None:
    assert "secret" not in repr(member("asker"))
