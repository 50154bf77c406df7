"""Fetches whole updates beside the rounds, several at once, each with its own deadline (docs/decisions/0022)."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from statistics import median, median_low, quantiles

import attrs
import numpy as np
import trio

from learnae.errors import PluginError, UnavailableError, UpdateRejectedError
from learnae.node.attempts import FetchAttempts
from learnae.node.bases import HeldUpdates, fetch_needed
from learnae.node.decoding import Decoder
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.history import PeerRecord
from learnae.node.inbox import InboxEntry
from learnae.node.peers import Peers
from learnae.node.rate_limits import TimeShare
from learnae.node.reports import RoundRecord, stage_of
from learnae.node.runtime import QuarantinedError, Runtime
from learnae.node.strategy_set import StrategySet
from learnae.records import PeerId, TensorSpec

WINDOW = 20
SLACK = 1.5
LEAST_SECONDS = 0.25  # below this a deadline would measure the scheduler, not the network
GRACE = 0.05  # the share of a typical round for which it waits for those that were never accepted
PATIENT_WITH = 64  # peers whose last transfers are remembered
PATIENCE = 2
MARGIN = 0.08  # the share of a typical round for which it waits beyond the typical transfer, on average: less than a tenth, whoever is late
SAVED = 6  # times that share, at most, that a peer which came in time may be late at once
FEW = 5  # whole transfers of a peer, of which one that was slow by bad luck says nothing
MOST = 10  # times the first deadline: whoever has a slower line raises `fetch_seconds`


@attrs.define
class _LastTransfers:
    """Of one accepted peer: how long the last whole ones took, how long nothing came within the last, and how late it may be now."""

    seconds: deque[float] = attrs.field(factory=lambda: deque(maxlen=FEW))
    silence: float = 0.0
    margins: float = 1.0  # in shares of a round, each `MARGIN`

    @property
    def typical_seconds(self) -> float:
        return median_low(self.seconds)


@attrs.define
class TransferPace:
    """Measures transfers, and computes deadlines. `first_seconds` is the deadline of a fetch before anything was measured."""

    first_seconds: float
    _rounds: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    _per_byte: deque[float] = attrs.field(factory=lambda: deque(maxlen=WINDOW))
    _peers: OrderedDict[PeerId, _LastTransfers] = attrs.field(factory=OrderedDict)
    slowest_seconds: float = 0.0

    def round_took(self, seconds: float) -> None:
        self._rounds.append(seconds)

    def transfer_took(self, seconds: float, size: int) -> None:
        """Note how long the transfer of a whole update took. A broken one says nothing about the line."""
        self._per_byte.append(seconds / max(size, 1))
        self.slowest_seconds = max(self.slowest_seconds, seconds)

    def came_whole(self, peer: PeerId, seconds: float, silence: float) -> None:
        """Note how long the last whole transfer of this accepted peer took, and the longest silence within it, in seconds."""
        last = self._peers.setdefault(peer, _LastTransfers())
        last.seconds.append(seconds)
        last.silence = silence
        self._peers.move_to_end(peer)
        if len(self._peers) > PATIENT_WITH:
            self._peers.popitem(last=False)

    def wait_seconds(self, peer: PeerId) -> float:
        """How long a round waits for this peer in all: the typical time and its margin. None waits for a peer that takes longer.

        The typical time is the lower median over peers, not over transfers. So no single peer can raise it by being slow. A margin
        is a share of a round. A peer that came in time may be later once, by what it has saved. So a late peer holds rounds up for that
        share on average and no longer, however its blocks come.
        """
        if not self._peers:
            return math.inf
        last = self._peers.get(peer, _LastTransfers())
        most = self._typical_seconds + last.margins * self._margin_seconds
        return most if not last.seconds or last.typical_seconds <= most else 0.0

    def was_awaited(self, peer: PeerId, seconds: float) -> None:
        """Note that a round had chosen this peer, and how long it has waited for it, in seconds."""
        if (last := self._peers.get(peer)) is not None:
            late = max(0.0, seconds - self._typical_seconds) / self._margin_seconds
            last.margins = min(SAVED, max(0.0, last.margins - late) + 1.0)

    @property
    def _typical_seconds(self) -> float:
        return median_low(last.typical_seconds for last in self._peers.values())

    @property
    def _margin_seconds(self) -> float:
        return MARGIN * self.round_seconds if self.round_seconds is not None else LEAST_SECONDS

    def silence_seconds(self, peer: PeerId) -> float:
        """How long a round waits for a silent peer: twice the typical silence. It does not wait for a peer that is known to take longer.

        The typical silence is the lower median over peers, not over transfers. So no single peer can raise it by being slow.
        """
        if not self._peers:
            return math.inf
        most = max(LEAST_SECONDS, PATIENCE * median_low(last.silence for last in self._peers.values()))
        return most if peer not in self._peers or self._peers[peer].silence <= most else 0.0

    @property
    def retention_seconds(self) -> float:
        """How long others may still be fetching an announced update: twice the first deadline, or twice the slowest fetch."""
        return 2 * max(self.first_seconds, self.slowest_seconds)

    @property
    def round_seconds(self) -> float | None:
        """The median duration of a round in seconds. None before the first round."""
        return median(self._rounds) if self._rounds else None

    @property
    def grace_seconds(self) -> float:
        """How many seconds a round waits for strangers."""
        return GRACE * self.round_seconds if self.round_seconds is not None else LEAST_SECONDS

    def deadline_seconds(self, size: int, bytes_per_second: float | None = None) -> float:
        """The deadline for this many bytes: 1.5 times the 90th percentile of the last 20 transfers. A peer measured as slower gets more."""
        most, own = MOST * self.first_seconds, size / bytes_per_second if bytes_per_second else 0.0
        usual = self._slow_per_byte() * size if self._per_byte else self.first_seconds / SLACK
        return min(most, max(LEAST_SECONDS, SLACK * usual, SLACK * own))

    def speed_of_silence(self, size: int) -> float:
        """The bytes a second that are assumed of a peer from which nothing came. Its next deadline is at most the first one."""
        return SLACK * size / self.first_seconds

    def _slow_per_byte(self) -> float:
        """Between two samples, never beyond the slowest."""
        slow = quantiles(self._per_byte, n=10)[-1] if len(self._per_byte) > 1 else self._per_byte[0]
        return min(slow, max(self._per_byte))


LEAST_SHARE = 0.25
"""What was cut off counts as a quarter of the whole at least: the next deadline is longer, but not by any factor."""
CREDIBLE = 2
"""So many times its own size this peer believes at most, when it comes to how long an update may take."""
SILENT_SHARE = 0.75
"""Where nothing came at all, the next deadline is twice as long: most who are silent have vanished, and each try holds a round up."""


@attrs.frozen
class Obtained:
    """An update that has come, whole and checked, and how long that took."""

    entry: InboxEntry
    decoder: Decoder
    seconds: float = 0.0
    bytes: int = 0
    longest_silence: float = 0.0


@attrs.define
class Obtainer:
    """Fetches one update.

    `limit` is the most bytes that an update of this model can have. `own_bytes` is the size of the last own update.
    """

    fetcher: Fetcher
    strategies: StrategySet
    specs: Mapping[str, TensorSpec]
    peers: Peers
    attempts: FetchAttempts
    limit: int
    pace: TransferPace
    runtime: Runtime
    on_fetched: Callable[[InboxEntry, Transfer], None] | None = None
    own_bytes: float = math.inf
    held: HeldUpdates = attrs.field(factory=HeldUpdates)
    strangers: TimeShare = attrs.field(
        default=attrs.Factory(lambda self: TimeShare(self.runtime.in_decoding_thread, self.runtime.clock), takes_self=True)
    )
    """Decodes the metas of peers that were never accepted, or have failed since."""

    def expected_bytes(self, entry: InboxEntry) -> int:
        """The announced size with that of a base that is not held, limited to what may set deadlines."""
        return int(min(self.held.bytes_to_fetch(entry.update, self.specs), CREDIBLE * self.own_bytes))

    async def obtain_one(
        self,
        entry: InboxEntry,
        round_record: RoundRecord,
        limit: trio.CancelScope,
        *,
        beside: bool = False,
        transfer: Transfer | None = None,
    ) -> Obtained | None:
        """Fetch one update, until its deadline or until `limit` is cancelled. None if it did not come whole. The record says why.

        With `beside` no round waits for peers that were never accepted, so these get the time that a slow line needs. `transfer` shows
        meanwhile what has come. If the fetch is cancelled from outside, nothing is noted about the peer, because nobody waited for it.
        """
        transfer, started = transfer or Transfer(self.limit), self.runtime.clock()
        known_speed = self.attempts.record(entry).bytes_per_second
        expected = self.expected_bytes(entry)
        seconds = self.pace.deadline_seconds(expected, known_speed)
        generous = beside and not self.peers.trusts(entry.peer)
        limit.deadline = trio.current_time() + (max(seconds, self.pace.first_seconds) if generous else seconds)
        failure, obtained, blame = ("", ""), None, True
        transfer.heard()
        with limit:
            try:
                obtained = await self._fetch(entry, transfer)
            except UnavailableError as error:
                failure = ("fetch", str(error))
            except (UpdateRejectedError, PluginError) as error:
                failure, blame = (stage_of(error), str(error)), not isinstance(error, QuarantinedError)
        took = self.runtime.clock() - started
        if limit.cancelled_caught:
            failure = ("fetch", f"nothing whole within {took:.2f} s")
        round_record.fetched(entry.peer, transfer.bytes)
        there = obtained is not None or failure[0] != "fetch" or transfer.bytes > 0
        record = self.attempts.tried(entry, round_record.round, there=there)
        if obtained is None:
            if limit.cancelled_caught:
                self._guess(record, took, expected, transfer.bytes)
            if blame:
                self.attempts.failed(entry)
            round_record.failed(entry, *failure)
            return None
        transfer.heard()
        if self.peers.trusts(entry.peer):
            self.pace.transfer_took(took, transfer.bytes)
            self.pace.came_whole(entry.peer, took, transfer.longest_silence)
        _measure(record, took, transfer.bytes)
        self.peers.note(entry.peer).fetched_number = entry.announcement.number
        if self.on_fetched:
            self.on_fetched(entry, transfer)
        return attrs.evolve(obtained, seconds=took, bytes=transfer.bytes, longest_silence=transfer.longest_silence)

    def _guess(self, record: PeerRecord, seconds: float, size: int, came: int) -> None:
        """Estimate the speed of a fetch that was cut off. Its next deadline is longer, even if nothing came: a slow line may be silent."""
        _measure(record, seconds, max(came, round((LEAST_SHARE if came else SILENT_SHARE) * size)))
        if not came and record.bytes_per_second is not None:
            record.bytes_per_second = max(record.bytes_per_second, self.pace.speed_of_silence(size))

    async def _fetch(self, entry: InboxEntry, transfer: Transfer) -> Obtained:
        codec = await self.runtime.in_decoding_thread(self.strategies.codec_named, entry.update.codec)  # may be imported now
        decode_in = self.runtime.in_decoding_thread if self.peers.trusts(entry.peer) else self.strangers
        content = await self.fetcher.fetch(entry.announcement, transfer, decode_in)
        before = await fetch_needed(self.fetcher, self.held, content.meta, codec, self.specs, transfer, decode_in)
        decoder = Decoder(content, codec, self.specs, before)
        await self.runtime.in_decoding_thread(decoder.check)
        self.held.add(entry.update.root, decoder)
        return Obtained(entry, decoder)


def _measure(record: PeerRecord, seconds: float, size: int) -> None:
    if seconds > 0:
        record.bytes_per_second = size / seconds


@attrs.define(eq=False)
class BackgroundFetch:
    """One fetch, from its beginning until a round has taken its result. It keeps a record of its own."""

    entry: InboxEntry
    round_record: RoundRecord
    began: float
    stranger: bool
    transfer: Transfer
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    ended_at: float = math.inf  # in the loop's time
    obtained: Obtained | None = None


@attrs.define
class BackgroundFetches:
    """The fetches that run beside the rounds.

    A round waits for accepted peers as long as a typical transfer takes, and for strangers only a moment. What comes later is for
    later rounds. At most `most` fetches from strangers run at once. Beside those that a round waits for, at most `most` from accepted peers
    run at once.
    """

    obtainer: Obtainer
    peers: Peers
    pace: TransferPace
    most: int
    runtime: Runtime
    _nursery: trio.Nursery | None = None
    _fetches: dict[PeerId, BackgroundFetch] = attrs.field(factory=dict)
    _rng: np.random.Generator = attrs.field(default=attrs.Factory(lambda self: self.runtime.rng("errands"), takes_self=True))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def busy(self, peer: PeerId) -> bool:
        """Whether an update of this peer is being fetched, or has come and no round has taken it yet."""
        return peer in self._fetches

    async def obtain(self, entries: Sequence[InboxEntry], round_record: RoundRecord) -> list[Obtained]:
        """Fetch these updates.

        Returns those that come while the round waits, and those that earlier rounds have begun and that have come.
        """
        sent = [fetch for entry in entries if (fetch := self._send(entry, round_record))]
        began = trio.current_time()
        awaited = [fetch for fetch in sent if not fetch.stranger and self._is_timely(fetch.entry.peer)]
        for fetch in sent:
            if not fetch.stranger:
                waited = await self._wait(fetch, began, self._patience(fetch.entry)) if fetch in awaited else 0.0
                self.pace.was_awaited(fetch.entry.peer, waited)
        others = [fetch for fetch in sent if fetch not in awaited]
        for fetch in others:
            await self._wait(fetch, began, self.pace.grace_seconds)
        self._cut_off_late_ones()
        round_record.chosen = len(sent)
        return self._take(round_record)

    def _is_timely(self, peer: PeerId) -> bool:
        """Whoever takes longer than others is merged at its own pace, and no round waits for it."""
        return min(self.pace.wait_seconds(peer), self.pace.silence_seconds(peer)) > 0.0

    def _send(self, entry: InboxEntry, round_record: RoundRecord) -> BackgroundFetch | None:
        assert self._nursery is not None
        stranger = not self.peers.trusts(entry.peer)
        if entry.peer in self._fetches or (stranger and not self._make_room()):
            return None
        fetch = BackgroundFetch(
            entry, RoundRecord(round_record.round, round_record.started), self.runtime.clock(), stranger, Transfer(self.obtainer.limit)
        )
        fetch.transfer.heard()
        self._fetches[entry.peer] = fetch
        self._nursery.start_soon(self._run_one, fetch)
        return fetch

    async def _run_one(self, fetch: BackgroundFetch) -> None:
        fetch.obtained = await self.obtainer.obtain_one(fetch.entry, fetch.round_record, fetch.scope, beside=True, transfer=fetch.transfer)
        fetch.ended_at = trio.current_time()
        fetch.ended.set()

    def _make_room(self) -> bool:
        """Make room for one more stranger. One fetch that has had the usual time is cut off, chosen at random.

        Otherwise silent strangers would keep all others out.
        """
        strangers = [fetch for fetch in self._under_way() if fetch.stranger]
        if len(strangers) < self.most:
            return True
        now = self.runtime.clock()
        late = [fetch for fetch in strangers if now - fetch.began >= self._usual(fetch.entry) and not fetch.scope.cancel_called]
        if late and len(strangers) == self.most:  # one more than `most` where the one that gives way takes its time, and no more
            late[self._rng.integers(len(late))].scope.cancel()
            return True
        return False

    async def _wait(self, fetch: BackgroundFetch, began: float, seconds: float) -> float:
        """Until it has ended, is silent, or so many seconds have gone since the round began to wait. Returns how many this one took."""
        while not fetch.ended.is_set() and (until := min(began + seconds, self._silent_at(fetch))) > trio.current_time():
            with trio.move_on_at(until):
                await fetch.ended.wait()
        return min(seconds, fetch.ended_at - began, self._silent_at(fetch) - began)

    def _silent_at(self, fetch: BackgroundFetch) -> float:
        """When this fetch counts as silent. A peer that becomes slow or silent delays its own update, and no round."""
        return fetch.transfer.heard_at + (self.pace.silence_seconds(fetch.entry.peer) or math.inf)

    def _patience(self, entry: InboxEntry) -> float:
        """However many blocks come, and in whatever drops: a round waits so long for all of them, and no longer."""
        return min(self._usual(entry), self.pace.wait_seconds(entry.peer))

    def _usual(self, entry: InboxEntry) -> float:
        return self.pace.deadline_seconds(self.obtainer.expected_bytes(entry))

    def _cut_off_late_ones(self) -> None:
        """Of accepted peers, cut off the fetches that were begun last, so that the others can finish. Nobody waits for their end."""
        late = [fetch for fetch in self._under_way() if not fetch.stranger]
        for fetch in late[self.most :]:
            fetch.scope.cancel()

    def _under_way(self) -> list[BackgroundFetch]:
        """The fetches that run, with those that were cut off and have not ended yet: a client that blocks keeps its thread."""
        return [fetch for fetch in self._fetches.values() if not fetch.ended.is_set()]

    def _take(self, round_record: RoundRecord) -> list[Obtained]:
        taken = [fetch for fetch in self._fetches.values() if fetch.ended.is_set()]
        for fetch in taken:
            del self._fetches[fetch.entry.peer]
            round_record.take_over(fetch.round_record)
        return [fetch.obtained for fetch in taken if fetch.obtained and not self.peers.get(fetch.entry.peer).refused]
