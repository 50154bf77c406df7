"""Fetching from several holders: all comes whole, what breaks off goes on elsewhere, and nobody is asked for more than it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae import Block, Cid
from learnae.lowlevel import MEGABYTE, cid_bytes
from learnae_libp2p.streams.fetch_job import FEW_BLOCKS
from learnae_libp2p.streams.frames import FrameReader, block_header
from learnae_libp2p.streams.transport import Stream
from plugins.libp2p.tests.support.stream_peers import StreamSwarm, blocks, in_swarm, odd_holder


def same(found: dict[Cid, bytes], wanted: list[Block]) -> bool:
    return found == {block.cid: block.data for block in wanted}


@pytest.mark.parametrize(("count", "length"), [(1, 1), (3, 524_288), (40, 100_000), (1500, 10)])
def test_what_a_hinted_holder_has_comes_whole_and_stays(tmp_path: Path, count: int, length: int) -> None:
    async def main(swarm: StreamSwarm) -> None:
        holder, asker = await swarm.add("peer1"), await swarm.add("peer2")
        wanted = blocks(count, length)[: 250 if length == 1 else None]
        await holder.put(wanted)
        assert same(await asker.fetch(wanted, "peer1"), wanted)
        assert all(asker.store.has(block.cid) for block in wanted)

    in_swarm(tmp_path, main)


def test_without_a_hint_those_who_are_connected_are_asked(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker = await swarm.add("peer0")
        for number in range(1, 5):
            await swarm.add(f"peer{number}")
        wanted = blocks(20)
        await swarm.peers["peer3"].put(wanted)
        assert same(await asker.fetch(wanted), wanted)

    in_swarm(tmp_path, main)


def test_what_lies_at_several_is_put_together(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker = await swarm.add("peer0")
        wanted = blocks(30)
        for number in range(3):
            await (await swarm.add(f"peer{number + 1}")).put(wanted[10 * number : 10 * number + 10])
        assert same(await asker.fetch(wanted, "peer1"), wanted)

    in_swarm(tmp_path, main)


def test_several_holders_share_the_work_by_what_they_can_do(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, wanted = await swarm.add("peer0"), blocks(100)
        for name in ("peer1", "peer2"):
            await (await swarm.add(name)).put(wanted)
        begin = trio.current_time()
        await asker.fetch(wanted, "peer1")
        assert min(swarm.network.carried[name, "peer0"] for name in ("peer1", "peer2")) > 3_000_000
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=1_000_000) < 7


def test_a_holder_that_is_killed_leaves_what_it_has_not_sent_to_another(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, wanted = await swarm.add("peer0"), blocks(100)
        for name in ("peer1", "peer2"):
            await (await swarm.add(name)).put(wanted)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_after, swarm, "peer1", 2.0)
            assert same(await asker.fetch(wanted, "peer1"), wanted)
        assert sum(swarm.network.carried[name, "peer0"] for name in ("peer1", "peer2")) < 1.2 * 10_000_000

    in_swarm(tmp_path, main, bytes_per_second=1_000_000)


async def kill_after(swarm: StreamSwarm, name: str, seconds: float) -> None:
    await trio.sleep(seconds)
    swarm.network.kill(name)


def test_a_transfer_whose_only_connection_is_lost_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(100)
        await holder.put(wanted)

        async def break_off() -> None:
            for _ in range(3):
                await trio.sleep(2.0)
                swarm.network.part("peer0", "peer1")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(break_off)
            assert same(await asker.fetch(wanted, "peer1"), wanted)
        assert swarm.network.carried["peer1", "peer0"] < 1.5 * 10_000_000

    in_swarm(tmp_path, main, bytes_per_second=1_000_000)


def test_what_a_cut_off_fetch_has_got_is_not_fetched_again(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(100)
        await holder.put(wanted)
        with trio.move_on_after(5.0):
            await asker.fetch(wanted, "peer1")
        left = [block for block in wanted if not asker.store.has(block.cid)]
        assert 20 < len(left) < 80
        assert same(await asker.fetch(left, "peer1"), left)
        assert swarm.network.carried["peer1", "peer0"] < 1.2 * 10_000_000

    in_swarm(tmp_path, main, bytes_per_second=1_000_000)


def test_a_root_whose_blocks_are_gone_costs_one_question_and_no_time(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(1)
        await asker.lacking(wanted, "peer1")
        before, begin = dict(swarm.network.carried), trio.current_time()
        assert await asker.lacking(wanted, "peer1") == {wanted[0].cid}
        assert swarm.network.carried["peer0", "peer1"] - before["peer0", "peer1"] < 200
        await holder.put(wanted)
        assert same(await asker.fetch(wanted, "peer1"), wanted)
        assert len(swarm.network.transports["peer0"].opened) == 1
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, delay=0.01) < 1.0


def test_nobody_to_ask_is_known_at_once(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, wanted = await swarm.add("peer0"), blocks(30)
        assert await asker.lacking(wanted) == {block.cid for block in wanted}
        return trio.current_time()

    assert in_swarm(tmp_path, main) < 1.0


def test_a_hinted_peer_that_is_not_connected_is_dialled(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1", connected=False), blocks(5)
        await holder.put(wanted)
        assert same(await asker.fetch(wanted, "nonsense", "", "peer1"), wanted)

    in_swarm(tmp_path, main)


def test_hints_of_strangers_dial_few_at_once_and_not_for_long(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker = await swarm.add("peer0")
        hints = [f"peer{number}" for number in range(50, 90)]
        swarm.network.answers |= {hint: (hint, 1e6) for hint in hints}
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(asker.lacking, blocks(1, seed=number), *hints[8 * number :])
        assert swarm.network.most_dialling <= 4
        return trio.current_time()

    assert in_swarm(tmp_path, main) < 15


def test_a_cancelled_fetch_stops_the_transfer_and_its_stream_is_used_again(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(100)
        await holder.put(wanted)
        with trio.move_on_after(2.0):
            await asker.fetch(wanted, "peer1")
        await trio.sleep(30.0)
        assert swarm.network.carried["peer1", "peer0"] < 4_000_000
        again = [block for block in wanted if not asker.store.has(block.cid)]
        assert same(await asker.fetch(again, "peer1"), again)
        assert len(swarm.network.transports["peer0"].opened) == 1

    in_swarm(tmp_path, main, bytes_per_second=1_000_000)


def test_a_fetch_that_begins_as_another_is_cancelled_gets_what_that_one_has_forgotten(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(FEW_BLOCKS)
        await holder.put(wanted)
        with trio.move_on_after(0.35):
            await asker.fetch(wanted, "peer1")
        again = [block for block in wanted if not asker.store.has(block.cid)]
        assert again
        assert same(await asker.fetch(again, "peer1"), again)

    in_swarm(tmp_path, main, bytes_per_second=1_000_000, delay=0.1)


def test_two_fetches_of_the_same_blocks_cost_one_transfer(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(50)
        await holder.put(wanted)
        found = list[bool]()

        async def fetch() -> None:
            found.append(same(await asker.fetch(wanted, "peer1"), wanted))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            nursery.start_soon(fetch)
        assert found == [True, True]
        assert swarm.network.carried["peer1", "peer0"] < 1.3 * 5_000_000

    in_swarm(tmp_path, main, bytes_per_second=1_000_000)


def test_a_popular_update_spreads_and_its_author_sends_it_less_often_than_it_is_fetched(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> tuple[float, float]:
        author, wanted = await swarm.add("peer0", upload=(1_000_000, None)), blocks(100)
        await author.put(wanted)
        askers = [await swarm.add(f"peer{number}") for number in range(1, 7)]
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for asker in askers:
                nursery.start_soon(asker.fetch, wanted, "peer0")
        sent = sum(count for (sender, _), count in swarm.network.carried.items() if sender == "peer0")
        return sent / 10_000_000, trio.current_time() - begin

    copies, seconds = in_swarm(tmp_path, main, bytes_per_second=4_000_000)
    assert copies < 3.5
    assert seconds < 35  # 60 where each copy comes from the author


def test_what_the_cache_has_no_room_for_is_delivered_all_the_same(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, holder, wanted = await swarm.add("peer0", cache_bytes=0), await swarm.add("peer1"), blocks(20)
        await holder.put(wanted)
        assert same(await asker.fetch(wanted, "peer1"), wanted)

    in_swarm(tmp_path, main)


def test_a_bounded_download_takes_its_time(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, holder, wanted = await swarm.add("peer0", download=(200_000, None)), await swarm.add("peer1"), blocks(40)
        await holder.put(wanted)
        begin = trio.current_time()
        assert same(await asker.fetch(wanted, "peer1"), wanted)
        return trio.current_time() - begin

    assert 15 < in_swarm(tmp_path, main) < 30


def test_far_away_holders_are_kept_busy(tmp_path: Path) -> None:
    """10 MB at 10 MB/s and a tenth of a second either way: asked for one by one, 100 blocks take 20 seconds and more."""

    async def main(swarm: StreamSwarm) -> float:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(100)
        await holder.put(wanted)
        begin = trio.current_time()
        await asker.fetch(wanted, "peer1")
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=10_000_000, delay=0.1) < 15


def test_memory_for_one_large_fetch_is_bounded(tmp_path: Path) -> None:
    """Of what was not delivered yet; what was is the caller's."""

    async def main(swarm: StreamSwarm) -> int:
        asker, holder, wanted = await swarm.add("peer0", cache_bytes=0), await swarm.add("peer1"), blocks(60, 524_288)
        await holder.put(wanted)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                pipes = [stream.incoming.size for link in asker.transport.links.values() for stream in link.streams]
                most = max(most, sum(pipes))
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await asker.fetcher.fetch([block.cid for block in wanted], lambda block: None, hints=["peer1"])
            nursery.cancel_scope.cancel()
        assert holder.server.whole_bytes == 32 * MEGABYTE
        return most

    assert in_swarm(tmp_path, main, bytes_per_second=1e7) < 4 * MEGABYTE
    assert len({cid_bytes(block.cid) for block in blocks(60, 10)}) == 60


