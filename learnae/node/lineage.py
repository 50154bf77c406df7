"""Lineages: how well each is supported, where this peer stands among them, and splits (docs/decisions/0030).

Ages are never compared. Lineages are, by support: how many peers are heard there, whether they are established, then the smaller hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable

import attrs

from learnae.config.tables import JoinTable
from learnae.node.rate_limits import LogShare
from learnae.node.runtime import Outages
from learnae.records import NOBODY, Cid, PeerId

ESTABLISHED = 2
"""So many make a lineage an established one where several are heard: one that lies is not enough."""


@attrs.frozen
class LineageVoices:
    """One lineage, as one peer announces it. `since` is when that peer was first heard here, and -inf if an earlier run heard it."""

    lineage: bytes
    provisional: bool
    live: bool = True
    peer: PeerId = NOBODY
    since: float = -math.inf


@attrs.frozen
class Support:
    """The support of one lineage. `voices` counts the peers that are heard in it now.

    `left_behind` counts the peers that announced it before this node listened, and are not heard. `established` is true if two of the
    peers say that they are established, or the only one.
    """

    lineage: bytes
    voices: int = 0
    left_behind: int = 0
    established: bool = False

    @property
    def live(self) -> bool:
        return self.voices > 0

    @property
    def size(self) -> int:
        """The size class of a number of voices: one, up to three, up to seven and so on.

        It is coarse because peers hear different voices.
        """
        return _class(self.voices or self.left_behind)

    @property
    def expected(self) -> int:
        """The size class, if half of the peers that were there before are there still."""
        return max(self.size if self.live else 0, _class(self.voices + self.left_behind) - 1)

    @property
    def rank(self) -> tuple[int, bool, bytes]:
        """The rank of a lineage; smaller is better. It is a total order, so that all peers that hear the same go to the same lineage."""
        return -self.size, not self.established, self.lineage

    @property
    def rank_for_newcomers(self) -> tuple[int, bool, bytes]:
        """The rank for a newcomer. It has not listened for long, so peers that announced before it came count a little."""
        return -self.expected, not self.established, self.lineage

    def with_own(self) -> Support:
        """The own lineage: the own voice is one."""
        return attrs.evolve(self, voices=self.voices + 1)


def supports(seen: Iterable[LineageVoices]) -> dict[bytes, Support]:
    """The support of each lineage. If peers are heard in it now, only they tell whether it is established."""
    heard: dict[bytes, list[LineageVoices]] = {}
    for item in seen:
        heard.setdefault(item.lineage, []).append(item)
    return {lineage: _support(lineage, items) for lineage, items in heard.items()}


def _support(lineage: bytes, items: list[LineageVoices]) -> Support:
    live = [item for item in items if item.live]
    voices = {item.peer for item in live}
    left_behind = {item.peer for item in items} - voices
    established = {item.peer for item in live or items if not item.provisional}
    return Support(lineage, len(voices), len(left_behind), len(established) >= min(ESTABLISHED, len(voices or left_behind)))


def _class(peers: int) -> int:
    return peers.bit_length()


LATE = 3
"""Times `settle_seconds`, from when a peer came into its lineage: so long it may find out that it was left alone there."""

LINEAGE_BYTES = 8
LONGEST_SECONDS = 600.0
"""For so long at most peers must have been heard before an established peer follows them: time for a person to see the split reported."""


def found(root: Cid) -> bytes:
    """The lineage that begins with this root."""
    return hashlib.sha256(b"learnae/lineage/1" + root.encode()).digest()[:LINEAGE_BYTES]


@attrs.define
class LineageState:
    """The own lineage, and how long this peer has been in it, in own rounds and seconds.

    `vouched`: a peer that this peer trusts is or was in it. `ordered`: a person chose it, so it is not given up for a smaller hash.
    """

    rules: JoinTable
    own: PeerId = NOBODY
    lineage: bytes = b""
    rounds: int = 0
    since: float = 0.0
    entered: float = -math.inf  # in this run: who brought its lineage along waits for those that it knows from there
    vouched: bool = True
    ordered: bool = False

    def enter(self, lineage: bytes, now: float, *, vouched: bool = True) -> None:
        """Found, join or move to a lineage. From now on this peer is provisional."""
        self.lineage, self.rounds, self.since, self.entered = lineage, 0, now, now
        self.vouched, self.ordered = vouched or not self.needs_trusted, False

    def settle(self, lineage: bytes, now: float, *, rounds: int | None = None, seconds: float | None = None, ordered: bool = False) -> None:
        """Be in a lineage, with the rounds and seconds that were spent there before. Without them this peer counts as established."""
        self.lineage, self.ordered, self.entered = lineage, ordered, -math.inf
        self.rounds = self.rules.settle_rounds if rounds is None else rounds
        self.since = now - (self.settle_seconds if seconds is None else seconds)
        self.vouched = self.rounds > 0 or not self.needs_trusted

    def spend_round(self, seen: Iterable[LineageVoices], now: float) -> None:
        """Count one more round in the own lineage. With join.trust the time counts only once a trusted peer is in it.

        Until then this peer can still move.
        """
        self.vouched = self.vouched or any(s.live and s.lineage == self.lineage and self.trusts(s.peer) for s in seen)
        if self.vouched:
            self.rounds += 1
        else:
            self.rounds, self.since = 0, now

    def provisional(self, now: float) -> bool:
        return self.rounds < self.rules.settle_rounds or now - self.since < self.settle_seconds

    @property
    def settle_seconds(self) -> float:
        return max(self.rules.settle_seconds, 3 * self.rules.wait_seconds)

    @property
    def needs_trusted(self) -> bool:
        """Whether the model shall come from others: a peer that is in its own join.trust may found as if there were none."""
        return bool(self.rules.trust) and self.own not in self.rules.trust

    def trusts(self, peer: PeerId) -> bool:
        """Whether this peer may adopt the model of that peer. It may always adopt its own model of an earlier run."""
        return not self.rules.trust or peer in self.rules.trust or peer == self.own

    def where_to_join(self, seen: Iterable[LineageVoices]) -> list[Support]:
        """The lineages that a newcomer may adopt, the best first: live before left behind, then by their support."""
        return sorted(supports(self.allowed(seen)).values(), key=lambda s: (not s.live, s.rank_for_newcomers))

    def expects_more(self, seen: Iterable[LineageVoices]) -> bool:
        """Whether a lineage that is not heard now may soon be the best, because so many peers announced it before.

        A peer announces once in each of its rounds, which may take longer than a newcomer listens. A liar announces at once.
        """
        among = self.where_to_join(seen)
        return bool(among) and among[0].live and any(other.expected > among[0].expected for other in among if not other.live)

    def where_to_go(self, seen: Collection[LineageVoices], now: float, begun: Collection[bytes] = ()) -> tuple[str, list[Support]]:
        """The name of the change, and the lineages to go to, the best first.

        A provisional peer moves. An established one yields, if its file says so.

        A peer that is established by now still moves to the lineages in `begun`. A peer that has just become established and is alone
        moves to a lineage of more than one: on a slow medium it hears late that the others have left.
        """
        if self.provisional(now):
            return "moved", self.better(seen)
        if self._left_alone(seen, now):
            return "moved", [support for support in self.better(seen) if support.size > 1]
        if begun:
            return "moved", [] if self.ordered else [support for support in self.better(seen) if support.lineage in begun]
        return "yielded", self.where_to_yield(seen, now)

    def better(self, seen: Iterable[LineageVoices]) -> list[Support]:
        """The lineages that rank before the own one.

        The own voice counts for the own one, so that a peer that has moved does not go back.
        """
        others, own = self._others(seen)
        return [support for support in others if self.lineage and support.rank < own.rank]

    def where_to_rejoin(self, seen: Iterable[LineageVoices]) -> bytes | None:
        """The best other lineage that is heard now."""
        best = self.where_to_join(s for s in seen if s.live and s.lineage != self.lineage)
        return best[0].lineage if best else None

    def where_to_yield(self, seen: Iterable[LineageVoices], now: float) -> list[Support]:
        """The lineages that an established peer yields to, if its file says so. The best come first: more support, then a smaller hash.

        In the other lineages only peers count that have been heard for at least half of the time that this peer is in its own.
        """
        if self.rules.on_split != "yield" or self.ordered or self.provisional(now):
            return []
        known_for = min(LONGEST_SECONDS, (now - self.since) / 2)
        others, own = self._others(s for s in seen if s.lineage == self.lineage or now - s.since >= known_for)
        better = [s for s in others if s.established and (-s.size, s.lineage) < (-own.size, self.lineage)]
        return sorted(better, key=lambda s: (-s.size, s.lineage))

    def splits(self, seen: Iterable[LineageVoices], now: float) -> set[bytes]:
        """The other established lineages that this peer hears live, if it is established itself."""
        if not self.lineage or self.provisional(now):
            return set()
        return {s.lineage for s in seen if s.live and not s.provisional and s.lineage != self.lineage}

    def _left_alone(self, seen: Collection[LineageVoices], now: float) -> bool:
        alone = not any(s.live and s.lineage == self.lineage for s in seen)
        return alone and not self.ordered and now - self.entered < LATE * self.settle_seconds

    def _others(self, seen: Iterable[LineageVoices]) -> tuple[list[Support], Support]:
        """The support of the other lineages that are there now, the best first, and of the own one."""
        among = supports(s for s in self.allowed(seen) if s.live)
        own = among.pop(self.lineage, Support(self.lineage)).with_own()
        return sorted(among.values(), key=lambda s: s.rank), own

    def allowed(self, seen: Iterable[LineageVoices]) -> list[LineageVoices]:
        """Those whose models this peer may adopt."""
        only = bytes.fromhex(self.rules.lineage) if self.rules.lineage else None
        return [
            s
            for s in seen
            if s.lineage and (only is None or s.lineage == only) and (s.live or not self.rules.fresh) and self.trusts(s.peer)
        ]


MOST = 8  # reported at once: whoever invents lineages fills no log


@attrs.define
class SplitReporter:
    lineage_state: LineageState
    outages: Outages
    lines: LogShare
    _told: set[bytes] = attrs.field(factory=set)

    def note(self, seen: Iterable[LineageVoices], now: float) -> tuple[bytes, ...]:
        """Note the splits of this moment. Each is logged once when it begins and once when it is over, as far as the log has lines left."""
        splits = sorted(self.lineage_state.splits(seen, now))[:MOST]
        for lineage in self._told.difference(splits):
            self.outages.works(_what(lineage))
        self._told.intersection_update(splits)
        for lineage in splits:
            if lineage in self._told or not self.lines.take():
                continue
            self._told.add(lineage)
            self.outages.failed(
                _what(lineage), f"another established lineage trains under this name: the two cannot be merged; {self._remedy}"
            )
        return tuple(splits)

    @property
    def _remedy(self) -> str:
        if self.lineage_state.rules.on_split == "yield":
            return "with join.on_split = 'yield' the side with fewer peers goes over when that has lasted"
        return "let the peers of one side go over with `learnae rejoin`, or set join.on_split = 'yield' in all files"


def _what(lineage: bytes) -> str:
    return f"split {lineage.hex()}"


@attrs.define
class MinimumDuration:
    """Whether a fact has lasted for so many own rounds and seconds.

    The fact is noted now and then. If it is not noted for as long, it ends.
    """

    rounds: int
    seconds: float
    _began: tuple[int, float] | None = None
    _last: tuple[int, float] = (0, 0.0)

    def noted(self, round_: int, now: float) -> bool:
        """The fact holds in this round. Returns whether it has lasted."""
        if self._began is None or self._long(self._last, round_, now):
            self._began = round_, now
        self._last = round_, now
        return self._long(self._began, round_, now)

    def anew(self) -> None:
        """Begin anew with the next note."""
        self._began = None

    def _long(self, since: tuple[int, float], round_: int, now: float) -> bool:
        return round_ - since[0] >= self.rounds and now - since[1] >= self.seconds
