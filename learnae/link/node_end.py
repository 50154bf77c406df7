"""The node's end of the link, for a trio program that inherited its descriptors."""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.errors import ConfigError, Problem
from learnae.launch import LINK_OPTION, STDERR_OPTION
from learnae.link import memory
from learnae.link.memory import CallPage, Layout
from learnae.link.messages import (
    MAX_START,
    PAGES,
    SLOTS,
    Adopted,
    Failed,
    GarbledError,
    Hello,
    LineStream,
    MergeResult,
    Message,
    Release,
    Report,
    Snapshot,
    Start,
    Taken,
    TrainerGoneError,
    Want,
)
from learnae.observations import RoundReport
from learnae.readers import ModelInMemory

if TYPE_CHECKING:
    from learnae.records import Array

QUEUED = 1024
CLOSE_SECONDS = 1.0


async def open_link(argv: Sequence[str]) -> tuple[Start, NodeLink]:
    """Take up the link that the trainer passed as `--link-fd N`. Raises TrainerGoneError, or ConfigError without that option."""
    try:
        fd = int(argv[list(argv).index(LINK_OPTION) + 1])
    except (ValueError, IndexError):
        raise ConfigError(Problem(LINK_OPTION, "is missing", "learnae.join() starts the node; it is not started by hand")) from None
    lines = LineStream(trio.SocketStream(trio.socket.from_stdlib_socket(_adopt_socket(fd))))
    try:
        start = await _first_line(lines)
        link = NodeLink(start.hello, _map(start), lines)
    except BaseException:
        await trio.aclose_forcefully(lines)
        raise
    _take_stderr(argv)
    return start, link


class NodeLink:
    """What contract.Link promises. Lines are read and written by two system tasks, so that its functions need no nursery."""

    def __init__(self, hello: Hello, shared: mmap.mmap, lines: LineStream) -> None:
        layout = Layout.of(hello.specs)
        self._hello, self._lines = hello, lines
        self._slots = [layout.slot(shared, index, writable=False) for index in range(SLOTS)]
        self._pages = [layout.page(shared, index, writable=True) for index in range(PAGES)]
        self.calls = CallPage(layout.calls(shared))
        self._offered = self._adopted = hello.progress.adoption
        self._taken: Taken | None = None
        self._heard = 0  # the number of the last snapshot
        self._asked = self._gone = False
        self._changed = trio.lowlevel.ParkingLot()
        self._written = trio.Event()
        self._outgoing, self._queue = trio.open_memory_channel[bytes](QUEUED)
        trio.lowlevel.spawn_system_task(self._read)
        trio.lowlevel.spawn_system_task(self._write)

    @property
    def hello(self) -> Hello:
        return self._hello

    async def next_snapshot(self) -> Snapshot:
        """Ask for a snapshot and wait for it. The first call tells the trainer that this node is up. Raises TrainerGoneError."""
        await trio.lowlevel.checkpoint()
        while not self._gone:
            if self._taken is not None:
                taken, self._taken = self._taken, None
                return Snapshot(taken.slot, taken.progress, ModelInMemory(self._slots[taken.slot]))
            self._ask()
            await self._changed.park()
        raise TrainerGoneError

    def release(self, slot: int) -> None:
        self._say(Release(slot))

    def page(self, index: int) -> Mapping[str, Array]:
        return self._pages[index]

    def offer(self, offer: MergeResult) -> None:
        self._offered = offer.number
        self._say(offer)
        self._put_back_if_stale()

    async def adopted(self, number: int) -> None:
        await trio.lowlevel.checkpoint()
        while self._adopted < number:
            if self._gone:
                raise TrainerGoneError
            await self._changed.park()

    def send_report(self, report: RoundReport, outages: Mapping[str, str]) -> None:
        """Show a round to the trainer; verdicts that do not fit on a line, and rounds that nobody reads, are left out."""
        try:
            line = self._lines.encode(Report(report, outages))
        except ValueError:
            line = self._lines.encode(Report(attrs.evolve(report, verdicts=())))
        if self._outgoing.statistics().current_buffer_used < QUEUED // 2:
            self._send(line)

    def fail(self, error: BaseException) -> None:
        """Tell the trainer why this node ends; `aclose` and the exit code follow."""
        for failed in Failed.of(error).shorter():
            with suppress(ValueError):  # it does not fit on a line, in which a character takes up to twelve bytes
                self._say(failed)
                return

    async def aclose(self) -> None:
        """Write what is still queued, for a second at most, and close."""
        self._outgoing.close()
        with trio.move_on_after(CLOSE_SECONDS):
            await self._written.wait()
        self._leave()
        await self._lines.aclose()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._say(Want())

    def _say(self, message: Message) -> None:
        self._send(self._lines.encode(message))

    def _send(self, line: bytes) -> None:
        try:
            self._outgoing.send_nowait(line)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self._leave()

    async def _read(self) -> None:
        try:
            while (message := await self._lines.receive()) is not None:
                self._hear(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError, GarbledError):
            pass
        finally:
            self._leave()

    async def _write(self) -> None:
        try:
            async for line in self._queue:
                await self._lines.send(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._leave()
        finally:
            self._written.set()

    def _hear(self, message: Message) -> None:
        match message:
            case Taken(number=number) if 0 < number == self._heard:
                return
            case Taken(slot) if 0 <= slot < SLOTS:
                self._heard = message.number
                self._put_back()
                self._asked, self._taken = False, message
                self._put_back_if_stale()
            case Adopted(number):
                self._adopted = number
            case _:
                raise GarbledError(f"a node hears no such {type(message).__name__}")
        self._changed.unpark_all()

    def _put_back_if_stale(self) -> None:
        """A delta that lands on a model which has moved on by another delta makes the swarm diverge."""
        if self._taken is not None and self._taken.progress.adoption < self._offered:
            self._put_back()

    def _put_back(self) -> None:
        if self._taken is not None:
            self.release(self._taken.slot)
            self._taken = None

    def _leave(self) -> None:
        self._gone = True
        self._changed.unpark_all()


def _take_stderr(argv: Sequence[str]) -> None:
    """Until now the trainer kept what was written there: the last words of a node that cannot start."""
    if STDERR_OPTION in argv:
        fd = int(argv[list(argv).index(STDERR_OPTION) + 1])
        for standard in (1, 2):
            os.dup2(fd, standard)
        os.close(fd)


def _adopt_socket(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


async def _first_line(lines: LineStream) -> Start:
    try:
        message = await lines.receive(MAX_START)
    except (trio.BrokenResourceError, GarbledError) as error:
        raise TrainerGoneError from error
    if not isinstance(message, Start):
        raise TrainerGoneError
    return message


def _map(start: Start) -> mmap.mmap:
    for fd in (start.memory_fd, start.home_fd):
        if fd >= 0:
            os.set_inheritable(fd, False)
    return memory.view(start.memory_fd, Layout.of(start.hello.specs).total_bytes)
