"""Storage and announcer in the memory of one process, for tests. Delays, losses and partitions can be set."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, ClassVar

import attrs
import trio

from learnae.errors import UnavailableError
from learnae.records import Block, Cid, Heard, PeerId
from learnae.strategies import Announcer, Context, Storage


class MemoryStore:
    """The blocks, and which root of which peer names them."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}
        self.roots: dict[tuple[PeerId, Cid], frozenset[Cid]] = {}
        self._named: Counter[Cid] = Counter()

    def put(self, peer: PeerId, root: Cid, blocks: dict[Cid, bytes]) -> None:
        self._named.update(blocks.keys())
        self.blocks.update(blocks)
        self.drop(peer, root)
        self.roots[peer, root] = frozenset(blocks)

    def drop(self, peer: PeerId, root: Cid) -> None:
        for cid in self.roots.pop((peer, root), ()):
            self._named[cid] -= 1
            if not self._named[cid]:
                del self._named[cid], self.blocks[cid]


class MemoryStorage(Storage):
    """Keeps blocks in memory: for tests, and for swarms that are simulated in one process."""

    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.store = context.share(MemoryStore)

    async def put(self, root: Cid, blocks: Iterable[Block]) -> None:
        await trio.lowlevel.checkpoint()
        self.store.put(self.context.peer, root, {block.cid: block.data for block in blocks})

    async def get(self, cids: Sequence[Cid], deliver: Callable[[Block], None], *, hints: Sequence[str] = ()) -> None:
        missing = []
        for cid in dict.fromkeys(cids):
            await trio.lowlevel.checkpoint()
            if cid in self.store.blocks:
                deliver(Block(cid, self.store.blocks[cid]))
            else:
                missing.append(cid)
        if missing:
            raise UnavailableError(f"{len(missing)} of {len(cids)} blocks are not in memory", missing)

    async def drop(self, root: Cid) -> None:
        await trio.lowlevel.checkpoint()
        self.store.drop(self.context.peer, root)

    async def roots(self) -> Sequence[Cid]:
        await trio.lowlevel.checkpoint()
        return [root for peer, root in self.store.roots if peer == self.context.peer]


Key = tuple[str, bytes]  # channel, replaces


@attrs.frozen
class Post:
    """One message as it was sent."""

    number: int  # over the whole medium: the higher, the newer
    nth: int  # of this sender
    sender: PeerId
    key: Key
    message: bytes
    seconds: float  # when it was sent


@attrs.define
class MemoryMedium:
    """What all memory announcers of a run share. Set its fields before or during the run.

    Delay and loss are drawn from a stream of their own for each message and receiver, so that they do not depend on the order of tasks.
    """

    delay: Callable[[Random], float] = lambda rng: 0.0  # seconds, for each delivery
    loss: float = 0.0  # probability, for each delivery
    reaches: Callable[[PeerId, PeerId], bool] = lambda sender, receiver: True  # asked when a message is pushed, or looked for
    look_seconds: float | None = None  # None: messages are pushed; else listeners look this often, and see the newest of each key
    seed: int = 0
    newest: dict[Key, Post] = attrs.field(factory=dict)
    listeners: dict[MemoryListener, None] = attrs.field(factory=dict)
    _sent: Counter[PeerId] = attrs.field(factory=Counter)
    _posts: int = 0

    def send(self, sender: PeerId, key: Key, message: bytes) -> None:
        self._posts += 1
        self._sent[sender] += 1
        post = self.newest[key] = Post(self._posts, self._sent[sender], sender, key, message, trio.current_time())
        for listener in self.listeners:
            listener.expect(post)

    def arrival(self, post: Post, receiver: PeerId) -> float | None:
        """When this message reaches this peer; None if it is lost."""
        rng = Random(f"{self.seed} {post.sender} {post.nth} {receiver}")
        return None if rng.random() < self.loss else post.seconds + self.delay(rng)


@attrs.define(eq=False)
class MemoryListener:
    """One running `listen`: the messages that are on their way to it."""

    medium: MemoryMedium
    peer: PeerId
    channels: frozenset[str]
    _coming: list[tuple[float, int, Post]] = attrs.field(factory=list)
    _unseen: dict[Key, Post] = attrs.field(factory=dict)  # polled: came since the last look, or stands behind a partition
    _seen: dict[Key, int] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def expect(self, post: Post) -> None:
        if post.key[0] not in self.channels or (self.medium.look_seconds is None and not self._reached_by(post)):
            return
        if (seconds := self.medium.arrival(post, self.peer)) is not None:
            heapq.heappush(self._coming, (seconds, post.number, post))
            self._news.set()

    async def pause(self) -> None:
        """Until the next look, or the next arrival."""
        if self.medium.look_seconds is not None:
            await trio.sleep(self.medium.look_seconds)
            return
        with trio.move_on_at(self._coming[0][0] if self._coming else math.inf):
            await self._news.wait()
        self._news = trio.Event()

    def take(self) -> list[bytes]:
        """What has come since the last time."""
        posts = list(self._arrived()) if self.medium.look_seconds is None else self._looked_at()
        return [post.message for post in posts]

    def _arrived(self) -> Iterator[Post]:
        while self._coming and self._coming[0][0] <= trio.current_time():
            yield heapq.heappop(self._coming)[2]

    def _looked_at(self) -> list[Post]:
        """On a polled medium a message that was overtaken is never seen."""
        for post in self._arrived():
            if post.number > self._seen.get(post.key, 0):
                self._unseen[post.key] = post
                self._seen[post.key] = post.number
        posts = [post for post in self._unseen.values() if self._reached_by(post)]
        for post in posts:
            del self._unseen[post.key]
        return posts

    def _reached_by(self, post: Post) -> bool:
        return self.medium.reaches(post.sender, self.peer)


class MemoryAnnouncer(Announcer):
    """Announces in memory: for tests, and for swarms that are simulated in one process, also under virtual time."""

    max_bytes: ClassVar[int] = 4096
    leaves_machine: ClassVar[bool] = False

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__(options, context)
        self.medium = context.share(MemoryMedium)

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        if len(message) > self.max_bytes:
            raise ValueError(f"a message of {len(message)} bytes; at most {self.max_bytes} fit")
        await trio.lowlevel.checkpoint()
        self.medium.send(self.context.peer, (channel, replaces), message)

    async def listen(self, channels: Sequence[str], deliver: Callable[[Heard], None]) -> None:
        listener = MemoryListener(self.medium, self.context.peer, frozenset(channels))
        for post in self.medium.newest.values():
            listener.expect(post)
        self.medium.listeners[listener] = None
        try:
            backlog = True
            while True:
                for message in listener.take():
                    deliver(Heard(message, backlog))
                backlog = False
                await listener.pause()
        finally:
            del self.medium.listeners[listener]
