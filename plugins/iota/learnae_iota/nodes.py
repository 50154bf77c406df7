"""Several nodes of the same tangle. The first one of the list that works is used. Lost ones are asked again until they are back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from learnae import UnavailableError
from learnae_iota.calls import meet
from learnae_iota.line import NodeApi
from learnae_iota.node import TangleNode
from learnae_iota.posting import NodeDeclinedError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

T = TypeVar("T")

BACK_OFF_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SLOW_SECONDS = 4.0
STEADY_SECONDS = 30.0  # one that has worked for so long is forgiven what it did before


@attrs.define
class Record:
    """What a node has done of late."""

    failures: int = 0
    works_since: float = 0.0
    lost: bool = False
    told: bool = False
    outdone: bool = False  # it declined what another node took
    slow: bool = False  # the last call, whether it worked or not


@attrs.define(eq=False)
class Nodes:
    """`watch` must run beside the calls."""

    nodes: Sequence[TangleNode]
    log: FilteringBoundLogger
    _records: dict[TangleNode, Record] = attrs.field(init=False)
    _newly_lost: list[TangleNode] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _cause: str = ""

    def __attrs_post_init__(self) -> None:
        self._records = {node: Record() for node in self.nodes}

    async def call(self, function: Callable[[NodeApi], T]) -> T:
        """Call `function` on the first node where it works, and return its result. Raises UnavailableError, at once if all nodes are lost.

        A node that declines is not lost, because it may still do everything else. Once another node has done what it declined, it is asked
        last. So is one whose last such call took longer than `SLOW_SECONDS`. Raises the first NodeDeclinedError if all nodes decline.
        """
        declined: dict[TangleNode, NodeDeclinedError] = {}
        for node in sorted(self.working(), key=lambda node: (self._records[node].outdone, self._records[node].slow)):
            began = trio.current_time()
            try:
                result = await self.call_at(node, function)
            except NodeDeclinedError as error:
                declined[node] = error
            except UnavailableError:
                continue
            else:
                self._note_outdone(declined, node)
                return result
            finally:
                self._note_pace(node, trio.current_time() - began)
        for first in declined.values():
            raise first
        await trio.lowlevel.checkpoint()
        raise UnavailableError(self._cause)

    def first(self) -> TangleNode:
        """The one that is used first. Raises UnavailableError while all are lost."""
        for node in self.working():
            return node
        raise UnavailableError(self._cause)

    def working(self) -> list[TangleNode]:
        return [node for node in self.nodes if not self._records[node].lost]

    async def call_at(self, node: TangleNode, function: Callable[[NodeApi], T]) -> T:
        """Call `function` on this node, and return its result. Raises NodeDeclinedError, and UnavailableError: then the node is lost."""
        try:
            return await node.call(function)
        except UnavailableError as error:
            self._lose(node, error)
            raise

    async def watch(self) -> None:
        """Until cancelled; also those that were lost before it began."""
        self._newly_lost = [node for node, record in self._records.items() if record.lost]
        async with trio.open_nursery() as nursery:
            while True:
                while self._newly_lost:
                    nursery.start_soon(self._regain, self._newly_lost.pop())
                await self._news.wait()
                self._news = trio.Event()

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def _note_outdone(self, declined: Mapping[TangleNode, NodeDeclinedError], by: TangleNode) -> None:
        for node, error in declined.items():
            if not self._records[node].outdone:
                self._records[node].outdone = True
                self.log.warning("iota.node_declines", address=node.address, cause=str(error), taken_by=by.address)

    def _note_pace(self, node: TangleNode, seconds: float) -> None:
        record, slow = self._records[node], seconds > SLOW_SECONDS
        if slow and not record.slow and len(self.nodes) > 1:
            self.log.info(
                "iota.node_is_slow", address=node.address, seconds=round(seconds, 1), consequence="others are given messages first"
            )
        record.slow = slow

    def _lose(self, node: TangleNode, error: UnavailableError) -> None:
        record, now = self._records[node], trio.current_time()
        self._cause = str(error)
        if record.lost:
            return
        if now - record.works_since > STEADY_SECONDS:
            record.failures = 0
        record.failures += 1
        record.lost = True
        if record.failures == 1 and len(self.nodes) > 1:  # of the only one the core tells
            record.told = True
            self.log.warning("iota.node_lost", address=node.address, cause=str(error))
        self._newly_lost.append(node)
        self._news.set()

    async def _regain(self, node: TangleNode) -> None:
        record = self._records[node]
        while record.lost:
            await trio.sleep(BACK_OFF_SECONDS[min(record.failures, len(BACK_OFF_SECONDS)) - 1])
            try:
                await node.call(meet)
            except UnavailableError:
                record.failures += 1
            else:
                self._works_again(node, record)

    def _works_again(self, node: TangleNode, record: Record) -> None:
        record.lost, record.works_since = False, trio.current_time()
        if record.told:
            record.told = False
            self.log.warning("iota.node_back", address=node.address)
