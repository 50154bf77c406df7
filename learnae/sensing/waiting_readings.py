"""Readings that wait to be sent, and the numbers that are used: `sensor.state` in the home of a sensor.

No number is sent twice: so many at a time are reserved on the disk before a message is made that needs the first of them. Whoever is
killed skips those that were reserved, and loses the readings that came after the last write. To take a reading waits for no disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cbor2

from learnae.data.readings import MOST_NUMBER, PackedReading
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import open_home
from learnae.opening import replace_file

FILE = "sensor.state"
RESERVED = 64
_MOST_BYTES = 256 << 20
_VERSION = 1


class WaitingReadings:
    """All methods may be called from any thread. To make one raises ConfigError for a home that cannot be used, and OSError."""

    def __init__(self, home: Path, most: int) -> None:
        self._home, self._most = home, most
        self._disk = threading.Lock()  # held by whoever writes; taken before `_lock`
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, PackedReading] = OrderedDict()
        self._readings = self._messages = 0  # used
        self._reserved = (0, 0)  # messages and readings that may be used; never more than the disk knows
        self._changed = False
        self.lost = 0  # for want of room
        self._load()

    def add(self, reading: PackedReading) -> int:
        """Returns its number, from 0 on. If too many wait, the oldest is lost. It does not block."""
        with self._lock:
            number = self._readings
            self._readings += 1
            self._waiting[number] = reading
            self._changed = True
            if len(self._waiting) > self._most:
                self._waiting.popitem(last=False)
                self.lost += 1
            return number

    def next_message(self) -> int:
        """The number of the next message, which may carry any reading that was added before.

        It blocks. Raises ConfigError and OSError where the disk cannot take it, and has used no number then.
        """
        with self._disk:
            if self._messages >= self._reserved[0] or self._readings > self._reserved[1]:
                self._write(RESERVED)
            self._messages += 1
            return self._messages

    def oldest(self, most: int) -> tuple[int, Sequence[PackedReading]]:
        """The number of the oldest reading, and at most so many that follow each other from it on."""
        with self._lock:
            numbers = list(zip(range(most), self._waiting, strict=False))
            first = numbers[0][1] if numbers else 0
            return first, [self._waiting[number] for place, number in numbers if number == first + place]

    def remove(self, first: int, count: int) -> None:
        """These were sent."""
        with self._lock:
            for number in range(first, first + count):
                self._waiting.pop(number, None)
            self._changed = True

    def save(self, *, clean: bool = False) -> None:
        """Keep what waits. A `clean` end gives the numbers back that were reserved and not used.

        It blocks. Raises ConfigError and OSError where the disk cannot take it.
        """
        with self._disk:
            if self._changed or clean:
                self._write(0 if clean else RESERVED)

    def __len__(self) -> int:
        return len(self._waiting)

    def _write(self, ahead: int) -> None:
        """Write what waits, and reserve so many numbers beyond those that are used. `_disk` is held."""
        with self._lock:
            reserved = self._messages + ahead, self._readings + ahead
            waiting = [[number, one.data, list(one.texts)] for number, one in self._waiting.items()]
            self._changed = False
        before = self._reserved
        self._reserved = min(before[0], reserved[0]), min(before[1], reserved[1])  # a write that fails may have come through or not
        try:
            with open_home(self._home) as folder:
                replace_file(FILE, cbor2.dumps([_VERSION, *reserved, waiting]), at=folder.fd, durable=True)
        except BaseException:
            self._changed = True
            raise
        self._reserved = reserved

    def _load(self) -> None:
        try:
            with open_home(self._home) as folder:
                value: Any = cbor2.loads(folder.read(FILE, _MOST_BYTES))
            version, self._messages, self._readings, waiting = value
            if version != _VERSION or not all(type(used) is int and 0 <= used < MOST_NUMBER for used in (self._messages, self._readings)):
                raise ValueError(f"version {version!r}, and numbers that no sensor has")
            for number, data, texts in waiting[-self._most :]:
                self._waiting[number] = PackedReading(data, tuple(texts))
        except FileNotFoundError:
            return
        except (cbor2.CBORError, ValueError, TypeError, KeyError, EOFError) as error:
            remedy = "move the whole home away: the peer gets a new key, since numbers of the old one must not be used again"
            raise ConfigError(Problem(str(self._home / FILE), f"is damaged: {error}", remedy)) from None
        self._reserved = self._messages, self._readings
