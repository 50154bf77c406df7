"""What is taken of three models, one of which may lie, or of five, two of which may."""

from itertools import combinations, permutations
from types import SimpleNamespace

import attrs
import numpy as np
import pytest

from learnae.node.claims import OLDEST, adopted_age, agree, medoid, write_model
from learnae.node.inbox import InboxEntry
from learnae.node.obtaining import Obtained
from learnae.records import Announcement, Decoded, LocalModel, PeerId, TensorSpec
from tests.support.records import an_update

COUNTS = "bn.num_batches_tracked"
SPECS = {
    "w": TensorSpec(name="w", dtype="float32", shape=(2,)),
    COUNTS: TensorSpec(name=COUNTS, dtype="int64", shape=(2,)),
    "table": TensorSpec(name="table", dtype="int64", shape=(2,)),
}
MOST = np.iinfo(np.int64).max


def obtained(weight: float, integers: list[int], age: int = 7, table: list[int] | None = None) -> Obtained:
    tensors = {"w": np.full(2, weight, np.float32), COUNTS: np.array(integers), "table": np.array(table or integers)}
    decoder = SimpleNamespace(specs=SPECS, decode=lambda name: Decoded(tensors[name]))
    body = an_update(age=age, codec="fp32")
    return Obtained(InboxEntry(Announcement(swarm=b"", peer=PeerId("p"), number=1, body=body), b"", b"", 0.0, 1, False), decoder)


def adopted(*items: Obtained, own: int = 3, age: int = 100) -> dict[str, list]:
    current = {"w": np.zeros(2, np.float32), COUNTS: np.full(2, own), "table": np.zeros(2, np.int64)}
    page = {name: array.copy() for name, array in current.items()}
    assert write_model(medoid(items), items, LocalModel(start=current, current=current, age=3), age, page)
    return {name: array.tolist() for name, array in page.items()}


@pytest.mark.parametrize("lie", [MOST, -MOST])
def test_the_weights_are_of_one_model_and_each_counter_is_the_middle_of_all(lie):
    """The liar's weights lie between those of the two others, so it is the medoid."""
    items = [obtained(1.0, [100, 5]), obtained(2.0, [lie, lie]), obtained(3.0, [110, 5])]
    found = adopted(*items)
    assert (found["w"], found[COUNTS]) == ([2.0, 2.0], [110 if lie > 0 else 100, 5])
    assert found["table"] == [100, 5], "that of one honest peer, since no two others know such values"


def test_a_table_of_indices_is_that_of_the_chosen_one_as_a_whole_where_no_more_than_half_are_equal():
    items = [obtained(1.0, [0, 0], table=[0, 1]), obtained(2.0, [0, 0], table=[1, 0]), obtained(3.0, [0, 0], table=[1, 1])]
    assert adopted(*items)["table"] == [1, 0]
    assert adopted(obtained(1.0, [0, 0], table=[7, 3]), obtained(2.0, [0, 0], table=[1, 0]))["table"] == [7, 3]


def test_a_table_that_most_have_is_taken_whosever_weights_are():
    items = [obtained(1.0, [0, 0], table=[0, 1]), obtained(2.0, [0, 0], table=[1, 0]), obtained(3.0, [0, 0], table=[0, 1])]
    assert adopted(*items)["w"] == [2.0, 2.0]
    assert adopted(*items)["table"] == [0, 1]


@pytest.mark.parametrize("lie", [MOST, -MOST])
@pytest.mark.parametrize("weight", [1.0, 2.0, 50.0])
def test_of_five_two_that_lie_together_change_no_integer_and_no_age_in_whatever_order_they_come(lie, weight):
    liars = [obtained(weight, [lie, lie], 2**50, [lie, 0]) for _ in range(2)]
    honest = [obtained(1.0 + index, [100 + index, 5], 90 + index, [0, 1]) for index in range(3)]
    for items in permutations([*liars, *honest]):
        found = adopted(*items)
        assert found[COUNTS][0] in (100, 101, 102)
        assert found[COUNTS][1] == 5
        assert found["table"] == [0, 1]
        for announced in ([90], [90, 91, 92, 2**50, 2**50]):
            assert 90 <= adopted_age(medoid(items), items, announced) <= 92


def test_where_the_tables_of_honest_peers_differ_no_value_goes_beyond_all_of_theirs():
    """The liars' lie between the others by their weights, so one of them is chosen."""
    liars = [obtained(2.0, [0, 0], table=[lowest, 900]) for lowest in (-900, -901)]
    honest = [obtained(1.0 + index, [0, 0], table=[index, 10 - index]) for index in range(3)]
    for items in permutations([*liars, *honest]):
        lowest, highest = adopted(*items)["table"]
        assert (lowest, highest) == (0, 0) or (lowest >= 0 and highest <= 10), "one of theirs, or the own one"


