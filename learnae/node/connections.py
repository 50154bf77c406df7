"""Whom the services of a node are connected to, and where others reach it: kept in a file of the home, where `learnae status` reads it.

The history has it not: connections are of interest above all before the first round, and while nothing works.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import trio

from learnae import opening
from learnae.errors import ConfigError, PluginError, UnavailableError
from learnae.http import BadResponseError, load_json
from learnae.identity.home_folder import open_home
from learnae.node.blocking import as_written
from learnae.node.runtime import QuarantinedError, Runtime
from learnae.node.services import Services, ServiceStrategy
from learnae.observations import PeerConnection
from learnae.records import PeerId
from learnae.strategies import Connected
from learnae.texts import harmless

FILE = "connections.json"
LOOK_SECONDS = 3.0
MOST_KEPT = 128  # connections; how many there are is told all the same
MOST_ASKED = 1000  # of one service
MOST_ADDRESSES = 8
TEXT_CHARACTERS = 200
SHOWN_CHARACTERS = 240  # of a text whose signs were spelled out
_MOST_BYTES, _MOST_ITEMS = 1 << 20, 20_000
_MOST_NUMBER = 1e18


@attrs.frozen(kw_only=True)
class ConnectionState:
    """What a node has last written. `at` is on the wall clock. `connections` are the first of all that there are, `known` counts all."""

    at: float
    addresses: Sequence[str] = ()
    connected: int = 0
    known: int = 0
    connections: Sequence[PeerConnection] = ()


@attrs.define
class ConnectionWatch:
    """Asks the services, and writes it down. `connected` is the number of peers that they are connected to now."""

    services: Services
    watched: Sequence[ServiceStrategy]
    runtime: Runtime
    connected: int = 0
    addresses: Sequence[str] = ()

    @classmethod
    def of(cls, services: Services, all_services: Iterable[ServiceStrategy], runtime: Runtime) -> ConnectionWatch:
        """Of those services that tell anything: nobody is asked in vain."""
        return cls(services, [service for service in all_services if _tells(as_written(service.strategy))], runtime)

    async def run(self) -> None:
        """Until cancelled. What is left of an earlier run is removed first, and at the end what is of this one."""
        await self._write(None)
        try:
            while self.watched:
                await self._write(self.look())
                await trio.sleep(LOOK_SECONDS)
        finally:
            self.connected = 0
            with trio.CancelScope(shield=True):
                await self._write(None)

    def look(self) -> ConnectionState:
        """What all of them say now. Two services that use one and the same connection both tell of it, and it counts once."""
        found: dict[tuple[Any, ...], PeerConnection] = {}
        addresses: dict[str, None] = {}
        for service in self.watched:
            if self.services.is_open(service):
                told, reached_at = self._told(service)
                addresses |= dict.fromkeys(reached_at)
                for one in told:
                    found.setdefault((one.peer, one.address, one.connected), one)
        every = sorted(found.values(), key=lambda one: not one.connected)
        self.connected = sum(one.connected for one in every)
        if list(addresses) != list(self.addresses):
            self.addresses = list(addresses)
            self.runtime.log.info("peer.reached_at", addresses=self.addresses)
        return ConnectionState(
            at=time.time(), addresses=self.addresses, connected=self.connected, known=len(every), connections=every[:MOST_KEPT]
        )

    def _told(self, service: ServiceStrategy) -> tuple[list[PeerConnection], list[str]]:
        what = f"telling the connections of {service.label}"
        try:
            with service.calling(what, ours=()):
                told = [_checked(one) for one in islice(service.strategy.connections(), MOST_ASKED)]
                addresses = [_text(one) for one in islice(service.strategy.addresses(), MOST_ADDRESSES)]
        except QuarantinedError:  # which is told already
            return [], []
        except PluginError as error:
            self.runtime.outages.plugin_failed(what, error)
            return [], []
        self.runtime.outages.works(what)
        return told, [address for address in addresses if address]

    async def _write(self, state: ConnectionState | None) -> None:
        """A full disk keeps nobody from training: then `status` shows what it showed before."""
        with suppress(OSError, ConfigError, UnavailableError):
            await self.runtime.in_thread(_replace if state is not None else _remove, self.runtime.home, state)


def read_connections(home: Path) -> ConnectionState | None:
    """What the node of this home has last written; None where there is nothing, or what lies there is none of ours."""
    try:
        with open_home(home, looking=True) as folder:
            content = load_json(folder.read(FILE, _MOST_BYTES, links=None), _MOST_ITEMS)
        return ConnectionState(
            at=_number(content["at"]) or 0.0,
            addresses=[_text(one) for one in content["addresses"][:MOST_ADDRESSES]],
            connected=int(_number(content["connected"]) or 0),
            known=int(_number(content["known"]) or 0),
            connections=[_checked(PeerConnection(**_known_fields(one))) for one in content["connections"][:MOST_KEPT]],
        )
    except (OSError, ConfigError, ValueError, KeyError, TypeError, RecursionError, BadResponseError):
        return None


def _tells(service: Any) -> bool:
    kind = type(service)
    return any(
        getattr(kind, name, usual) is not usual
        for name, usual in (("connections", Connected.connections), ("addresses", Connected.addresses))
    )


def _replace(home: Path, state: ConnectionState) -> None:
    with open_home(home) as folder:
        opening.replace_file(FILE, json.dumps(attrs.asdict(state)).encode(), at=folder.fd)


def _remove(home: Path, _: None) -> None:
    (home / FILE).unlink(missing_ok=True)  # the link itself, where it is one


def _known_fields(one: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: one[field.name] for field in attrs.fields(PeerConnection) if field.name in one}


def _checked(one: Any) -> PeerConnection:
    """With plain values of bounded length, whatever stood there. Raises TypeError for what is no connection."""
    if not isinstance(one, PeerConnection):
        raise TypeError(f"a connection is a PeerConnection, and not {type(one).__name__}")
    values: dict[str, Any] = {}
    for field in attrs.fields(PeerConnection):
        value = getattr(one, field.name)
        if field.type in ("bool", bool):
            values[field.name] = bool(value)
        elif field.type in ("str", str):
            values[field.name] = _text(value)
        elif field.name in ("peer", "relay"):
            values[field.name] = PeerId(_text(value)) if value else None
        else:
            number = _number(value)
            values[field.name] = int(number or 0) if field.type in ("int", int) else number
    return PeerConnection(**values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is wanted, and not {type(value).__name__}")
    return harmless(value, TEXT_CHARACTERS)[:SHOWN_CHARACTERS]


def _number(value: Any) -> float | None:
    """None for what is none, or none that is finite and not negative."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_NUMBER and math.isfinite(value)
    return float(value) if good else None
