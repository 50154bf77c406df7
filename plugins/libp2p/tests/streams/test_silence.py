"""Who counts as silent: not who waits behind a flood, nor whom this process looked for too late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from learnae.testing.swarm import run_in_virtual_time
from learnae_libp2p.streams.asking import BUSY_BYTES, SILENCE_SECONDS, HolderStream
from learnae_libp2p.streams.frames import CID_BYTES
from learnae_libp2p.streams.silence import MOST_TIMES, silence
from plugins.libp2p.tests.support.stream_peers import membership

SECONDS = 20.0


def freeze(seconds: float) -> None:
    """As if this process had been stopped, or had been busy, for so long."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


def in_virtual_time(main: Callable[[], Awaitable[Any]]) -> Any:
    return run_in_virtual_time(main)


@attrs.define
class Arriving:
    """Bytes that come over a connection."""

    bytes: int = 0

    def __call__(self) -> int:
        return self.bytes

    async def come(self, count: int) -> None:
        """So many each second."""
        while True:
            self.bytes += count
            await trio.sleep(1.0)


@attrs.frozen
class Asked:
    """All of a stream that is used here."""

    peer: str = "holder"


async def never(*_: object) -> None:
    raise AssertionError


def asked(arrived: Callable[[], int]) -> HolderStream:
    holder = HolderStream(
        stream=Asked(),  # type: ignore[arg-type]
        proof=membership("a"),
        came=lambda holder, count: None,
        took=never,
        lacking=lambda holder, cids, for_now: None,
        ended=lambda holder, why: None,
        arrived=arrived,
    )
    holder.want([bytes(CID_BYTES)])
    return holder


async def silent_after(holder: HolderStream, most: float) -> float | None:
    begin = trio.current_time()
    while trio.current_time() - begin < most:
        await trio.sleep(1.0)
        if holder.is_silent():
            return trio.current_time() - begin
    return None


async def how_long(arrived: Callable[[], int], meanwhile: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint) -> float:
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(meanwhile)
        await silence(arrived, SECONDS)
        nursery.cancel_scope.cancel()
    return trio.current_time() - begin


def test_silence_is_so_many_seconds_without_a_byte() -> None:
    assert in_virtual_time(lambda: how_long(lambda: 0)) == SECONDS


def test_who_sends_other_things_is_waited_for_longer_and_not_for_ever() -> None:
    arriving = Arriving()
    assert in_virtual_time(lambda: how_long(arriving, lambda: arriving.come(1))) == MOST_TIMES * SECONDS


@pytest.mark.parametrize("seconds", [2.0, 15.0, 600.0])
def test_the_time_in_which_this_process_stood_still_is_nobody_s_silence(seconds: float) -> None:
    async def stand_still() -> None:
        await trio.sleep(10.5)
        freeze(seconds)

    assert in_virtual_time(lambda: how_long(lambda: 0, stand_still)) >= 10.0 + seconds + SECONDS - 1.0


def test_a_holder_that_sends_nothing_is_silent_soon() -> None:
    assert in_virtual_time(lambda: silent_after(asked(lambda: 0), 100.0)) == SILENCE_SECONDS


def test_a_holder_is_not_silent_where_this_process_looked_too_late() -> None:
    async def main() -> None:
        holder = asked(lambda: 0)
        assert await silent_after(holder, 5.0) is None
        freeze(60.0)
        assert not holder.is_silent()
        assert await silent_after(holder, SILENCE_SECONDS - 7.0) is None

    in_virtual_time(main)


def test_a_holder_whose_blocks_are_behind_other_things_is_waited_for_and_not_for_ever() -> None:
    async def main() -> float | None:
        arriving = Arriving()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(arriving.come, BUSY_BYTES)
            found = await silent_after(asked(arriving), 200.0)
            nursery.cancel_scope.cancel()
        return found

    assert in_virtual_time(main) == MOST_TIMES * SILENCE_SECONDS
