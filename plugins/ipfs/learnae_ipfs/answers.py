"""What comes back from a call of which nothing is known beforehand, be it to a daemon or to some other server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from learnae.lowlevel import MEGABYTE, BadResponseError, load_json
from learnae_ipfs.line import KuboConnection, NoComplaintError
from learnae_ipfs.reading import MOST_LINE_ITEMS

MOST_BYTES = MEGABYTE
MOST_COUNT = 1 << 63  # beyond it there is no disk, and nothing to reckon with
COMPLAINTS = (400, 500)  # of a daemon, about what it was asked
FORBIDDEN = (401, 403)


@attrs.frozen
class KuboAnswer:
    """The HTTP status, 0 where none came, and the JSON object, if one came."""

    status: int = 0
    found: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def allowed(self) -> bool:
        return self.status == 200 or self.status in COMPLAINTS

    @property
    def version(self) -> tuple[int, ...]:
        """Three numbers; none where it names no version."""
        match = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", self.text("Version"))
        return tuple(int(number or 0) for number in match.groups()) if match else ()

    def text(self, key: str) -> str:
        return value if isinstance(value := self.found.get(key), str) else ""

    def texts(self, key: str) -> list[str]:
        values = self.found.get(key)
        return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []

    def number(self, *keys: str) -> int | None:
        """What stands there, if it is a number that counts bytes."""
        value: Any = self.found
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if type(value) is int and 0 <= value < MOST_COUNT else None


def ask(line: KuboConnection, path: str, *arguments: str, **opts: str) -> KuboAnswer:
    """Raises what a line raises, but for a status that says no."""
    try:
        data = line.read(path, *arguments, most=MOST_BYTES, silence_seconds=None, **opts)
    except NoComplaintError as error:
        return KuboAnswer(error.status)
    try:
        found = load_json(data or b"", MOST_LINE_ITEMS)
    except (ValueError, RecursionError, BadResponseError):
        found = None
    return KuboAnswer(200, found if isinstance(found, dict) else {})
