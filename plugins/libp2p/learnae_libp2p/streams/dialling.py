"""Dials one peer: its addresses side by side, each a moment after the one before, and the first that answers is kept."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from learnae_libp2p.streams.address_book import AddressBook
from learnae_libp2p.streams.circuit_addresses import CircuitAddress, read_circuit
from learnae_libp2p.streams.transport import Transport, UnreachableError

STAGGER_SECONDS = 0.25
ADDRESS_SECONDS = 10.0
MOST_TRIED = 16  # addresses of one peer in one go


@attrs.define(eq=False, kw_only=True)
class Dialler:
    """Happy eyeballs (RFC 8305) for peers: a slow or dead address delays the others by no more than a moment."""

    transport: Transport
    book: AddressBook
    through: Callable[[CircuitAddress], Awaitable[None]] | None = None  # connects by way of a relay. Raises UnreachableError

    async def dial(self, peer: str, addresses: Sequence[str] = (), found_by: str = "") -> None:
        """Returns when this peer is connected: by an address that is remembered, or by one of these. Raises UnreachableError."""
        every = list(dict.fromkeys([*self.book.addresses(peer), *addresses]))[:MOST_TRIED]
        every.sort(key=lambda address: read_circuit(address) is not None)  # what is relayed is slower, and asks something of a third one
        if not every:
            raise UnreachableError("no address of it is known")
        failed = dict[str, str]()
        answered = list[str]()
        async with trio.open_nursery() as nursery:
            turns = [trio.Event() for _ in every]
            for place, address in enumerate(every):
                nursery.start_soon(self._try, peer, address, turns[place : place + 2], answered, failed, nursery.cancel_scope)
            turns[0].set()
        if not answered:
            raise UnreachableError("; ".join(f"{address}: {why}" for address, why in list(failed.items())[:3]))
        self.book.reached(peer, answered[0], found_by)

    async def _try(
        self,
        peer: str,
        address: str,
        turns: Sequence[trio.Event],
        answered: list[str],
        failed: dict[str, str],
        all_of_them: trio.CancelScope,
    ) -> None:
        """In its turn, or a moment after the one before began, if that has not failed by then."""
        await turns[0].wait()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, turns[1:])
                with trio.fail_after(ADDRESS_SECONDS):
                    await self._connect(peer, address)
                answered.append(address)
                all_of_them.cancel()
        except* (UnreachableError, trio.TooSlowError) as errors:
            failed[address] = str(errors.exceptions[0]) or "does not answer"
        for turn in turns[1:]:
            turn.set()

    async def _connect(self, peer: str, address: str) -> None:
        circuit = read_circuit(address)
        if circuit is None:
            await self.transport.connect(peer, [address])
        elif self.through is None or circuit.peer != peer or circuit.relay in (peer, self.transport.peer):
            raise UnreachableError("nobody relays what this address says")
        else:
            await self.through(circuit)


async def _pass_on(turns: Sequence[trio.Event]) -> None:
    await trio.sleep(STAGGER_SECONDS)
    for turn in turns:
        turn.set()
