"""Transactions as PyOTA builds and hashes them, with a proof of work of this machine or of the node."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import attrs

from learnae_iota import calls, curl
from learnae_iota.line import NodeApi, NodeNonsenseError
from learnae_iota.pyota import load_pow, load_pyota
from learnae_iota.transactions import ATTACHED, MessageTag
from learnae_iota.trytes import from_message

LIGHT_WEIGHT = 4  # up to this, plain Python is as fast as the C library, which starts threads for each search
MOST_TRIES = 5  # of the C library, which at times finds a nonce that is none


@attrs.frozen
class Builder:
    """`weight` is the number of zero trits that the tangle asks of a hash."""

    iota: Any
    kerl: Any
    weight: int
    search: Callable[[str, int], str] | None  # of pyota-pow

    @classmethod
    def load(cls, weight: int) -> Builder:
        """Imports PyOTA, which takes a while. Raises NeedsPyotaError."""
        iota, extension = load_pyota(), load_pow() if weight > LIGHT_WEIGHT else None
        return cls(iota, importlib.import_module("iota.crypto.kerl").Kerl, weight, extension.get_powed_tx_trytes if extension else None)

    def make(self, line: NodeApi, message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
        """A whole transaction, with a nonce that this machine finds."""
        transaction = self.build(message, place, parents, milliseconds)
        for _ in range(MOST_TRIES):
            if self.search is not None and curl.is_worked(found := self.search(transaction, self.weight), self.weight):
                return found
        return curl.with_nonce(transaction, self.weight, lambda: line.hung_up)

    def make_at_node(self, line: NodeApi, message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
        """The same with a nonce that the node finds. Raises NodeNonsenseError where it gives another transaction back."""
        transaction = self.build(message, place, parents, milliseconds)
        attached = calls.attach(line, transaction, parents, self.weight)
        if attached[:ATTACHED] != transaction[:ATTACHED]:  # one that the other nodes have already would hide that this one is kept back
            raise NodeNonsenseError("attachToTangle: another transaction than was asked for")
        return attached

    def build(self, message: bytes, place: MessageTag, parents: tuple[str, str], milliseconds: int) -> str:
        """A transaction that lacks nothing but its nonce.

        Not by a ProposedBundle: that tries some twenty tags for a hash that suits those who move money, at 60 ms of CPU.
        """
        iota, (trunk, branch) = self.iota, map(self.iota.TransactionHash, parents)
        transaction = iota.Transaction(
            hash_=None,
            signature_message_fragment=iota.Fragment(from_message(message)),
            address=iota.Address(place.address),
            value=0,
            timestamp=milliseconds // 1000,
            current_index=0,
            last_index=0,
            bundle_hash=None,
            trunk_transaction_hash=trunk,
            branch_transaction_hash=branch,
            tag=iota.Tag(place.tag),
            attachment_timestamp=milliseconds,
            attachment_timestamp_lower_bound=0,
            attachment_timestamp_upper_bound=0,
            nonce=iota.Nonce(b""),
        )
        transaction.bundle_hash = self._hashed(transaction.get_signature_validation_trytes())
        return str(transaction.as_tryte_string())

    def _hashed(self, essence: Any) -> Any:
        kerl, trits = self.kerl(), list[int]()
        kerl.absorb(essence.as_trits())
        kerl.squeeze(trits)
        return self.iota.BundleHash.from_trits(trits)
