"""Here I am, and where my stores can be reached: told again and again, since hints change and messages get lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import attrs
import trio

from learnae.errors import PluginError, Unavailable
from learnae.identity.wire import HINTS, NAMES
from learnae.node.assembly import Assembly, Named
from learnae.node.outages import Outages
from learnae.node.publishing import Publisher
from learnae.node.services import Services
from learnae.records import Present
from learnae.strategies import Storage

PRESENT_SECONDS = 30.0
LOOK_SECONDS = 2.0


@attrs.define
class Presence:
    """For newcomers on media that keep nothing."""

    assembly: Assembly
    services: Services
    publisher: Publisher
    outages: Outages

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            told = self._hints()
            try:
                await self.publisher.announce(Present(told))
            except Unavailable as error:
                self.outages.failed("history", str(error))
            with trio.move_on_after(PRESENT_SECONDS):
                await self._until_others_than(told)

    async def _until_others_than(self, told: dict[str, tuple[str, ...]]) -> None:
        """A store that has moved is told of soon: until then nobody finds it."""
        await trio.sleep(LOOK_SECONDS)
        while _places(self._hints()) == _places(told):  # noqa: ASYNC110  # plugins are asked for their hints, they do not tell
            await trio.sleep(LOOK_SECONDS)

    def _hints(self) -> dict[str, tuple[str, ...]]:
        hints: dict[str, tuple[str, ...]] = {}
        for storage in filter(self.services.is_open, self.assembly.storages):
            texts = (*hints.get(storage.name, ()), *self._hints_of(storage))
            if texts:
                hints[storage.name] = texts[:NAMES]
        return dict(islice(hints.items(), NAMES))

    def _hints_of(self, storage: Named[Storage]) -> tuple[str, ...]:
        what = f"hints of {storage.label}"
        try:
            with storage.calling(f"asking for the {what}", ours=()):
                texts = tuple(islice(storage.strategy.hints(), NAMES))
                HINTS.load({storage.name: list(texts)}, "hints")
        except PluginError as error:
            self.outages.failed(what, str(error))
            return ()
        self.outages.works(what)
        return texts


def _places(hints: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """In whatever order they were told."""
    return {storage: frozenset(texts) for storage, texts in hints.items()}
