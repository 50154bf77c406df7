"""Sends own announcements under their numbers, puts blocks into the storages, and tells again and again where these can be reached."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice

import attrs
import trio

from learnae.errors import PluginError, UnavailableError
from learnae.identity.envelopes import HINTS, NAMES, encode_envelope, place_of
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity
from learnae.node.history import History
from learnae.node.receive import Receiver
from learnae.node.runtime import Outages, Runtime
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy, StrategySet
from learnae.records import Announcement, AnnouncementKind, Block, Body, Cid, Leaving, Present
from learnae.strategies import Storage

PUT_SECONDS, PUT_BYTES_PER_SECOND = 60.0, 1e6
SEND_SECONDS = 10.0
GOODBYE_SECONDS = 2.0
DROP_SECONDS = 10.0


@attrs.define(kw_only=True)
class Sender:
    """Sends own announcements, and stores blocks. `putting` are roots that may be in storage, and that nothing names yet."""

    identity: Identity
    swarm: SwarmIdentity
    strategies: StrategySet
    history: History
    receiver: Receiver
    services: Services
    runtime: Runtime
    listen_first_until: float = 0.0  # on trio's clock
    putting: Collection[Cid] = ()

    async def announce(self, body: Body) -> None:
        """Send an announcement without content, under the next number of its kind. Raises UnavailableError."""
        kind = Announcement(swarm=self.swarm.id, peer=self.identity.peer, number=0, body=body).kind
        if not self.receiver.numbers.elsewhere:
            await self._send(await self._next_number(kind), body)

    async def say_goodbye(self) -> None:
        """Tell the others that this peer leaves, within two seconds. Raises UnavailableError."""
        with trio.move_on_after(GOODBYE_SECONDS):
            await self.announce(Leaving())

    async def put(self, root: Cid, blocks: Sequence[Block], storages: Iterable[ConfiguredStrategy[Storage]]) -> bool:
        """Put an update into all of these storages that this peer writes to, at once. Returns True if at least one has it."""
        seconds = PUT_SECONDS + sum(len(block.data) for block in blocks) / PUT_BYTES_PER_SECOND
        ready = [storage for storage in storages if storage.writes and self.services.ready(storage)]
        return bool(await self.services.at_once(ready, "putting blocks", seconds, lambda storage: storage.strategy.put(root, blocks)))

    async def drop(self, root: Cid) -> None:
        """Drop a root in all storages. If one cannot drop it now, a later clean-up does."""
        ready = list(filter(self.services.ready, self.strategies.storages))
        await self.services.at_once(ready, "dropping a root", DROP_SECONDS, lambda storage: storage.strategy.drop(root))

    async def _next_number(self, kind: AnnouncementKind) -> int:
        """The next number, on disk before it is used. That of a goodbye is above all numbers of other kinds, so that it tells its time.

        The key may have a past, in a home that was lost. So a key without a history first listens to what others repeat of it.
        """
        if kind not in self.receiver.numbers.used:
            await trio.sleep_until(self.listen_first_until)
        numbers, number = self.receiver.numbers, 0
        before = max(numbers.used.values(), default=0) if kind is AnnouncementKind.LEAVING else 0
        while not (number and numbers.take(kind, number)):
            number = await self.runtime.in_thread(self.history.next_number, kind, max(before, numbers.raised.get(kind, 0)))
        return number

    async def _send(self, number: int, body: Body) -> bool:
        """Send it. Returns whether it was sent, as far as that is known.

        It is not sent if its number was heard under the own key since it was taken.
        """
        announcement = Announcement(swarm=self.swarm.id, peer=self.identity.peer, number=number, body=body)
        try:
            message = encode_envelope(self.identity, announcement, encryption=self.swarm.messages)
        except ValueError as error:
            self.runtime.outages.failed("announcing", str(error))
            return True  # with another number it would fail again
        self.runtime.outages.works("announcing")
        if not self.receiver.numbers.send(announcement.kind, number):
            return False
        replaces = self.swarm.alias(place_of(announcement))
        await self.services.at_once(
            list(filter(self.services.ready, self.strategies.announcers)),
            "announcing",
            SEND_SECONDS,
            lambda announcer: announcer.strategy.announce(message, channel=self.swarm.channel, replaces=replaces),
        )
        return True


PRESENT_SECONDS = 30.0
LOOK_SECONDS = 2.0


@attrs.define
class Heartbeat:
    """Announces this peer and its role again and again, for newcomers on media that keep no messages."""

    role: str
    strategies: StrategySet
    services: Services
    sender: Sender
    outages: Outages
    view: Callable[[], Cid | None] = lambda: None  # the root of the own view of contributions

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            told = self._hints()
            try:
                await self.sender.announce(Present(told, self.role, contributions=self.view()))
            except UnavailableError as error:
                self.outages.failed("history", str(error))
            with trio.move_on_after(PRESENT_SECONDS):
                await self._until_others_than(told)

    async def _until_others_than(self, told: dict[str, tuple[str, ...]]) -> None:
        """Wait until the hints change. A storage that has moved is announced soon, because nobody finds it before."""
        await trio.sleep(LOOK_SECONDS)
        while _places(self._hints()) == _places(told):  # noqa: ASYNC110  # plugins are asked for their hints, they do not tell
            await trio.sleep(LOOK_SECONDS)

    def _hints(self) -> dict[str, tuple[str, ...]]:
        hints: dict[str, tuple[str, ...]] = {}
        for storage in filter(self.services.is_open, self.strategies.storages):
            texts = (*hints.get(storage.name, ()), *self._hints_of(storage))
            if texts:
                hints[storage.name] = texts[:NAMES]
        return dict(islice(hints.items(), NAMES))

    def _hints_of(self, storage: ConfiguredStrategy[Storage]) -> tuple[str, ...]:
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
