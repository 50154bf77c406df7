"""Messages in any folder that the peers share; needs no daemon."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import attrs
import trio
from attrs.validators import gt

from learnae.config.folders import check_folder
from learnae.config.tables import option
from learnae.errors import UnavailableError
from learnae.plugins.directory.bulletin import FolderEvents, Reader, channel_name, post
from learnae.records import Heard
from learnae.shared_folder import FolderHandle, in_words
from learnae.strategies import Announcer, Context

T = TypeVar("T")

_BLIND_SECONDS = 0.1  # between two looks where the system has no file-system events
_LOOK_PART = 20  # a look begins so many times later as the last one took: a folder full of junk costs little of the time
_OTHER_NAMES = 1000  # remembered


@attrs.frozen
class DirectoryAnnouncerOptions:
    path: Path | None = option(None, "The folder; without it one that all peers of this swarm on this machine share.")
    poll_seconds: float = option(2.0, "Time between two looks at a folder without file-system events, such as a network share.", gt(0.0))


class DirectoryAnnouncer(Announcer):
    """Keeps the newest message of each key in a file. File-system events wake the listeners. They also look now and then."""

    Options = DirectoryAnnouncerOptions
    max_bytes: ClassVar[int] = 4096
    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: DirectoryAnnouncerOptions, context: Context) -> None:
        super().__init__(options, context)
        self._board = FolderHandle(options.path) if options.path else FolderHandle(context.meeting, ("announcements",), unnamed=True)
        self.folder = self._board.path
        self._other_names: OrderedDict[tuple[str, bytes], str] = OrderedDict()

    async def __aenter__(self) -> Self:
        await self._on_disk(lambda: self._board.make(parents=True))
        return self

    async def check(self) -> Sequence[str]:
        channel = self._channel(self.context.channel)
        return [await self.context.in_thread(check_folder, channel, "announcer.path", self.folder)]

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"a message of {len(message)} bytes; at most {self.max_bytes} fit")
        known = self._other_names.get((channel, replaces))
        other = await self._on_disk(post, self._channel(channel), replaces, message, known)
        self._other_names.pop((channel, replaces), None)
        if other is not None:
            self._other_names[channel, replaces] = other
            if len(self._other_names) > _OTHER_NAMES:
                self._other_names.popitem(last=False)

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        reader = Reader([self._channel(channel) for channel in channels], self.max_bytes)
        await self._on_disk(reader.prepare)
        with ExitStack() as stack:
            events = self._events(reader.folders, stack)
            pause = self.options.poll_seconds if events else min(_BLIND_SECONDS, self.options.poll_seconds)
            next_look = await self._look(reader, deliver, pause, backlog=True)
            while reader.more:  # so that nobody goes unheard in a folder full of junk
                await _deliver_all(await self._on_disk(reader.go_on), deliver, backlog=True)
            while True:
                arrivals = await self._wait(events, next_look)
                if arrivals is None:
                    next_look = await self._look(reader, deliver, pause)
                else:
                    await _deliver_all(await self._on_disk(reader.read, [str(path) for path in arrivals]), deliver)

    def _channel(self, channel: str) -> FolderHandle:
        return attrs.evolve(self._board, below=(*self._board.below, channel_name(channel)))

    async def _look(self, reader: Reader, deliver: Callable[[Heard], None], pause: float, *, backlog: bool = False) -> float:
        """Look at everything; return when to do so next: after this pause, or a longer one where looking takes long."""
        began = trio.current_time()
        steps, messages = reader.steps(), list[bytes]()
        try:
            while (some := await self._on_disk(next, steps, None)) is not None:
                messages += some
        finally:
            steps.close()
        now = trio.current_time()
        await _deliver_all(messages, deliver, backlog=backlog)
        return now + max(pause, _LOOK_PART * (now - began))

    def _events(self, folders: Sequence[Path], stack: ExitStack) -> FolderEvents | None:
        try:
            return stack.enter_context(FolderEvents(folders))
        except OSError as error:
            self.context.log.info("announcer.without_events", folder=str(self.folder), cause=str(error))
            return None

    async def _wait(self, events: FolderEvents | None, look_at: float) -> list[Path] | None:
        """Files that have arrived; None when it is time to look at everything, which events without end do not put off."""
        if events is None:
            await trio.sleep_until(look_at)
            return None
        with trio.move_on_at(look_at):
            return await self._arrivals(events)
        return None

    async def _arrivals(self, events: FolderEvents) -> list[Path] | None:
        try:
            return await events.arrivals()
        except OSError as error:
            raise UnavailableError(f"{self.folder} has gone") from error

    async def _on_disk(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self.context.in_thread(function, *args)
        except OSError as error:
            raise UnavailableError(in_words(error, self.folder)) from error


async def _deliver_all(messages: Sequence[bytes], deliver: Callable[[Heard], None], *, backlog: bool = False) -> None:
    """A folder may hold thousands: others get their turn in between."""
    for message in messages:
        deliver(Heard(message, backlog))
        await trio.lowlevel.checkpoint()
