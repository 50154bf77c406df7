"""Where a channel's messages lie on the tangle: at an address and under a tag that change every few seconds.

A node lists at most about a thousand transactions of an address, in no order of time. With one address for ever, new messages would be
missing from the list after some hours, or after a flood. And an outsider who has seen one message of a private swarm cannot find the next.
"""

from __future__ import annotations

import hashlib
import hmac

import attrs

from learnae_iota.transactions import MessageTag
from learnae_iota.trytes import ALPHABET

WINDOW_SECONDS = 20
PURPOSE = "where announcements lie on a tangle"

_PREFIX = b"learnae-iota/place/1/"


@attrs.frozen
class Places:
    """The places of one channel; `secret` is the swarm's for PURPOSE, None in an open swarm."""

    _key: bytes = attrs.field(repr=False)

    @classmethod
    def of(cls, channel: str, secret: bytes | None) -> Places:
        return cls(hmac.digest(secret or b"open", _PREFIX + channel.encode(), "sha256"))

    def at(self, window: int) -> MessageTag:
        digits = hashlib.shake_256(self._key + window.to_bytes(8, "big", signed=True)).digest(80 + 27)
        trytes = "".join([ALPHABET[digit % 27] for digit in digits])
        return MessageTag(trytes[:80] + "9", trytes[80:])  # the last trit of an address is zero: the node asks for that


def window_of(seconds: float) -> int:
    """The number of the window at this time, in seconds since 1970."""
    return int(seconds // WINDOW_SECONDS)
