"""Dials one peer: its addresses side by side, each a moment after the one before, and the first that answers is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NoReturn

import attrs
import trio

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuit_addresses import CircuitAddress, place_at, read_circuit
from learnae_libp2p.streams.hearsay import HearsayAccount, TooSoonError
from learnae_libp2p.streams.transport import Place, Scope, Transport, UnreachableError

STAGGER_SECONDS = 0.25
ADDRESS_SECONDS = 10.0
FROM_FILE, FROM_HINT, FROM_MDNS = "file", "hint", "mdns"  # how an address may have been heard of
EARLIER = "earlier"  # it stood in the file then
MOST_TRIED = 16  # addresses of one peer in one go
MOST_TOLD = 3


@attrs.define(eq=False, kw_only=True)
class Dialler:
    """Happy eyeballs (RFC 8305) for peers: a slow or dead address delays the others by no more than a moment."""

    transport: Transport
    book: AddressBook
    account: HearsayAccount = attrs.field(factory=HearsayAccount)
    through: Callable[[CircuitAddress], Awaitable[bool]] | None = None  # connects by way of a relay, as `Circuits.dial`

    async def dial(self, peer: str, addresses: Sequence[str] = (), found_by: str = "") -> None:
        """Returns when this peer is connected: by an address that is remembered, or by one of these. Raises UnreachableError.

        What the user's file names, and what has answered last, is always dialled; all else is what others say. Raises TooSoonError where
        none of that may be dialled now.
        """
        every = list(dict.fromkeys([*self.book.addresses(peer), *addresses]))[:MOST_TRIED]
        every.sort(key=lambda address: read_circuit(address) is not None)  # what is relayed is slower, and asks something of a third one
        if not every:
            raise UnreachableError("no address of it is known")
        failed = dict[str, UnreachableError | trio.TooSlowError]()
        answered = list[str | None]()
        async with trio.open_nursery() as nursery:
            turns = [trio.Event() for _ in every]
            for place, address in enumerate(every):
                way = self._heard_by(peer, address, addresses, found_by)
                nursery.start_soon(self._try, peer, address, way, turns[place : place + 2], answered, failed, nursery.cancel_scope)
            turns[0].set()
        if not answered:
            _raise(failed)
        if answered[0] is not None:
            self.book.reached(peer, answered[0], found_by)

    async def _try(
        self,
        peer: str,
        address: str,
        way: str | None,
        turns: Sequence[trio.Event],
        answered: list[str | None],
        failed: dict[str, UnreachableError | trio.TooSlowError],
        all_of_them: trio.CancelScope,
    ) -> None:
        """In its turn, or a moment after the one before began, if that has not failed by then."""
        await turns[0].wait()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, turns[1:])
                place = self._charge(address, way) if way is not None else None
                with trio.fail_after(ADDRESS_SECONDS):
                    here = await self._connect(peer, address)
                if here and place is not None and way is not None:
                    self.account.answered(place, way)
                answered.append(address if here else None)
                all_of_them.cancel()
        except* (UnreachableError, trio.TooSlowError) as errors:
            found = errors.exceptions[0]
            assert isinstance(found, UnreachableError | trio.TooSlowError), "one task can raise nothing else"
            failed[address] = found
        for turn in turns[1:]:
            turn.set()

    def _heard_by(self, peer: str, address: str, given: Sequence[str], found_by: str) -> str | None:
        """How this address was heard of; None for one that is dialled whatever others say."""
        known = self.book.get(peer)
        if known is not None and known.reached_at is not None and address == known.addresses[0]:
            return None
        if address in given:
            return None if found_by == FROM_FILE else found_by
        return known.found_by if known is not None else ""

    def _charge(self, address: str, way: str) -> Place:
        """Raises TooSoonError, and UnreachableError for what is no address of one machine, or one that only its own neighbours reach."""
        place = place_at(self.transport, address)
        if place is None:
            raise UnreachableError("it is no address that others may say")
        if way == FROM_HINT and place.scope < self._own_scope():
            raise UnreachableError("only its own neighbours could reach it there")
        self.account.begin(place, way)
        return place

    def _own_scope(self) -> Scope:
        places = [place for text in self.transport.local_addresses() if (place := self.transport.place(text)) is not None]
        return min((place.scope for place in places), default=Scope.PUBLIC)

    async def _connect(self, peer: str, address: str) -> bool:
        """Whether it was this address that has answered: the peer may have come by itself meanwhile."""
        circuit = read_circuit(address)
        if circuit is None:
            return await self.transport.connect(peer, [address]) is not None
        if self.through is None or circuit.peer != peer or circuit.relay in (peer, self.transport.peer):
            raise UnreachableError("nobody relays what this address says")
        return await self.through(circuit)


def _raise(failed: Mapping[str, UnreachableError | trio.TooSlowError]) -> NoReturn:
    by_cause = dict[str, list[str]]()
    for address, error in list(failed.items())[:MOST_TOLD]:
        by_cause.setdefault(str(error) or "does not answer", []).append(_shown(address))
    why = "; ".join(f"{cause} at {', '.join(at)}" for cause, at in by_cause.items())
    soon = [error.seconds for error in failed.values() if isinstance(error, TooSoonError)]
    raise TooSoonError(why, min(soon)) if len(soon) == len(failed) else UnreachableError(why)


def _shown(address: str) -> str:
    """As people write it, without the name of who should be there."""
    if read_circuit(address) is not None:
        return "a relay"
    _, kind, host, _, port, *_ = [*address.partition("/p2p/")[0].split("/"), "", "", "", ""]
    if not port:
        return address
    return f"[{host}]:{port}" if kind == "ip6" else f"{host}:{port}"


async def _pass_on(turns: Sequence[trio.Event]) -> None:
    await trio.sleep(STAGGER_SECONDS)
    for turn in turns:
        turn.set()
