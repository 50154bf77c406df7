"""The calls of a node's API that announcing and listening need. Nothing that it answers is believed to be well formed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from learnae_iota.curl import TRANSACTION_TRYTES
from learnae_iota.line import NodeApi, NodeNonsenseError, NodeRefusedError
from learnae_iota.trytes import is_trytes

HASH_TRYTES = 81
MOST_FOUND, MOST_TRYTES = 10_000, 100  # of one call, whatever the node would give: an answer has a megabyte at most
TIP_DEPTH = 3
_GONE = "9" * TRANSACTION_TRYTES


def meet(line: NodeApi) -> None:
    """Ask who is there, what its clock shows and what its limits are. Raises Nonsense for what is no node of this protocol."""
    asked = time.time()
    info = line.ask("getNodeInfo")
    if not isinstance(info.get("appName"), str) or not _is_number(info.get("time")):
        raise NodeNonsenseError("getNodeInfo: this is no node of the legacy protocol (Hornet 0.5 is one)")
    answered = time.time()
    line.set_clock(answered + _ahead(info["time"] / 1000, asked, answered))
    try:
        limits = line.ask("getNodeAPIConfiguration")
    except NodeRefusedError:
        return  # the limits are those that a Hornet has of itself
    line.most_found = _limit(limits.get("maxFindTransactions"), line.most_found, MOST_FOUND)
    line.most_trytes = _limit(limits.get("maxGetTrytes"), line.most_trytes, MOST_TRYTES)


def find(line: NodeApi, addresses: Sequence[str]) -> set[str]:
    """The hashes of transactions at any of these addresses; where there are `line.most_found`, there may be more."""
    hashes = line.ask("findTransactions", addresses=list(addresses), maxresults=line.most_found).get("hashes")
    if not isinstance(hashes, list) or not all(is_trytes(hash_, HASH_TRYTES) for hash_ in hashes):
        raise NodeNonsenseError("findTransactions: no list of hashes")
    return set(islice(hashes, line.most_found))


def trytes(line: NodeApi, hashes: Sequence[str]) -> list[str | None]:
    """The transactions in the same order; None for one that the node has thrown away."""
    found = line.ask("getTrytes", hashes=list(hashes)).get("trytes")
    if not isinstance(found, list) or len(found) != len(hashes) or not all(is_trytes(each, TRANSACTION_TRYTES) for each in found):
        raise NodeNonsenseError("getTrytes: no list of transactions")
    return [None if each == _GONE else each for each in found]


def tips(line: NodeApi) -> tuple[str, str] | None:
    """Two parents that the node chooses; None while it cannot, for want of milestones."""
    try:
        answer = line.ask("getTransactionsToApprove", depth=TIP_DEPTH)
    except NodeRefusedError:
        return None
    trunk, branch = answer.get("trunkTransaction"), answer.get("branchTransaction")
    if not is_trytes(trunk, HASH_TRYTES) or not is_trytes(branch, HASH_TRYTES):
        raise NodeNonsenseError("getTransactionsToApprove: no two hashes")
    return str(trunk), str(branch)


def attach(line: NodeApi, transaction: str, parents: tuple[str, str], weight: int) -> str:
    """The transaction with the node's proof of work."""
    trunk, branch = parents
    answer = line.ask("attachToTangle", trunkTransaction=trunk, branchTransaction=branch, minWeightMagnitude=weight, trytes=[transaction])
    attached = answer.get("trytes")
    if not isinstance(attached, list) or len(attached) != 1 or not is_trytes(attached[0], TRANSACTION_TRYTES):
        raise NodeNonsenseError("attachToTangle: no transaction")
    return str(attached[0])


def broadcast(line: NodeApi, transactions: Iterable[str]) -> None:
    """Hand transactions to the tangle; a Hornet keeps them too, so there is no need to store them besides."""
    line.ask("broadcastTransactions", trytes=list(transactions))


def _ahead(told: float, asked: float, answered: float) -> float:
    """Told in whole seconds: a difference that may come from that alone is none."""
    ahead = told + 0.5 - (asked + answered) / 2
    return ahead if abs(ahead) > 1.0 + (answered - asked) else 0.0


def _limit(value: Any, fallback: int, most: int) -> int:
    return min(int(value), most) if _is_number(value) and value >= 1 else fallback


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 52
