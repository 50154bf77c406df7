"""The announcers of a sensor: made without a node, which needs numpy, and kept open by one task each."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import trio

from learnae.blocking_services import BlockingAnnouncer
from learnae.config.folders import meeting_place
from learnae.config.rules import refuse_strangers, swarm_of
from learnae.config.tables import Config
from learnae.errors import ConfigError, LearnaeError, PluginError, UnavailableError
from learnae.identity.home_folder import PLUGINS
from learnae.identity.keys import Identity
from learnae.plugins.calls import naming
from learnae.plugins.manager import PluginManager
from learnae.strategies import Announcer, Context
from learnae.waiting import Backoff, RunInThread

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from structlog.typing import FilteringBoundLogger

R = TypeVar("R")

OPEN_SECONDS = 30.0
SEND_SECONDS = 10.0
_THREADS = 8


class LaterRandom:
    """A random stream that is made when it is first used: most announcers never do, and numpy takes a small device 20 MiB."""

    def __init__(self) -> None:
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            import numpy as np

            self._made = np.random.default_rng(secrets.randbits(128))
        return getattr(self._made, name)


@attrs.define(eq=False)
class OpenAnnouncer:
    """One announcer of the file. What does not work is logged once, and once when it is over."""

    label: str
    plugin: str
    strategy: Announcer
    log: FilteringBoundLogger
    broken: str = ""
    failure: LearnaeError | None = None  # its plugin, or the file, must be mended
    _open: bool = False

    @property
    def is_open(self) -> bool:
        return self._open

    async def keep_open(self, opened: Callable[[], None]) -> None:
        """Until cancelled, or until it is found at the first try that it cannot be opened at all. `opened` is called each time."""
        backoff, first = Backoff(), True
        while True:
            began = trio.current_time()
            try:
                await self._hold_open(opened)
            except UnavailableError as error:
                self._failed(str(error))
            except LearnaeError as error:
                self._failed(str(error))
                if first:
                    self.failure = error
                    opened()
                    return
            first, self._open = False, False
            await trio.sleep(backoff.after(trio.current_time() - began))

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> bool:
        """Whether it was sent, as far as that is known."""
        try:
            with trio.move_on_after(SEND_SECONDS) as limit, self._blaming("announcing"):
                await self.strategy.announce(message, channel=channel, replaces=replaces)
            if limit.cancelled_caught:
                raise UnavailableError(f"no answer within {SEND_SECONDS:.0f} s")
        except (UnavailableError, PluginError) as error:
            self._failed(str(error))
            return False
        if self.broken:
            self.log.warning("outage.over", what=self.label)
            self.broken = ""
        return True

    async def _hold_open(self, opened: Callable[[], None]) -> None:
        with self._blaming("keeping it open", ours=(UnavailableError, ConfigError)), trio.CancelScope() as limit:
            limit.deadline = trio.current_time() + OPEN_SECONDS
            async with self.strategy:
                limit.deadline = float("inf")
                self._open = True
                opened()
                await trio.sleep_forever()
        raise UnavailableError(f"it did not open within {OPEN_SECONDS:.0f} s")

    @contextmanager
    def _blaming(self, action: str, ours: tuple[type[LearnaeError], ...] = (UnavailableError,)) -> Iterator[None]:
        with naming(self.plugin, action, ours=ours):
            yield

    def _failed(self, cause: str) -> None:
        if not self.broken:
            self.log.warning("outage", what=self.label, cause=cause)
        self.broken = cause


def make_announcers(
    config: Config, manager: PluginManager, identity: Identity, home: Path, log: FilteringBoundLogger
) -> Sequence[OpenAnnouncer]:
    """Raises ConfigError, also for a swarm that is open to strangers without consent, and PluginError."""
    swarm, shared = swarm_of(config.swarm), dict[type, Any]()

    def share(kind: type[R]) -> R:
        return cast("R", shared[kind] if kind in shared else shared.setdefault(kind, kind()))

    made = []
    for choice in config.announcer:
        context = Context(
            home=home / PLUGINS / f"announcer-{choice.use.replace('/', '_').replace(':', '_')}",
            meeting=meeting_place(swarm),
            swarm=config.swarm.name,
            peer=identity.peer,
            secret=swarm.secret,
            share=share,
            clock=time.monotonic,
            rng=cast("np.random.Generator", LaterRandom()),
            log=log.bind(strategy=choice.use),
            in_thread=in_threads(),
            channel=swarm.channel,
            sign=identity.sign_for_plugin,
        )
        offer = manager.find("announcer", choice.use, config.folder)
        with naming(offer.plugin, f"making announcer {choice.use!r}", ours=(ConfigError, UnavailableError)):
            strategy = _asynchronous(offer.load()(choice.options, context))
        made.append(OpenAnnouncer(f"announcer {choice.use}", offer.plugin, strategy, log))
    refuse_strangers(config, swarm, [one.label for one in made if one.strategy.leaves_machine])
    return made


def _asynchronous(strategy: Any) -> Announcer:
    if isinstance(strategy, BlockingAnnouncer):
        from learnae.node.blocking import asynchronous  # needs numpy

        return cast("Announcer", asynchronous(strategy))
    return cast("Announcer", strategy)


def in_threads() -> RunInThread:
    """Makes a function that runs blocking code in worker threads, a few at a time."""
    limiter = trio.CapacityLimiter(_THREADS)

    async def run(function: Callable[..., Any], /, *args: Any) -> Any:
        return await trio.to_thread.run_sync(function, *args, limiter=limiter)

    return run
