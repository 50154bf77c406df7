"""Looks over CBOR before anything is made of it: a stranger's bytes shall cost no more than the form allows that they claim to have."""

from __future__ import annotations

import attrs

from learnae.errors import UpdateRejectedError

_LINK = b"\xd8\x2a\x58\x25\x00"  # tag 42 and the header of a CID's 36 bytes behind a zero: what a link of dag-cbor begins with
LINK_BYTES = len(_LINK) + 36

_TAG = 6
_CONTAINERS = {4: 1, 5: 2}  # items for each that a header of a list or mapping counts


@attrs.frozen
class Form:
    """The most that a piece of CBOR may hold, whoever wrote it. An item is a list, a mapping, each key and value, ..., itself included."""

    items: int
    containers: int  # lists and mappings: by far the dearest of all items
    depth: int
    links: bool = False
    """Whether links are allowed, of which each is one item. Other tags never are."""


def look_over(data: bytes, form: Form) -> None:
    """See to it that this is one whole item within a form. It stops at the first item too many, and makes nothing of any.

    Raises UpdateRejectedError("malformed"), also for lengths that are not told in advance. Whether keys are text, numbers are finite, text
    is UTF-8 and all is in its shortest form is for others to see.
    """
    try:
        if _end(data, form) != len(data):
            raise _malformed("something behind its end, or cut off")
    except LookupError:
        raise _malformed("cut off, or without a length") from None


def _end(data: bytes, form: Form) -> int:
    """Where the item ends that begins at 0: behind the last byte, where that is cut off. Raises LookupError where more is."""
    position, items, containers = 0, form.items, form.containers
    left, outer = 1, list[int]()  # items still to come of the innermost list or mapping, and of those around it
    while left or outer:
        if not left:
            left = outer.pop()
            continue
        left -= 1
        items -= 1
        if items < 0:
            raise _malformed(f"more than {form.items} items")
        first = data[position]
        if step := _STEPS[first]:
            position += step
            continue
        kind = first >> 5
        if kind == _TAG:
            position += _link(data, position, form)
            continue
        argument, position = _argument(data, position)
        if kind not in _CONTAINERS:
            position += argument
            continue
        containers -= 1
        outer.append(left)
        left = argument * _CONTAINERS[kind]
        if containers < 0 or len(outer) > form.depth or left > len(data) - position:
            raise _malformed(f"more than {form.containers} lists and mappings, {form.depth} in one another, or one longer than its bytes")
    return position


def _link(data: bytes, position: int, form: Form) -> int:
    if not form.links or data[position : position + len(_LINK)] != _LINK:
        raise _malformed("a tag")
    return LINK_BYTES


def _argument(data: bytes, position: int) -> tuple[int, int]:
    """The number that a header holds, and where the header ends."""
    argument = data[position] & 31
    if argument < 24:
        return argument, position + 1
    width = _WIDTHS[argument]
    return int.from_bytes(data[position + 1 : position + 1 + width], "big"), position + 1 + width


def _steps() -> tuple[int, ...]:
    """For each first byte how long its item is, where that alone tells it; 0 elsewhere."""
    steps = [0] * 256
    for kind in (0, 1, 7):
        for argument in range(24):
            steps[kind << 5 | argument] = 1
        for argument, width in _WIDTHS.items():
            steps[kind << 5 | argument] = 1 + width
    for kind in (2, 3):
        for length in range(24):
            steps[kind << 5 | length] = 1 + length
    return tuple(steps)


_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_STEPS = _steps()


def _malformed(what: str) -> UpdateRejectedError:
    return UpdateRejectedError("malformed", f"CBOR with {what}")
