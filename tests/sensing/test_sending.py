"""A sensor under virtual time: what is sent together, what waits while a medium is gone, and numbers that are never used again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from learnae.data.readings import PackedReading, open_sample
from learnae.errors import ConfigError, UnavailableError
from learnae.identity.envelopes import ENVELOPE_BYTES, SAMPLE_PLACES, decode_envelope
from learnae.identity.swarms import swarm_id
from learnae.plugins.memory import MemoryMedium
from learnae.records import Sample
from learnae.sensing.waiting_readings import RESERVED, WaitingReadings
from learnae.testing.swarm import SimulatedSwarm
from tests.support.sensors import SimulatedSensor

pytestmark = pytest.mark.virtual_time

COLUMNS = {"t": "float32"}


@attrs.define
class Seen:
    """What goes over the memory medium: when, in which place, and the message. `gone`: nothing can be sent now."""

    sent: list[tuple[float, bytes, bytes]] = attrs.field(factory=list)
    gone: bool = False


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    made, send = Seen(), MemoryMedium.send

    def watched(self: MemoryMedium, sender: Any, key: Any, message: bytes) -> None:
        if made.gone:
            raise UnavailableError("the medium is gone")
        made.sent.append((trio.current_time(), key[1], message))
        send(self, sender, key, message)

    monkeypatch.setattr(MemoryMedium, "send", watched)
    return made


def readings(made: Seen) -> Sequence[tuple[int, int]]:
    """First number and count of each message."""
    opened = [decode_envelope(message, swarm_id("default")).announcement.body for _, _, message in made.sent]
    contents = [open_sample(body.payload) for body in opened if isinstance(body, Sample)]
    return [(content.first, content.count) for content in contents]


async def test_readings_that_come_soon_after_one_another_go_together(tmp_path: Path, seen: Seen) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        for number in range(50):
            sensor.read({"t": number})
            await trio.sleep(0.2)
        await trio.sleep(10)
    assert readings(seen)[0] == (0, 1) and sum(count for _, count in readings(seen)) == 50
    assert len(seen.sent) <= 7
    assert all(later - sooner >= 1.99 for (sooner, *_), (later, *_) in zip(seen.sent, seen.sent[1:], strict=False))


async def test_what_waited_goes_out_when_the_medium_is_back(tmp_path: Path, seen: Seen) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        seen.gone = True
        sensor.read(*({"t": number} for number in range(700)))
        await trio.sleep(600)
        seen.gone = False
        await trio.sleep(120)
        assert sensor.sender.sent == 700
    assert [first for first, _ in readings(seen)] == sorted(first for first, _ in readings(seen))
    assert sum(count for _, count in readings(seen)) == 700
    assert max(len(message) for _, _, message in seen.sent) <= ENVELOPE_BYTES


async def test_where_too_many_wait_the_oldest_are_lost_and_counted(tmp_path: Path, seen: Seen) -> None:
    seen.gone = True
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS, keep=10).start()
        sensor.read(*({"t": number} for number in range(25)))
        await trio.sleep(5)
        seen.gone = False
        await trio.sleep(100)
        assert sensor.sender.readings.lost == 15
    assert readings(seen)[-1] == (15, 10)


async def test_so_many_messages_in_a_row_lie_side_by_side_on_a_medium(tmp_path: Path, seen: Seen) -> None:
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        for number in range(40):
            sensor.read({"t": number})
            await trio.sleep(2.5)
    places = [place for _, place, _ in seen.sent]
    assert len(places) == 40 and len(set(places)) == SAMPLE_PLACES
    assert all(len(set(places[start : start + SAMPLE_PLACES])) == SAMPLE_PLACES for start in range(24))


async def test_what_was_not_sent_is_sent_by_the_next_run_under_its_own_number(tmp_path: Path, seen: Seen) -> None:
    seen.gone = True
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        sensor.read(*({"t": number} for number in range(5)))
        await trio.sleep(5)
        sensor.sender.readings.save(clean=True)
    seen.gone = False
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        sensor.read({"t": 5})
        await trio.sleep(10)
    assert readings(seen) == [(0, 6)]


def test_a_kill_skips_numbers_and_uses_none_twice(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    waiting = WaitingReadings(home, 10)
    used = [waiting.add(PackedReading(b"x")) for _ in range(3)]
    messages = [waiting.next_message() for _ in range(3)]
    again = WaitingReadings(home, 10)  # without save
    assert again.add(PackedReading(b"x")) > max(used) and again.next_message() > max(messages)
    assert again.add(PackedReading(b"x")) <= max(used) + RESERVED + 2
    again.save(clean=True)
    after = WaitingReadings(home, 10)
    assert len(after) == 2 and after.add(PackedReading(b"x")) == again.oldest(2)[0] + 2


def test_a_state_that_is_damaged_says_what_to_do(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "sensor.state").write_bytes(b"\xff\x00rubbish")
    (home / "sensor.state").chmod(0o600)
    with pytest.raises(ConfigError, match="move the whole home away"):
        WaitingReadings(home, 10)
