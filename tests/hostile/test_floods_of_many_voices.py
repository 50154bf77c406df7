"""Keys that all sign validly and all speak: whatever they say, peers that were accepted are heard, and checks stay bounded."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from tests.support.hostile.cheap_signatures import Checks, Listener, forged, said, signer
from tests.support.hostile.signed_floods import (
    FLOOD,
    FLOODS,
    FLOODS_OF_MANY_VOICES,
    HONEST,
    MANY,
    MOST,
    SWARM_PEERS,
    all_of_it_was_heard_before,
    all_that_is_said,
    beside_a_flood,
    by_a_thousand_keys,
    by_new_keys,
    by_one_member,
    in_the_names_of_more_keys_than_are_remembered,
)


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
    accepted = listener.receiver.signature_budget.accepted
    assert not accepted(peer)
    listener.accepts(["honest-0"])
    for left in (True, True, False):
        listener.receiver.peers.failed(peer)
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
