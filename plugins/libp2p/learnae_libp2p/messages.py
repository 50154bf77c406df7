"""What a message of gossipsub carries, and the newest of each sender, which newcomers are given."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs

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


@attrs.define
class KeptMessages:
    """The newest message of each (topic, sender, key), for an hour, and so many at most.

    Where there are more, the oldest of the peer that has brought most goes: who invents senders pushes out its own.
    """

    clock: Callable[[], float]
    most: int = 2048
    seconds: float = 3600.0
    _kept: dict[tuple[str, bytes, bytes], tuple[Signed, str, float]] = attrs.field(factory=dict)
    _brought: Counter[str] = attrs.field(factory=Counter)

    def add(self, signed: Signed, via: str) -> bool:
        """Whether it is newer than what was there; `via` has brought it."""
        there = self._kept.get(signed.place)
        if there is not None and there[0].number >= signed.number:
            return False
        self._remove(signed.place)
        self._kept[signed.place] = (signed, via, self.clock())
        self._brought[via] += 1
        while len(self._kept) > self.most:
            worst, _ = self._brought.most_common(1)[0]
            self._remove(next(place for place, (_, brought_by, _) in self._kept.items() if brought_by == worst))
        return True

    def __contains__(self, signed: Signed) -> bool:
        there = self._kept.get(signed.place)
        return there is not None and there[0].number == signed.number

    def of(self, topics: Sequence[str]) -> Iterator[Signed]:
        """Those that are still in force, the oldest first."""
        oldest = self.clock() - self.seconds
        for place, (signed, _, at) in list(self._kept.items()):
            if at < oldest:
                self._remove(place)
            elif signed.topic in topics:
                yield signed

    def _remove(self, place: tuple[str, bytes, bytes]) -> None:
        if (gone := self._kept.pop(place, None)) is not None:
            self._brought[gone[1]] -= 1
            if not self._brought[gone[1]]:
                del self._brought[gone[1]]
