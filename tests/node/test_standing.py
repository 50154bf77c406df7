"""Who is young, who moves where, who has split: the joining rule on its own."""

from learnae.config.tables import JoinTable
from learnae.node.standing import Seen, Standing, found
from learnae.records import Cid

A, B, C = b"a" * 8, b"b" * 8, b"c" * 8
RULES = JoinTable(wait_seconds=2.0, settle_rounds=10, settle_seconds=10.0)


def grown(lineage: bytes) -> Standing:
    standing = Standing(RULES)
    standing.enter(lineage, now=0.0, rounds=10, seconds=10.0)
    return standing


def young(lineage: bytes) -> Standing:
    standing = Standing(RULES)
    standing.enter(lineage, now=0.0)
    return standing


def test_the_lineage_of_a_root_is_eight_bytes_of_its_hash_and_differs_by_root():
    assert len(found(Cid("bafkreia"))) == 8
    assert found(Cid("bafkreia")) != found(Cid("bafkreib"))


def test_a_peer_is_young_until_both_its_rounds_and_its_seconds_are_spent():
    standing = young(A)
    standing.rounds = 10
    assert standing.young(now=9.9)
    assert not standing.young(now=10.0)
    standing.rounds = 9
    assert standing.young(now=100.0)


def test_a_long_wait_prolongs_settling_to_three_times_the_wait():
    standing = Standing(JoinTable(wait_seconds=6.0))
    standing.enter(A, now=0.0, rounds=10)
    assert standing.young(now=17.9)
    assert not standing.young(now=18.0)


def test_a_young_peer_moves_to_a_grown_lineage_whatever_its_hash():
    assert young(A).where_to_move([Seen(B, young=False)], now=1.0) == B


def test_a_young_peer_moves_to_a_young_lineage_only_if_its_hash_is_smaller():
    assert young(B).where_to_move([Seen(A, young=True), Seen(C, young=True)], now=1.0) == A
    assert young(A).where_to_move([Seen(B, young=True)], now=1.0) is None


def test_a_young_peer_prefers_the_grown_of_two_better_lineages():
    assert young(B).where_to_move([Seen(A, young=True), Seen(C, young=False)], now=1.0) == C


def test_a_grown_peer_never_moves_but_reports_another_grown_lineage_as_a_split():
    seen = [Seen(B, young=False), Seen(C, young=True)]
    assert grown(A).where_to_move(seen, now=1.0) is None
    assert grown(A).splits(seen, now=1.0) == {B}
    assert young(A).splits(seen, now=1.0) == set()


def test_what_was_left_behind_moves_nobody_and_splits_nothing():
    left_behind = [Seen(B, young=False, live=False)]
    assert young(C).where_to_move(left_behind, now=1.0) is None
    assert grown(A).splits(left_behind, now=1.0) == set()


def test_a_newcomer_joins_live_before_left_behind_grown_before_young_smaller_before_larger():
    newcomer = Standing(RULES)
    assert newcomer.where_to_join([Seen(A, young=False, live=False), Seen(C, young=True)]) == C
    assert newcomer.where_to_join([Seen(A, young=True), Seen(C, young=False)]) == C
    assert newcomer.where_to_join([Seen(B, young=False), Seen(C, young=False)]) == B
    assert newcomer.where_to_join([]) is None


def test_a_fresh_start_ignores_what_was_left_behind():
    assert Standing(JoinTable(fresh=True)).where_to_join([Seen(A, young=False, live=False)]) is None


def test_a_named_lineage_is_the_only_one_that_is_joined():
    newcomer = Standing(JoinTable(lineage=C.hex()))
    assert newcomer.where_to_join([Seen(A, young=False), Seen(C, young=True)]) == C
    assert newcomer.where_to_join([Seen(A, young=False)]) is None
