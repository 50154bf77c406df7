"""A node's HTTP API over one wire, which can be cut off from another thread, and what time it is there."""

from __future__ import annotations

import http.client
import json
import math
import time
from typing import Any
from urllib.parse import urlsplit

from learnae.lowlevel import BadResponseError, Endpoint, HttpClient, load_json, sanitize

PATIENCE = 3  # times as long as a node may be silent: so long may a whole answer take, which may come by drops
ANSWER_BYTES = 8 * 1024 * 1024
ANSWER_ITEMS = 20_000  # twice as many as hashes are asked for at once
CLOCK_SECONDS = 120.0  # until a node is asked again what its clock shows
SET_SECONDS = 1.0
NO_CLOCK_BEFORE = 1_735_689_600.0  # 2025: a clock that shows less was never set
NO_CLOCK_AFTER = NO_CLOCK_BEFORE + 100 * 365.25 * 86_400.0
BELIEVED_SECONDS = 100.0  # that a node may differ from a clock that was set: what listeners bear between two peers
_HEADERS = {"Content-Type": "application/json", "X-IOTA-API-Version": "1"}


class NodeRefusedError(Exception):
    """The node answers that it will not, with this HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NodeNonsenseError(Exception):
    """What answers is no node, or one that talks nonsense."""


FAILURES = (OSError, NodeRefusedError, NodeNonsenseError)


class NodeApi:
    """For one thread at a time; `hang_up` may come from any other, and then every call fails at once, now and later.

    A node may be silent for `silence_seconds`, and once it has begun to answer, all of it may take PATIENCE times as long.
    """

    def __init__(self, address: str, silence_seconds: float) -> None:
        check_address(address)
        self.address = address
        self.most_found, self.most_trytes = 1000, 100  # of one call
        self._wire, self._path = HttpClient(_place(address), silence_seconds), urlsplit(address).path or "/"
        self._silence_seconds = silence_seconds
        self._offset = self._own_offset = _own_offset()
        self._set_at = -math.inf
        self.ahead_seconds = 0.0

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the node answers. Raises one of FAILURES."""
        body = json.dumps({"command": command, **arguments}).encode()
        patience = PATIENCE * self._silence_seconds
        try:
            with self._wire.post(self._path, body, _HEADERS, most_bytes=ANSWER_BYTES, answer_seconds=patience) as answer:
                return _understood(command, answer.status, b"".join(answer.pieces))
        except BadResponseError as error:
            raise NodeNonsenseError(str(error)) from error

    def now(self) -> float:
        """Seconds since 1970: it refuses what is ten minutes ahead of its clock, and a small device may have no clock of its own.

        It goes on evenly when the own clock is set.
        """
        return time.monotonic() + self._offset

    def set_clock(self, seconds: float) -> None:
        """What the node's clock shows now. Where this machine's own has been set, it corrects that by little, or not at all."""
        self.ahead_seconds = seconds - time.time()
        self._set_at, self._own_offset = time.monotonic(), _own_offset()
        believed = abs(self.ahead_seconds) <= BELIEVED_SECONDS or (
            time.time() < NO_CLOCK_BEFORE and NO_CLOCK_BEFORE <= seconds < NO_CLOCK_AFTER
        )
        self._offset = self._own_offset + (self.ahead_seconds if believed else 0.0)

    @property
    def hung_up(self) -> bool:
        return self._wire.hung_up

    @property
    def clock_is_due(self) -> bool:
        """The node is to be asked what its clock shows: it never was, or long ago, or the own one was set, or this machine was asleep."""
        return time.monotonic() - self._set_at > CLOCK_SECONDS or abs(_own_offset() - self._own_offset) > SET_SECONDS

    def hang_up(self) -> None:
        self._wire.hang_up()

    def close(self) -> None:
        self._wire.close()


def _own_offset() -> float:
    """It changes when the own clock is set."""
    return time.time() - time.monotonic()


def check_address(address: str) -> None:
    """Raises ValueError for what is no address of a node."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")  # as the one who looks up the name does
    except ValueError:
        good = False
    if not good or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("must be an address such as http://127.0.0.1:14265")


def _place(address: str) -> Endpoint:
    parts = urlsplit(address)
    tls = parts.scheme == "https"
    return Endpoint(host=parts.hostname or "", port=parts.port or (443 if tls else 80), tls=tls)


def _understood(command: str, status: int, data: bytes) -> dict[str, Any]:
    try:
        answer = load_json(data, ANSWER_ITEMS)
    except (ValueError, RecursionError):
        answer = None
    if status != 200:
        text = answer.get("error") if isinstance(answer, dict) else None
        said = sanitize(text) if isinstance(text, str) else ""
        raise NodeRefusedError(f"{command}: {status} {said or http.client.responses.get(status, '')}", status)
    if not isinstance(answer, dict):
        raise NodeNonsenseError(f"{command}: the answer is no JSON object; is this the HTTP API of a Hornet?")
    return answer
