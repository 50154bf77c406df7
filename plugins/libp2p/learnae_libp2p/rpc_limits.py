"""What one message of gossipsub's protocol may hold: entries are counted on the line, before anything is made of them.

Two bytes on the line are an object here: 256 KiB of them take a tenth of a second to read, and most of a second to look at.
"""

from __future__ import annotations

import re
from typing import Any

FREE_ENTRIES = 256
BYTES_FOR_AN_ENTRY = 32  # the ids and topics that honest peers send are longer
CONTROL_ENTRIES = 16  # of one kind in one message
MESSAGE_IDS = 512  # of all entries of one kind together
TOPIC = re.compile(r"/learnae/1/[0-9a-f]{64}")  # as `topic_of` makes them

Shape = dict[int, "Shape"]
NAMES: Shape = {}
RPC: Shape = {3: dict.fromkeys(range(1, 6), NAMES)}  # control: ihave, iwant, graft, prune, idontwant
VARINT, EIGHT, BYTES, FOUR = 0, 1, 2, 5


class TooManyEntriesError(ValueError):
    """A message consists of more entries than an honest one, or cannot be read."""


def count_entries(wire: bytes) -> int:
    """Entries of each repeated field together, and fields that nobody knows. Raises TooManyEntriesError."""
    most = FREE_ENTRIES + len(wire) // BYTES_FOR_AN_ENTRY
    count, open_parts = 0, [(0, len(wire), RPC)]
    while open_parts:
        at, end, shape = open_parts.pop()
        while at < end:
            count += 1
            if count > most:
                raise TooManyEntriesError(f"more than {most} entries in {len(wire)} bytes")
            tag, at = _varint(wire, at, end)
            field, kind = tag >> 3, tag & 7
            if kind == BYTES:
                size, at = _varint(wire, at, end)
                if field in shape:
                    open_parts.append((at, min(at + size, end), shape[field]))
            else:
                size = _size(wire, at, end, kind)
            at += size
    return count


def _size(wire: bytes, at: int, end: int, kind: int) -> int:
    if kind == VARINT:
        return _varint(wire, at, end)[1] - at
    if kind in (EIGHT, FOUR):
        return 8 if kind == EIGHT else 4
    raise TooManyEntriesError("a field of a kind that nobody uses")


def _varint(wire: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = wire[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise TooManyEntriesError("a number without an end")


def trim_control(control: Any, known: Any) -> None:
    """Leave of each kind only as many entries as an honest peer sends, of topics that are known, and each id once."""
    for entries in (control.ihave, control.graft, control.prune):
        kept = [entry for entry in entries if entry.topicID in known][:CONTROL_ENTRIES]
        del entries[:]
        entries.extend(kept)
    del control.iwant[CONTROL_ENTRIES:]
    for asked in (control.ihave, control.iwant):
        left = dict.fromkeys(name for entry in asked for name in entry.messageIDs[:MESSAGE_IDS])
        left = dict.fromkeys(list(left)[:MESSAGE_IDS])
        for entry in asked:
            names = [name for name in dict.fromkeys(entry.messageIDs[:MESSAGE_IDS]) if name in left]
            for name in names:
                del left[name]
            del entry.messageIDs[:]
            entry.messageIDs.extend(names)
    for prune in control.prune:
        del prune.peers[:]  # whom others name is not dialled
    for field in ("idontwant", "extensions", "observe", "unobserve"):
        control.ClearField(field)


def is_topic(text: str) -> bool:
    """Whether it is one of ours: others would stand in logs, and mean nothing to anybody."""
    return TOPIC.fullmatch(text) is not None
