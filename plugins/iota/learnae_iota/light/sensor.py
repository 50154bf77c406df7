"""A sensor: an identity in a folder, a swarm, and some nodes of its tangle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Self

from learnae import ConfigError, Problem, UnavailableError
from learnae.lowlevel import (
    Announcement,
    Identity,
    ReadingFormat,
    Sample,
    SwarmIdentity,
    SwarmKey,
    claim_home,
    encode_envelope,
    reading_columns,
)
from learnae_iota import curl
from learnae_iota.calls import attach, meet
from learnae_iota.light.numbers import SensorNumbers
from learnae_iota.line import FAILURES, NodeApi, check_address
from learnae_iota.places import PURPOSE, Places
from learnae_iota.posting import Make, NodeDeclinedError, post
from learnae_iota.transactions import MessageTag, make

SILENCE_SECONDS = 10.0


class Sensor:
    """Blocks while it works; for one thread. `key` is the line that a private swarm hands on.

    `weight_magnitude` is the `mwm` of the tangle; with `node_works` the node does the proof of work, which it must permit. A node
    gets `seconds` for a reading, work included. With `columns`, such as `{"temperature": "float32", "station": "text"}`, and the licence
    under which others may use them, `send` takes readings that peers gather into rows. Raises ConfigError for a folder, key, address or
    column that cannot be used.
    """

    def __init__(
        self,
        swarm: str,
        nodes: Sequence[str],
        folder: Path | str,
        *,
        key: str | None = None,
        weight_magnitude: int = 1,
        node_works: bool = False,
        seconds: float = 30.0,
        columns: Mapping[str, str] | None = None,
        licence: str = "",
        source: str = "",
    ) -> None:
        self._format = ReadingFormat(reading_columns(columns), licence, source) if columns is not None else None
        if columns is not None and not licence.strip():
            raise ConfigError(Problem("licence", "is missing", 'say under which licence others may use the readings, such as "CC0-1.0"'))
        self._swarm = SwarmIdentity(swarm, _parsed(key) if key is not None else None)
        self._places = Places.of(self._swarm.channel, self._swarm.secret(PURPOSE))
        self._nodes = [_checked(address) for address in nodes]
        self._weight, self._seconds = weight_magnitude, seconds
        self._make: Make = self._make_at_node if node_works else self._make_here
        self._home = claim_home(Path(folder))
        try:
            self._identity = Identity.load_or_create(self._home.key_path)
            self._numbers = SensorNumbers.at(self._home.path / "samples")
        except BaseException:
            self._home.close()
            raise

    @property
    def peer(self) -> str:
        """Its public key, for the `allow` of others."""
        return self._identity.peer

    def announce(self, payload: bytes) -> int:
        """Sign a message of at most 850 bytes and hand it to the first node that takes it; returns its number.

        Raises UnavailableError, and the number is lost; ValueError for a payload that is too long;
        ConfigError when the disk takes no number.
        """
        return self._announce(lambda number: payload)

    def send(self, reading: Mapping[str, Any]) -> int:
        """Announce a reading with a value in each column, so that peers that gather make rows of it; returns its number.

        Raises as `announce`, and ValueError, with the column, for a reading that does not fit.
        """
        if self._format is None:
            raise ValueError("this sensor was made without columns: it has no form for readings")
        packing, packed = self._format, self._format.pack(reading)
        return self._announce(lambda number: packing.payload(number, [packed]))

    def _announce(self, payload: Callable[[int], bytes]) -> int:
        """Whatever cannot be sent uses no number."""
        self._signed(0, payload(0))
        number = self._numbers.next()
        self._send(self._signed(number, payload(number)))
        return number

    def _signed(self, number: int, payload: bytes) -> bytes:
        announcement = Announcement(swarm=self._swarm.id, peer=self._identity.peer, number=number, body=Sample(payload))
        return encode_envelope(self._identity, announcement, encryption=self._swarm.messages)

    def close(self) -> None:
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(self, message: bytes) -> None:
        causes = []
        for address in self._nodes:
            try:
                self._send_to(address, message)
                return
            except (*FAILURES, NodeDeclinedError) as error:
                causes.append(f"{address}: {error}")
        raise UnavailableError("no node has taken it: " + "; ".join(causes))

    def _send_to(self, address: str, message: bytes) -> None:
        """A node that answers by drops is cut off like one that is silent."""
        line = NodeApi(address, SILENCE_SECONDS)
        limit = Timer(self._seconds, line.hang_up)
        limit.daemon = True
        limit.start()
        try:
            meet(line)
            post(line, message, self._places, self._make)
        finally:
            limit.cancel()
            line.close()

    def _make_here(self, line: NodeApi, message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
        return curl.with_nonce(make(message, place, parents, milliseconds), self._weight, lambda: line.hung_up)

    def _make_at_node(self, line: NodeApi, message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
        return attach(line, make(message, place, parents, milliseconds), parents, self._weight)


def _parsed(key: str) -> SwarmKey:
    try:
        return SwarmKey.parse(key)
    except ValueError as error:
        raise ConfigError(Problem("key", str(error))) from None


def _checked(address: str) -> str:
    try:
        check_address(address)
    except ValueError as error:
        raise ConfigError(Problem(address, str(error))) from None
    return address
