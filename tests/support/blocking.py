"""A storage and an announcer with plain methods, as somebody writes them whose client blocks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs

from learnae.blocking_services import BlockingAnnouncer, BlockingStorage
from learnae.errors import UnavailableError
from learnae.records import Block, Cid, Heard
from learnae.strategies import Context


class Latch:
    """One thread at a time; whether the medium of a run can be used."""

    def __init__(self) -> None:
        self.lock, self.broken = threading.RLock(), False

    def check(self, missing: Sequence[Cid] = ()) -> None:
        if self.broken:
            raise UnavailableError("out of order", missing)


class FolderStorage(BlockingStorage):
    """A file for each block, and for each root of each peer a list of what it names."""

    leaves_machine: ClassVar[bool] = False
    folder: ClassVar[Path | None] = None  # where peers have no folder in which they meet

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.latch, place = context.share(Latch), self.folder or context.meeting
        self.blocks, self.names = place / "blocks", place / "names"

    def open(self) -> None:
        self.blocks.mkdir(parents=True, exist_ok=True)
        self.names.mkdir(parents=True, exist_ok=True)

    def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        self.latch.check()
        taken = {block.cid: block.data for block in blocks}
        with self.latch.lock:
            self.latch.check()
            for cid, data in taken.items():
                (self.blocks / cid).write_bytes(data)
            self._name(root).write_text(json.dumps(list(taken)))
            self._sweep()

    def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = []
        for cid in dict.fromkeys(cids):
            self.latch.check(cids)
            try:
                with self.latch.lock:  # nobody writes it meanwhile
                    data = (self.blocks / cid).read_bytes()
            except OSError:
                missing.append(cid)
            else:
                deliver(Block(cid, data))
        if missing:
            raise UnavailableError(f"{len(missing)} blocks are not there", missing)

    def drop(self, root: Cid) -> None:
        self.latch.check()
        with self.latch.lock:
            self._name(root).unlink(missing_ok=True)
            self._sweep()

    def roots(self) -> Sequence[Cid]:
        self.latch.check()
        return [Cid(path.name.partition(".")[2]) for path in self.names.glob(f"{self.context.peer}.*")]

    def _name(self, root: Cid) -> Path:
        return self.names / f"{self.context.peer}.{root}"

    def _sweep(self) -> None:
        named = {cid for path in self.names.iterdir() for cid in json.loads(path.read_text())}
        for path in self.blocks.iterdir():
            if path.name not in named:
                path.unlink()


@attrs.define
class Board:
    """What announcers with plain methods share: for each channel and key the newest message, with its number."""

    newest: dict[tuple[str, bytes], tuple[int, bytes]] = attrs.field(factory=dict)
    number: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)


class BoardAnnouncer(BlockingAnnouncer):
    """Looks at a board, again and again."""

    max_bytes: ClassVar[int] = 4096
    leaves_machine: ClassVar[bool] = False
    look_seconds: ClassVar[float] = 0.01

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.board, self.latch = context.share(Board), context.share(Latch)

    def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"at most {self.max_bytes} bytes")
        self.latch.check()
        with self.board.lock:
            self.board.number += 1
            self.board.newest[channel, replaces] = self.board.number, message

    def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        seen, backlog = 0, True
        while True:
            self.latch.check()
            with self.board.lock:
                found = sorted(item for (channel, _), item in self.board.newest.items() if channel in channels and item[0] > seen)
            for number, message in found:
                deliver(Heard(message, backlog))
                seen = number
            backlog = False
            if not self.wait(self.look_seconds):
                return
