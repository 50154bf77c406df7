"""learnae.sensor(): a small device sends readings. It needs neither torch nor a node; one thread speaks to the announcers."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import trio

from learnae.config.folders import default_home, expanded
from learnae.config.load import read
from learnae.config.rules import swarm_of
from learnae.config.saved_config import keep
from learnae.data.readings import ReadingFormat, declared
from learnae.errors import ConfigError, LearnaeError, Problem
from learnae.identity.homes import claim, claim_free
from learnae.identity.keys import Identity
from learnae.logs import make_logger
from learnae.plugins.manager import open_document
from learnae.records import PeerId
from learnae.sensing.announcers import in_threads, make_announcers
from learnae.sensing.sending import SampleSender
from learnae.sensing.waiting_readings import WaitingReadings

if TYPE_CHECKING:
    from learnae.config.tables import Config
    from learnae.plugins.manager import PluginManager

CLOSE_SECONDS = 5.0
PREDECESSOR_SECONDS = 5.0


class Sensor:
    """A sensor that runs. Use it in `with`, or end it by `close`."""

    def __init__(self, config: Config, manager: PluginManager, home: Path | None = None, log: Mapping[str, str] | None = None) -> None:
        swarm = swarm_of(config.swarm)
        with ExitStack() as undo:
            named = config.peer.home if home is None else home
            claimed = claim_free(default_home(config.swarm.name)) if named is None else claim(named, wait_seconds=PREDECESSOR_SECONDS)
            self._home = undo.enter_context(claimed)
            with suppress(OSError):
                keep(config, claimed.path)
                claimed.make_room_for_plugins()
            identity = Identity.load_or_create(claimed.key_path)
            logger = make_logger(**(log or {})).bind(swarm=config.swarm.name, own=identity.peer[:8])
            packing = ReadingFormat(declared(config.sensor.columns, config.sensor.label), config.data.licence, config.data.source)
            self._readings = WaitingReadings(claimed.path, config.sensor.keep_readings)
            announcers = make_announcers(config, manager, identity, claimed.path, logger)
            self._sender = SampleSender(
                identity, swarm, packing, self._readings, announcers, config.sensor.message_seconds, logger, in_threads()
            )
            self._most = config.sensor.keep_readings
            undo.pop_all()
        self._failure: BaseException | None = None
        self._closing: trio.Event
        self._token: trio.lowlevel.TrioToken | None = None
        self._started, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="learnae sensor", daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def peer(self) -> PeerId:
        """The public key of this sensor."""
        return self._sender.identity.peer

    @property
    def home(self) -> Path:
        """The folder of this sensor."""
        return self._home.path

    @property
    def waiting(self) -> int:
        """Readings that were not sent yet."""
        return len(self._readings)

    @property
    def sent(self) -> int:
        """Readings that were sent in this run."""
        return self._sender.sent

    @property
    def lost(self) -> int:
        """Readings that were lost in this run, since too many waited."""
        return self._readings.lost

    @property
    def is_full(self) -> bool:
        """Whether the next reading displaces the oldest that waits."""
        return self.waiting >= self._most

    def send(self, reading: Mapping[str, Any]) -> int:
        """Take a reading, which has a value in each column, and send it soon. Returns its number.

        It waits neither for the network nor for the disk. Raises ValueError, with the column, for a reading that does not fit, and
        PluginError or ConfigError where no announcer can be opened.
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise ValueError("this sensor was closed")
        number = self._readings.add(self._sender.packing.pack(reading))
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._sender.wake, idempotent=True)
        return number

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, for at most so many seconds, and end. What is left is kept in the home, and sent by the next run."""
        if self._closed:
            return
        self._closed = True
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._close_soon, seconds)
        self._thread.join(seconds + CLOSE_SECONDS)
        try:
            self._readings.save(clean=True)
        finally:
            self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if error is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except LearnaeError as error:
            self._failure = error
        except BaseException as error:  # a bug of ours: the next `send` raises it
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._closing, self._token = trio.Event(), trio.lowlevel.current_trio_token()
        self._seconds = 0.0
        failure: LearnaeError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end, nursery.cancel_scope)
            self._started.set()
            try:
                await self._sender.run()
            except LearnaeError as error:
                failure = error
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _close_soon(self, seconds: float) -> None:
        self._seconds = seconds
        self._closing.set()

    async def _end(self, scope: trio.CancelScope) -> None:
        await self._closing.wait()
        with trio.move_on_after(self._seconds):
            await self._sender.emptied()
        scope.cancel()


def sensor(
    name: str | None = None,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    columns: Mapping[str, str] | None = None,
    licence: str | None = None,
    home: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    log: Mapping[str, str] | None = None,
) -> Sensor:
    """Start a sensor of this swarm. Use it in `with`, and `send` each reading.

    `config` is the path of a TOML file, or a mapping with the same content; `name`, `columns` and `licence` stand for its `swarm.name`,
    `sensor.columns` and `data.licence`. `home` is the folder of this sensor, `overrides` are texts of the form "key=value", and `log` has
    the keys `level` and `style`.

    Raises ConfigError with all that cannot be used, PluginError.
    """
    if name is None and config is None:
        raise ConfigError(Problem("name", "is missing", 'name the swarm: learnae.sensor("weather", columns=..., licence=...)'))
    document, folder = _document(config)
    for table, key, value in (("sensor", "columns", columns), ("data", "licence", licence), ("peer", "role", _role(document))):
        if value is not None:
            document[table] = {**document.get(table, {}), key: value}
    found, manager = open_document(document, folder=folder, name=name, overrides=overrides, log=make_logger(**(log or {})))
    if found.peer.role != "sensor":
        raise ConfigError(Problem("peer.role", f'is "{found.peer.role}", and this is a sensor', 'write role = "sensor", or leave it out'))
    return Sensor(found, manager, None if home is None else expanded(os.fspath(home), "home").absolute(), log)


def _document(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> tuple[dict[str, Any], Path]:
    if config is None or isinstance(config, Mapping):
        return dict(config or {}), Path.cwd()
    path = expanded(os.fspath(config), "config")
    return dict(read(path)), path.absolute().parent


def _role(document: Mapping[str, Any]) -> str | None:
    peer = document.get("peer", {})
    return "sensor" if isinstance(peer, Mapping) and "role" not in peer else None
