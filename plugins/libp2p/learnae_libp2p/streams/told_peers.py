"""What is taken of what others say about where peers are, so that a liar can make nobody dial much, and nothing that only others reach.

Each teller has an account: an address is taken from it once an hour, and no more than so many in all, and of one host. What others tell is
not touched by what a liar has told before.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

import attrs

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuit_addresses import place_at
from learnae_libp2p.streams.peer_lists import MOST_LISTED_ADDRESSES, ListedPeer
from learnae_libp2p.streams.transport import Connection, Place, Transport

FOUND_BY = "exchange"
ACCOUNT_SECONDS = 3600.0
MOST_PLACES, MOST_PLACES_OF_HOST = 64, 16  # of one teller in that time
MOST_PENDING = 16  # peers that one teller has spoken of and nobody has reached
MOST_ACCOUNTS = 256


@attrs.define
class _Account:
    places: OrderedDict[str, tuple[str, float]] = attrs.field(factory=OrderedDict)  # of each its host, and when it was told
    peers: set[str] = attrs.field(factory=set)


@attrs.define(eq=False, kw_only=True)
class ToldPeers:
    """Puts into the book what passes. `clock` is this machine's, in seconds."""

    transport: Transport
    book: AddressBook
    clock: Callable[[], float]
    _accounts: OrderedDict[str, _Account] = attrs.field(factory=OrderedDict)

    def take(self, listed: Sequence[ListedPeer], teller: Connection) -> None:
        """What this connected peer says of itself and of others."""
        here, account = self._place(teller.address), self._account(teller.peer)
        if here is None:
            return
        taken = self._taken_places()
        for one in listed:
            if one.peer == self.transport.peer or self._has_enough(account, one.peer):
                continue
            found = [self._checked(account, address, one.peer, teller.peer, here, taken) for address in one.addresses]
            addresses = list(dict.fromkeys(place.address for place in found if place is not None))[:MOST_LISTED_ADDRESSES]
            if addresses:
                account.peers.add(one.peer)
                self.book.told(one.peer, addresses, FOUND_BY)

    def _checked(self, account: _Account, address: str, peer: str, teller: str, here: Place, taken: dict[str, str]) -> Place | None:
        place = self._place(address)
        if place is None or place.peer not in (None, peer) or place.scope < here.scope or taken.get(place.address, peer) != peer:
            return None
        if peer == teller and place.host == here.host:  # it is there, and proven
            return place
        return place if self._charge(account, place) else None

    def _charge(self, account: _Account, place: Place) -> bool:
        now = self.clock()
        while account.places and next(iter(account.places.values()))[1] < now - ACCOUNT_SECONDS:
            account.places.popitem(last=False)
        of_host = Counter(host for host, _ in account.places.values())
        if place.address in account.places or len(account.places) >= MOST_PLACES or of_host[place.host] >= MOST_PLACES_OF_HOST:
            return False
        account.places[place.address] = place.host, now
        return True

    def _has_enough(self, account: _Account, peer: str) -> bool:
        """Also of those that answer only at an address which is one of our own."""
        account.peers = {one for one in account.peers if (known := self.book.get(one)) is not None and known.reached_at is None}
        return peer not in account.peers and len(account.peers) >= MOST_PENDING

    def _taken_places(self) -> dict[str, str]:
        """Of each place where somebody was met, who it was. Nobody else is looked for there."""
        met = [(known.addresses[0], known.peer) for known in self.book.peers() if known.reached_at is not None]
        met += [
            (connection.address, connection.peer)
            for connection in self.transport.connections()
            if not connection.inbound and not connection.punched
        ]
        met += [(address, self.transport.peer) for address in self.transport.listens_at()]
        return {place.address: peer for address, peer in met if (place := self._place(address)) is not None}

    def _place(self, address: str) -> Place | None:
        return place_at(self.transport, address)

    def _account(self, teller: str) -> _Account:
        account = self._accounts.pop(teller, None) or _Account()
        self._accounts[teller] = account
        if len(self._accounts) > MOST_ACCOUNTS:
            self._accounts.popitem(last=False)
        return account
