"""What a message of gossipsub carries, and the newest of each sender, which newcomers are given."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs

from learnae import Standing

MESSAGE_BYTES = 4096
KEY_BYTES = 16
TOPIC_CHARACTERS = 256
VERSION = b"\x01"
FRAME_BYTES = len(VERSION) + KEY_BYTES + MESSAGE_BYTES


@attrs.frozen
class Frame:
    key: bytes
    message: bytes


def frame_of(message: bytes, replaces: bytes) -> bytes:
    """Version, which message it supersedes, and itself."""
    return VERSION + hashlib.sha256(replaces).digest()[:KEY_BYTES] + message


def parse_frame(data: bytes) -> Frame | None:
    """None for what is no such frame."""
    start = len(VERSION) + KEY_BYTES
    if not data.startswith(VERSION) or not start <= len(data) <= FRAME_BYTES:
        return None
    return Frame(bytes(data[len(VERSION) : start]), bytes(data[start:]))


def topic_of(channel: str) -> str:
    """Channels are texts of any length and kind; a topic is short."""
    return f"/learnae/1/{hashlib.sha256(channel.encode()).hexdigest()}"


@attrs.frozen(kw_only=True)
class Signed:
    """One message with its sender's signature, as it can be handed on. `number` rises with each that the sender sends."""

    topic: str
    sender: bytes
    number: int
    key: bytes
    message: bytes
    wire: bytes

    @property
    def place(self) -> tuple[str, bytes, bytes]:
        return (self.topic, self.sender, self.key)


@attrs.frozen
class Kept:
    """A message, by what it is told apart where there are too many, and when it came."""

    signed: Signed
    group: tuple[bool, str]  # whether it is of somebody who counts, and the host that has brought it
    at: float


@attrs.define
class KeptMessages:
    """The newest message of each (topic, sender, key), for an hour, and so many at most.

    Where there are more, one of a stranger goes, and others only where there is none: the oldest that came from the host that has
    brought most of them. So who invents senders pushes out his own.
    """

    clock: Callable[[], float]
    most: int = 2048
    seconds: float = 3600.0
    _kept: dict[tuple[str, bytes, bytes], Kept] = attrs.field(factory=dict)
    _brought: dict[bool, Counter[str]] = attrs.field(factory=lambda: {False: Counter(), True: Counter()})

    def add(self, signed: Signed, host: str, standing: Standing) -> bool:
        """Whether it is newer than what was there; a connection of this host has brought it."""
        there = self._kept.get(signed.place)
        if there is not None and there.signed.number >= signed.number:
            return False
        self._remove(signed.place)
        counts = standing > Standing.STRANGER
        self._kept[signed.place] = Kept(signed, (counts, host), self.clock())
        self._brought[counts][host] += 1
        while len(self._kept) > self.most:
            self._remove_one()
        return True

    def __contains__(self, signed: Signed) -> bool:
        there = self._kept.get(signed.place)
        return there is not None and there.signed.number == signed.number

    def of(self, topics: Sequence[str]) -> Iterator[Signed]:
        """Those that are still in force, the oldest first."""
        oldest = self.clock() - self.seconds
        for place, kept in list(self._kept.items()):
            if kept.at < oldest:
                self._remove(place)
            elif kept.signed.topic in topics:
                yield kept.signed

    def _remove_one(self) -> None:
        counts = not self._brought[False]
        worst, _ = self._brought[counts].most_common(1)[0]
        self._remove(next(place for place, kept in self._kept.items() if kept.group == (counts, worst)))

    def _remove(self, place: tuple[str, bytes, bytes]) -> None:
        if (gone := self._kept.pop(place, None)) is not None:
            counts, host = gone.group
            self._brought[counts][host] -= 1
            if not self._brought[counts][host]:
                del self._brought[counts][host]