def test_three_agree_whose_tables_are_equal_where_enough_announce_and_not_if_one_differs():
    same = [obtained(float(index), [index, 5], 7 + 1000 * index, [0, 1]) for index in range(3)]
    assert agree(same, 5)
    assert not agree([*same[:2], obtained(1.0, [0, 5], 7, [1, 0])], 20)


def test_where_few_announce_ages_and_counters_agree_as_long_as_none_is_beyond_twice_another():
    def three(count: int, age: int) -> list[Obtained]:
        return [obtained(1.0, [100, 5], 50, [0, 1]), obtained(1.0, [count, 5], age, [0, 1]), obtained(1.0, [120, 6], 60, [0, 1])]

    assert agree(three(200, 100), 4)
    assert not agree(three(201, 100), 4)
    assert not agree(three(MOST, 100), 4)
    assert not agree(three(-MOST, 100), 4)
    assert not agree(three(200, 101), 4)
    assert agree(three(201, 101), 5), "then the ages that are announced decide"


@pytest.mark.parametrize("table", [[0, 1], [0, 900], [1, 0]], ids=["true", "beyond", "turned"])
@pytest.mark.parametrize("lie", [MOST, -MOST, 0, 150])
def test_two_of_twenty_change_no_integer_beyond_twice_the_truth_wherever_they_are_in_the_order(lie, table):
    """As settling does it: three models, and five if they disagree."""
    liars = [obtained(7.0, [lie, lie], max(lie, 0), table) for _ in range(2)]
    honest = [obtained(1.0 + index / 100, [100, 5], 90 + index % 5, [0, 1]) for index in range(18)]
    for first, second in combinations(range(20), 2):
        items = [*honest]
        items.insert(first, liars[0])
        items.insert(second, liars[1])
        taken = items[:3] if agree(items[:3], 20) else items[:5]
        age = adopted_age(medoid(taken), taken, [item.entry.announcement.body.age for item in items])
        found = adopted(*taken, age=age)
        assert 90 <= age <= 94
        assert found["table"] == [0, 1]
        assert max(found[COUNTS]) <= 2 * 94


def test_two_liars_among_three_of_few_are_seen_and_among_four_have_no_say():
    """Of four that announce no more can come."""
    items = [obtained(1.0, [MOST, MOST], 2**50, [0, 1]) for _ in range(2)] + [obtained(1.0, [100, 5], 90, [0, 1]) for _ in range(2)]
    for three in combinations(items, 3):
        assert not agree(three, 4)
    found = adopted(*items)
    assert (found[COUNTS], adopted_age(medoid(items), items, [90] * 4)) == ([100, 5], 90)


def test_unit_vectors_have_no_say_in_whose_model_is_chosen():
    apart = {**SPECS, "w": attrs.evolve(SPECS["w"], buffer=True, apart=True)}
    items = [obtained(weight, [0, 0]) for weight in (9.0, 2.0, 3.0)]
    for item in items:
        item.decoder.specs = apart
    assert medoid(items) is items[0]


def test_of_two_the_lower_integers_are_taken_and_of_one_its_own_as_far_as_its_age_allows():
    assert adopted(obtained(1.0, [100, 5]), obtained(2.0, [MOST, 5]))[COUNTS] == [100, 5]
    assert adopted(obtained(1.0, [MOST, 5]))[COUNTS] == [200, 5]
    assert adopted(obtained(1.0, [MOST, 5]), own=24)[COUNTS] == [1600, 24], "eight for each step here"
    assert adopted(obtained(1.0, [MOST, 1]), own=0)[COUNTS] == [200, 1], "one for each step at least: it may have been evaluated only"


def test_no_counter_runs_over_whatever_all_others_claim():
    assert adopted(obtained(1.0, [MOST, -MOST]), own=1 << 40, age=1 << 48)[COUNTS] == [1 << 62, 1 << 40]


def test_the_age_is_that_of_the_adopted_model_but_at_most_the_middle_one_where_few_announce():
    provisional, middle, old = obtained(1.0, [0, 0], 10), obtained(2.0, [0, 0], 20), obtained(3.0, [0, 0], 2**50)
    three = [provisional, middle, old]
    assert [adopted_age(item, three, [10, 20, 2**50]) for item in three] == [10, 20, 20]
    assert adopted_age(old, [old], [2**50]) == OLDEST


def test_the_age_is_the_middle_one_of_all_that_announce_where_they_are_many():
    lies = [obtained(1.0, [0, 0], 2**50), obtained(1.0, [0, 0], 0)]
    assert [adopted_age(item, lies, [20, 2**50, 2**50, 0, 21, 22, 23]) for item in lies] == [22, 22]


def test_ages_that_are_only_announced_make_nobody_older_than_the_models_that_came():
    three = [obtained(1.0, [0, 0], age) for age in (20, 21, 22)]
    assert [adopted_age(item, three, [20, 21, 22, *[2**40] * 8]) for item in three] == [22, 22, 22]
