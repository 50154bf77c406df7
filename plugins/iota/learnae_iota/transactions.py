"""Zero-value transactions, one for each message: how they are laid out, made and read."""

from __future__ import annotations

import attrs

from learnae_iota.curl import TRANSACTION_TRYTES
from learnae_iota.kerl import bundle_hash
from learnae_iota.trytes import from_message, from_number, is_trytes, to_message, to_number

MESSAGE_BYTES = 1092
"""Two trytes a byte, and one byte that marks the end."""

NOTHING = "9" * 81
"""The parent that every node knows."""

_MESSAGE, _ADDRESS, _ESSENCE, _TAG = slice(2187), slice(2187, 2268), slice(2187, 2349), slice(2592, 2619)
ATTACHED = 2619
"""Behind so many trytes stands what whoever attaches a transaction fills in: times and the nonce."""

_ATTACHED = slice(ATTACHED, ATTACHED + 9)
_INDEX = slice(2331, 2349)  # which transaction of its bundle, and the last one: nines where it is the only one


@attrs.frozen
class MessageTag:
    """Where messages are left and looked for."""

    address: str
    tag: str


def make(message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
    """A transaction that lacks nothing but its nonce. The same fields as PyOTA's, which a test compares."""
    essence = place.address + "9" * 27 + place.tag + from_number(milliseconds // 1000, 9) + "9" * 18
    return (
        from_message(message).ljust(2187, "9")
        + essence
        + bundle_hash(essence)
        + "".join(parents)
        + place.tag
        + from_number(milliseconds, 9)
        + "9" * (9 + 9 + 27)
    )


def read(trytes: object, places: frozenset[MessageTag]) -> bytes | None:
    """The message in a transaction that lies at one of these places; None for anything that `make` never makes."""
    if not is_trytes(trytes, TRANSACTION_TRYTES):
        return None
    assert isinstance(trytes, str)
    if MessageTag(trytes[_ADDRESS], trytes[_TAG]) not in places or trytes[_INDEX].strip("9"):
        return None
    return to_message(trytes[_MESSAGE])


def sent_at(transaction: str) -> int:
    """When it was attached, in milliseconds since 1970: what its sender says."""
    return to_number(transaction[_ATTACHED])
