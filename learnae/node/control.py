"""What a person orders while the node runs: whom to hear no more, and which lineage to go to. Looked up once in each round."""

from __future__ import annotations

import attrs

from learnae.identity.keys import Admission
from learnae.link.messages import Snapshot
from learnae.node.history import RejoinOrder, UserOrders
from learnae.node.lineage import MinimumDuration
from learnae.node.moving import Moving
from learnae.node.receive import Receiver
from learnae.node.reports import RoundRecord
from learnae.node.runtime import Runtime
from learnae.records import PeerId


@attrs.define
class Orders:
    """`admission` is the file's own; `waiting` tells when an order that cannot be carried out is given up."""

    user_orders: UserOrders
    receiver: Receiver
    moving: Moving
    admission: Admission
    waiting: MinimumDuration
    runtime: Runtime
    _rejoin: RejoinOrder | None = None
    _ended: tuple[RejoinOrder, str] | None = None
    _denied: frozenset[PeerId] = frozenset()

    async def read(self) -> None:
        """At the beginning of a round. Raises UnavailableError."""
        denied, rejoin = await self.runtime.in_thread(self._look)
        if denied != self._denied:
            self._deny(denied)
        if not _same(rejoin, self._rejoin):
            self._take(rejoin)

    async def carry_out(self, snapshot: Snapshot, round_record: RoundRecord) -> bool:
        """Whether the order, if there is one, has led this peer to another lineage now. Raises TrainerGoneError and UnavailableError."""
        order, lineage_state = self._rejoin, self.moving.lineage_state
        if order is None:
            return False
        if self._ended and _same(order, self._ended[0]):  # which could not be written down
            await self._end(*self._ended)
            return False
        if order.lineage == lineage_state.lineage:
            await self._end(order, "the model is of that lineage already")
            return False
        if lineage_state.rules.lineage and order.lineage != bytes.fromhex(lineage_state.rules.lineage):
            await self._give_up(order, "join.lineage in this peer's file names another lineage: change it there")
            return False
        if not (why_not := await self._go(order, snapshot, round_record)):
            await self._end(order, f"went over to lineage {lineage_state.lineage.hex()}")
            return True
        if self.waiting.noted(round_record.round, self.runtime.clock()):
            await self._give_up(order, why_not)
        return False

    async def _go(self, order: RejoinOrder, snapshot: Snapshot, round_record: RoundRecord) -> str:
        """Why it could not be done in this round, or the empty string."""
        if order.lineage is not None:
            return await self.moving.rejoin(order.lineage, snapshot, round_record)
        if (target := self.moving.best_other(round_record.round)) is None:
            return "no other lineage is heard, or none whose models this peer may adopt"
        await self.runtime.in_thread(self.user_orders.aim_rejoin, order, target)
        return await self.moving.rejoin(target, snapshot, round_record)

    def _take(self, rejoin: RejoinOrder | None) -> None:
        self._rejoin = rejoin
        if rejoin is not None:
            self.waiting.anew()
            self.runtime.log.info("rejoin.ordered", lineage=rejoin.lineage.hex() if rejoin.lineage else "the best that is heard")

    def _look(self) -> tuple[frozenset[PeerId], RejoinOrder | None]:
        return self.user_orders.denied(), self.user_orders.take_rejoin()

    def _deny(self, denied: frozenset[PeerId]) -> None:
        self.receiver.admission = attrs.evolve(self.admission, deny=self.admission.deny | denied)
        for peer in denied - self._denied:
            self.receiver.forget(peer)
            self.runtime.log.warning("peer.denied", peer=peer[:8], consequence="it is not heard any more, and nothing of it is merged")
        for peer in self._denied - denied:
            self.runtime.log.warning("peer.allowed_again", peer=peer[:8])
        self._denied = denied

    async def _end(self, order: RejoinOrder, outcome: str) -> None:
        self._ended = order, outcome
        await self.runtime.in_thread(self.user_orders.end_rejoin, order, outcome)
        self._rejoin = None

    async def _give_up(self, order: RejoinOrder, cause: str) -> None:
        self.runtime.log.warning("rejoin.given_up", cause=cause)
        await self._end(order, f"given up: {cause}")


def _same(one: RejoinOrder | None, other: RejoinOrder | None) -> bool:
    """Whether they are one order, wherever it leads by now."""
    return (one and one.at) == (other and other.at)
