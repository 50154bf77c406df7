"""Transactions as PyOTA builds and hashes them, with a proof of work of this machine or of the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from learnae_iota import calls, curl
from learnae_iota.line import Line
from learnae_iota.pyota import load_pow, load_pyota
from learnae_iota.transactions import Place
from learnae_iota.trytes import from_message

LIGHT_WEIGHT = 4  # up to this, plain Python is as fast as the C library, which starts threads for each search
MOST_TRIES = 5  # of the C library, which at times finds a nonce that is none


@attrs.frozen
class Builder:
    """`weight` is the number of zero trits that the tangle asks of a hash."""

    iota: Any
    weight: int
    search: Callable[[str, int], str] | None  # of pyota-pow

    @classmethod
    def load(cls, weight: int) -> Builder:
        """Imports PyOTA, which takes a while. Raises NeedsPyota."""
        iota, extension = load_pyota(), load_pow() if weight > LIGHT_WEIGHT else None
        return cls(iota, weight, extension.get_powed_tx_trytes if extension else None)

    def make(self, line: Line, message: bytes, place: Place, parents: tuple[str, str], milliseconds: int) -> str:
        """A whole transaction, with a nonce that this machine finds."""
        transaction = self.build(message, place, parents, milliseconds)
        for _ in range(MOST_TRIES):
            if self.search is not None and curl.is_worked(found := self.search(transaction, self.weight), self.weight):
                return found
        return curl.with_nonce(transaction, self.weight, lambda: line.hung_up)

    def make_at_node(self, line: Line, message: bytes, place: Place, parents: tuple[str, str], milliseconds: int) -> str:
        """The same with a nonce that the node finds."""
        return calls.attach(line, self.build(message, place, parents, milliseconds), parents, self.weight)

    def build(self, message: bytes, place: Place, parents: tuple[str, str], milliseconds: int) -> str:
        """A transaction that lacks nothing but its nonce."""
        iota = self.iota
        proposed = iota.ProposedTransaction(
            address=iota.Address(place.address),
            value=0,
            tag=iota.Tag(place.tag),
            message=iota.TryteString(from_message(message)),
            timestamp=milliseconds // 1000,
        )
        bundle = iota.ProposedBundle([proposed])
        bundle.finalize()
        transaction = bundle[0]
        transaction.trunk_transaction_hash, transaction.branch_transaction_hash = map(iota.TransactionHash, parents)
        transaction.attachment_timestamp = milliseconds
        return str(transaction.as_tryte_string())
