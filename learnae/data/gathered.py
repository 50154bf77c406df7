"""Readings of sensors that wait until there are enough of them for a slice, within bounds: `data/readings.log` in the home of who gathers.

Each (sensor, number) counts once. A slice holds the readings of one sensor whose numbers have the same quotient by `rows`: so two peers
that have heard the same readings make the same slice. The log is a list of records, each behind its length: a sensor with the payload of
one sample, or a sensor with the number below which all of its readings are settled, -1 if it is forgotten. It is written anew where most
of it is settled.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import cbor2

from learnae.content import validators
from learnae.data.pool_index import open_data
from learnae.data.readings import MOST_NUMBER, PAYLOAD_BYTES, SampleContent, open_sample
from learnae.errors import UpdateRejectedError
from learnae.opening import replace_file
from learnae.records import PeerId

LOG = "readings.log"
LATE_SECONDS = 30.0
"""So long after the first reading of the next slice came, a slice is made without those that are missing."""
SMALL_SECONDS = 600.0
"""Between two slices of one sensor with less than a quarter of their rows: else few readings with far numbers would be many slices."""
MOST_READINGS = 32_768  # with payloads of which each holds one: 28 MiB
MOST_SENSORS = 1024
_MOST_LOG_BYTES = 64 << 20
_SLACK_BYTES = 1 << 20
_LENGTH_BYTES = 2
_FORGOTTEN = -1


@attrs.frozen(eq=False)
class HeardSample:
    """One sample of a sensor: what it says, its bytes, and when it was heard, on the node's clock."""

    content: SampleContent
    payload: bytes
    heard_at: float


@attrs.define
class SensorReadings:
    """The readings of one sensor that wait, by number. What is below `floor` is settled. `turn` is lower the earlier its turn is."""

    waiting: dict[int, HeardSample] = attrs.field(factory=dict)
    floor: int = 0
    small_not_before: float = 0.0
    turn: int = 0


@attrs.frozen
class ReadyReadings:
    """Readings of one sensor, in the order of their numbers, of which a slice is to be made now."""

    sensor: PeerId
    readings: Sequence[tuple[int, SampleContent]]


