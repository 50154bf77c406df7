"""Two ends of one line in memory, with noise and yamux on it as two hosts would have them: each end ours or the library's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as noise_key_pair
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport as LibraryNoise
from libp2p.stream_muxer.yamux.yamux import Yamux

from learnae_libp2p.frame_limits import FrameLimits
from learnae_libp2p.noise_sessions import QuickNoise
from learnae_libp2p.yamux_frames import QuickYamux


@attrs.define(eq=False)
class Wire:
    """One end, as the library wants it. `longest` bounds each read, as a network does."""

    stream: Any
    longest: int = 1 << 20

    async def read(self, n: int | None = None) -> bytes:
        data: bytes = await self.stream.receive_some(min(n or self.longest, self.longest))
        return data

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()

    def get_remote_address(self) -> None:
        return None


async def sessions(
    *, ours: tuple[bool, bool] = (True, True), longest: int = 1 << 20, limits: FrameLimits | None = None
) -> tuple[Any, Any, Wire, Wire]:
    """Both ends after a real handshake, who has dialled first, and the wires below them.

    Ours then reads at most `longest` bytes of the line at once; the library's gives up after a hundred pieces of one message.
    """
    wires = [Wire(end) for end in trio.testing.memory_stream_pair()]
    keys = [create_new_key_pair() for _ in wires]
    noises = [
        QuickNoise(pair, noise_privkey=noise_key_pair().private_key, limits=limits)
        if own
        else LibraryNoise(pair, noise_privkey=noise_key_pair().private_key)
        for pair, own in zip(keys, ours, strict=True)
    ]
    made: dict[int, Any] = {}

    async def dial() -> None:
        made[0] = await noises[0].secure_outbound(RawConnection(wires[0], True), ID.from_pubkey(keys[1].public_key))

    async def answer() -> None:
        made[1] = await noises[1].secure_inbound(RawConnection(wires[1], False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(answer)
    for wire, own in zip(wires, ours, strict=True):
        if own:
            wire.longest = longest
    return made[0], made[1], wires[0], wires[1]


@asynccontextmanager
async def connections(
    *, ours: tuple[bool, bool] = (True, True), longest: int = 1 << 20, limits: FrameLimits | None = None
) -> AsyncIterator[tuple[Any, Any]]:
    """Two connections that carry streams."""
    ends = (await sessions(ours=ours, longest=longest, limits=limits))[:2]
    made = [(QuickYamux if own else Yamux)(end, end.get_remote_peer()) for end, own in zip(ends, ours, strict=True)]
    async with trio.open_nursery() as nursery:
        for one in made:
            nursery.start_soon(one.start)
        for one in made:
            await one.event_started.wait()
        yield made[0], made[1]
        nursery.cancel_scope.cancel()


async def stream_between(one: Any, other: Any) -> tuple[Any, Any]:
    """A stream that `one` has opened, at both ends."""
    opened = await one.open_stream()
    return opened, await other.accept_stream()
