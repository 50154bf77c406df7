"""Fetches that run beside the rounds: a round waits for some of them, and merges what has arrived (DESIGN 4, step 6; decision 0022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
import trio

from learnae.node.choosing import update
from learnae.node.inbox import Entry
from learnae.node.obtaining import Obtained, Obtainer
from learnae.node.pace import Pace
from learnae.node.peers import Peers
from learnae.node.tally import Tally
from learnae.records import PeerId


@attrs.define(eq=False)
class Errand:
    """One fetch, from when it was begun until a round has taken what came of it. It keeps a tally of its own."""

    entry: Entry
    tally: Tally
    began: float
    stranger: bool
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)
    obtained: Obtained | None = None


@attrs.define
class Errands:
    """A round waits for accepted peers as long as most of their transfers take, for strangers a moment; the rest is for later rounds.

    Under way are at most `most` from strangers and, beside those that a round waits for, as many from accepted peers.
    """

    obtainer: Obtainer
    peers: Peers
    pace: Pace
    most: int
    clock: Callable[[], float]
    rng: np.random.Generator
    _nursery: trio.Nursery | None = None
    _errands: dict[PeerId, Errand] = attrs.field(factory=dict)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def busy(self, peer: PeerId) -> bool:
        """Whether an update of this peer is under way, or has come and was not taken yet."""
        return peer in self._errands

    async def obtain(self, entries: Sequence[Entry], tally: Tally) -> list[Obtained]:
        """What has arrived: of these within the time that the round has for them, and of what was begun in earlier rounds."""
        sent = [errand for entry in entries if (errand := self._send(entry, tally))]
        began = self.clock()
        await self._wait([errand for errand in sent if not errand.stranger], self._patience(sent))
        await self._wait([errand for errand in sent if errand.stranger], began + self.pace.grace_seconds - self.clock())
        self._cut_off_late_ones()
        tally.chosen = len(sent)
        return self._take(tally)

    def _send(self, entry: Entry, tally: Tally) -> Errand | None:
        assert self._nursery is not None
        stranger = not self.peers.trusts(entry.peer)
        if entry.peer in self._errands or (stranger and not self._make_room()):
            return None
        errand = Errand(entry, Tally(tally.round, tally.started), self.clock(), stranger)
        self._errands[entry.peer] = errand
        self._nursery.start_soon(self._run_one, errand)
        return errand

    async def _run_one(self, errand: Errand) -> None:
        errand.obtained = await self.obtainer.obtain_one(errand.entry, errand.tally, errand.scope, beside=True)
        errand.ended.set()

    def _make_room(self) -> bool:
        """For one more stranger: of those that have had the usual time one gives way, drawn by lot. Else the silent keep all others out."""
        strangers = [errand for errand in self._under_way() if errand.stranger]
        if len(strangers) < self.most:
            return True
        now = self.clock()
        late = [errand for errand in strangers if now - errand.began >= self._usual(errand) and not errand.scope.cancel_called]
        if late and len(strangers) == self.most:  # one more than `most` where the one that gives way takes its time, and no more
            late[self.rng.integers(len(late))].scope.cancel()
            return True
        return False

    async def _wait(self, errands: Sequence[Errand], seconds: float) -> None:
        with trio.move_on_after(max(0.0, seconds)):
            for errand in errands:
                await errand.ended.wait()

    def _patience(self, errands: Sequence[Errand]) -> float:
        return max((self._usual(errand) for errand in errands if not errand.stranger), default=0.0)

    def _usual(self, errand: Errand) -> float:
        return self.pace.deadline_seconds(self.obtainer.believed(update(errand.entry).bytes))

    def _cut_off_late_ones(self) -> None:
        """Of accepted peers those that were begun last, so that the others can come to an end. Nobody waits for what takes time to end."""
        late = [errand for errand in self._under_way() if not errand.stranger]
        for errand in late[self.most :]:
            errand.scope.cancel()

    def _under_way(self) -> list[Errand]:
        """Also what was cut off and has not ended: a client that blocks keeps its thread."""
        return [errand for errand in self._errands.values() if not errand.ended.is_set()]

    def _take(self, tally: Tally) -> list[Obtained]:
        taken = [errand for errand in self._errands.values() if errand.ended.is_set()]
        for errand in taken:
            del self._errands[errand.entry.peer]
            tally.take_over(errand.tally)
        return [errand.obtained for errand in taken if errand.obtained and not self.peers.get(errand.entry.peer).refused]
