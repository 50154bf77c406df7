"""A node may swallow a transaction that it has taken. So after a while the others are asked for it, and get it if they lack it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import UnavailableError
from learnae_iota import calls, curl
from learnae_iota.line import NodeApi
from learnae_iota.node import TangleNode
from learnae_iota.nodes import Nodes
from learnae_iota.posting import NodeDeclinedError

if TYPE_CHECKING:
    import numpy as np

AFTER_SECONDS = 3.0  # a tangle passes a transaction on in less
REST_SECONDS = 60.0  # a node that had what was looked for rests for a random part of this; one that had not is asked about all that follows
ASKING_SECONDS = 8.0  # all of it: looking, and giving it
MOST_WAITING = 64  # the oldest are looked for no more


@attrs.frozen
class Posted:
    """A transaction that the node at this address has taken. `post_again` sends its message to another node."""

    address: str
    transaction: str
    at: float
    post_again: Callable[[NodeApi], str]


@attrs.define(eq=False)
class Witnesses:
    """`run` must run beside the calls. Each message costs one more transaction for each node that lacks it."""

    nodes: Nodes
    rng: np.random.Generator  # a node that knew when the next look comes would pass on that message alone
    _waiting: deque[Posted] = attrs.field(factory=lambda: deque(maxlen=MOST_WAITING))
    _rests_until: dict[TangleNode, float] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def sent(self, posted: Posted) -> None:
        if len(self.nodes.nodes) > 1:
            self._waiting.append(posted)
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while not self._waiting:
                self._news = trio.Event()
                await self._news.wait()
            posted = self._waiting.popleft()
            await trio.sleep_until(posted.at + AFTER_SECONDS)
            for node in self.nodes.working():
                if node.address != posted.address and self._rests_until.get(node, -math.inf) <= trio.current_time():
                    await self._ask(node, posted)

    async def _ask(self, node: TangleNode, posted: Posted) -> None:
        self._rests_until[node] = trio.current_time() + REST_SECONDS * self.rng.random()  # also one that does not answer
        with trio.move_on_after(ASKING_SECONDS), suppress(UnavailableError, NodeDeclinedError):
            if not await node.call(partial(_has, posted)):
                self._rests_until[node] = -math.inf


def _has(posted: Posted, line: NodeApi) -> bool:
    """Whether it was there; it is given what was not."""
    if calls.trytes(line, [curl.hash_of(posted.transaction)]) == [posted.transaction]:
        return True
    posted.post_again(line)
    return False
