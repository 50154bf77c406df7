"""Moving from one lineage to another: while provisional, after a split, or as a person orders (docs/decisions/0022)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import attrs
import trio

from learnae.identity.keys import Admission
from learnae.link.messages import Snapshot
from learnae.node.history import RejoinOrder, UserOrders
from learnae.node.inbox import InboxEntry
from learnae.node.joining import LineageAdoption
from learnae.node.lineage import LineageState, MinimumDuration, Support
from learnae.node.lineage_search import LineageSearch, Model, SearchLead, model_of
from learnae.node.obtaining import Obtained, TransferPace
from learnae.node.receive import Receiver
from learnae.node.reports import RoundRecord
from learnae.node.runtime import Runtime
from learnae.node.selection import UpdateSelection
from learnae.records import PeerId


@attrs.define(eq=False)
class ScoutedLineage:
    """A search for models of another lineage, and the name of the change that it is for. It keeps a record of its own."""

    outcome: str
    search: LineageSearch
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    found: tuple[bytes, list[Obtained]] | None = None


@attrs.define
class BackgroundSearch:
    """One search at a time. The round that starts it waits a moment for models, as for all strangers. Later rounds only look."""

    adoption: LineageAdoption
    pace: TransferPace
    _nursery: trio.Nursery | None = None
    _scout: ScoutedLineage | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    @property
    def outcome(self) -> str:
        """The name of the change that is under way, or has come and was not taken yet. Empty if there is none."""
        return self._scout.outcome if self._scout else ""

    @property
    def lineages(self) -> set[bytes]:
        """The lineages that are looked for."""
        return self._scout.search.lineages if self._scout else set()

    async def send(self, outcome: str, leads: Sequence[SearchLead], round_record: RoundRecord) -> None:
        """Start a search, in the place of the one that is under way."""
        assert self._nursery is not None
        self.stop()
        search = self.adoption.search(RoundRecord(round_record.round, round_record.started))
        self._scout = scout = ScoutedLineage(outcome, search)
        self._nursery.start_soon(self._run_one, scout, leads)
        with trio.move_on_after(self.pace.grace_seconds):
            await scout.ended.wait()

    def add(self, leads: Iterable[SearchLead]) -> None:
        """Add lineages to the search that is under way."""
        if self._scout is not None:
            self._scout.search.add(leads)

    def take(self, round_record: RoundRecord) -> tuple[bytes, list[Obtained]] | None:
        """A lineage and its models, if they have come."""
        scout = self._scout
        if scout is None or not scout.ended.is_set():
            return None
        self._scout = None
        round_record.take_over(scout.search.round_record)
        return scout.found

    def stop(self) -> None:
        if self._scout is not None:
            self._scout.scope.cancel()
            self._scout = None

    async def _run_one(self, scout: ScoutedLineage, leads: Sequence[SearchLead]) -> None:
        with scout.scope:
            scout.found = await self.adoption.find(scout.search, leads)
        scout.ended.set()


@attrs.define
class Moving:
    """Moves this peer to another lineage. `split` says whether a split lasts: a peer may announce its old lineage just before it moves."""

    lineage_state: LineageState
    selection: UpdateSelection
    adoption: LineageAdoption
    background_search: BackgroundSearch
    minimum_duration: MinimumDuration
    clock: Callable[[], float]

    async def move(self, snapshot: Snapshot, round_record: RoundRecord) -> bool:
        """Move to a better lineage, if there is one and its models have come. Raises TrainerGoneError."""
        outcome, wanted = self._wanted(round_record)
        if self.background_search.outcome != outcome or not self.background_search.lineages.intersection(s.lineage for s in wanted):
            self.background_search.stop()
        await self._look_for(outcome, wanted, round_record)
        lineage, obtained = self.background_search.take(round_record) or (b"", [])
        if not any(support.lineage == lineage for support in wanted):
            return False
        return await self.adoption.adopt_one(lineage, obtained, snapshot, round_record, outcome)

    def _wanted(self, round_record: RoundRecord) -> tuple[str, list[Support]]:
        """Where to go, the best first. A peer that began to move while provisional finishes that, even if it is established by now."""
        seen, now = self.selection.seen(round_record.round), self.clock()
        self.adoption.misses.keep({item.lineage for item in seen})
        begun = self.background_search.lineages if self.background_search.outcome == "moved" else ()
        return self.lineage_state.where_to_go(seen, now, begun)

    async def _look_for(self, outcome: str, wanted: list[Support], round_record: RoundRecord) -> None:
        lasts = outcome == "moved" or (bool(wanted) and self.minimum_duration.noted(round_record.round, self.clock()))
        looking = bool(self.background_search.outcome)
        if not (self.lineage_state.provisional(self.clock()) if looking else lasts):
            return
        under_way, rests = self.background_search.lineages, self.adoption.misses.rests
        due = [support for support in wanted if support.lineage not in under_way and not rests(support.lineage, round_record.round)]
        leads = self.adoption.leads(due, lambda lineage, entries: self.adoption.live_candidates(lineage, round_record.round, entries))
        if looking:
            self.background_search.add(leads)
        elif leads:
            self.minimum_duration.anew()  # if nothing can be had, the next try is as far away
            await self.background_search.send(outcome, leads, round_record)

    def best_other(self, round_: int) -> bytes | None:
        """The lineage to go to for an order that names none."""
        return self.lineage_state.where_to_rejoin(self.selection.seen(round_))

    async def rejoin(self, target: bytes, snapshot: Snapshot, round_record: RoundRecord) -> str:
        """Move by order, and wait for it. Returns why that was not possible, or an empty text. Raises TrainerGoneError."""
        self.background_search.stop()
        if not self._to_rejoin(target, round_record.round):
            heard = "nobody of join.trust publishes in it" if self.selection.of_lineage(target) else "it is not heard"
            return f"lineage {target.hex()}: {heard}"

        def leads(tried: Collection[Model], left: Collection[bytes]) -> list[SearchLead]:
            entries = [entry for entry in self._to_rejoin(target, round_record.round) if model_of(entry) not in tried]
            return [SearchLead(target, entries, 1)] if entries and target not in left else []

        if not await self.adoption.adopt(leads, snapshot, round_record, "rejoined"):
            return f"lineage {target.hex()}: none of its models could be had"
        self.lineage_state.settle(target, self.clock(), ordered=True)
        return ""

    def _to_rejoin(self, target: bytes, round_: int) -> list[InboxEntry]:
        return self.adoption.live_candidates(target, round_) or self.adoption.candidates(target)


@attrs.define
class Orders:
    """What a person orders while the node runs: whom to hear no more, and which lineage to go to. Looked up once in each round.

    `admission` is the file's own; `minimum_duration` tells when an order that cannot be carried out is given up.
    """

    user_orders: UserOrders
    receiver: Receiver
    moving: Moving
    admission: Admission
    minimum_duration: MinimumDuration
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

    async def resume(self, brought: bytes, stored: bytes) -> None:
        """A trainer that was killed before its next checkpoint brings the lineage along that it was ordered out of.

        Raises UnavailableError.
        """
        order = await self.runtime.in_thread(self.user_orders.last_rejoin)
        if order is not None and order.outcome and order.lineage == stored != brought:
            await self.runtime.in_thread(self.user_orders.renew_rejoin, order)

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
        if self.minimum_duration.noted(round_record.round, self.runtime.clock()):
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
            self.minimum_duration.anew()
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
