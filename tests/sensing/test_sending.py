"""A sensor under virtual time: what is sent together, what waits while a medium is gone, and numbers that are never used again."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.data.readings import PackedReading, open_sample
from learnae.errors import ConfigError, UnavailableError
from learnae.identity.envelopes import ENVELOPE_BYTES, SAMPLE_PLACES, decode_envelope
from learnae.identity.swarms import swarm_id
from learnae.opening import replace_file
from learnae.plugins.memory import MemoryMedium
from learnae.records import Sample
from learnae.sensing import waiting_readings
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


@attrs.define
class Disk:
    """Where the state of a sensor is written. `fails`: it is full. `late`: the file is there, and then it fails all the same."""

    fails: bool = False
    late: bool = False
    meanwhile: Callable[[], object] = lambda: None

    def replace_file(self, name: str, content: bytes, *, at: int, durable: bool) -> None:
        self.meanwhile()
        if not self.fails or self.late:
            replace_file(name, content, at=at)
        if self.fails:
            raise OSError(errno.ENOSPC, "no space left on device")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(waiting_readings, "replace_file", made.replace_file)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


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


async def test_a_disk_that_is_full_for_a_while_ends_no_sensor(tmp_path: Path, seen: Seen, disk: Disk) -> None:
    disk.fails = True
    async with SimulatedSwarm(folder=tmp_path) as swarm:
        sensor = SimulatedSensor(swarm, "s", columns=COLUMNS).start()
        sensor.read(*({"t": number} for number in range(5)))
        await trio.sleep(120)
        assert not seen.sent
        disk.fails = False
        await trio.sleep(120)
        assert sensor.sender.sent == 5
    assert readings(seen) == [(0, 5)]


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


def test_a_kill_skips_numbers_and_uses_none_twice(home: Path) -> None:
    waiting = WaitingReadings(home, 10)
    used = [waiting.add(PackedReading(b"x")) for _ in range(3)]
    messages = [waiting.next_message() for _ in range(3)]
    again = WaitingReadings(home, 10)  # without save
    assert again.add(PackedReading(b"x")) > max(used) and again.next_message() > max(messages)
    last = again.add(PackedReading(b"x"))
    assert last <= max(used) + RESERVED + 2
    again.save(clean=True)
    after = WaitingReadings(home, 10)
    assert len(after) == 5 and after.add(PackedReading(b"x")) == last + 1


@pytest.mark.parametrize("late", [False, True])
def test_a_write_that_fails_gives_no_number(home: Path, disk: Disk, late: bool) -> None:
    waiting = WaitingReadings(home, 1000)
    disk.fails, disk.late = True, late
    for _ in range(3):
        waiting.add(PackedReading(b"x"))
        with pytest.raises(OSError, match="no space"):
            waiting.next_message()
    disk.fails = False
    used, first = waiting.next_message(), waiting.oldest(1)[0]
    assert (used, first) == (1, 0)
    again = WaitingReadings(home, 1000)  # without save
    assert again.next_message() > used and again.add(PackedReading(b"y")) > 2


def test_a_clean_end_that_fails_halfway_takes_no_number_back_that_is_used_after_it(home: Path, disk: Disk) -> None:
    waiting = WaitingReadings(home, 1000)
    waiting.next_message()
    disk.fails, disk.late = True, True
    with pytest.raises(OSError, match="no space"):
        waiting.save(clean=True)
    disk.fails = False
    used = waiting.next_message()
    assert WaitingReadings(home, 1000).next_message() > used


def test_a_reading_is_taken_while_the_disk_is_busy_or_full(home: Path, disk: Disk) -> None:
    waiting, busy, done = WaitingReadings(home, 1000), threading.Event(), threading.Event()

    def hang() -> None:
        busy.set()
        assert done.wait(60)

    disk.meanwhile = hang
    waiting.add(PackedReading(b"x"))
    thread = threading.Thread(target=waiting.save)
    thread.start()
    try:
        assert busy.wait(60)
        assert [waiting.add(PackedReading(b"x")) for _ in range(2 * RESERVED)][-1] == 2 * RESERVED
    finally:
        done.set()
        thread.join(60)
    disk.fails, disk.meanwhile = True, lambda: None
    assert waiting.add(PackedReading(b"x")) == 2 * RESERVED + 1
    disk.fails = False
    waiting.save()  # what came while the other one was under way has changed it again
    assert len(WaitingReadings(home, 1000)) == 2 * RESERVED + 2


STEPS = st.tuples(st.sampled_from(["add", "many", "send", "save", "end", "kill"]), st.sampled_from(["works", "fails", "late"]))


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_no_number_goes_out_twice_whatever_fails_and_whoever_is_killed(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, str]]
) -> None:
    home, disk = tmp_path_factory.mktemp("home"), Disk()
    home.chmod(0o700)
    messages, sent, made = list[int](), dict[int, bytes](), 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(waiting_readings, "replace_file", disk.replace_file)
        waiting = WaitingReadings(home, 1000)
        for step, state in [*steps, ("kill", "works"), ("add", "works"), ("send", "works")]:
            disk.fails, disk.late = state != "works", state == "late"
            try:
                if step in ("add", "many"):
                    for _ in range(1 if step == "add" else RESERVED + 1):
                        made += 1
                        waiting.add(PackedReading(str(made).encode()))
                elif step == "send":
                    first, some = waiting.oldest(10)
                    messages.append(waiting.next_message())
                    for number, one in enumerate(some, first):
                        assert sent.setdefault(number, one.data) == one.data
                    waiting.remove(first, len(some))
                elif step in ("save", "end"):
                    waiting.save(clean=step == "end")
                else:
                    waiting = WaitingReadings(home, 1000)
            except OSError:
                assert disk.fails
    assert messages == sorted(set(messages))


def test_a_state_that_is_damaged_says_what_to_do(home: Path) -> None:
    (home / "sensor.state").write_bytes(b"\xff\x00rubbish")
    (home / "sensor.state").chmod(0o600)
    with pytest.raises(ConfigError, match="move the whole home away"):
        WaitingReadings(home, 10)
