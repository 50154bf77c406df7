"""Keeps connections up: who was lost is dialled again, for ever, later and later, and never all at the same moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

import attrs
import trio

from learnae.lowlevel import Backoff, RunInThread
from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.dialling import EARLIER, FROM_FILE, Dialler
from learnae_libp2p.streams.hearsay import TooSoonError
from learnae_libp2p.streams.heartbeats import Heartbeats
from learnae_libp2p.streams.transport import Transport, UnreachableError

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

FIRST_SECONDS, LIMIT_SECONDS, NAMED_LIMIT_SECONDS = 1.0, 300.0, 60.0
HEALTHY_SECONDS = 60.0  # a connection that lived so long is none that fails again and again
SAVE_SECONDS = 30.0
SOON_SECONDS = 0.5  # at least, until one is tried again that may not be dialled yet
DIALLED_AT_ONCE = 8
UNREACHED_AT_ONCE = 4  # of them, of peers that only strangers speak of: their dead addresses hold up nobody else
WANTED = 16  # connections that are kept up; who is named is dialled all the same
ENOUGH = (
    8  # with so many, nobody is dialled whom only others speak of: sixteen peers that all know each other would be a hundred connections
)
OWN = 4  # of the connections are to be dialled by this peer itself: whoever comes by himself, however often, must not choose whom it has
EXPLORE_SECONDS = 300.0  # in which one of them is dialled all the same: two swarms that met through one peer must not need it
RETURN_SECONDS = 300.0  # in which one is dialled that was reached before, however many others are connected
UNREACHED_TRIES = 6  # after which a peer that only strangers speak of is forgotten


@attrs.define
class _Attempts:
    backoff: Backoff
    due: float = -math.inf
    tries: int = 0
    connected_at: float | None = None
    why: str = ""


@attrs.frozen(kw_only=True)
class Unconnected:
    """A peer that is known and not connected."""

    peer: str
    addresses: Sequence[str]
    found_by: str
    why: str
    next_try: float | None  # seconds from now, if there is room for it then; None while it is dialled


@attrs.define(eq=False, kw_only=True)
class Redialler:
    """`named` are the peers of the user's file, which are always wanted. `run` keeps it going."""

    transport: Transport
    book: AddressBook
    dialler: Dialler
    heartbeats: Heartbeats
    rng: Random
    in_thread: RunInThread
    log: FilteringBoundLogger
    named: Mapping[str, Sequence[str]] = attrs.field(factory=dict)
    wanted: int = WANTED
    enough: int = ENOUGH
    read_only: bool = False
    _attempts: dict[str, _Attempts] = attrs.field(factory=dict)
    _dialling: set[str] = attrs.field(factory=set)
    _unreached: set[str] = attrs.field(factory=set)  # of those that are dialled now
    _explore_at: float = -math.inf
    _return_at: float = -math.inf
    _watched: set[str] = attrs.field(factory=set)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def run(self) -> None:
        """Until cancelled. The book is saved now and then, and at the end."""
        self.transport.watch(self.look_again)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._save_now_and_then)
                while True:
                    self._changed = trio.Event()
                    with trio.move_on_at(self._look(nursery)):
                        await self._changed.wait()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
                await self._save()

    def look_again(self) -> None:
        """Something has changed: a connection, or the book."""
        self._changed.set()

    def unconnected(self) -> Sequence[Unconnected]:
        """The peers that are wanted and not connected. Those of the user's file come first."""
        connected, now = {connection.peer for connection in self.transport.connections()}, trio.current_time()
        away = [(peer, attempts) for peer, attempts in self._attempts.items() if peer not in connected]
        return [
            Unconnected(
                peer=peer,
                addresses=(*self.named.get(peer, ()), *self.book.addresses(peer)),
                found_by=self.found_by(peer),
                why=attempts.why or "not tried yet",
                next_try=None if peer in self._dialling else max(0.0, attempts.due - now),
            )
            for peer, attempts in sorted(away, key=lambda one: one[0] not in self.named)
        ]

    def found_by(self, peer: str) -> str:
        """How this peer was found. Who stood in the file only in an earlier run is remembered."""
        if peer in self.named:
            return FROM_FILE
        found_by = self.book.found_by(peer)
        return EARLIER if found_by == FROM_FILE else found_by

    def _look(self, nursery: trio.Nursery) -> float:
        """Dial who is due, as many as are wanted. Returns when to look again."""
        now = trio.current_time()
        connections = self.transport.connections()
        connected, own = {one.peer for one in connections}, sum(not one.inbound for one in connections)
        self._note(connected, now, nursery)
        missing = max(self.wanted - len(connected), min(OWN, self.wanted) - own) - len(self._dialling)
        candidates, again = self._candidates(connected), math.inf
        returning = self._returning(candidates) if missing <= 0 and own + len(self._dialling) < self.wanted else None
        if returning is not None and self._return_at > now:
            returning, again = None, self._return_at
        for peer in candidates:
            if len(self._dialling) >= DIALLED_AT_ONCE or (missing <= 0 and peer not in self.named and peer != returning):
                continue
            if not (known_good := self._known_good(peer)):
                again = min(again, self._explore_at) if self._explore_at > now else again
                if not self._may_try_unreached(len(connected), own, now):
                    continue
            attempts = self._attempts_of(peer)
            if attempts.due <= now:
                missing -= 1
                self._dialling.add(peer)
                if not known_good:
                    self._unreached.add(peer)
                    self._explore_at = now + self._spread(EXPLORE_SECONDS)
                elif peer == returning:
                    self._return_at = now + self._spread(RETURN_SECONDS)
                nursery.start_soon(self._dial, peer, attempts)
            else:
                again = min(again, attempts.due)
        return again

    def _note(self, connected: set[str], now: float, nursery: trio.Nursery) -> None:
        for peer in connected:
            if peer not in self._watched:
                self._watched.add(peer)
                nursery.start_soon(self._watch, peer)
            attempts = self._attempts_of(peer)
            if attempts.connected_at is None:
                attempts.connected_at, attempts.why, attempts.tries = now, "", 0
        for peer, attempts in list(self._attempts.items()):
            if peer not in connected and attempts.connected_at is not None:
                lived, attempts.connected_at = now - attempts.connected_at, None
                attempts.due, attempts.why = now + self._spread(attempts.backoff.after(lived)), "its connection was lost"
            if peer not in connected and peer not in self._dialling and peer not in self.book and peer not in self.named:
                del self._attempts[peer]

    def _candidates(self, connected: set[str]) -> list[str]:
        """Who is named, then who was reached last; who is due soonest comes first among those whom only others speak of."""
        known = self.book.peers()
        reached = [one.peer for one in known if one.reached_at is not None]
        others = sorted((one.peer for one in known if one.reached_at is None), key=lambda peer: self._attempts_of(peer).due)
        every = dict.fromkeys([*self.named, *reached, *others])
        return [peer for peer in every if peer not in connected and peer not in self._dialling and peer != self.transport.peer]

    def _returning(self, candidates: Sequence[str]) -> str | None:
        """Of those who were reached before, the one that was not tried for the longest: whoever is here may be there to keep them out."""
        lost = [peer for peer in candidates if peer not in self.named and self._known_good(peer)]
        return min(lost, key=lambda peer: self._attempts_of(peer).due, default=None)

    def _may_try_unreached(self, connected: int, own: int, now: float) -> bool:
        """`own` are the connections that this peer has dialled: those alone others cannot make."""
        enough = connected + len(self._dialling) >= self.enough and own + len(self._dialling) >= min(OWN, self.enough)
        return len(self._unreached) < UNREACHED_AT_ONCE and (not enough or self._explore_at <= now)

    def _known_good(self, peer: str) -> bool:
        known = self.book.get(peer)
        return peer in self.named or (known is not None and known.reached_at is not None)

    def _attempts_of(self, peer: str) -> _Attempts:
        if peer not in self._attempts:
            limit = NAMED_LIMIT_SECONDS if peer in self.named else LIMIT_SECONDS
            self._attempts[peer] = _Attempts(Backoff(FIRST_SECONDS, limit, HEALTHY_SECONDS))
        return self._attempts[peer]

    def _spread(self, seconds: float) -> float:
        """Peers that lost one and the same peer together do not come back together."""
        return seconds * self.rng.uniform(0.5, 1.5)

    async def _dial(self, peer: str, attempts: _Attempts) -> None:
        try:
            await self.dialler.dial(peer, self.named.get(peer, ()), FROM_FILE if peer in self.named else "")
        except TooSoonError as error:
            attempts.why, attempts.due = str(error), trio.current_time() + max(error.seconds, SOON_SECONDS)
        except UnreachableError as error:
            attempts.tries += 1
            attempts.why = str(error)
            attempts.due = trio.current_time() + self._spread(attempts.backoff.after(0.0))
            if attempts.tries >= UNREACHED_TRIES and peer in self.book and not self._known_good(peer):
                self.book.forget(peer)
                self._attempts.pop(peer, None)
        finally:
            self._dialling.discard(peer)
            self._unreached.discard(peer)
            self._changed.set()

    async def _watch(self, peer: str) -> None:
        try:
            await self.heartbeats.watch(peer)
        finally:
            self._watched.discard(peer)
            self._changed.set()

    async def _save_now_and_then(self) -> None:
        while True:
            await trio.sleep(SAVE_SECONDS)
            await self._save()

    async def _save(self) -> None:
        if self.book.changed and not self.read_only:
            await self.in_thread(self.book.save, self.book.content())
