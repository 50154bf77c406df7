"""Sends the readings that wait: as samples, several in one message where they are small, over all announcers at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from learnae.data.readings import ReadingFormat
from learnae.errors import LearnaeError, UnavailableError
from learnae.identity.envelopes import encode_envelope, place_of
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity
from learnae.records import Announcement, Sample
from learnae.sensing.announcers import OpenAnnouncer
from learnae.sensing.waiting_readings import WaitingReadings
from learnae.waiting import Backoff, RunInThread

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

R = TypeVar("R")

CATCH_UP_SECONDS = 0.5
"""Between two messages while more readings wait than fit into one: media that are polled show all of them, and receivers keep up."""
SAVE_SECONDS = 30.0
_MOST_IN_MESSAGE = 850


@attrs.frozen
class OutgoingMessage:
    """A message that stays the same until an announcer has taken it, and which readings are in it."""

    data: bytes
    replaces: bytes
    first: int
    count: int


@attrs.define
class SampleSender:
    """Takes one message after the other from the readings that wait. What no announcer takes is tried again, after growing pauses."""

    identity: Identity
    swarm: SwarmIdentity
    packing: ReadingFormat
    readings: WaitingReadings
    announcers: Sequence[OpenAnnouncer]
    message_seconds: float
    log: FilteringBoundLogger
    in_thread: RunInThread
    sent: int = 0  # readings
    messages: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)
    _lost: int = 0

    def wake(self) -> None:
        """New readings wait, or an announcer is open. To be called in the loop."""
        self._news.set()

    async def run(self) -> None:
        """Until cancelled. Raises ConfigError or PluginError for an announcer that cannot be opened at all."""
        async with trio.open_nursery() as nursery:
            for announcer in self.announcers:
                nursery.start_soon(announcer.keep_open, self.wake)
            nursery.start_soon(self._keep_saving)
            failure = await self._keep_sending()
            nursery.cancel_scope.cancel()
        raise failure

    async def emptied(self) -> None:
        """Wait until nothing waits any more."""
        while len(self.readings):  # noqa: ASYNC110  # the queue is changed by other threads as well
            await trio.sleep(0.05)

    async def _keep_sending(self) -> LearnaeError:
        backoff, began = Backoff(first=1.0, limit=60.0), trio.current_time()
        message: OutgoingMessage | None = None
        while True:
            if (failure := next((one.failure for one in self.announcers if one.failure), None)) is not None:
                return failure
            try:
                message = message or await self._next_message()
            except UnavailableError:
                await trio.sleep(backoff.after(trio.current_time() - began))
                continue
            if message is None or not any(one.is_open for one in self.announcers):
                await self._wait()
            elif await self._send(message):
                self.readings.remove(message.first, message.count)
                self.sent, self.messages, message = self.sent + message.count, self.messages + 1, None
                backoff, began = Backoff(first=1.0, limit=60.0), trio.current_time()
                await trio.sleep(self._pause())
            else:
                await trio.sleep(backoff.after(trio.current_time() - began))

    async def _wait(self) -> None:
        await self._news.wait()
        self._news = trio.Event()

    async def _next_message(self) -> OutgoingMessage | None:
        """Raises UnavailableError while the home cannot be written to."""
        first, waiting = self.readings.oldest(_MOST_IN_MESSAGE)
        if not waiting:
            return None
        count = self.packing.fitting(first, waiting)
        sample = Sample(self.packing.payload(first, waiting[:count]))
        number = await self._on_disk(self.readings.next_message)
        announcement = Announcement(swarm=self.swarm.id, peer=self.identity.peer, number=number, body=sample)
        message = encode_envelope(self.identity, announcement, encryption=self.swarm.messages)
        return OutgoingMessage(message, self.swarm.alias(place_of(announcement)), first, count)

    def _pause(self) -> float:
        _, waiting = self.readings.oldest(_MOST_IN_MESSAGE)
        behind = waiting and self.packing.fitting(0, waiting) < len(self.readings)
        return min(self.message_seconds, CATCH_UP_SECONDS) if behind else self.message_seconds

    async def _send(self, message: OutgoingMessage) -> bool:
        """Whether at least one announcer has taken it."""
        taken: list[bool] = []

        async def one(announcer: OpenAnnouncer) -> None:
            taken.append(await announcer.announce(message.data, channel=self.swarm.channel, replaces=message.replaces))

        async with trio.open_nursery() as nursery:
            for announcer in self.announcers:
                if announcer.is_open:
                    nursery.start_soon(one, announcer)
        return any(taken)

    async def _keep_saving(self) -> None:
        while True:
            await trio.sleep(SAVE_SECONDS)
            with suppress(UnavailableError):
                await self._on_disk(self.readings.save)
            if self.readings.lost > self._lost:
                self._lost = self.readings.lost
                self.log.warning("readings.lost", count=self._lost, reason="too many waited to be sent: [sensor] keep_readings")

    async def _on_disk(self, function: Callable[[], R]) -> R:
        """Run it in a thread. What the disk does not take now is logged, and is an UnavailableError: a full disk has room again."""
        try:
            return await self.in_thread(function)
        except (LearnaeError, OSError) as error:
            self.log.warning("readings.unsaved", cause=str(error))
            raise UnavailableError(f"the home of this sensor cannot be written to: {error}") from None
