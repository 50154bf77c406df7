"""From a message to a transaction on the tangle, over one line."""

from __future__ import annotations

from collections.abc import Callable

from learnae_iota import calls
from learnae_iota.line import NodeApi, NodeRefusedError
from learnae_iota.looking import recent_hashes
from learnae_iota.places import Places, window_of
from learnae_iota.transactions import NOTHING, MessageTag

Make = Callable[[NodeApi, bytes, MessageTag, tuple[str, str], int], str]
"""A transaction, proof of work included, from line, message, place, parents and milliseconds since 1970."""


NOT_VALID = 400


class NodeDeclinedError(Exception):
    """The node works, and does not take this transaction. It does not permit it, has an error, or says that it is not valid. Another node
    may take it.
    """


def post(line: NodeApi, message: bytes, places: Places, make: Make) -> str:
    """The transaction that the node has taken. Raises one of FAILURES, or NodeDeclinedError."""
    parents = chosen_parents(line, places)
    seconds = line.now()
    try:
        transaction = make(line, message, places.at(window_of(seconds)), parents, int(seconds * 1000))
        calls.broadcast(line, [transaction])
        return transaction
    except NodeRefusedError as error:
        if error.status != NOT_VALID:
            raise NodeDeclinedError(f"{line.address} takes no transactions: {error}") from error
        raise NodeDeclinedError(
            f"{line.address} does not take the transaction: {error}; weight_magnitude must be `mwm` of the tangle"
        ) from error


def chosen_parents(line: NodeApi, places: Places) -> tuple[str, str]:
    """The parents that the node chooses. Without fresh milestones it chooses none: then recent transactions of the swarm, or the first one.

    So nothing depends on the coordinator, which issues milestones.
    """
    return calls.tips(line) or _two_of(sorted(recent_hashes(line, places)))


def _two_of(hashes: list[str]) -> tuple[str, str]:
    """Without chance: hashes are scattered, and others choose other ones as the list grows."""
    return (hashes[0], hashes[-1]) if hashes else (NOTHING, NOTHING)
