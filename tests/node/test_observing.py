"""A merge in which the own model counts for nothing, and what its claims are."""

from __future__ import annotations

import numpy as np
import pytest

from learnae.node.claims import OLDEST, Claims
from learnae.node.observing import without_own
from learnae.plugins.merge import Average, AverageOptions
from learnae.records import LocalModel, PeerId, Received
from tests.support.records import an_update

OWN = {"w": np.full(2, 1000.0, np.float32)}
LOCAL = LocalModel(start=OWN, current=OWN, age=5, samples=7, loss=0.5)


def received(number: float, weight: float = 1.0, mask: list[bool] | None = None, **claims: int) -> Received:
    masks = {} if mask is None else {"w": np.array(mask)}
    tensors = {"w": np.full(2, number, np.float32), "n": np.array(claims.get("age", 0))}
    return Received(peer=PeerId(f"{number:064}"), update=an_update(**claims), tensors=tensors, masks=masks, weight=weight)


def average(*accepted: Received) -> list[float]:
    local, others = without_own(LOCAL, accepted)
    merged = dict(Average(AverageOptions(), None).merge(local, others, {}).tensors)["w"]
    return [round(float(value), 5) for value in (local.current["w"] if merged is None else merged)]


def test_one_update_is_the_model():
    assert average(received(3.0, 0.25)) == [3.0, 3.0]


def test_several_are_averaged_by_their_weights_alone():
    assert average(received(1.0, 0.25), received(4.0, 0.5)) == [3.0, 3.0]
    assert average(received(1.0), received(2.0), received(6.0)) == [3.0, 3.0]


def test_no_weight_is_above_that_of_the_model_in_the_own_place():
    _, others = without_own(LOCAL, [received(1.0, 0.1), received(2.0, 0.5), received(3.0, 0.2)])
    assert [item.weight for item in others] == [pytest.approx(0.2), pytest.approx(0.4)]


def test_own_values_stand_where_nothing_came_and_nowhere_else():
    assert average(received(3.0, 1.0, [True, False])) == [3.0, 1000.0]


def test_what_the_own_training_has_counted_is_not_passed_off_as_that_of_the_model():
    local, _ = without_own(LOCAL, [received(3.0, age=40, samples=80)])
    assert (local.age, local.samples, local.loss) == (40, 80, None)


def test_its_age_follows_the_lower_median_of_what_others_claim_up_and_down():
    claims = Claims(["n"])
    several = [received(float(number), age=age) for number, age in ((1, 90), (2, 100), (3, 1 << 60))]
    assert claims.observe(several, b"lineage1", 1).age == 100
    assert claims.observe([received(2.0, age=80)], b"lineage1", 2).age == 90
    assert claims.observe([received(9.0, age=1 << 60)], b"lineage2", 3).age == OLDEST, "of one alone what it says, within bounds"


def test_one_of_three_that_lies_raises_no_counter():
    claims = Claims(["n"])
    several = [received(float(number), age=age) for number, age in ((1, 90), (2, 100), (3, 1 << 40))]
    assert int(claims.observe(several, b"lineage1", 1).counters["n"]) == 100