def test_a_byte_that_a_holder_has_waited_for_is_not_waited_for_again(tmp_path: Path) -> None:
    """Both ends allow as much: together they take as long as one of them does."""
    wanted = blocks(10, 500_000)

    async def main(swarm: StreamSwarm) -> float:
        holder = await swarm.add("peer1", upload=(100_000, None))
        fetcher = await swarm.add("peer2", download=(100_000, None))
        await holder.put(wanted)
        begin = trio.current_time()
        assert len(await fetcher.fetch(wanted, "peer1")) == 10
        return trio.current_time() - begin

    assert 45.0 < in_swarm(tmp_path, main) < 60.0


def test_bytes_of_a_block_that_breaks_off_count_as_well(tmp_path: Path) -> None:
    [block] = blocks(1, 500_000)

    async def main(swarm: StreamSwarm) -> float:
        fetcher = await swarm.add("peer2", download=(100_000, None))

        async def break_off(stream: Stream, reader: FrameReader) -> None:
            await reader.header()
            await stream.send_all(block_header(cid_bytes(block.cid), len(block.data)) + block.data[:400_000])

        odd_holder(swarm, "peer1", break_off)
        assert await fetcher.lacking([block], "peer1")
        return fetcher.fetcher.budget.wait()

    assert in_swarm(tmp_path, main) > 1.0
