from __future__ import annotations

import pytest

from learnae import NoOptions
from learnae.plugins.selector import LeastRecentlyTried
from learnae.testing.context import make_context
from learnae.testing.selector_kit import SelectorConformance, candidate, view


class TestLeastRecentlyTried(SelectorConformance):
    @pytest.fixture
    def selector(self, learnae_context):
        return LeastRecentlyTried(NoOptions(), learnae_context)


@pytest.fixture
def selector_of(tmp_path):
    def make(seed):
        return LeastRecentlyTried(NoOptions(), make_context(tmp_path, seed=seed))

    return make


@pytest.fixture
def select(selector_of):
    return selector_of(0).select


def stranger(peer, **facts):
    return candidate(peer, ever_accepted=False, **facts)


def known(*last_tried):
    return [candidate(f"k{index}", last_tried=tried) for index, tried in enumerate(last_tried)]


def test_those_tried_longest_ago_come_first(select):
    late, early, middle = known(30, 10, 20)
    assert select(view(late, early, middle)) == [early, middle]


@pytest.mark.parametrize(("failures", "wait"), [(0, 1), (1, 2), (2, 4), (3, 8), (6, 64), (7, 64), (10**9, 64)])
def test_each_failure_doubles_the_wait_up_to_64_rounds(select, failures, wait):
    failed = candidate("a", last_tried=100, failures=failures)
    assert select(view(failed, round=100 + wait - 1)) == []
    assert select(view(failed, round=100 + wait)) == [failed]


def test_a_success_ends_the_wait(select):
    assert select(view(candidate("a", last_tried=99, failures=0), round=100)) != []


def test_a_count_of_rounds_that_began_anew_keeps_nobody_waiting(select):
    assert select(view(candidate("a", last_tried=5000, failures=6), round=3)) != []


def test_strangers_get_one_slot_in_a_quarter_of_the_rounds(select):
    everyone = [*known(1, 2, 3), *(stranger(f"s{index}") for index in range(100))]
    rounds = [select(view(*everyone)) for _ in range(2000)]
    strangers = [sum(not each.ever_accepted for each in chosen) for chosen in rounds]
    assert all(len(chosen) == 2 for chosen in rounds)
    assert max(strangers) == 1
    # 500 expected; six standard deviations of sqrt(2000 * 3 / 16)
    assert abs(sum(strangers) - 500) < 117


def test_those_that_have_lost_all_trust_get_one_slot_in_an_eighth_of_the_rounds_however_many_they_are(select):
    fallen = [candidate(f"f{index}", last_tried=10, failures=3, trust=0.0) for index in range(100)]
    rounds = [select(view(*known(1, 2, 3), *fallen)) for _ in range(2000)]
    chosen = [sum(each.trust == 0 for each in those) for those in rounds]
    assert max(chosen) == 1
    # 250 expected; six standard deviations of sqrt(2000 * 7 / 64)
    assert abs(sum(chosen) - 250) < 89


def test_half_the_trust_waits_twice_as_long(select):
    half = candidate("a", last_tried=980, trust=0.5)
    sooner, later = candidate("b", last_tried=989), candidate("b", last_tried=991)
    assert select(view(half, sooner, count=1, round=1000)) == [sooner]
    assert select(view(half, later, count=1, round=1000)) == [half]


def test_the_stranger_takes_the_place_of_the_last_one_known(select):
    first, second = known(1, 2)
    unknown = stranger("s")
    assert {tuple(select(view(first, second, unknown))) for _ in range(50)} == {(first, second), (unknown, first)}


def test_strangers_fill_the_slots_that_nobody_known_waits_for(select):
    [friend] = known(1)
    unknown = [stranger(str(index), last_tried=index) for index in range(5)]
    for _ in range(20):
        assert select(view(friend, *unknown, count=3)) == [friend, unknown[0], unknown[1]]


def test_a_friend_in_disgrace_does_not_count_as_waiting(select):
    friend, failed = candidate("a", last_tried=1), candidate("b", last_tried=999, failures=6)
    unknown = stranger("s")
    assert select(view(friend, failed, unknown)) == [friend, unknown]


def test_a_flood_of_strangers_keeps_nobody_known_from_their_turn(select):
    tried = {}
    for number in range(400):
        friends = {candidate(peer, last_tried=tried.get(peer)): peer for peer in "abcd"}
        flood = [stranger(f"{number}-{index}") for index in range(50)]
        tried |= {friends[each]: number for each in select(view(*friends, *flood, round=number)) if each in friends}
        if number > 20:
            assert min(tried.values()) > number - 10


def test_what_is_larger_than_the_budget_is_no_candidate(select):
    large, small, unknown = candidate("a", bytes=200, last_tried=1), candidate("b", last_tried=2), stranger("s", bytes=20)
    assert select(view(large, small, unknown, budget_bytes=150)) == [small, unknown]


def test_the_budget_holds_for_all_together(select):
    first, second, third = (candidate(str(size), bytes=size, last_tried=size) for size in (60, 70, 80))
    assert select(view(first, second, third, budget_bytes=130)) == [first, second]
    assert select(view(first, second, third, budget_bytes=129)) == [first]


def test_ties_are_broken_at_random_and_repeatably(selector_of):
    seen = view(*known(*[5] * 10), count=5)
    assert selector_of(1).select(seen) == selector_of(1).select(seen)
    assert len({tuple(selector_of(seed).select(seen)) for seed in range(5)}) > 1
