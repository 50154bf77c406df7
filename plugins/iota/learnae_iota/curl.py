"""Curl-P-81, the hash of transactions, and the search for a nonce: in plain Python, so that every machine has them.

A trit is a byte of 0, 1 or 2. One round is two slices, one addition of long integers and one look-up, all done by the interpreter's
own C code: about half a millisecond for a block, fast enough for the weights of private tangles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, product

from learnae_iota.trytes import ALPHABET

TRANSACTION_TRYTES = 2673
NONCE_TRYTES = 27

_ROUNDS, _STATE, _BLOCK = 81, 729, 243
_BLOCK_TRYTES = _BLOCK // 3
_TABLE = bytes([2, 1, 0, 0, 2, 0, 1, 0, 0, 2, 1]) + bytes(245)  # of two trits a and b at a + 4 b; 3 and 7 do not occur
_TRITS = {tryte: bytes((index + 13) % 27 // 3**place % 3 for place in range(3)) for index, tryte in enumerate(ALPHABET)}
_TRYTES = {trits: tryte for tryte, trits in _TRITS.items()}


def hash_of(trytes: str) -> str:
    """81 trytes, for any whole number of blocks of 81."""
    state = _absorbed(trytes)
    return "".join(_TRYTES[state[index : index + 3]] for index in range(0, _BLOCK, 3))


def is_worked(trytes: str, weight: int) -> bool:
    """Whether the hash ends with so many zero trits."""
    return _absorbed(trytes)[_BLOCK - weight : _BLOCK] == b"\1" * weight


def with_nonce(trytes: str, weight: int, stopped: Callable[[], bool] = lambda: False) -> str:
    """The transaction with a nonce that lets its hash end with so many zero trits. Raises InterruptedError once `stopped()`."""
    return next(with_nonces(trytes, weight, stopped))


def with_nonces(trytes: str, weight: int, stopped: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """The same with one such nonce after another: all but the last block is hashed only once."""
    before = _absorbed(trytes[:-_BLOCK_TRYTES])
    fixed = _trits(trytes[-_BLOCK_TRYTES:-NONCE_TRYTES])
    goal = b"\1" * weight
    for nonce in _nonces():
        if stopped():
            raise InterruptedError
        if _transformed(fixed + _trits(nonce) + before[_BLOCK:])[_BLOCK - weight : _BLOCK] == goal:
            yield trytes[:-NONCE_TRYTES] + nonce


def _nonces() -> Iterator[str]:
    for length in count(1):
        for digits in product(ALPHABET, repeat=length):
            yield "".join(digits).ljust(NONCE_TRYTES, "9")


def _absorbed(trytes: str) -> bytes:
    state = b"\1" * _STATE
    for start in range(0, len(trytes), _BLOCK_TRYTES):
        state = _transformed(_trits(trytes[start : start + _BLOCK_TRYTES]) + state[_BLOCK:])
    return state


def _transformed(state: bytes) -> bytes:
    pairs = bytearray(_STATE + 1)
    for _ in range(_ROUNDS):
        pairs[0::2] = state[:1] + state[:364:-1]
        pairs[1::2] = state[364::-1]
        sums = int.from_bytes(pairs[:-1], "big") + 4 * int.from_bytes(pairs[1:], "big")
        state = sums.to_bytes(_STATE, "big").translate(_TABLE)
    return state


def _trits(trytes: str) -> bytes:
    return b"".join([_TRITS[tryte] for tryte in trytes])
