"""What strangers leave at a swarm's places: transactions that no announcer makes, or that carry no announcement."""

from __future__ import annotations

import random
from collections.abc import Iterator

from learnae_iota import curl
from learnae_iota.transactions import NOTHING, MessageTag, make
from learnae_iota.trytes import ALPHABET


def litter(place: MessageTag, milliseconds: int, weight: int = 1, *, seed: int = 0) -> Iterator[str]:
    """Without end; each has a proof of work, and the one before as a parent."""
    rng, parent = random.Random(seed), NOTHING
    while True:
        transaction = curl.with_nonce(rng.choice(_KINDS)(rng, make(b"", place, (parent, NOTHING), milliseconds)), weight)
        parent = curl.hash_of(transaction)
        yield transaction


def _random_trytes(rng: random.Random, transaction: str) -> str:
    return "".join(rng.choices(ALPHABET, k=2187)) + transaction[2187:]


def _empty(rng: random.Random, transaction: str) -> str:
    return "9" * 2187 + transaction[2187:]


def _other_tag(rng: random.Random, transaction: str) -> str:
    return transaction[:2592] + "".join(rng.choices(ALPHABET, k=27)) + transaction[2619:]


def _of_a_bundle(rng: random.Random, transaction: str) -> str:
    """Its last one, without a first: a first one without a last ends a Hornet 0.5.6 at once, "Can't create bundle, but tailTx is solid"."""
    return transaction[:2331] + "A".ljust(9, "9") * 2 + transaction[2349:]


_KINDS = (_random_trytes, _empty, _other_tag, _of_a_bundle)
