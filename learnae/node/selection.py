"""Which announced updates could be fetched, and which the selector chose (docs/design.md, "The way of an update")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import attrs

from learnae.errors import PluginError
from learnae.node.attempts import FetchAttempts
from learnae.node.inbox import UNKNOWN_SECONDS, Inbox, InboxEntry
from learnae.node.lineage import LineageVoices
from learnae.node.peers import Peers, waits
from learnae.node.runtime import Outages
from learnae.node.slice_fetching import SliceFetches
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.node.strategy_state import StrategyStates, checked_state
from learnae.records import AnnouncementKind, Candidate, PeerId, Selected, View
from learnae.sketches import sums_of
from learnae.strategies import Selector

STRANGERS = 16  # never accepted peers among whom the selector may choose


@attrs.define
class UpdateSelection:
    """`inbox`, `peers` and `attempts` are the node's own; `limit` is the most bytes that an update of the own model can have.

    `busy` tells whose update is being fetched already, and `strategy_states` keeps what the selector learns.
    """

    inbox: Inbox
    peers: Peers
    attempts: FetchAttempts
    selector: ConfiguredStrategy[Selector]
    count: int
    limit: int
    architecture: bytes
    fresh_rounds: int
    outages: Outages
    clock: Callable[[], float]
    busy: Callable[[PeerId], bool] = lambda peer: False
    strategy_states: StrategyStates | None = None
    slices: SliceFetches | None = None  # for a selector that sees slices
    own_sketch: Callable[[], bytes] = lambda: b""

    @property
    def key(self) -> str:
        """Under what the state of the selector is kept."""
        return f"selector {self.selector.name}"

    def seen(self, round_: int) -> list[LineageVoices]:
        """The lineages that are announced by peers with the own architecture."""
        return [self._seen(entry, round_) for entry in self._fitting()]

    def _seen(self, entry: InboxEntry, round_: int) -> LineageVoices:
        body, live = entry.update, self._live(entry, round_, unknown=0.0)
        return LineageVoices(body.lineage, body.provisional, live, entry.peer, self.inbox.known_since(entry.peer))

    def of_lineage(self, lineage: bytes) -> list[InboxEntry]:
        """Everything announced in that lineage, also what was left behind: whose model a newcomer may adopt."""
        return [entry for entry in self._fitting() if entry.update.lineage == lineage]

    def by_lineage(self) -> dict[bytes, list[InboxEntry]]:
        """The same of all lineages, in one pass: there may be as many of them as peers."""
        announced: dict[bytes, list[InboxEntry]] = {}
        for entry in self._fitting():
            announced.setdefault(entry.update.lineage, []).append(entry)
        return announced

    def strangers(self) -> list[InboxEntry]:
        """Peers that train another architecture under the same name, now."""
        return [entry for entry in self.inbox.updates() if entry.update.architecture != self.architecture and not entry.backlog]

    def fresh(self, lineage: bytes, round_: int, announced: Iterable[InboxEntry] | None = None) -> list[InboxEntry]:
        """Live updates of a lineage, heard within the last rounds, own or their peer's, whether fetched or not.

        `announced` is all of that lineage, where that is known.
        """
        announced = self.of_lineage(lineage) if announced is None else announced
        return [self.attempts.to_try(entry, round_, self._live) for entry in announced if self._live(entry, round_)]

    def choose(self, lineage: bytes, round_: int, age: int, now: float, round_seconds: float | None) -> list[InboxEntry]:
        """What the selector wants of the fresh updates that were not fetched yet. Slices that it wants are ordered."""
        entries = {e.peer: e for e in self._a_few_strangers(list(self._new(lineage, round_)), round_)}
        offers = {(one.peer, one.root): (one, offer) for one, offer in self.slices.candidates(round_seconds)} if self.slices else {}
        candidates = [*(self._candidate(entry, now, round_seconds) for entry in entries.values()), *(one for one, _ in offers.values())]
        view = View(
            round=round_,
            age=age,
            count=self.count,
            budget_bytes=self.limit * self.count,
            candidates=candidates,
            state=self.strategy_states.states.get(self.key, {}) if self.strategy_states else {},
            have=self.slices.have if self.slices else {},
            sketch=self.own_sketch(),
        )
        chosen = self._select(view) if candidates else []
        if self.slices:
            self.slices.order([offers[one.peer, one.root][1] for one in chosen if one.kind is AnnouncementKind.SLICE])
        return [entries[candidate.peer] for candidate in chosen if candidate.kind is AnnouncementKind.UPDATE]

    def oversized(self, lineage: bytes, round_: int) -> list[InboxEntry]:
        """Some of those that announce more than an update of this model can have: no selector wants them, and somebody should be told."""
        return list(islice((entry for entry in self._new(lineage, round_) if entry.update.bytes > self.limit), self.count))

    def _new(self, lineage: bytes, round_: int) -> Iterator[InboxEntry]:
        newer = (e for e in self.fresh(lineage, round_) if e.announcement.number > self.peers.get(e.peer).fetched_number)
        return (entry for entry in newer if not self.busy(entry.peer))

    def _a_few_strangers(self, entries: list[InboxEntry], round_: int) -> list[InboxEntry]:
        """All that were ever accepted or that the selector names, and of a crowd of others some whose wait is over.

        They are the ones that are known for longest, half of them without a failure.
        Whoever invents identities has provisional ones, or some that have failed: so an honest newcomer has its turn all the same.
        """
        named = self._named()
        strangers = [entry for entry in entries if not self.peers.get(entry.peer).ever_accepted and entry.peer not in named]
        if len(strangers) <= STRANGERS:
            return entries
        due = [entry for entry in strangers if not self._waits(entry.peer, round_)]
        due.sort(key=lambda entry: self.inbox.known_since(entry.peer))
        untried = [entry for entry in due if not self.peers.get(entry.peer).failures][: STRANGERS // 2]
        first = {entry.peer for entry in untried}
        few = first | {entry.peer for entry in [entry for entry in due if entry.peer not in first][: STRANGERS - len(untried)]}
        left_out = {entry.peer for entry in strangers} - few
        return [entry for entry in entries if entry.peer not in left_out]

    def _named(self) -> frozenset[PeerId]:
        """Whom the selector names; nobody where it breaks its word."""
        try:
            with self.selector.calling(f"reading whom {self.selector.name!r} names"):
                named: Any = self.selector.strategy.named
                if isinstance(named, str) or not all(isinstance(peer, str) for peer in named):
                    raise TypeError("named must be a collection of public keys")
                return frozenset(named)
        except PluginError as error:
            self.outages.plugin_failed(self.selector.label, error)
            return frozenset()

    def _waits(self, peer: PeerId, round_: int) -> bool:
        record = self.peers.get(peer)
        return waits(record.last_tried, record.failures, round_)

    def _select(self, view: View) -> Sequence[Candidate]:
        try:
            with self.selector.calling(f"selecting by {self.selector.name!r}"):
                answer: Any = self.selector.strategy.select(view)
                wanted, state = (answer.candidates, checked_state(answer.state)) if isinstance(answer, Selected) else (answer, None)
                chosen = list(islice(wanted, view.count + 1))
                if (
                    len(chosen) > view.count
                    or len({(c.peer, c.root) for c in chosen}) < len(chosen)
                    or not all(c in view.candidates for c in chosen)
                ):
                    raise ValueError(f"select() must return at most {view.count} different candidates of the view")
        except PluginError as error:
            self.outages.plugin_failed(self.selector.label, error)
            return ()
        if state is not None and self.strategy_states is not None:
            self.strategy_states.learn({self.key: state})
        self.outages.works(self.selector.label)
        return chosen

    def _candidate(self, entry: InboxEntry, now: float, round_seconds: float | None) -> Candidate:
        body, record, book = entry.update, self.peers.get(entry.peer), self.attempts.record(entry)
        return Candidate(
            peer=entry.peer,
            kind=AnnouncementKind.UPDATE,
            bytes=body.bytes,
            age=body.age,
            staleness=self.staleness(entry, now, round_seconds),
            sketch=b"" if sums_of(body.sketch) is None else body.sketch,
            bytes_per_second=book.bytes_per_second,
            last_tried=book.last_tried,
            failures=book.failures,
            ever_accepted=record.ever_accepted,
            trust=record.trust,
            root=body.root,
        )

    def _fitting(self) -> Iterator[InboxEntry]:
        return (entry for entry in self.inbox.updates() if entry.update.architecture == self.architecture)

    def staleness(self, entry: InboxEntry, now: float, round_seconds: float | None) -> float:
        """How old an announcement is by its arrival here, in typical rounds: own ones, or its peer's where those are longer."""
        return (now - entry.heard_at) / max(round_seconds, self.inbox.seconds_between_updates(entry.peer)) if round_seconds else 0.0

    def _live(self, entry: InboxEntry, round_: int, unknown: float = UNKNOWN_SECONDS) -> bool:
        """Heard within so many rounds: own ones, or its peer's where those are longer."""
        if entry.backlog:
            return False
        in_own_rounds = round_ - entry.heard_round <= self.fresh_rounds
        return in_own_rounds or self.inbox.in_time(entry, self.clock(), self.fresh_rounds, unknown)
