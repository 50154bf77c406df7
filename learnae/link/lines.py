"""Messages as lines of JSON: strict, and bounded in length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cattrs.errors import ForbiddenExtraKeysError
from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from learnae.link.messages import Message

MAX_LINE = 64 * 1024
MAX_START = 64 << 20
"""The first line carries name and shape of every tensor."""


_MESSAGE: Any = Message  # a union, which mypy does not take for a type


class Garbled(Exception):
    """The other side said something that it cannot have meant: end it and start again."""


class Lines:
    """Encodes and decodes messages; one for each end of a link."""

    def __init__(self) -> None:
        self._converter = _strict_converter()

    def encode(self, message: Message, limit: int = MAX_LINE) -> bytes:
        """One line with its line feed. Raises ValueError if it would exceed the limit."""
        text: str = self._converter.dumps(message, unstructure_as=Message, default=_plain)
        line = text.encode() + b"\n"
        if len(line) > limit:
            raise ValueError(f"{type(message).__name__} makes a line of {len(line)} bytes, more than {limit}")
        return line

    def decode(self, line: bytes, limit: int = MAX_LINE) -> Message:
        """Raises Garbled for anything but one whole line with one message."""
        if len(line) > limit or not line.endswith(b"\n"):
            raise Garbled(f"a line of {len(line)} bytes without an end, or longer than {limit}")
        try:
            message: Message = self._converter.loads(line, _MESSAGE)
        except (ValueError, ArithmeticError, TypeError, KeyError, AttributeError, RecursionError, ForbiddenExtraKeysError) as error:
            raise Garbled(f"{error!r} in {line[:100]!r}") from error
        return message


def _strict_converter() -> JsonConverter:
    converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _only(kind))
    converter.register_structure_hook(float, _number)
    converter.register_unstructure_hook(bytes, bytes.hex)
    converter.register_structure_hook(bytes, lambda value, _: bytes.fromhex(value))
    configure_tagged_union(Message, converter, tag_name="is")
    return converter


def _only(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return structure


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _plain(value: Any) -> Any:
    """What facts may hold beside plain values: bytes, and numbers of numpy."""
    return value.hex() if isinstance(value, bytes) else value.item()
