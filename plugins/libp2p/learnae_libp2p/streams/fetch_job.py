"""One fetch: which blocks are left, whom each was asked of, and whom to ask next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import attrs
import trio

from learnae import Block, Cid
from learnae_libp2p.streams.asking import MOST_OUTSTANDING, QUESTION_CIDS, HolderStream
from learnae_libp2p.streams.transport import UnreachableError

if TYPE_CHECKING:
    from learnae_libp2p.streams.fetching import BlockFetcher

TICK_SECONDS = 1.0
DIAL_SECONDS, QUESTION_SECONDS = 10.0, 5.0
LOOK_AROUND_SECONDS, LOOK_AGAIN_SECONDS = 0.5, 3.0
FEW_BLOCKS = 8  # so few are asked of the hinted holder alone, if it answers
MOST_ASKED_AROUND = 16  # peers in one look
FIRST_WINDOW, LEAST_WINDOW, MOST_WINDOW = 8, 2, 64  # blocks asked of one holder at once
QUICK_SECONDS, SLOW_SECONDS = 0.25, 1.0  # between asking for a block and having it
SECOND_TRY_SECONDS, LONGEST_TRY_SECONDS = 2.0, 8.0
"""A block that has not come for so long is asked of another as well: then of a third one after twice as long, and so on. Two who drip it
would else keep it from all others."""
AGAIN_SECONDS = (0.5, 1.0, 2.0, 4.0)  # a holder that was lost after it had sent something is tried again


@attrs.define(eq=False)
class JobHolder:
    """A holder, as one fetch sees it: it may have whatever it has not said that it lacks."""

    stream: HolderStream
    lacks: set[bytes] = attrs.field(factory=set)
    rests: bool = False  # no upload is left to it: in this fetch it is asked for nothing more
    asked: dict[bytes, float] = attrs.field(factory=dict)
    window: int = FIRST_WINDOW
    gave: int = 0

    def may_have(self, cid: bytes) -> bool:
        return not self.rests and cid not in self.lacks


@attrs.define(eq=False, kw_only=True)
class FetchJob:
    """Progress extends it, and only silence ends a holder's part in it. It ends when all is there, or nobody is left to ask."""

    fetcher: BlockFetcher
    left: dict[bytes, Cid]
    deliver: Callable[[Block], None]
    hinted: Mapping[str, Sequence[str]]
    _holders: dict[str, JobHolder] = attrs.field(factory=dict)
    _free: dict[bytes, None] = attrs.field(factory=dict)  # asked of nobody now
    _tries: dict[str, int] = attrs.field(factory=dict)
    _failed: dict[str, str] = attrs.field(factory=dict)
    _coming: int = 0  # tasks that may still bring a holder
    _stale: bool = True  # somebody has less than was thought when others were asked last
    _trouble: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _nursery: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        """Many blocks are asked for in an order of one's own, so that those who fetch at once soon have something for each other."""
        order = list(self.left)
        if len(order) > FEW_BLOCKS:
            self.fetcher.rng.shuffle(order)
        self._free = dict.fromkeys(order)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in self.hinted:
                self._start_recruiting(peer)
            self._coming += 1
            nursery.start_soon(self._look_around)
            while self.left:
                self._assign()
                if self._is_hopeless():
                    break
                with trio.move_on_after(self._pause()):
                    await self._news.wait()
                self._news = trio.Event()
                self._look_for_silence()
            nursery.cancel_scope.cancel()

    def take(self, holder: HolderStream, cid: bytes, block: Block) -> None:
        """A sound block, for whichever fetch it was asked."""
        if (known := self._holders.get(holder.peer)) is not None and (asked := known.asked.pop(cid, None)) is not None:
            known.gave += 1
            self._tries.pop(holder.peer, None)
            took = trio.current_time() - asked
            if took < QUICK_SECONDS:
                known.window = min(known.window + 1, MOST_WINDOW)
            elif took > SLOW_SECONDS:
                known.window = max(known.window - 1, LEAST_WINDOW)
        if self.left.pop(cid, None) is not None:
            self._free.pop(cid, None)
            for other in self._holders.values():
                if other.asked.pop(cid, None) is not None:
                    other.stream.forget([cid])
            self.deliver(block)
        self._news.set()

    def lacking(self, holder: HolderStream, cids: Iterable[bytes], for_now: bool) -> None:
        if (known := self._holders.get(holder.peer)) is not None:
            lacked = list(cids)
            if for_now and not known.asked.keys().isdisjoint(lacked):
                known.rests, self._failed[holder.peer] = True, "has no upload left for now"
            for cid in lacked:
                known.lacks.add(cid)
                if known.asked.pop(cid, None) is not None:
                    self._give_back(cid)
            self._in_trouble()

    def lost(self, holder: HolderStream, why: str) -> None:
        """What it was asked for is free again. Once it had sent something, it is tried again for a while."""
        known = self._holders.get(holder.peer)
        if known is None or known.stream is not holder:
            return
        del self._holders[holder.peer]
        self._failed[holder.peer] = why
        for cid in known.asked:
            self._give_back(cid)
        tried = self._tries.get(holder.peer, 0)
        if (known.gave or tried) and tried < len(AGAIN_SECONDS) and not self.fetcher.holders.rests(holder.peer):
            self._tries[holder.peer] = tried + 1
            self._start_recruiting(holder.peer, AGAIN_SECONDS[tried], known.lacks)
        self._in_trouble()

    def over(self) -> None:
        self._nursery = None

    def asked_of(self) -> dict[HolderStream, list[bytes]]:
        """What it still waits for."""
        return {known.stream: list(known.asked) for known in self._holders.values() if known.asked}

    def why(self) -> str:
        """In a few words, for people."""
        asked = len(self._holders.keys() | self._failed.keys())
        words = [f"{asked} peers asked" if asked else "no peer to ask is connected"]
        words += [f"{peer} {why}" for peer, why in list(self._failed.items())[:3]]
        return "; ".join(words)

    def _in_trouble(self) -> None:
        self._stale = True
        self._trouble.set()
        self._news.set()

    def _give_back(self, cid: bytes) -> None:
        if cid in self.left and not any(cid in known.asked for known in self._holders.values()):
            self._free[cid] = None

    def _pause(self) -> float:
        return min(TICK_SECONDS, max(self.fetcher.budget.wait(), 0.01)) if self.fetcher.budget.bounded else TICK_SECONDS

    def _assign(self) -> None:
        """Who was quicker so far chooses first; who is relayed last, one block after the other, within a budget of its own."""
        budget = self.fetcher.budget
        if budget.bounded and budget.wait() > 0:
            return
        relayed = {known: self.fetcher.relayed.of(known.stream.peer) for known in self._holders.values()}
        for known in sorted(self._holders.values(), key=lambda known: (relayed[known] is not None, -known.gave)):
            if (own := relayed[known]) is not None and own.wait() > 0:
                continue
            window = min(known.window, 1 if budget.bounded or own else MOST_WINDOW, MOST_OUTSTANDING - len(known.stream.outstanding))
            room = window - len(known.asked)
            if room <= 0:
                continue
            wanted = self._some_free(known, room) or (self._overdue(known, room if known.gave else LEAST_WINDOW) if not known.asked else [])
            if wanted:
                now = trio.current_time()
                known.asked.update((cid, now) for cid in wanted)
                known.stream.want(wanted)

    def _some_free(self, known: JobHolder, most: int) -> list[bytes]:
        found = list[bytes]()
        for cid in self._free:
            if known.may_have(cid):
                found.append(cid)
                if len(found) == most:
                    break
        for cid in found:
            del self._free[cid]
        return found

    def _overdue(self, known: JobHolder, most: int) -> list[bytes]:
        """Where nothing is free any more: what others were asked for a while ago and have not sent."""
        now, asked_at = trio.current_time(), dict[bytes, list[float]]()
        for other in self._holders.values():
            for cid, asked in other.asked.items():
                asked_at.setdefault(cid, []).append(asked)
        late = (cid for cid, times in asked_at.items() if max(times) + _patience(len(times)) < now)
        return list(islice((cid for cid in late if cid not in known.asked and known.may_have(cid)), most))

    def _is_hopeless(self) -> bool:
        if self._coming or self._stale:
            return False
        return not any(known.asked or any(map(known.may_have, self._free)) for known in self._holders.values())

    def _look_for_silence(self) -> None:
        for known in tuple(self._holders.values()):
            if known.stream.closed:
                self.lost(known.stream, "its stream was lost")
            elif known.asked and known.stream.is_silent():
                self._failed[known.stream.peer] = "was silent"
                self.fetcher.silent(known.stream)

    def _start_recruiting(self, peer: str, after: float = 0.0, lacks: Collection[bytes] = ()) -> None:
        if self._nursery is not None:
            self._coming += 1
            self._nursery.start_soon(self._recruit, peer, after, lacks)

    async def _recruit(self, peer: str, after: float, lacks: Collection[bytes]) -> None:
        try:
            await trio.sleep(after)
            with trio.fail_after(DIAL_SECONDS):
                if self.fetcher.transport.connection(peer) is None:
                    async with self.fetcher.dialling:
                        await self.fetcher.dial(peer, self.hinted.get(peer, ()))
                self._add(await self.fetcher.holders.open(peer)).lacks.update(lacks)
        except (UnreachableError, trio.TooSlowError) as error:
            self._failed[peer] = str(error) or "does not answer"
            self._trouble.set()
        finally:
            self._coming -= 1
            self._news.set()

    def _add(self, stream: HolderStream) -> JobHolder:
        known = self._holders.get(stream.peer)
        if known is None or known.stream is not stream:
            known = self._holders[stream.peer] = JobHolder(stream)
            self._failed.pop(stream.peer, None)
        return known

    async def _look_around(self) -> None:
        """Ask those who are connected what they have: soon where much is wanted or a hinted one fails, and now and then again.

        Whoever was asked may have fetched something meanwhile.
        """
        pause = LOOK_AROUND_SECONDS if len(self.left) <= FEW_BLOCKS and self.hinted else 0.0
        while True:
            with trio.move_on_after(pause):
                await self._trouble.wait()
            self._trouble, self._stale = trio.Event(), False
            await self._ask_around()
            self._coming -= 1
            self._news.set()
            with trio.move_on_after(LOOK_AGAIN_SECONDS):
                await trio.sleep(LOOK_AROUND_SECONDS)
                await self._trouble.wait()
            pause = 0.0
            self._coming += 1

    async def _ask_around(self) -> None:
        """Those who may have something that nobody else is known to have."""
        peers = [connection.peer for connection in self.fetcher.transport.connections()]
        peers = [peer for peer in peers if not self.fetcher.holders.rests(peer) and self._may_bring(peer)]
        self.fetcher.rng.shuffle(peers)
        async with trio.open_nursery() as nursery:
            for peer in peers[:MOST_ASKED_AROUND]:
                nursery.start_soon(self._ask, peer)

    def _may_bring(self, peer: str) -> bool:
        known = self._holders.get(peer)
        return peer not in self.hinted if known is None else not known.rests and not known.lacks.isdisjoint(self.left)

    async def _ask(self, peer: str) -> None:
        wanted = list(self.left)
        if len(wanted) > QUESTION_CIDS:
            wanted = self.fetcher.rng.sample(wanted, QUESTION_CIDS)
        try:
            with trio.fail_after(QUESTION_SECONDS):
                stream = await self.fetcher.holders.open(peer)
                has = await stream.ask(wanted)
        except (UnreachableError, trio.TooSlowError) as error:
            self._failed[peer] = str(error) or "does not answer"
            return
        if has:
            known = self._add(stream)
            known.lacks.update(wanted)
            known.lacks -= has
            self._news.set()


def _patience(asked: int) -> float:
    """Seconds until a block that was asked of so many, and has not come, is asked of one more."""
    return min(LONGEST_TRY_SECONDS, SECOND_TRY_SECONDS * 2.0 ** (asked - 1))
