"""Gathers readings of sensors: hears samples, keeps them until there are enough, and makes slices of them for the pool of this peer.

The sensor is the giver of such a slice: `learnae data forget` throws its readings out like any rows of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import attrs
import trio

from learnae.config.tables import DataTable
from learnae.content.encryption import Encryption
from learnae.data.fitting import Expected, fit
from learnae.data.gathered import GatheredReadings, ReadyReadings
from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.pool_index import PoolIndex, mark_of, open_data
from learnae.data.reading_rows import check_sample, slices_of
from learnae.data.readings import open_sample
from learnae.data.slices import SliceRows, pack_slice
from learnae.data.trained_on import FILE as TOLD
from learnae.data.trained_on import told
from learnae.errors import ConfigError, UnavailableError, UpdateRejectedError
from learnae.node.inbox import InboxEntry
from learnae.node.receive import Receiver
from learnae.node.runtime import Runtime
from learnae.records import Cid, PeerId, Sample

GATHER_SECONDS = 5.0
"""Between two writes: whoever kills the node loses what was heard since the last one."""
SLICES_AT_ONCE = 4
"""Made in one such time: each changes the pool, which takes longer the fuller it is."""
MOST_HEARD = 4096  # samples in that time

FITTING_SECONDS = 60.0
"""For so long a peer may gather without having said which rows fit: a script loads its data."""

_WHAT, _FITTING = "gathering readings", "data.gather"


@attrs.define
class Gathering:
    """What this peer does with samples. `offers` is where it puts slices that it passes on, where its file consents.

    Samples wait in memory for at most `GATHER_SECONDS`, then they are checked and written by a thread.
    """

    pool: Pool
    offers: OwnSlices | None
    receiver: Receiver
    rules: DataTable
    encryption: Encryption
    runtime: Runtime
    refused: Counter[str] = attrs.field(factory=Counter)  # samples and readings, by reason, in this run
    gathered: int = 0  # readings that came, each once
    readings: GatheredReadings = attrs.field(init=False)
    _heard: list[tuple[PeerId, bytes]] = attrs.field(factory=list)
    _expected: Expected | None = None
    _index: PoolIndex = attrs.field(factory=PoolIndex)
    _known: frozenset[PeerId] = frozenset()
    _marks: tuple[object, object] = (None, None)
    _sealed: dict[Cid, Cid] = attrs.field(factory=dict)  # the root in the pool of each slice that is offered, by the name of its file
    _unreadable: set[Cid] = attrs.field(factory=set)  # files that were told of
    _logged: Counter[str] = attrs.field(factory=Counter)

    def __attrs_post_init__(self) -> None:
        self.readings = GatheredReadings(self.runtime.home, self.rules.gather_rows, self.rules.gather_seconds, self._is_known)

    def hear(self, entry: InboxEntry) -> None:
        """Take in a sample, which the receiver has taken. Ignores any other announcement."""
        if isinstance(entry.announcement.body, Sample):
            if len(self._heard) < MOST_HEARD:
                self._heard.append((entry.peer, entry.announcement.body.payload))
            else:
                self.refused["crowded"] += 1

    async def run(self) -> None:
        """Until cancelled."""
        began = self.runtime.clock()
        await self._guarded(lambda: self.readings.load(began))
        while True:
            await trio.sleep(GATHER_SECONDS)
            await self.gather()
            if self._expected is not None:
                self.runtime.outages.works(_FITTING)
            elif self.runtime.clock() - began >= FITTING_SECONDS:
                why = "nobody has said which rows fit, so no reading is taken: call swarm.dataset(rows), or take gather out of the file"
                self.runtime.outages.failed(_FITTING, why)

    async def gather(self) -> None:
        """Do what there is to do with all that was heard."""
        heard, self._heard = self._heard, []
        await self._guarded(partial(self._gather, heard, self.runtime.clock()))

    def _gather(self, heard: list[tuple[PeerId, bytes]], now: float) -> None:
        self._look()
        if self._expected is None:
            self.refused["too-early"] += len(heard)  # nobody has said yet which rows fit
            return
        for sensor, payload in heard:
            self._take(sensor, payload, self._expected, now)
        for ready in self.readings.ready(now, SLICES_AT_ONCE):
            self._make_slices(ready, self._expected)
        self.readings.save()
        self._say()

    def _take(self, sensor: PeerId, payload: bytes, expected: Expected, now: float) -> None:
        try:
            if sensor in self._index.forgotten:
                raise UpdateRejectedError("forgotten")
            content = open_sample(payload)
            check_sample(content, expected)
        except UpdateRejectedError as error:
            self.refused[error.reason] += 1
        else:
            self.gathered += self.readings.add(sensor, content, payload, now)

    def _make_slices(self, ready: ReadyReadings, expected: Expected) -> None:
        """Readings of which no slice can be made are counted, and settled: they are no reason to gather nothing else."""
        try:
            made = [(one, fit(one, expected)) for one in slices_of(ready, expected, self.refused)]
        except UpdateRejectedError as error:
            self.refused[error.reason] += len(ready.readings)
        except Exception:  # a bug of ours, or rows that no slice may have; it has touched no disk
            self.refused["failed"] += len(ready.readings)
            self.runtime.log.warning("readings.failed", sensor=ready.sensor[:8], exc_info=True)
        else:
            for one, fitted in made:
                self._keep(ready.sensor, one, fitted)

    def _keep(self, sensor: PeerId, one: SliceRows, fitted: SliceRows) -> None:
        root = pack_slice(one, self.encryption).packed.root
        try:
            admission = self.pool.add(root, fitted, sensor)
        except UpdateRejectedError as error:
            self.refused[error.reason] += one.count
            return
        if admission.kept and self.offers is not None:
            self._sealed[self.offers.add(one)] = root
        self.runtime.log.debug("readings.kept", sensor=sensor[:8], rows=one.count, root=root, kept=admission.kept)

    def _look(self) -> None:
        """Read what this peer trains on and what is in its pool, where that has changed."""
        marks = self._current_marks()
        if marks == self._marks:
            return
        trained_on, self._index = told(self.runtime.home), self.pool.index()
        if trained_on is not None:
            self._expected = Expected(
                schema=trained_on.schema,
                labels=trained_on.known_labels,
                ranges={name: pair for name, pair in self.rules.ranges.items() if name in trained_on.schema.by_name},
                licences=self.rules.licences or None,
            )
        self._known = frozenset(peer for one in self._index.slices for peer in one.providers)
        for sensor in self._index.forgotten:
            self.readings.forget(sensor)
        self._take_back()
        self._marks = marks

    def _is_known(self, sensor: PeerId) -> bool:
        """Whether its readings are in the pool already, or the file names it: what strangers send makes no room at its cost."""
        return sensor in self._known or sensor in self.receiver.admission.allow

    def _current_marks(self) -> tuple[object, object]:
        try:
            with open_data(self.runtime.home, looking=True) as data:
                return mark_of(data), mark_of(data, TOLD)
        except FileNotFoundError:
            return None, None

    def _take_back(self) -> None:
        """Offer no more what has gone from the pool: for want of room, or because its sensor was forgotten."""
        if self.offers is None:
            return
        there = {one.root for one in self._index.slices}
        gone = [name for name in self.offers.roots() if (root := self._root_in_pool(name, self.offers)) is not None and root not in there]
        if gone:
            self.offers.remove(gone)
            for name in gone:
                self._sealed.pop(name, None)

    def _root_in_pool(self, name: Cid, offers: OwnSlices) -> Cid | None:
        """None for a file that cannot be read, which is told once, and offered to nobody either."""
        if name not in self._sealed:
            try:
                self._sealed[name] = offers.load(name, self.encryption)[1].packed.root
            except (ConfigError, UnavailableError, OSError) as error:
                if name not in self._unreadable:
                    self._unreadable.add(name)
                    self.runtime.log.warning("readings.unreadable", cause=str(error))
                return None
        return self._sealed[name]

    def _say(self) -> None:
        """Log the first reading that is refused for a reason, and each time that there are ten times as many."""
        for reason, count in self.refused.items():
            if count >= 10 * self._logged[reason] and count:
                self._logged[reason] = count
                self.runtime.log.warning("readings.refused", reason=reason, count=count)

    async def _guarded(self, function: Callable[[], None]) -> None:
        """Run it in a thread; where the home cannot be used, that is an outage."""
        try:
            await self.runtime.in_thread(function)
        except (ConfigError, UnavailableError, OSError) as error:
            self.runtime.outages.failed(_WHAT, str(error))
        else:
            self.runtime.outages.works(_WHAT)
