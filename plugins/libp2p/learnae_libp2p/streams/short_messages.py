"""Messages of a number and a few short texts: all that relays, and peers behind routers, say to each other."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from learnae_libp2p.streams.frames import FrameError, FrameKind, FrameReader, frame
from learnae_libp2p.streams.peer_lists import LISTED_CHARACTERS, read_text, text_part
from learnae_libp2p.streams.transport import StreamClosedError

MOST_TEXTS = 8
NUMBER_BYTES = 4
MOST_MESSAGE_BYTES = NUMBER_BYTES + MOST_TEXTS * (1 + LISTED_CHARACTERS)


@attrs.frozen
class ShortMessage:
    """What the number and the texts mean, its kind says."""

    kind: FrameKind
    number: int = 0
    texts: Sequence[str] = ()

    def framed(self) -> bytes:
        """One frame. Texts that are too many or too long are left out."""
        texts = [text for text in self.texts if 0 < len(text) <= LISTED_CHARACTERS][:MOST_TEXTS]
        return frame(self.kind, self.number.to_bytes(NUMBER_BYTES, "big"), *map(text_part, texts))


async def receive_message(reader: FrameReader, *kinds: FrameKind) -> ShortMessage:
    """The next one, which is of one of these kinds. Raises FrameError for all else, StreamClosedError."""
    header = await reader.header()
    if header is None:
        raise StreamClosedError("it has said no more")
    kind, length = header
    if kind not in kinds or not NUMBER_BYTES <= length <= MOST_MESSAGE_BYTES:
        raise FrameError("it does not speak of relays as this version does")
    body = await reader.body(length)
    texts: list[str] = []
    place = NUMBER_BYTES
    while place < len(body):
        text, place = read_text(body, place, LISTED_CHARACTERS)
        texts.append(text)
    return ShortMessage(FrameKind(kind), int.from_bytes(body[:NUMBER_BYTES], "big"), tuple(texts[:MOST_TEXTS]))