@attrs.define
class GatheredReadings:
    """The readings that wait in a home. It blocks, and raises ConfigError for a home that cannot be used, and OSError.

    `rows` is how many make a slice, `seconds` how long the first of them waits. Where there are too many, the oldest go of the sensor that
    has most, and of one that is not `known` first.
    """

    home: Path
    rows: int
    seconds: float
    known: Callable[[PeerId], bool] = lambda peer: False
    dropped: int = 0  # for want of room
    _sensors: OrderedDict[PeerId, SensorReadings] = attrs.field(factory=OrderedDict)  # the one that was heard longest ago first
    _turns: int = 0
    _count: int = 0
    unsaved_bytes: int = 0
    _unsaved: list[bytes] = attrs.field(factory=list)
    _log_bytes: int = -1  # -1: it must be written anew, whatever is unsaved

    def load(self, now: float) -> None:
        """Read what an earlier run has left. Of a log that was cut off, what comes before."""
        try:
            with open_data(self.home, looking=True) as data:
                log = data.read(LOG, _MOST_LOG_BYTES)
        except FileNotFoundError:
            return
        place = 0
        try:
            while place < len(log):
                length = int.from_bytes(log[place : place + _LENGTH_BYTES], "big")
                self._apply(log[place + _LENGTH_BYTES : place + _LENGTH_BYTES + length], now)
                place += _LENGTH_BYTES + length
            self._log_bytes = len(log)
        except (UpdateRejectedError, ValueError, EOFError, cbor2.CBORError):
            self._log_is(-1)

    def add(self, sensor: PeerId, content: SampleContent, payload: bytes, now: float) -> int:
        """Take the readings of a sample that are new. Returns how many these are."""
        if sensor not in self._sensors:
            self._sensors[sensor] = SensorReadings(turn=self._next_turn())
        mine = self._sensors[sensor]
        self._sensors.move_to_end(sensor)
        numbers = range(max(content.first, mine.floor), content.first + content.count)
        new = [number for number in numbers if number not in mine.waiting]
        if new:
            held = HeardSample(content, payload, now)
            mine.waiting.update(dict.fromkeys(new, held))
            self._count += len(new)
            self._note(_record(sensor, payload))
            self._make_room()
        return len(new)

    def ready(self, now: float, most: int) -> Iterator[ReadyReadings]:
        """At most so many, each settled once it was given. The sensors take turns: who was given longest ago, or came first, has the next.

        Those that are known come first, and one place is for the others: identities cost nothing, so a crowd of new ones waits in its own
        line, behind the new sensor that was there before it.
        """
        ordered = sorted(self._sensors, key=lambda sensor: self._sensors[sensor].turn)
        known, others = (iter([sensor for sensor in ordered if self.known(sensor) is wanted]) for wanted in (True, False))
        given = 0
        for sensors, places in ((known, max(1, most - 1)), (others, most), (known, most)):
            while given < places and (sensor := next(sensors, None)) is not None:
                mine = self._sensors[sensor]
                if (found := self._due(mine, now)) is None:
                    continue
                numbers, floor = found
                small = len(numbers) < self.rows / 4
                if small and now < mine.small_not_before:
                    self.dropped += len(numbers)
                else:
                    given += 1
                    yield ReadyReadings(sensor, [(number, mine.waiting[number].content) for number in numbers])
                    mine.turn = self._next_turn()
                    mine.small_not_before = now + SMALL_SECONDS if small else mine.small_not_before
                self._settle(sensor, floor)

    def _next_turn(self) -> int:
        self._turns += 1
        return self._turns

    def forget(self, sensor: PeerId) -> None:
        """Drop what waits of it."""
        if sensor in self._sensors:
            self._count -= len(self._sensors.pop(sensor).waiting)
            self._note(_record(sensor, _FORGOTTEN))

    def save(self) -> None:
        """Write what has changed. A process that is killed loses what came after the last call.

        If that fails, half of it may be there: the next call writes all of it anew.
        """
        if not self._unsaved and self._log_bytes >= 0:
            return
        live = sum(len(record) for record in self._records()) if self._log_bytes < 0 or self._log_bytes > _SLACK_BYTES else 0
        try:
            with open_data(self.home, make=True) as data:
                if self._log_bytes < 0 or (live and self._log_bytes > 2 * live + _SLACK_BYTES):
                    content = b"".join(self._records())
                    replace_file(LOG, content, at=data.fd, durable=True)
                    size = len(content)
                else:
                    with os.fdopen(data.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
                        size = self._log_bytes + file.write(b"".join(self._unsaved))
        except BaseException:
            self._log_is(-1)
            raise
        self._log_is(size)

    def _note(self, record: bytes) -> None:
        """It is to be appended to the log. Where nobody saves for long, the log is written anew instead: that takes no memory meanwhile."""
        if self._log_bytes >= 0:
            self._unsaved.append(record)
            self.unsaved_bytes += len(record)
            if self.unsaved_bytes > _SLACK_BYTES:
                self._log_is(-1)

    def _log_is(self, size: int) -> None:
        """Its size, with nothing unsaved; -1: it is to be written anew."""
        self._unsaved.clear()
        self.unsaved_bytes, self._log_bytes = 0, size

    def __len__(self) -> int:
        return self._count

    @property
    def sensors(self) -> int:
        """Those of which readings wait."""
        return sum(bool(mine.waiting) for mine in self._sensors.values())

    def _due(self, mine: SensorReadings, now: float) -> tuple[list[int], int] | None:
        """The numbers of the next slice, and the floor when it was made; None while it is worth waiting."""
        if not mine.waiting:
            return None
        lowest = min(mine.waiting)
        begin = lowest // self.rows * self.rows
        end = begin + self.rows
        inside = sorted(number for number in mine.waiting if number < end)
        beyond = [held.heard_at for number, held in mine.waiting.items() if number >= end]
        if len(inside) == end - max(begin, mine.floor) or (beyond and now - min(beyond) >= LATE_SECONDS):
            return inside, end
        if now - min(mine.waiting[number].heard_at for number in inside) >= self.seconds:
            return inside, inside[-1] + 1
        return None

    def _settle(self, sensor: PeerId, floor: int) -> None:
        mine = self._sensors[sensor]
        going = [number for number in mine.waiting if number < floor]
        for number in going:
            del mine.waiting[number]
        self._count -= len(going)
        mine.floor = max(mine.floor, floor)
        self._note(_record(sensor, mine.floor))

    def _make_room(self) -> None:
        while self._count > MOST_READINGS or len(self._sensors) > MOST_SENSORS:
            if len(self._sensors) > MOST_SENSORS:
                idle = next((peer for peer, mine in self._sensors.items() if not self.known(peer)), next(iter(self._sensors)))
                self.dropped += len(self._sensors[idle].waiting)
                self.forget(idle)
                continue
            largest = max(self._sensors, key=lambda peer: (not self.known(peer), len(self._sensors[peer].waiting)))
            numbers = sorted(self._sensors[largest].waiting)
            part = max(1, len(numbers) // 4)
            self.dropped += part
            self._settle(largest, numbers[part - 1] + 1)

    def _records(self) -> Iterator[bytes]:
        for sensor, mine in self._sensors.items():
            if mine.floor:
                yield _record(sensor, mine.floor)
            for held in dict.fromkeys(mine.waiting.values()):
                yield _record(sensor, held.payload)

    def _apply(self, record: bytes, now: float) -> None:
        value: Any = cbor2.loads(record)
        if type(value) is not list or len(value) != 2:
            raise ValueError("no record")
        sensor = validators.peer(validators.octets(value[0], "a sensor", 32, 32).hex(), "a sensor")
        if value[1] == _FORGOTTEN:
            self.forget(sensor)
        elif type(value[1]) is int:
            self._sensors.setdefault(sensor, SensorReadings(turn=self._next_turn()))
            self._settle(sensor, validators.integer(value[1], "a number", 0, MOST_NUMBER + PAYLOAD_BYTES))
        else:
            payload = validators.octets(value[1], "a sample", 1, PAYLOAD_BYTES)
            self.add(sensor, open_sample(payload), payload, now)


def _record(sensor: PeerId, value: bytes | int) -> bytes:
    record = cbor2.dumps([bytes.fromhex(sensor), value])
    return len(record).to_bytes(_LENGTH_BYTES, "big") + record
