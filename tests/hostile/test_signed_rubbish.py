"""Rubbish costs its sender nothing, and a check of its signature costs us: so many are made in a second, and honest peers lose none."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from learnae.identity import envelopes
from learnae.node.checking import KEYS
from learnae.records import Kind, Leaving, Present, Sample
from learnae.testing.hostile.rubbish import PRIVATE, Checks, Listener, forged, said, signer, update

FLOOD = 5_000  # messages a second
MANY = KEYS + 1_000
MOST = 5_300  # checks a second that all kinds of floods together may cost


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    made = Checks()
    monkeypatch.setattr(envelopes, "verify", made.verify)
    return made


# -- the honest ------------------------------------------------------------------------------------------------------------------

SWARM_PEERS = [f"honest-{number}" for number in range(1_000)]


def all_that_is_said(number: int) -> Iterator[bytes]:
    for name in SWARM_PEERS:
        yield said(name, number)
        yield said(name, number, Present({"ipfs": ("here",)}))
        yield said(name, number, Sample(b"1"))


def test_a_thousand_peers_that_are_all_new_lose_nothing(checks: Checks) -> None:
    assert Listener().hears((said(name, 1) for name in SWARM_PEERS), seconds=0.1) == 1_000


def test_the_backlog_of_a_thousand_peers_is_taken_at_once_and_again_after_a_restart(checks: Checks) -> None:
    listener = Listener()
    for _ in range(2):  # a medium that breaks shows it again each time
        listener.hears(all_that_is_said(1), backlog=True)
    assert set(listener.refusals) <= {"duplicate", "replay"}
    assert len(listener.hearing.inbox.known) == 1_000


def test_a_thousand_peers_of_two_rounds_a_second_lose_nothing_once_their_burst_is_over(checks: Checks) -> None:
    listener = Listener()
    listener.hears(all_that_is_said(1), backlog=True)
    listener.hears(said(name, number) for number in range(2, 12) for name in SWARM_PEERS)
    for number in range(12, 24):
        assert listener.hears((said(name, number) for name in SWARM_PEERS), seconds=0.5) == 1_000
    assert listener.refusals == {}


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["at once", "spread"])
def test_rounds_that_were_held_up_and_come_together_are_taken(checks: Checks, seconds: float) -> None:
    listener = Listener()
    listener.hears(all_that_is_said(1), backlog=True)
    assert listener.hears((said(name, number) for number in range(2, 12) for name in SWARM_PEERS), seconds=seconds) == 10_000


def test_what_is_said_again_costs_no_check_and_is_counted_as_before(checks: Checks) -> None:
    listener = Listener()
    listener.hears(said(name, 5) for name in SWARM_PEERS)
    made = checks.made
    for _ in range(5):
        listener.hears(said(name, 5) for name in SWARM_PEERS)
    listener.hears(said(name, 4) for name in SWARM_PEERS)
    assert listener.refusals == {"duplicate": 5_000, "replay": 1_000}
    assert checks.made == made


# -- floods ----------------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_costs_a_bounded_number_of_checks_and_a_peer_that_was_heard_before_loses_nothing(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    costs, taken = beside_a_flood(flood, listener, checks, 2, ["honest-0"])
    assert costs[-1] <= FLOODS[flood]
    assert taken == 4


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_no_flood_grows_dearer_or_louder_in_the_course_of_time(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    costs, taken = beside_a_flood(flood, listener, checks, 8, ["honest-0"])
    assert sum(costs[-5:]) <= 5 * FLOODS[flood]
    assert taken == 16


@pytest.mark.parametrize("flood", FLOODS_OF_MANY_VOICES, ids=lambda flood: flood.__name__)
def test_a_flood_by_a_thousand_keys_that_were_never_accepted_costs_those_that_were_nothing(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    listener.accepts(HONEST)
    costs, taken = beside_a_flood(flood, listener, checks, 2, HONEST)
    assert taken == 400
    assert max(costs) <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS_OF_MANY_VOICES, ids=lambda flood: flood.__name__)
def test_a_whole_swarm_of_accepted_peers_is_heard_beside_such_a_flood(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    listener.accepts(SWARM_PEERS)
    numbers = count(2)
    listener.hears(by_a_thousand_keys(numbers) for _ in range(15_000))
    costs, taken = beside_a_flood(flood, listener, checks, 3, SWARM_PEERS)
    assert taken == 6_000
    assert max(costs) <= MOST


@pytest.mark.slow
def test_newcomers_share_with_such_a_flood_what_the_accepted_leave_over(checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    costs, taken = beside_a_flood(by_a_thousand_keys, listener, checks, 2, HONEST)
    assert taken >= 0.9 * 400 * 3_000 / (FLOOD + 200)
    assert max(costs) <= MOST


def test_one_failure_costs_an_accepted_peer_nothing_of_its_share_and_three_in_a_row_all(checks: Checks) -> None:
    listener, peer = Listener(), signer("honest-0").peer
    accepted = listener.hearing.checking.accepted
    assert not accepted(peer)
    listener.accepts(["honest-0"])
    for left in (True, True, False):
        listener.hearing.peers.failed(peer)
        assert accepted(peer) is left


@pytest.mark.slow
def test_accepted_keys_that_flood_cost_no_more_checks_than_others(checks: Checks) -> None:
    listener = Listener()
    listener.accepts(f"sybil-{number}" for number in range(1_000))
    costs, _ = beside_a_flood(by_a_thousand_keys, listener, checks, 2, [])
    assert max(costs) <= MOST


@pytest.mark.slow
def test_an_accepted_peer_that_floods_is_bounded_by_itself_and_costs_others_nothing(checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    listener.accepts(["member", "honest-0"])
    costs, taken = beside_a_flood(by_one_member, listener, checks, 2, ["honest-0", "honest-1"])
    assert costs[-1] <= FLOODS[by_one_member]
    assert taken == 8


@pytest.mark.slow
def test_forging_more_names_than_are_remembered_costs_no_more_however_fast_it_comes(checks: Checks) -> None:
    listener, numbers = Listener(), count(2)
    listener.hears((said(f"many-{number}", 1) for number in range(MANY)), seconds=10.0)
    listener.hears(in_the_names_of_more_keys_than_are_remembered(numbers) for _ in range(40_000))
    before = checks.made
    listener.hears((in_the_names_of_more_keys_than_are_remembered(numbers) for _ in range(10_000)), seconds=0.125)
    assert checks.made - before <= MOST / 8


@pytest.mark.slow
def test_a_backlog_of_rubbish_takes_nothing_from_that_of_accepted_peers(checks: Checks) -> None:
    listener, numbers = Listener(), count(2)
    listener.accepts(SWARM_PEERS)
    listener.hears((forged(f"honest-{number % 1_000}", number) for number in range(5_000)), backlog=True)
    listener.hears((by_new_keys(numbers) for _ in range(26_000)), backlog=True)
    assert "crowded" in listener.refusals
    listener.now += 1.0
    assert listener.hears(all_that_is_said(100_000), backlog=True) == 3_000


def test_a_backlog_that_is_shown_again_and_again_uses_up_nothing(checks: Checks) -> None:
    listener = Listener()
    for _ in range(12):
        listener.hears(all_that_is_said(1), backlog=True)
    assert listener.hears(all_that_is_said(2), backlog=True) == 3_000


def test_whoever_forges_a_peer_on_one_medium_does_not_silence_it_on_another_nor_for_longer(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 1)])
    listener.hears((forged("honest-0", number) for number in range(2, 5_000)), seconds=1.0)
    assert listener.hears([said("honest-0", 2)], medium="tangle") == 1
    listener.now += 0.3
    assert listener.hears([said("honest-0", 3)]) == 1


def test_a_few_forgeries_a_second_silence_nobody(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 1)])
    for number in range(2, 22):
        listener.hears((forged("honest-0", number + other) for other in range(100)), seconds=1.0)
        assert listener.hears([said("honest-0", number)]) == 1


def test_what_a_peer_has_signed_long_ago_silences_it_nowhere(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 5_000)], backlog=True)
    listener.hears((said("honest-0", number) for number in range(1, 5_000)), seconds=1.0)
    assert listener.hears([said("honest-0", 5_001)]) == 1


def test_a_member_that_floods_is_told_apart_from_a_medium_that_is_crowded(checks: Checks) -> None:
    spammed, crowded = Listener(), Listener()
    numbers = count(1)
    spammed.hears(by_one_member(numbers) for _ in range(1_000))
    crowded.hears(by_new_keys(numbers) for _ in range(10_000))
    assert set(spammed.refusals) == {"too-often"}
    assert set(crowded.refusals) == {"crowded"}


def test_noise_without_the_seal_of_a_private_swarm_costs_neither_checks_nor_the_share_of_its_members(checks: Checks) -> None:
    listener, numbers = Listener(swarm=PRIVATE), count(2)
    listener.hears([said("honest-0", 1, swarm=PRIVATE)])
    listener.hears((sealed_otherwise(numbers) for _ in range(20_000)), seconds=1.0)
    assert checks.made == 1
    assert listener.hears([said(name, 2, swarm=PRIVATE) for name in SWARM_PEERS]) == 1_000


def test_what_is_remembered_of_keys_is_bounded(checks: Checks) -> None:
    listener, numbers = Listener(), count(1)
    listener.accepts(f"sybil-{number}" for number in range(3_000))
    for _ in range(2):
        listener.hears((by_a_thousand_keys(numbers) for _ in range(5_000)), seconds=1.0)
        listener.hears((by_new_keys(numbers) for _ in range(5_000)), seconds=1.0)
    [medium] = listener.hearing.checking._media.values()
    assert all(len(keys) <= KEYS for keys in medium.keys.values())


def test_an_old_message_with_a_wrong_signature_is_neither_kept_nor_taken_for_a_checked_one(checks: Checks) -> None:
    """When the mark of its peer is forgotten, it has to be checked."""
    listener = Listener()
    listener.hears([said("honest-0", 5)])
    listener.hears([forged("honest-0", 4), forged("honest-0", 5)])
    assert listener.refusals == {"replay": 1, "duplicate": 1}
    listener.hearing.inbox.marks.clear()
    listener.hearing.inbox.forget(signer("honest-0").peer)
    assert listener.hears([forged("honest-0", 4), forged("honest-0", 5)]) == 0
    assert listener.refusals["signature"] == 2


def test_a_message_that_fills_an_empty_inbox_again_is_checked(checks: Checks) -> None:
    """It may be handed on to others, who look at its signature."""
    listener = Listener()
    listener.hears([said("honest-0", 5)])
    listener.hearing.inbox.forget(signer("honest-0").peer)
    assert listener.hears([forged("honest-0", 5)]) == 0
    assert listener.hears([said("honest-0", 5)]) == 1


def test_equivocation_is_still_proven(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 5), said("honest-0", 5, update(7))])
    assert listener.refusals == {"equivocation": 1}
    assert listener.hearing.inbox.get(signer("honest-0").peer, Kind.UPDATE) is None
    assert listener.hears([said("other", 1), said("other", 1, Leaving())]) == 2
