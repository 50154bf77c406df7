"""Readings of sensors become slices of those who gather: each once, whatever the medium does, and thrown out with their sensor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import trio

from learnae.data.gathered import ReadyReadings
from learnae.data.own import GATHERED, OwnSlices
from learnae.data.pool import Pool
from learnae.data.reading_rows import slices_of
from learnae.data.schema import schema_of
from learnae.data.slices import SliceRows
from learnae.data.trained_on import TrainedOn, tell
from learnae.errors import ConfigError, Problem, UpdateRejectedError
from learnae.node.gathering import Gathering
from learnae.plugins.memory import MemoryMedium
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.rows import QUOTA, digits, home_of, pool_of, with_rows
from tests.support.sensors import COLUMNS, SimulatedSensor, readings_of
from tests.support.simulated import start

pytestmark = pytest.mark.virtual_time

GATHERS: dict[str, Any] = {"data": {"accept_bytes": QUOTA, "gather": True, "gather_rows": 8}}


def gatherer(swarm: SimulatedSwarm, name: str = "a", **data: Any) -> SimulatedPeer:
    return with_rows(swarm, name, digits((1, 2)), {"data": {**GATHERS["data"], **data}}, known=("1", "2", "3"))


def gathering(peer: SimulatedPeer) -> Gathering:
    assert peer.node is not None and peer.node.gathering is not None
    return peer.node.gathering


async def test_enough_readings_of_a_sensor_are_a_slice_that_it_has_given(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([3] * 17))
        await trio.sleep(30)
        pool = pool_of(peer)
        found = [(one.rows, one.providers, one.licence, dict(one.labels)) for one in pool]
        assert found == [(8, (sensor.peer,), "CC0-1.0", {"3": 8})] * 2
        assert all(one.source == f"sensor {sensor.peer}" for one in pool)
        assert gathering(peer).gathered == 17


async def test_who_gathers_and_never_says_which_rows_fit_is_told_so(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = swarm.peer("a", {"w": np.zeros(4, np.float32)}, lambda model: 1, round_seconds=lambda: 2.0, settings=GATHERS)
        home_of(peer)
        peer.start()
        await trio.sleep(30)
        assert "data.gather" not in peer.node.runtime.outages.broken
        await trio.sleep(60)
        assert "swarm.dataset" in peer.node.runtime.outages.broken["data.gather"]
        rows = digits((1, 2))
        tell(home_of(peer), TrainedOn(schema=schema_of(rows, "y"), rows=len(rows["y"])))
        await trio.sleep(20)
        assert "data.gather" not in peer.node.runtime.outages.broken


async def test_a_range_of_a_column_that_there_is_not_is_told(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        wrong, right = (
            gatherer(swarm, "a", ranges={"x": [0.0, 1.0], "heta": [-90.0, 60.0]}),
            gatherer(swarm, "b", ranges={"x": [0, 1]}),
        )
        start(wrong, right)
        await trio.sleep(20)
        assert "heta" in wrong.node.runtime.outages.broken["data.ranges"]
        assert "data.ranges" not in right.node.runtime.outages.broken


async def test_two_that_have_heard_the_same_make_the_same_slices(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peers, sensor = [gatherer(swarm, "a").start(), gatherer(swarm, "b").start()], SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1, 2, 3] * 11))
        await trio.sleep(60)
        roots = [[one.root for one in pool_of(peer)] for peer in peers]
        assert roots[0] == roots[1] and len(roots[0]) == 4


@pytest.mark.parametrize("medium", [MemoryMedium(delay=lambda rng: rng.uniform(0, 20.0)), MemoryMedium(look_seconds=15.0)])
async def test_each_reading_comes_once_over_media_that_reorder_and_that_keep_the_newest_alone(tmp_path: Path, medium: MemoryMedium) -> None:
    async with SimulatedSwarm(folder=tmp_path, medium=medium) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        for reading in readings_of([1] * 48):
            sensor.read(reading)
            await trio.sleep(2)
        await trio.sleep(60)
        assert gathering(peer).gathered == 48
        assert sum(one.rows for one in pool_of(peer)) + len(gathering(peer).readings) == 48


async def test_what_is_lost_leaves_a_gap_and_delays_the_rest_by_half_a_minute(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path, medium=MemoryMedium(loss=0.2)) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        for reading in readings_of([1] * 100):
            sensor.read(reading)
            await trio.sleep(2)
        await trio.sleep(90)
        got = gathering(peer).gathered
        assert 60 < got < 95
        assert sum(one.rows for one in pool_of(peer)) + len(gathering(peer).readings) == got
        assert len(gathering(peer).readings) <= 8


async def test_readings_that_do_not_fit_are_left_out_of_their_slice(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = gatherer(swarm, ranges={"x": [0.0, 1.0]}).start()
        sensor, other = SimulatedSensor(swarm, "s").start(), SimulatedSensor(swarm, "t", columns={"z": "float32"}).start()
        good = readings_of([1] * 24)
        good[10]["x"] = good[10]["x"] + 5.0
        good[12]["y"] = 9
        sensor.read(*good)
        other.read({"z": 1.0})
        await trio.sleep(60)
        assert gathering(peer).refused == {"range": 1, "labels": 1, "schema": 1}
        assert [one.rows for one in pool_of(peer)] == [8, 6, 8]


async def test_a_licence_that_is_not_accepted_is_refused(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm, licences=["MIT"]).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 24))
        await trio.sleep(60)
        assert not pool_of(peer) and gathering(peer).refused["licence"]


async def test_what_waits_survives_a_kill_and_nothing_comes_twice(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 12))
        await trio.sleep(30)
        assert len(gathering(peer).readings) == 4
        peer.kill_node()
        peer.start_node()
        await trio.sleep(10)
        sensor.read(*readings_of([1] * 4))
        await trio.sleep(60)
        assert [one.rows for one in pool_of(peer)] == [8, 8]


async def test_what_waits_from_before_a_change_of_the_columns_ends_no_node(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm, gather_seconds=60.0).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 5))
        await trio.sleep(30)
        peer.kill_node()
        rows = {**digits((1, 2)), "z": np.zeros(20, np.float32)}
        tell(home_of(peer), TrainedOn(schema=schema_of(rows, "y"), rows=20, labels={"1": 10, "2": 10}))
        peer.start_node()
        newer = SimulatedSensor(swarm, "t", columns={**COLUMNS, "z": "float32"}).start()
        newer.read(*({**reading, "z": 1.0} for reading in readings_of([1] * 8)))
        await trio.sleep(120)
        assert [one.providers for one in pool_of(peer)] == [(newer.peer,)]
        assert gathering(peer).refused["schema"] >= 5 and not len(gathering(peer).readings)


@pytest.mark.parametrize("error", [ConfigError(Problem("data", "of no use")), UpdateRejectedError("labels"), ValueError("a bug")])
async def test_readings_of_which_no_slice_can_be_made_hold_nobody_else_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(ready: ReadyReadings, *rest: Any) -> Iterator[SliceRows]:
        if ready.sensor == bad.peer:
            raise error
        return slices_of(ready, *rest)

    monkeypatch.setattr("learnae.node.gathering.slices_of", failing)
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        bad, good = SimulatedSensor(swarm, "s").start(), SimulatedSensor(swarm, "t").start()
        peer = gatherer(swarm).start()
        for sensor in (bad, good):
            sensor.read(*readings_of([1] * 8))
        await trio.sleep(60)
        assert [one.providers for one in pool_of(peer)] == [(good.peer,)]
        assert sum(gathering(peer).refused.values()) == 8 and not len(gathering(peer).readings)


async def test_a_damaged_slice_of_those_that_are_passed_on_stops_no_gathering(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm, share="slices").start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(30)
        peer.kill_node()
        (damaged,) = (path for path in (home_of(peer) / "data" / GATHERED).iterdir() if path.is_file())
        damaged.write_bytes(damaged.read_bytes()[:-3])
        peer.start_node()
        sensor.read(*readings_of([1] * 8, seed=1))
        await trio.sleep(60)
        assert [one.rows for one in pool_of(peer)] == [8, 8]


async def test_a_slice_that_never_fills_is_made_after_its_time(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm, gather_seconds=120.0).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 3))
        await trio.sleep(100)
        assert not pool_of(peer)
        await trio.sleep(60)
        assert [one.rows for one in pool_of(peer)] == [3]


async def test_a_sensor_that_is_forgotten_takes_its_readings_along(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = gatherer(swarm, share="slices").start()
        sensor, liar = SimulatedSensor(swarm, "s").start(), SimulatedSensor(swarm, "t").start()
        sensor.read(*readings_of([1] * 16, seed=1))
        liar.read(*readings_of([2] * 20, seed=2))
        await trio.sleep(60)
        assert len(pool_of(peer)) == 4 == len(OwnSlices(home_of(peer), GATHERED).roots())
        Pool(home_of(peer), QUOTA).forget(liar.peer)
        liar.read(*readings_of([2] * 20, seed=3))
        await trio.sleep(60)
        assert {one.providers for one in pool_of(peer)} == {(sensor.peer,)}
        assert len(OwnSlices(home_of(peer), GATHERED).roots()) == 2
        assert gathering(peer).readings.sensors == 0


async def test_who_shares_as_well_gives_them_to_those_who_have_not_heard_them(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = gatherer(swarm, share="slices")
        other = with_rows(swarm, "b", digits((1, 2)), {"data": {"accept_bytes": QUOTA}})
        sensor = SimulatedSensor(swarm, "s").start()
        start(peer, other)
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(120)
        (got,) = pool_of(other)
        assert (got.rows, got.providers, got.source) == (8, (peer.peer,), f"sensor {sensor.peer}")
        assert got.root == pool_of(peer)[0].root


async def test_who_does_not_share_gives_nothing(tmp_path: Path) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(60)
        assert pool_of(peer) and not OwnSlices(home_of(peer), GATHERED).roots()


async def test_in_a_private_swarm_all_of_it_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, send = list[bytes](), MemoryMedium.send

    def watched(self: MemoryMedium, sender: Any, key: Any, message: bytes) -> None:
        said.append(message)
        send(self, sender, key, message)

    monkeypatch.setattr(MemoryMedium, "send", watched)
    async with SimulatedSwarm(folder=tmp_path, private=True) as swarm:
        peers, sensor = [gatherer(swarm, name, share="slices").start() for name in "ab"], SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 16))
        await trio.sleep(60)
        assert [one.root for one in pool_of(peers[0])] == [one.root for one in pool_of(peers[1])] != []
        assert len(pool_of(peers[0])) == 2  # nothing was fetched under a root of its own
        assert said and not any(b"CC0-1.0" in message for message in said)


async def test_a_swarm_of_weights_only_hears_no_sensor(tmp_path: Path) -> None:
    alone = {"swarm": {"weights_only": True}}
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer = with_rows(swarm, "a", digits((1, 2)), alone).start()
        sensor = SimulatedSensor(swarm, "s", settings=alone).start()
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(30)
        assert peer.node is not None and peer.node.gathering is None
        assert peer.node.receiver.inbox.get(sensor.peer, next(iter(peer.node.receiver.unwanted))) is None
        assert sensor.sender.sent == 8 and not (tmp_path / "a" / "data" / "readings.log").exists()


async def test_who_does_not_gather_checks_no_signature_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = with_rows(swarm, "a", digits((1, 2)), {}).start(), SimulatedSensor(swarm, "s").start()
        monkeypatch.setattr("learnae.identity.envelopes.verify", lambda peer, *_: checked.append(peer) or True)
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(30)
        assert sensor.peer not in checked and sensor.sender.sent == 8
        assert peer.node is not None and sensor.peer not in peer.node.receiver.inbox.known


async def test_a_flood_of_strange_sensors_displaces_none_whose_readings_are_in_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        peer, sensor = gatherer(swarm).start(), SimulatedSensor(swarm, "s").start()
        sensor.read(*readings_of([1] * 8))
        await trio.sleep(30)
        monkeypatch.setattr("learnae.data.gathered.MOST_READINGS", 40)
        sensor.read(*readings_of([1] * 5))
        rng = Random(0)
        for number in range(6):
            flood = SimulatedSensor(swarm, f"flood{number}", message_seconds=0.1).start()
            flood.read(*readings_of([2] * rng.randrange(9, 20)))
        await trio.sleep(20)
        held = gathering(peer).readings
        assert len(held) <= 40
        sensor.read(*readings_of([1] * 3))
        await trio.sleep(20)
        mine = [one for one in pool_of(peer) if one.providers == (sensor.peer,)]
        assert [one.rows for one in mine] == [8, 8]
