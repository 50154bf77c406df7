"""Holders that drip, lie, stay silent or talk nonsense: each costs a bounded time, and another is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from plugins.libp2p.tests.support.hostile_behaviours import BEHAVIOURS, Behave, has_all_and_drips
from plugins.libp2p.tests.support.stream_peers import StreamSwarm, blocks, in_swarm, odd_holder


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS)
@pytest.mark.parametrize("count", [1, 40])
def test_what_an_honest_peer_has_as_well_comes_soon(tmp_path: Path, behave: Behave, count: int) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, honest, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(count)
        await honest.put(wanted)
        odd_holder(swarm, "peer9", behave)
        begin = trio.current_time()
        found = await asker.fetch(wanted, "peer9")
        assert found == {block.cid: block.data for block in wanted}
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=1_000_000) < 15.0


@pytest.mark.parametrize("behave", BEHAVIOURS.values(), ids=BEHAVIOURS)
def test_whoever_is_asked_alone_has_a_bounded_time_and_the_second_fetch_is_over_soon(tmp_path: Path, behave: Behave) -> None:
    async def main(swarm: StreamSwarm) -> list[float]:
        asker, wanted = await swarm.add("peer0"), blocks(20)
        odd_holder(swarm, "peer9", behave)
        took = []
        for _ in range(2):
            begin = trio.current_time()
            assert await asker.lacking(wanted, "peer9") == {block.cid for block in wanted}
            took.append(trio.current_time() - begin)
        return took

    first, second = in_swarm(tmp_path, main)
    assert first < 60.0
    assert second < 60.0


def test_a_wrong_block_is_never_delivered_nor_kept_and_its_sender_is_not_asked_for_a_while(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> None:
        asker, wanted = await swarm.add("peer0"), blocks(20)
        liar = odd_holder(swarm, "peer9", BEHAVIOURS["lies"])
        for _ in range(3):
            assert await asker.lacking(wanted, "peer9") == {block.cid for block in wanted}
        assert not any(asker.store.has(block.cid) for block in wanted)
        assert sum(len(link.streams) for link in liar.links.values()) == 1

    in_swarm(tmp_path, main)


def test_a_slow_holder_that_goes_on_is_waited_for_as_long_as_it_takes(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, holder, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(8)
        await holder.put(wanted)
        swarm.network.slow["peer1"] = 10_000
        found = await asker.fetch(wanted, "peer1")
        assert found == {block.cid: block.data for block in wanted}
        return trio.current_time()

    assert in_swarm(tmp_path, main) > 70.0


def test_a_frozen_holder_is_left_for_another(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, wanted = await swarm.add("peer0"), blocks(100)
        for name in ("peer1", "peer2"):
            await (await swarm.add(name)).put(wanted)
        async with trio.open_nursery() as nursery:

            async def freeze() -> None:
                await trio.sleep(1.0)
                swarm.network.frozen.add("peer1")

            nursery.start_soon(freeze)
            begin = trio.current_time()
            found = await asker.fetch(wanted, "peer1")
        assert len(found) == len(wanted)
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=1_000_000) < 20.0


def test_many_dripping_peers_do_not_keep_an_honest_one_from_being_found(tmp_path: Path) -> None:
    async def main(swarm: StreamSwarm) -> float:
        asker, honest, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(60)
        await honest.put(wanted)
        for number in range(20, 32):
            odd_holder(swarm, f"peer{number}", BEHAVIOURS["drips"])
        begin = trio.current_time()
        found = await asker.fetch(wanted, "peer20", "peer21", "peer22")
        assert len(found) == len(wanted)
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=1_000_000) < 30.0


@pytest.mark.parametrize(("soon", "late"), [(2, 0), (8, 8)])
def test_who_drip_just_fast_enough_not_to_be_silent_keep_no_block_from_one_who_has_it(tmp_path: Path, soon: int, late: int) -> None:
    """Some take what was asked of nobody, the others what those have not sent."""

    async def main(swarm: StreamSwarm) -> float:
        asker, honest, wanted = await swarm.add("peer0"), await swarm.add("peer1"), blocks(60)
        await honest.put(wanted)
        for number in range(soon + late):
            odd_holder(swarm, f"peer{20 + number}", has_all_and_drips(after=0.0 if number < soon else 2.5))
        begin = trio.current_time()
        assert len(await asker.fetch(wanted, "peer1")) == len(wanted)
        return trio.current_time() - begin

    assert in_swarm(tmp_path, main, bytes_per_second=1_000_000) < 30.0
