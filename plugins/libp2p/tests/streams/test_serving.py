"""What askers may do to a holder, and what it costs the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from learnae.lowlevel import cid_bytes
from learnae_libp2p.streams.frames import HEADER, MOST_CIDS, FrameKind, FrameReader, frame, in_frames
from learnae_libp2p.streams.serving import BLOCK_PROTOCOL, MOST_STREAMS, MOST_STREAMS_OF_ONE
from learnae_libp2p.streams.transport import Stream, StreamClosedError
from plugins.libp2p.tests.support.stream_peers import StreamSwarm, blocks, greeted_stream, in_swarm, want

HERE = blocks(40)
ABSENT = [want(blocks(50, length=10, seed=100 + number)) for number in range(5)]
QUESTIONS = list(in_frames(FrameKind.ASK, [cid_bytes(block.cid) for block in blocks(1000, length=10, seed=7)], b"1234"))

Misbehave = Callable[[Stream, FrameReader], Awaitable[None]]


async def never_reads(stream: Stream, reader: FrameReader) -> None:
    await stream.send_all(want(HERE))
    await trio.sleep_forever()


async def reads_a_byte_a_second(stream: Stream, reader: FrameReader) -> None:
    await stream.send_all(want(HERE))
    while True:
        await trio.sleep(1.0)
        await stream.receive_some(1)


async def asks_for_what_is_not_there_again_and_again(stream: Stream, reader: FrameReader) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_all, stream)
        while True:
            for question in ABSENT:
                await stream.send_all(question)


async def asks_about_a_million(stream: Stream, reader: FrameReader) -> None:
    while True:
        for question in QUESTIONS:
            await stream.send_all(question)


async def wants_a_million(stream: Stream, reader: FrameReader) -> None:
    while True:
        await stream.send_all(want(HERE) + ABSENT[0] * 30)


async def sends_garbage(stream: Stream, reader: FrameReader) -> None:
    await stream.send_all(b"\xa5" * 5000)
    await trio.sleep_forever()


async def sends_blocks(stream: Stream, reader: FrameReader) -> None:
    while True:
        await stream.send_all(HEADER.pack(FrameKind.BLOCK, 524_000) + bytes(65_000))


async def sends_unknown_frames(stream: Stream, reader: FrameReader) -> None:
    while True:
        await stream.send_all(HEADER.pack(77, 10_000) + bytes(10_000))


async def sends_a_byte_a_second(stream: Stream, reader: FrameReader) -> None:
    for byte in want(HERE):
        await stream.send_all(bytes([byte]))
        await trio.sleep(1.0)


async def read_all(stream: Stream) -> None:
    while await stream.receive_some(1 << 18):
        pass


async def read_until_reset(stream: Stream) -> None:
    with suppress(StreamClosedError):
        await read_all(stream)


BAD = [never_reads, reads_a_byte_a_second, asks_for_what_is_not_there_again_and_again, asks_about_a_million, wants_a_million]
BAD += [sends_garbage, sends_blocks, sends_unknown_frames, sends_a_byte_a_second]


@pytest.mark.parametrize("misbehave", BAD, ids=lambda misbehave: misbehave.__name__)
def test_others_are_served_beside_eight_that_misbehave(tmp_path: Path, misbehave: Misbehave) -> None:
    async def main(swarm: StreamSwarm) -> float:
        holder, asker, wanted = await swarm.add("peer1"), await swarm.add("peer0"), HERE
        await holder.put(wanted)

        async def bad(name: str) -> None:
            try:
                await misbehave(*await greeted_stream(swarm, name, "peer1"))
            except* StreamClosedError:
                pass

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(bad, f"bad{number}")
            await trio.sleep(1.0)
            begin = trio.current_time()
            found = await asker.fetch(wanted, "peer1")
            took = trio.current_time() - begin
            await trio.sleep(10.0)
            held = holder.server.whole_bytes
            nursery.cancel_scope.cancel()
        assert len(found) == 40
        assert held > 0
        return took

    assert in_swarm(tmp_path, main, bytes_per_second=200_000) < 30.0


@pytest.mark.parametrize("misbehave", [never_reads, sends_garbage, sends_blocks], ids=lambda misbehave: misbehave.__name__)
def test_who_misbehaves_is_let_go(tmp_path: Path, misbehave: Misbehave) -> None:
    async def main(swarm: StreamSwarm) -> int:
        holder = await swarm.add("peer1")
        await holder.put(HERE)
        stream, reader = await greeted_stream(swarm, "bad", "peer1")
        with trio.move_on_after(60.0):
            with suppress(StreamClosedError):
                await misbehave(stream, reader)
        return holder.server.streams

    assert in_swarm(tmp_path, main) == 0


class Counting:
    """A store with nothing in it, that counts how often it is asked."""

    asked = 0

    def has(self, cid: object) -> bool:
        self.asked += 1
        return False


def test_questions_for_what_is_not_there_are_answered_at_a_bounded_rate(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        holder = await swarm.add("peer1")
        counting = Counting()
        holder.server.store = counting  # type: ignore[assignment]
        with trio.move_on_after(20.0):
            async with trio.open_nursery() as nursery:
                for _ in range(MOST_STREAMS_OF_ONE):
                    nursery.start_soon(asks_for_what_is_not_there_again_and_again, *await greeted_stream(swarm, "bad", "peer1"))
        return counting.asked / 20.0

    assert in_swarm(tmp_path, main) < 6 * MOST_CIDS


def test_a_peer_has_few_streams_and_its_newest_ones_count(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        holder = await swarm.add("peer1")
        await holder.put(blocks(1))
        for _ in range(30):
            stream, reader = await greeted_stream(swarm, "bad", "peer1")
        assert holder.server.streams <= MOST_STREAMS_OF_ONE
        await stream.send_all(want(blocks(1)))
        assert await reader.header() is not None

    in_swarm(tmp_path, main)


def test_when_there_are_too_many_askers_an_idle_one_gives_way(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        holder = await swarm.add("peer1")
        wanted = blocks(10)
        await holder.put(wanted)
        for number in range(MOST_STREAMS + 20):
            await greeted_stream(swarm, f"bad{number}", "peer1")
            assert holder.server.streams <= MOST_STREAMS
        asker = await swarm.add("peer0")
        assert len(await asker.fetch(wanted, "peer1")) == 10

    in_swarm(tmp_path, main)


def test_who_opens_streams_and_does_not_greet_is_gone_soon(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        holder = await swarm.add("peer1")
        for number in range(50):
            swarm.network.host(f"bad{number}")
            swarm.network.join(f"bad{number}", "peer1")
            await swarm.network.transports[f"bad{number}"].open_stream("peer1", BLOCK_PROTOCOL)
        await trio.sleep(11.0)
        assert holder.server.streams == 0

    in_swarm(tmp_path, main)


def test_an_asker_without_the_key_of_a_private_swarm_gets_nothing(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        wanted = blocks(10)
        await (await swarm.add("peer1", secret=b"s" * 32)).put(wanted)
        for asker in (await swarm.add("peer2"), await swarm.add("peer3", secret=b"t" * 32)):
            assert await asker.lacking(wanted, "peer1") == {block.cid for block in wanted}
            assert swarm.network.carried["peer1", asker.transport.peer] < 100
        member = await swarm.add("peer4", secret=b"s" * 32)
        assert len(await member.fetch(wanted, "peer1")) == 10

    in_swarm(tmp_path, main)


def test_an_upload_budget_holds_and_is_shared_by_peers_not_by_streams(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> dict[str, int]:
        holder, wanted = await swarm.add("peer1", upload=(100_000, None)), HERE
        await holder.put(wanted)
        async with trio.open_nursery() as nursery:
            for name in ("one", "other", "other"):
                stream, _ = await greeted_stream(swarm, name, "peer1")
                await stream.send_all(want(wanted))
                nursery.start_soon(read_all, stream)
            await trio.sleep(60.0)
            nursery.cancel_scope.cancel()
        return {name: swarm.network.carried["peer1", name] for name in ("one", "other")}

    carried = in_swarm(tmp_path, main)
    assert 5_500_000 < sum(carried.values()) < 6_500_000
    assert 0.9 < carried["one"] / carried["other"] < 1.1


def test_an_hour_without_budget_sends_askers_to_others_at_once(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, wanted = await swarm.add("peer0"), blocks(20)
        await (await swarm.add("peer1", upload=(None, 500_000))).put(wanted)
        await (await swarm.add("peer2")).put(wanted)
        begin = trio.current_time()
        assert len(await asker.fetch(wanted, "peer1")) == 20
        assert swarm.network.carried["peer1", "peer0"] < 700_000
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main) < 10.0


def test_a_sole_holder_whose_hour_is_spent_is_not_asked_again_and_again_and_has_its_hour_for_blocks(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, wanted = await swarm.add("peer0"), blocks(30)
        await (await swarm.add("peer1", upload=(None, 1_000_000))).put(wanted)
        begin = trio.current_time()
        missing = await asker.lacking(wanted, "peer1")
        took = trio.current_time() - begin
        assert len(missing) < len(wanted)
        for _ in range(30):
            await asker.lacking(wanted, "peer1")
        assert swarm.network.carried["peer1", "peer0"] - 100_000 * (len(wanted) - len(missing)) < 20_000
        await trio.sleep(3700.0)
        assert len(await asker.lacking(wanted, "peer1")) < len(missing)
        return took

    assert in_swarm(tmp_path, main) < 10.0


def test_who_only_asks_is_answered_within_the_bound_of_an_hour(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> int:
        await swarm.add("peer1", upload=(None, 200_000))
        stream, _ = await greeted_stream(swarm, "bad", "peer1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_until_reset, stream)
            with suppress(StreamClosedError), trio.move_on_after(600.0):
                while True:
                    await stream.send_all(ABSENT[0])
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        return swarm.network.carried["peer1", "bad"]

    assert in_swarm(tmp_path, main) <= 230_000


def test_an_answer_that_nobody_reads_is_not_made_again_and_again(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> int:
        holder = await swarm.add("peer1")
        stream, _ = await greeted_stream(swarm, "bad", "peer1")
        question = frame(FrameKind.ASK, b"1234", *(cid_bytes(block.cid) for block in blocks(8, length=10)))
        with suppress(StreamClosedError):
            for _ in range(100_000):
                await stream.send_all(question)
        await trio.sleep(1.0)
        return holder.server.streams

    assert in_swarm(tmp_path, main) == 0


def test_who_wants_blocks_and_does_not_read_them_keeps_nobody_from_being_served(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        holder, asker = await swarm.add("peer1"), await swarm.add("peer0")
        await holder.put(HERE)
        for number in range(MOST_STREAMS):
            stream, _ = await greeted_stream(swarm, f"bad{number // MOST_STREAMS_OF_ONE}", "peer1")
            await stream.send_all(want(HERE))
        await trio.sleep(1.0)
        assert holder.server.streams == MOST_STREAMS
        with trio.fail_after(3.0):
            assert len(await asker.fetch(HERE[:5], "peer1")) == 5

    in_swarm(tmp_path, main)
