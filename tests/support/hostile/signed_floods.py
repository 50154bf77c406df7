"""Floods of signed rubbish, and how an honest peer beside one is heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count

from learnae.node.rate_limits import KEYS
from learnae.records import Present, Sample
from tests.support.hostile.cheap_signatures import Checks, Listener, forged, said

FLOOD = 5_000  # messages a second
MANY = KEYS + 1_000
MOST = 5_300  # checks a second that all kinds of floods together may cost


SWARM_PEERS = [f"honest-{number}" for number in range(1_000)]


def all_that_is_said(number: int) -> Iterator[bytes]:
    for name in SWARM_PEERS:
        yield said(name, number)
        yield said(name, number, Present({"ipfs": ("here",)}))
        yield said(name, number, Sample(b"1"))


def by_new_keys(numbers: Iterator[int]) -> bytes:
    return said(f"sybil-{next(numbers)}", 1)


def by_a_thousand_keys(numbers: Iterator[int]) -> bytes:
    number = next(numbers)
    return said(f"sybil-{number % 1_000}", number)


def invalid_by_new_keys(numbers: Iterator[int]) -> bytes:
    return forged(f"sybil-{next(numbers)}", 1)


def by_one_member(numbers: Iterator[int]) -> bytes:
    return said("member", next(numbers) + 10)


def in_the_name_of_one_member(numbers: Iterator[int]) -> bytes:
    return forged("member", next(numbers) + 10)


def in_the_names_of_many(numbers: Iterator[int]) -> bytes:
    number = next(numbers)
    return forged(f"honest-{number % 900 + 100}", number + 10)


def by_a_thousand_keys_that_also_forge_each_other_and_those_accepted(numbers: Iterator[int]) -> bytes:
    """So that all that may be forged on a medium is used up, and each accepted peer is forged once in four seconds."""
    number = next(numbers)
    if number % 200 == 0:
        return forged(f"honest-{number // 200 % 100}", number + 10_000)
    return (said if number % 2 else forged)(f"sybil-{number // 2 % 1_000}", number)


def in_the_names_of_more_keys_than_are_remembered(numbers: Iterator[int]) -> bytes:
    number = next(numbers)
    return forged(f"many-{number % MANY}", number)


def replayed(numbers: Iterator[int]) -> bytes:
    return said("honest-0", next(numbers) % 900)


def sealed_otherwise(numbers: Iterator[int]) -> bytes:
    return next(numbers).to_bytes(400, "big")


FLOODS: dict[Callable[[Iterator[int]], bytes], int] = {
    by_new_keys: 600,
    invalid_by_new_keys: 600,
    by_one_member: 40,
    in_the_name_of_one_member: 300,
    in_the_names_of_many: 1_250,
    replayed: 10,
}
"""Each with the most checks a second that it may cost, once the bursts are over."""

FLOODS_OF_MANY_VOICES = (by_a_thousand_keys, by_a_thousand_keys_that_also_forge_each_other_and_those_accepted)
HONEST = SWARM_PEERS[:100]


def all_of_it_was_heard_before(listener: Listener) -> None:
    listener.hears([said("honest-0", 1_000), said("member", 1), *(said(name, 1) for name in SWARM_PEERS[1:])])


def beside_a_flood(
    flood: Callable[[Iterator[int]], bytes], listener: Listener, checks: Checks, seconds: int, honest: list[str]
) -> tuple[list[int], int]:
    """Checks in each second, and how many of two messages a second of each honest peer were taken. All bursts are over before."""
    rng, numbers, costs, taken = random.Random(1), count(20_000), list[int](), 0
    listener.hears(flood(numbers) for _ in range(15_000))
    for half in range(2 * seconds):
        before = checks.made
        messages = [(flood(numbers), 0) for _ in range(FLOOD // 2)] + [(said(name, 100_000 + half), 1) for name in honest]
        rng.shuffle(messages)
        for message, counts in messages:
            taken += counts * listener.hears([message], seconds=0.5 / len(messages))
        costs.append(checks.made - before)
    return [sum(costs[at : at + 2]) for at in range(0, len(costs), 2)], taken
