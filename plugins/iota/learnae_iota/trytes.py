"""Trytes, the digits of the tangle: how bytes and numbers are written in them. Needs nothing, so that a small device can."""

from __future__ import annotations

ALPHABET = "9ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # 0 to 13, then -13 to -1

_PAIRS = [ALPHABET[byte % 27] + ALPHABET[byte // 27] for byte in range(256)]
_BYTES = {pair: byte for byte, pair in enumerate(_PAIRS)}
_END = b"\x01"  # after the message, since its zeros would look like the padding


def from_bytes(data: bytes) -> str:
    """Two trytes for each byte, the form that PyOTA uses."""
    return "".join([_PAIRS[byte] for byte in data])


def from_message(message: bytes) -> str:
    return from_bytes(message + _END)


def to_message(trytes: str) -> bytes | None:
    """The message that begins a field which is padded by nines; None for anything that `from_message` never makes."""
    try:
        data = bytes([_BYTES[trytes[index : index + 2]] for index in range(0, len(trytes) - 1, 2)]).rstrip(b"\0")
    except KeyError:
        return None
    return data[:-1] if data.endswith(_END) else None


def from_number(number: int, length: int) -> str:
    """A number in balanced notation, the least digit first."""
    digits = []
    for _ in range(length):
        digit = (number + 13) % 27 - 13
        digits.append(ALPHABET[digit % 27])
        number = (number - digit) // 27
    return "".join(digits)


def to_number(trytes: str) -> int:
    number = 0
    for tryte in reversed(trytes):
        number = number * 27 + _value(tryte)
    return number


def is_trytes(text: object, length: int) -> bool:
    return isinstance(text, str) and len(text) == length and not text.strip(ALPHABET)


def _value(tryte: str) -> int:
    index = ALPHABET.index(tryte)
    return index - 27 if index > 13 else index
