"""Who is provisional, who moves where, who has split: the joining rule on its own."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.config.tables import JoinTable
from learnae.node.lineage import LineageState, LineageVoices, Support, found
from learnae.records import Cid, PeerId

A, B, C = b"a" * 8, b"b" * 8, b"c" * 8
RULES = JoinTable(wait_seconds=2.0, settle_rounds=10, settle_seconds=10.0)


def names(supported: list[Support]) -> list[bytes]:
    return [support.lineage for support in supported]


def voices(lineage: bytes, count: int, *, provisional: bool = False, first: int = 0, **facts) -> list[LineageVoices]:
    return [LineageVoices(lineage, provisional, peer=PeerId(f"{lineage!r}{index}"), **facts) for index in range(first, first + count)]


def established(lineage: bytes) -> LineageState:
    lineage_state = LineageState(RULES)
    lineage_state.settle(lineage, now=0.0)
    return lineage_state


def provisional(lineage: bytes) -> LineageState:
    lineage_state = LineageState(RULES)
    lineage_state.enter(lineage, now=0.0)
    return lineage_state


def where_to_move(state: LineageState, seen: Collection[LineageVoices], now: float, begun: Collection[bytes] = ()) -> list[Support]:
    """Nowhere, if it would yield at most."""
    outcome, among = state.where_to_go(seen, now, begun)
    return among if outcome == "moved" else []


def test_the_lineage_of_a_root_is_eight_bytes_of_its_hash_and_differs_by_root():
    assert len(found(Cid("bafkreia"))) == 8
    assert found(Cid("bafkreia")) != found(Cid("bafkreib"))


def test_a_peer_is_provisional_until_both_its_rounds_and_its_seconds_are_spent():
    lineage_state = provisional(A)
    lineage_state.rounds = 10
    assert lineage_state.provisional(now=9.9)
    assert not lineage_state.provisional(now=10.0)
    lineage_state.rounds = 9
    assert lineage_state.provisional(now=100.0)


def test_a_long_wait_prolongs_settling_to_three_times_the_wait():
    lineage_state = LineageState(JoinTable(wait_seconds=6.0))
    lineage_state.settle(A, now=0.0, rounds=10, seconds=0.0)
    assert lineage_state.provisional(now=17.9)
    assert not lineage_state.provisional(now=18.0)


def test_a_provisional_peer_moves_to_an_established_lineage_whatever_its_hash():
    assert names(where_to_move(provisional(A), [LineageVoices(B, provisional=False)], now=1.0))[:1] == [B]


def test_a_provisional_peer_moves_to_a_provisional_lineage_only_if_its_hash_is_smaller():
    assert names(where_to_move(provisional(B), [LineageVoices(A, provisional=True), LineageVoices(C, provisional=True)], now=1.0))[:1] == [
        A
    ]
    assert where_to_move(provisional(A), [LineageVoices(B, provisional=True)], now=1.0) == []


def test_a_provisional_peer_prefers_the_established_of_two_better_lineages():
    assert names(where_to_move(provisional(B), [LineageVoices(A, provisional=True), LineageVoices(C, provisional=False)], now=1.0))[:1] == [
        C
    ]


def test_an_established_peer_never_moves_but_reports_another_established_lineage_as_a_split():
    seen = [LineageVoices(B, provisional=False), LineageVoices(C, provisional=True)]
    assert where_to_move(established(A), seen, now=1.0) == []
    assert established(A).splits(seen, now=1.0) == {B}
    assert provisional(A).splits(seen, now=1.0) == set()


def test_what_was_left_behind_moves_nobody_and_splits_nothing():
    left_behind = [LineageVoices(B, provisional=False, live=False)]
    assert where_to_move(provisional(C), left_behind, now=1.0) == []
    assert established(A).splits(left_behind, now=1.0) == set()


def test_a_newcomer_joins_live_before_left_behind_established_before_provisional_smaller_before_larger():
    newcomer = LineageState(RULES)
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=False, live=False), LineageVoices(C, provisional=True)]))[:1] == [C]
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=True), LineageVoices(C, provisional=False)]))[:1] == [C]
    assert names(newcomer.where_to_join([LineageVoices(B, provisional=False), LineageVoices(C, provisional=False)]))[:1] == [B]
    assert newcomer.where_to_join([]) == []


def test_a_fresh_start_ignores_what_was_left_behind():
    assert LineageState(JoinTable(fresh=True)).where_to_join([LineageVoices(A, provisional=False, live=False)]) == []


def test_a_named_lineage_is_the_only_one_that_is_joined():
    newcomer = LineageState(JoinTable(lineage=C.hex()))
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=False), LineageVoices(C, provisional=True)]))[:1] == [C]
    assert newcomer.where_to_join([LineageVoices(A, provisional=False)]) == []


ALICE, BOB, ME = PeerId("a" * 64), PeerId("b" * 64), PeerId("e" * 64)
TRUSTING = JoinTable(trust=(ALICE,))


def test_a_newcomer_that_trusts_somebody_joins_where_that_peer_publishes_and_nowhere_else():
    newcomer = LineageState(TRUSTING, ME)
    seen = [LineageVoices(A, provisional=False, peer=BOB), LineageVoices(C, provisional=True, peer=ALICE)]
    assert names(newcomer.where_to_join(seen))[:1] == [C]
    assert newcomer.where_to_join(seen[:1]) == []


def test_what_the_own_earlier_run_left_behind_is_always_trusted():
    assert names(LineageState(TRUSTING, ME).where_to_join([LineageVoices(A, provisional=False, live=False, peer=ME)]))[:1] == [A]


def test_a_provisional_peer_that_trusts_somebody_moves_only_to_where_that_peer_publishes():
    lineage_state = LineageState(TRUSTING, ME)
    lineage_state.enter(C, now=0.0)
    assert where_to_move(lineage_state, [LineageVoices(A, provisional=False, peer=BOB)], now=1.0) == []
    assert names(where_to_move(lineage_state, [LineageVoices(B, provisional=False, peer=ALICE)], now=1.0))[:1] == [B]


def test_a_founder_that_trusts_somebody_stays_provisional_until_that_peer_was_in_its_lineage():
    lineage_state = LineageState(TRUSTING, ME)
    lineage_state.enter(A, now=0.0, vouched=False)
    for second in range(100):
        lineage_state.spend_round(
            [LineageVoices(A, provisional=False, peer=BOB), LineageVoices(B, provisional=False, peer=ALICE)], now=float(second)
        )
    assert lineage_state.provisional(now=100.0)
    for second in range(100, 110):
        lineage_state.spend_round([LineageVoices(A, provisional=True, peer=ALICE)], now=float(second))
    assert lineage_state.provisional(now=108.9)
    assert not lineage_state.provisional(now=109.0)  # ten rounds, and ten seconds after the last that did not count


def test_who_is_in_the_own_trust_founds_and_grows_as_if_there_were_none():
    lineage_state = LineageState(JoinTable(trust=(ALICE, ME)), ME)
    lineage_state.enter(A, now=0.0, vouched=False)
    for _ in range(10):
        lineage_state.spend_round([], now=10.0)
    assert not lineage_state.provisional(now=10.0)


def test_a_provisional_peer_stays_where_somebody_is_established_unless_the_other_established_lineage_has_the_smaller_hash():
    """Or it would go back and forth between the two sides of a split for ever."""
    both = [*voices(A, 2), *voices(B, 2)]
    assert where_to_move(provisional(A), both, now=1.0) == []
    assert names(where_to_move(provisional(B), both, now=1.0))[:1] == [A]


@pytest.mark.parametrize("honest", [2, 3, 5, 7, 8, 15, 20])
def test_less_than_half_as_many_who_say_that_they_are_established_lead_no_provisional_ones_away(honest):
    for liars in range(1, (honest + 1) // 2):
        there = [*voices(B, honest - 1, provisional=True), *voices(A, liars)]
        assert where_to_move(provisional(B), there, now=1.0) == []
        assert names(LineageState(RULES).where_to_join([*there, *voices(B, 1, provisional=True, first=honest)])) == [B, A]


@pytest.mark.parametrize("lineage", [B, C])
def test_one_voice_that_says_it_is_established_makes_no_lineage_of_several_an_established_one(lineage):
    there = [*voices(B, 1, provisional=True), *voices(C, 1, provisional=True), *voices(C if lineage == B else B, 1, first=1)]
    assert names(where_to_move(provisional(lineage), there, now=1.0)) == ([] if lineage == B else [B]), "the smaller hash decides"
    assert names(
        where_to_move(provisional(B), [*voices(B, 1, provisional=True), *voices(C, 2), *voices(C, 1, provisional=True, first=2)], now=1.0)
    ) == [C]


def test_who_was_established_goes_on_to_where_it_has_begun_to_go_and_nowhere_else():
    both = [*voices(A, 2), *voices(B, 2)]
    assert names(where_to_move(established(C), both, now=1000.0, begun={B})) == [B]
    assert where_to_move(yielding(C, ordered=True), both, now=1000.0, begun={B}) == []


YIELDING = JoinTable(on_split="yield")


def yielding(lineage: bytes, rules: JoinTable = YIELDING, **options) -> LineageState:
    lineage_state = LineageState(rules, ME)
    lineage_state.settle(lineage, now=0.0, **options)
    return lineage_state


def test_of_two_established_sides_the_one_with_the_larger_hash_yields():
    both = [*voices(A, 2), *voices(B, 2)]
    assert names(yielding(B).where_to_yield(both, now=1.0))[:1] == [A]
    assert yielding(A).where_to_yield(both, now=1.0) == []
    assert established(B).where_to_yield(both, now=1.0) == []


def test_nobody_yields_to_what_is_provisional_or_was_left_behind_or_is_not_trusted():
    assert yielding(B).where_to_yield([LineageVoices(A, provisional=True)], now=1.0) == []
    assert yielding(B).where_to_yield([LineageVoices(A, provisional=False, live=False)], now=1.0) == []
    picky = JoinTable(on_split="yield", trust=(ALICE,))
    assert yielding(B, picky).where_to_yield([LineageVoices(A, provisional=False, peer=BOB)], now=1.0) == []
    assert names(yielding(B, picky).where_to_yield([LineageVoices(A, provisional=False, peer=ALICE)], now=1.0))[:1] == [A]


def test_a_lineage_that_was_ordered_is_not_yielded():
    assert yielding(B, ordered=True).where_to_yield([LineageVoices(A, provisional=False)], now=1.0) == []


def test_who_is_ordered_away_without_a_name_goes_to_the_best_of_the_others_that_are_there():
    seen = [
        LineageVoices(A, provisional=False),
        LineageVoices(B, provisional=True),
        LineageVoices(C, provisional=False),
        LineageVoices(b"0" * 8, provisional=False, live=False),
    ]
    assert established(A).where_to_rejoin(seen) == C
    assert established(C).where_to_rejoin(seen) == A
    assert established(A).where_to_rejoin(seen[:1]) is None


def test_a_newcomer_goes_to_the_many_whatever_their_hash_and_whatever_one_claims():
    newcomer = LineageState(RULES)
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=False), *voices(B, 20)])) == [B, A]
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=False), *voices(B, 2, provisional=True)])) == [B, A]
    assert names(newcomer.where_to_join([LineageVoices(A, provisional=True)])) == [A], "one voice is all there is"


def test_a_peer_that_says_much_is_one_voice():
    assert names(LineageState(RULES).where_to_join([LineageVoices(A, provisional=False, peer=ALICE)] * 9 + voices(B, 2))) == [B, A]


def test_a_newcomer_waits_where_many_more_were_there_than_are_heard_yet():
    newcomer, lone = LineageState(RULES), LineageVoices(A, provisional=False)
    assert newcomer.expects_more([lone, *voices(B, 5, live=False)])
    assert not newcomer.expects_more([lone, *voices(B, 3, live=False)])
    assert not newcomer.expects_more(voices(B, 5, live=False)), "nobody else is there: what was left behind is taken"
    heard = [lone, *voices(B, 4, live=False), *voices(B, 1, first=4)]
    assert not newcomer.expects_more(heard)
    assert names(newcomer.where_to_join(heard)) == [B, A], "one of them was heard, and four more are expected"
    assert not LineageState(JoinTable(fresh=True)).expects_more([lone, *voices(B, 5, live=False)])


def test_a_provisional_peer_leaves_several_for_more_of_them_and_never_for_one_voice():
    here = voices(C, 1)
    assert where_to_move(provisional(C), [*here, LineageVoices(A, provisional=False)], now=1.0) == []
    assert names(where_to_move(provisional(C), [*here, *voices(A, 2)], now=1.0)) == [A]
    assert where_to_move(provisional(A), [*voices(A, 1), *voices(B, 3)], now=1.0) == [], "as many in their kind: the smaller hash"
    assert names(where_to_move(provisional(A), [*voices(A, 1), *voices(B, 4)], now=1.0)) == [B]
    assert names(where_to_move(provisional(A), voices(B, 20), now=1.0)) == [B]


def test_provisional_ones_come_to_those_who_are_established_and_cannot_move():
    assert names(where_to_move(provisional(A), [*voices(A, 1, provisional=True), *voices(B, 2)], now=1.0)) == [B]


def test_who_yields_does_so_for_more_support_whatever_the_hash_and_not_for_less():
    assert yielding(B).where_to_yield([*voices(B, 1), LineageVoices(A, provisional=False)], now=1.0) == []
    assert names(yielding(A).where_to_yield(voices(B, 2), now=1.0)) == [B]
    assert names(yielding(B).where_to_yield([*voices(B, 3), *voices(A, 4)], now=1.0)) == [A]
    assert yielding(A).where_to_yield([*voices(A, 3), *voices(B, 4)], now=1.0) == []


def test_who_yields_counts_only_those_who_are_known_for_half_as_long_as_it_is_where_it_is():
    lineage_state = yielding(B, rounds=10, seconds=1000.0)
    mine = voices(B, 1, since=0.0)
    assert lineage_state.where_to_yield([*mine, *voices(A, 9, since=0.0)], now=400.0) == []
    assert names(lineage_state.where_to_yield([*mine, *voices(A, 9, since=0.0)], now=600.0)) == [A], "nobody need be known for longer"
    assert names(lineage_state.where_to_yield([*mine, *voices(A, 9)], now=1.0)) == [A], "known to an earlier run"


LINEAGES = st.sampled_from([A, B, C])


@given(st.lists(st.tuples(LINEAGES, st.booleans()), min_size=1, max_size=12), LINEAGES)
def test_no_provisional_peer_ever_goes_in_circles(announced, start):
    """Each move of one peer, with all others as they are, goes to a strictly better lineage: at most one for each that there is."""
    seen = [LineageVoices(lineage, provisional, peer=PeerId(str(index))) for index, (lineage, provisional) in enumerate(announced)]
    lineage_state, moves = provisional(start), 0
    while target := where_to_move(lineage_state, seen, now=1.0):
        lineage_state.enter(target[0].lineage, now=0.0)
        moves += 1
        assert moves <= 3


@given(st.lists(st.tuples(LINEAGES, st.booleans()), min_size=2, max_size=12))
def test_of_those_who_hear_the_same_the_provisional_all_end_in_one_lineage(peers):
    """Whoever is provisional, one after the other in any order, until nobody wants to move: then none is where others are not."""
    where = [lineage for lineage, _ in peers]

    def goal(mover: int) -> list[Support]:
        seen = [LineageVoices(where[i], True, peer=PeerId(str(i))) for i in range(len(peers)) if i != mover]
        return where_to_move(provisional(where[mover]), seen, now=1.0)

    for _ in range(4 * len(peers)):
        for mover in range(len(peers)):
            if target := goal(mover):
                where[mover] = target[0].lineage
    assert len(set(where)) == 1


def test_who_has_just_become_established_and_was_left_alone_goes_to_several_and_never_to_one():
    alone = provisional(B)
    alone.rounds = 99
    several = [LineageVoices(A, provisional=False, peer=PeerId(name)) for name in ("1", "2")]
    just, later = 1.5 * alone.settle_seconds, 3.5 * alone.settle_seconds
    assert [support.lineage for support in where_to_move(alone, several, just)] == [A]
    assert where_to_move(alone, several[:1], just) == []
    assert where_to_move(alone, several, later) == []
    assert where_to_move(established(B), several, 1.0) == [], "it brought its lineage along"
    assert where_to_move(alone, [*several, LineageVoices(B, provisional=True, peer=PeerId("3"))], just) == []
