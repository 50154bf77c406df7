"""Messages in any folder that the peers share; needs no daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import attrs
import trio
from attrs.validators import gt

from learnae.config.folders import check_folder
from learnae.config.tables import key
from learnae.errors import Unavailable
from learnae.plugins.announcer.bulletin import Reader, channel_folder, post
from learnae.plugins.announcer.folder_events import FolderEvents
from learnae.records import Heard
from learnae.shared_folder import in_words, make_folder
from learnae.strategies import Announcer, Context

T = TypeVar("T")

_BLIND_SECONDS = 0.1  # between two looks where the system has no file-system events


@attrs.frozen
class DirectoryAnnouncerOptions:
    path: Path | None = key(None, "The folder; without it one that all peers of this swarm on this machine share.")
    poll_seconds: float = key(2.0, "Time between two looks at a folder without file-system events, such as a network share.", gt(0.0))


class DirectoryAnnouncer(Announcer):
    """Keeps the newest message of each key in a file. Listeners are woken by file-system events, and look now and then besides."""

    Options = DirectoryAnnouncerOptions
    max_bytes: ClassVar[int] = 4096
    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: DirectoryAnnouncerOptions, context: Context) -> None:
        super().__init__(options, context)
        self.folder = options.path or context.meeting / "announcements"

    async def __aenter__(self) -> Self:
        await self._on_disk(self._prepare)
        return self

    async def check(self) -> Sequence[str]:
        channel = channel_folder(self.folder, self.context.channel)
        return [await self.context.in_thread(check_folder, channel, "announcer.path", self.folder)]

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"a message of {len(message)} bytes; at most {self.max_bytes} fit")
        await self._on_disk(post, channel_folder(self.folder, channel), replaces, message)

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        reader = Reader([channel_folder(self.folder, channel) for channel in channels], self.max_bytes)
        await self._on_disk(reader.prepare)
        with ExitStack() as stack:
            events = self._events(reader.folders, stack)
            await _deliver_all(await self._on_disk(reader.look), deliver, backlog=True)
            looked = trio.current_time()
            while True:
                arrivals = await self._wait(events, looked + self.options.poll_seconds)
                if arrivals is None:
                    looked = trio.current_time()
                await _deliver_all(await self._read(reader, arrivals), deliver)

    def _prepare(self) -> None:
        if self.options.path is None:
            self.context.meeting.mkdir(parents=True, exist_ok=True)
        make_folder(self.folder, parents=True)

    def _events(self, folders: Sequence[Path], stack: ExitStack) -> FolderEvents | None:
        try:
            return stack.enter_context(FolderEvents(folders))
        except OSError as error:
            self.context.log.info("announcer.without_events", folder=str(self.folder), cause=str(error))
            return None

    async def _wait(self, events: FolderEvents | None, look_at: float) -> list[Path] | None:
        """Files that have arrived; None when it is time to look at everything, which events without end do not put off."""
        if events is None:
            await trio.sleep(min(_BLIND_SECONDS, self.options.poll_seconds))
            return None
        with trio.move_on_at(look_at):
            return await self._arrivals(events)
        return None

    async def _read(self, reader: Reader, arrivals: list[Path] | None) -> list[bytes]:
        return await self._on_disk(reader.look) if arrivals is None else await self._on_disk(reader.read, map(str, arrivals))

    async def _arrivals(self, events: FolderEvents) -> list[Path] | None:
        try:
            return await events.arrivals()
        except OSError as error:
            raise Unavailable(f"{self.folder} has gone") from error

    async def _on_disk(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self.context.in_thread(function, *args)
        except OSError as error:
            raise Unavailable(in_words(error, self.folder)) from error


async def _deliver_all(messages: Sequence[bytes], deliver: Callable[[Heard], None], *, backlog: bool = False) -> None:
    """A folder may hold thousands: others get their turn in between."""
    for message in messages:
        deliver(Heard(message, backlog))
        await trio.lowlevel.checkpoint()
