"""The digits, divided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.demo import digits
from tests.support.partitions import by_classes, dirichlet, iid, shards

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install learnae[demo]")


@pytest.fixture(scope="module")
def data() -> digits.Digits:
    return digits.load()


def test_there_are_1437_images_to_learn_from_and_360_to_be_tested_with(data: digits.Digits) -> None:
    assert (data.train_x.shape, data.test_x.shape) == ((1437, 64), (360, 64))
    assert (str(data.train_x.dtype), str(data.train_y.dtype)) == ("float32", "int64")
    assert (float(data.train_x.min()), float(data.train_x.max())) == (0.0, 1.0)


def test_each_digit_has_the_same_share_of_both_parts(data: digits.Digits) -> None:
    assert np.bincount(data.train_y).tolist() == [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    assert np.bincount(data.test_y).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_two_processes_get_the_same_split(data: digits.Digits) -> None:
    assert data.train_x.sum(dtype=np.float64) == 28085.5  # sixteenths add up exactly
    assert data.train_y[:8].tolist() == digits.load().train_y[:8].tolist()


def test_the_peers_of_the_demo_have_every_image_once(data: digits.Digits) -> None:
    parts = by_classes(data.train_y, [(0, 1, 2), (3, 4, 5), (6, 7), (8, 9)])
    assert [len(part) for part in parts] == [430, 436, 288, 283]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1437))


LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 0], np.int64)


def test_a_class_that_two_peers_have_is_not_divided() -> None:
    assert [part.tolist() for part in by_classes(LABELS, [(0,), (0, 1), ()])] == [[1, 4, 7], [1, 2, 3, 4, 7], []]


def test_iid_parts_differ_by_one_row_at_most() -> None:
    assert [len(part) for part in iid(LABELS, 3, seed=0)] == [3, 3, 2]


def test_two_shards_a_peer_are_two_runs_of_the_sorted_labels(data: digits.Digits) -> None:
    parts = shards(data.train_y, 20, seed=0)
    assert sorted({len(part) for part in parts}) == [70, 71, 72]  # 1437 rows in 40 shards: 37 of 36 rows, 3 of 35
    assert max(len(np.unique(data.train_y[part])) for part in parts) <= 4  # a shard may cross from one digit to the next


def test_a_small_alpha_gives_few_digits_to_each_peer_and_a_large_one_all(data: digits.Digits) -> None:
    def digits_of_a_peer(alpha: float) -> float:
        return float(np.mean([len(np.unique(data.train_y[part])) for part in dirichlet(data.train_y, 20, alpha, seed=0)]))

    assert digits_of_a_peer(0.1) < 6 < 9.9 < digits_of_a_peer(100.0)


def test_a_division_that_cannot_be_is_an_error() -> None:
    with pytest.raises(ValueError, match="do not give 4 to each of 3 peers"):
        dirichlet(LABELS, 3, 1.0, seed=0)


@given(st.lists(st.integers(0, 4), min_size=40, max_size=80), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_every_division_gives_each_row_to_one_peer_and_is_the_same_again(values: list[int], peers: int, seed: int) -> None:
    labels = np.array(values, np.int64)
    for divide in (iid, shards, lambda labels, peers, seed: dirichlet(labels, peers, 1.0, seed, least=1)):
        parts = divide(labels, peers, seed)
        assert len(parts) == peers
        assert sorted(np.concatenate(parts).tolist()) == list(range(len(values)))
        assert [part.tolist() for part in parts] == [part.tolist() for part in divide(labels, peers, seed)]
