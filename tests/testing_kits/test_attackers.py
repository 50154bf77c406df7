"""What each ready-made attacker publishes, worked out by hand: two honest peers, a model of two weights and a counter."""

import math

import numpy as np
import pytest

from learnae.testing.attackers import (
    ATTACKS,
    Dissensus,
    FarPoint,
    FlippedLabels,
    FlippedMean,
    FlippedOwn,
    Gaussian,
    InBall,
    InnerProduct,
    Knowledge,
    LittleIsEnough,
    NotFinite,
    ReversedUpdate,
    Scaled,
    Stale,
    attacker,
    flip_labels,
)

START = (3.0, 4.0)


def model(*weights):
    return {"w": np.array(weights, np.float32), "seen": np.array([7])}


def to(*weights):
    """A training function that ends at these weights after five steps."""

    def train(own):
        own["w"][:] = weights
        return 5

    return train


def one_more(own):
    own["w"] += 1
    return 1


@pytest.fixture
def knowledge():
    """Two honest peers went from the start to a mean of (5, 5), and to (4, 6) and (8, 6) after that: a mean of (6, 6)."""
    known = Knowledge(model(*START))
    for name, first, last in (("a", (4.0, 5.0), (4.0, 6.0)), ("b", (6.0, 5.0), (8.0, 6.0))):
        for weights in (first, last):
            assert known.watch(name, to(*weights))(model(*START)) == 5
    return known


@pytest.mark.parametrize(
    ("attack", "published"),
    [
        (Scaled(), (7000, 7000)),
        (Scaled(-2.0), (-14, -14)),
        (FlippedOwn(), (-7, -7)),
        (FlippedMean(), (-6, -6)),
        (Stale(), START),
        (FlippedLabels(), (7, 7)),
        (ReversedUpdate(), (1, 1)),  # 5 - 4 (6 - 5)
        (LittleIsEnough(), (3, 6)),  # 6 - 1.5 * 2, and the honest agree on the second weight
        (InnerProduct(), (-0.6, -0.6)),
        (Dissensus(), (2, 6)),  # the first one, (4, 6), as far again from the mean
        (Dissensus(0.5, victim=1), (9, 6)),
    ],
)
def test_an_attacker_publishes_what_its_formula_says(attack, published, knowledge):
    hostile = model(0, 0)
    steps = attacker(attack, one_more, knowledge)(hostile)
    np.testing.assert_allclose(hostile["w"], published, rtol=1e-6)
    assert steps == 1 and hostile["seen"] == [7]


@pytest.mark.parametrize(
    ("toward", "way"),
    [
        ("opposed", np.array([-3, -2]) / math.sqrt(13)),  # from (6, 6) back to (3, 4)
        ("zero", -np.ones(2) / math.sqrt(2)),
        ("labels", np.ones(2) / math.sqrt(2)),  # what its own training adds
    ],
)
def test_one_in_the_ball_stays_just_within_the_radius(toward, way, knowledge):
    hostile = model(0, 0)
    attacker(InBall(toward=toward), one_more, knowledge)(hostile)
    np.testing.assert_allclose(hostile["w"], 6 + 0.9 * 0.3 * math.sqrt(72) * way, rtol=1e-6)


def test_a_random_direction_is_that_of_all_attackers(knowledge):
    first, second = model(0, 0), model(1, 1)
    for own in (first, second):
        attacker(InBall(toward="random"), one_more, knowledge)(own)
    assert np.linalg.norm(first["w"] - 6) == pytest.approx(0.27 * math.sqrt(72), rel=1e-5)
    np.testing.assert_array_equal(first["w"], second["w"])


def test_a_far_point_is_the_same_for_all_and_ten_times_as_long_as_the_first_weights(knowledge):
    first, second = model(0, 0), model(1, 1)
    for own in (first, second):
        attacker(FarPoint(), one_more, knowledge)(own)
    assert np.linalg.norm(first["w"]) == pytest.approx(50, rel=1e-5)
    np.testing.assert_array_equal(first["w"], second["w"])


def test_gaussian_weights_are_drawn_anew_in_each_round():
    known, hostile = Knowledge({"w": np.zeros(10_000, np.float32)}), {"w": np.zeros(10_000, np.float32)}
    train = attacker(Gaussian(), lambda own: 1, known)
    train(hostile)
    before = hostile["w"].copy()
    train(hostile)
    assert before.var() == pytest.approx(200, rel=0.1) and (before != hostile["w"]).all()


def test_what_is_not_finite_is_so_in_each_floating_tensor(knowledge):
    hostile = model(0, 0)
    attacker(NotFinite(), one_more, knowledge)(hostile)
    assert np.isnan(hostile["w"][0])
    attacker(NotFinite(math.inf), one_more, knowledge)(hostile)
    assert np.isinf(hostile["w"][0]) and hostile["seen"] == [7]


def test_labels_are_flipped_about_the_middle():
    assert flip_labels(np.array([0, 1, 9]), 10).tolist() == [9, 8, 0]
    assert FlippedLabels().flips_labels and InBall(toward="labels").flips_labels and not InBall(toward="zero").flips_labels


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_before_any_honest_peer_has_trained_and_leaves_what_it_knows_alone(name):
    known = Knowledge(model(*START))
    hostile = model(0, 0)
    attacker(ATTACKS[name](), one_more, known)(hostile)
    assert hostile["w"].dtype == np.float32 and hostile["w"].shape == (2,)
    np.testing.assert_array_equal(known.initial["w"], START)
