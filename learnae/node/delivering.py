"""What plugins are given to deliver to: from any thread, with whatever, at any time. It never raises, and after its end nothing counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from learnae.content.cids import check
from learnae.errors import PluginError
from learnae.node.outages import Outages
from learnae.records import BLOCK_BYTES, Block, Cid, Heard

if TYPE_CHECKING:
    from learnae.node.transfer import Transfer

MOST_WAITING = 4096  # messages from other threads that the loop has not heard yet; a medium may lose what is more


class Loop:
    """The loop that this was made in, for calls out of any thread."""

    def __init__(self) -> None:
        self._token, self._thread = trio.lowlevel.current_trio_token(), threading.get_ident()

    def soon(self, function: Callable[[], None]) -> None:
        """At once in the loop's own thread, else soon and in order; not at all once the loop is over."""
        if threading.get_ident() == self._thread:
            function()
            return
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function)


@attrs.define(eq=False)
class Delivery:
    """The `deliver` of one `get`: takes what is asked for and is what it is named by. `arrived` is called in the loop for each that counts.

    `flaw` says what was delivered that nobody can use, and is empty where all was right.
    """

    wanted: Mapping[Cid, None]
    transfer: Transfer
    source: str
    arrived: Callable[[Delivery, Cid], None]
    flaw: str = ""
    over: bool = False
    _loop: Loop = attrs.field(factory=Loop)

    def __call__(self, block: Block) -> None:
        if self.over:
            return
        try:
            sound = _sound(block)
            wanted = sound is not None and sound.cid in self.wanted
        except Exception:  # whatever a plugin's objects do when they are looked at
            sound, wanted = None, False
        if sound is None:
            self.flaw = f"it delivers what is no block: {type(block).__name__}"
        elif wanted:
            self._take(sound)

    def _take(self, block: Block) -> None:
        check(block)  # outside of the lock: hashing is most of the work, and the block remembers it
        with self.transfer.lock:
            if self.over:
                return
            if not self.transfer.take(block, self.source):
                self.flaw = "it delivers blocks that are not what they are named by"
                return
        self._loop.soon(partial(self.arrived, self, block.cid))

    def end(self) -> None:
        with self.transfer.lock:
            self.over = True


@attrs.define(eq=False)
class Messages:
    """The `deliver` of one `listen`: hands on what is a message, in the loop. What is none is told, as an outage of `what` by this plugin.

    After the moment `steady` a message is the end of that outage, unless something was wrong in this very `listen`.
    """

    hear: Callable[[Heard], None]
    plugin: str
    what: str
    outages: Outages
    steady: float
    over: bool = False
    flawed: bool = False
    _waiting: int = 0
    _lock: threading.Lock = attrs.field(factory=threading.Lock)
    _loop: Loop = attrs.field(factory=Loop)

    def __call__(self, heard: Heard) -> None:
        if self.over:
            return
        try:
            message = _message(heard)
        except Exception:  # whatever a plugin's objects do when they are looked at
            message = None
        if message is None:
            self._loop.soon(partial(self._tell, f"it delivers what is no message: {type(heard).__name__}"))
            return
        with self._lock:
            if self._waiting >= MOST_WAITING:
                return
            self._waiting += 1
        self._loop.soon(partial(self._hear, message))

    def _hear(self, heard: Heard) -> None:
        with self._lock:
            self._waiting -= 1
        if self.over:  # since a thread delivered it
            return
        self.hear(heard)
        if trio.current_time() >= self.steady and not self.flawed:
            self.outages.works(self.what)

    def _tell(self, flaw: str) -> None:
        if self.over:
            return
        self.flawed = True
        self.outages.failed(self.what, str(PluginError(self.plugin, self.what, flaw)))

    def end(self) -> None:
        self.over = True


def _sound(block: Any) -> Block | None:
    """A block whose bytes nobody changes any more; None for what is none."""
    if not isinstance(block, Block) or not isinstance(block.cid, str):
        return None
    data: Any = block.data
    if type(data) is bytes:
        return block
    if not isinstance(data, bytes | bytearray | memoryview):
        return None
    return Block(block.cid, bytes(memoryview(data)[: BLOCK_BYTES + 1]))


def _message(heard: Any) -> Heard | None:
    if not isinstance(heard, Heard) or not isinstance(heard.message, bytes | bytearray | memoryview):
        return None
    return heard if type(heard.message) is bytes and type(heard.backlog) is bool else Heard(bytes(heard.message), bool(heard.backlog))
