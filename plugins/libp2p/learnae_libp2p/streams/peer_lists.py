"""How peers and their addresses stand in a frame: each text behind its length, each peer with the number of its addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from learnae_libp2p.streams.address_book import PEER_CHARACTERS
from learnae_libp2p.streams.frames import FrameError, FrameKind, frame

MOST_LISTED = 9  # who tells, and eight others
MOST_LISTED_ADDRESSES = 4  # of one peer
LISTED_CHARACTERS = 200  # of one address
MOST_LIST_BYTES = MOST_LISTED * (2 + PEER_CHARACTERS + MOST_LISTED_ADDRESSES * (1 + LISTED_CHARACTERS))


@attrs.frozen
class ListedPeer:
    """What somebody says of one peer, or of itself."""

    peer: str
    addresses: Sequence[str]


def list_frame(listed: Iterable[ListedPeer]) -> bytes:
    """One frame. What is too much or too long is left out."""
    parts: list[bytes] = []
    for one in list(listed)[:MOST_LISTED]:
        addresses = [text for text in one.addresses if len(text) <= LISTED_CHARACTERS][:MOST_LISTED_ADDRESSES]
        parts += [text_part(one.peer), bytes([len(addresses)]), *map(text_part, addresses)]
    return frame(FrameKind.PEERS, *parts)


def read_list(body: bytes) -> list[ListedPeer]:
    """Raises FrameError for all that `list_frame` does not make."""
    found: list[ListedPeer] = []
    place = 0
    while place < len(body):
        peer, place = read_text(body, place, PEER_CHARACTERS)
        count, place = _byte(body, place)
        if count > MOST_LISTED_ADDRESSES or len(found) == MOST_LISTED:
            raise FrameError("a list of peers that is too long")
        addresses: list[str] = []
        for _ in range(count):
            address, place = read_text(body, place, LISTED_CHARACTERS)
            addresses.append(address)
        found.append(ListedPeer(peer, addresses))
    return found


def text_part(text: str) -> bytes:
    """Behind its length, which is one byte."""
    return bytes([len(text)]) + text.encode("ascii")


def _byte(body: bytes, place: int) -> tuple[int, int]:
    if place >= len(body):
        raise FrameError("a list of texts that breaks off")
    return body[place], place + 1


def read_text(body: bytes, place: int, most: int) -> tuple[str, int]:
    """What `text_part` has made, and where it ends. Raises FrameError for all else."""
    length, place = _byte(body, place)
    data = body[place : place + length]
    if not 0 < length <= most or len(data) != length or not all(33 <= byte <= 126 for byte in data):
        raise FrameError("a text that is none")
    return data.decode("ascii"), place + length
