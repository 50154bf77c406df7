"""What a slice says of itself: canonical, bounded, and a sketch that is the same on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.roots import encode_dag
from learnae.data.about import MOST_ABOUT_BYTES, SKETCH_BYTES, About, count_labels, decode_about, describe, encode_about, sketch_of
from learnae.data.schema import schema_of
from learnae.errors import ConfigError, UpdateRejectedError
from tests.support.slices import images

MANY, FEW = "0799f00aa2ab0e0f", "48d098f0e7e0d755"


def of(sketch: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Means and deviations."""
    means, deviations = np.frombuffer(sketch, "<f4").reshape(2, -1)
    return means, deviations


def sketched(**columns: np.ndarray[Any, Any]) -> bytes:
    return sketch_of(columns, schema_of(columns))


def test_few_features_stand_for_themselves() -> None:
    rng = np.random.default_rng(1)
    wide = rng.normal(3.0, 2.0, (5000, 5))
    means, deviations = of(sketched(wide=wide))
    assert np.allclose(means, wide.mean(0), rtol=1e-6) and np.allclose(deviations, wide.std(0), rtol=1e-6)


def test_many_features_fit_into_the_same_bytes_and_tell_two_sets_of_rows_apart() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.random((300, 28, 28), np.float32)
    one, again, other = sketched(x=pixels[:150]), sketched(x=pixels[150:]), sketched(x=pixels[150:] * 0.5)
    assert len(one) == SKETCH_BYTES <= 400

    def distance(a: bytes, b: bytes) -> float:
        return float(np.linalg.norm(of(a)[0] - of(b)[0]))

    assert distance(one, other) > 5 * distance(one, again)


def test_large_numbers_far_from_zero_keep_their_spread() -> None:
    times = 1.7e9 + np.arange(1000.0)
    assert of(sketched(t=times))[1][0] == pytest.approx(times.std(), rel=1e-6)


def test_numbers_of_any_size_give_a_finite_sketch() -> None:
    rows = {"f": np.array([1e308, -1e308]), "u": np.array([2**64 - 1, 0], np.uint64), "b": np.array([True, False])}
    assert np.isfinite(np.frombuffer(sketched(**rows), "<f4")).all()


def test_neither_labels_nor_words_are_features() -> None:
    rows = {"y": np.arange(4), "c": np.zeros(4, np.int32)}
    assert sketch_of(rows, schema_of(rows, "y", {"c": ["a"]})) == b""


def test_a_sketch_is_the_same_to_the_last_bit_on_every_machine() -> None:
    """Worked out once; sums whose order a library chooses would differ with the processor."""
    thirds = np.random.default_rng(1).integers(-1000, 1000, (40_000, 50)) / 3
    assert hashlib.sha256(sketched(x=thirds)).hexdigest()[:16] == MANY
    assert hashlib.sha256(sketched(x=thirds[:, :3])).hexdigest()[:16] == FEW


@given(st.integers(1, 70), st.integers(1, 60))
def test_a_sketch_is_finite_and_bounded(rows: int, features: int) -> None:
    sketch = sketched(x=np.arange(rows * features, dtype=np.float32).reshape(rows, features))
    assert len(sketch) == 8 * min(features, 48) and np.isfinite(np.frombuffer(sketch, "<f4")).all()


@pytest.mark.parametrize(
    ("labels", "counts"),
    [
        (np.array([3, 1, 3]), {"1": 1, "3": 2}),
        (np.array([True, False, True]), {"0": 1, "1": 2}),
        (np.array([-1], np.int8), {"-1": 1}),
        (np.array([1.0, 2.0]), {}),
        (np.zeros((2, 2), int), {}),
        (np.arange(65), {}),
        (np.arange(64), {str(number): 1 for number in range(64)}),
    ],
)
def test_rows_are_counted_by_label(labels: np.ndarray[Any, Any], counts: dict[str, int]) -> None:
    assert count_labels({"y": labels}, schema_of({"y": labels}, "y")) == counts


def test_what_is_said_comes_back() -> None:
    about = describe(images(), schema_of(images(), "y"), licence="CC0-1.0", source="a camera, in May")
    assert decode_about(encode_about(about)) == about


@pytest.mark.parametrize("said", [{"licence": "x" * 65}, {"source": "\x1b[2J"}, {"source": "x" * 257}])
def test_what_peers_would_refuse_is_not_said(said: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="peers would refuse"):
        describe(images(), schema_of(images(), "y"), **said)


def raw(**changes: Any) -> bytes:
    base = {"v": 1, "label": "", "labels": {}, "licence": "", "source": "", "words": {}, "sketch": ""}
    return encode_dag({key: value for key, value in {**base, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff", raw() + b"\0", raw()[:-1], b"\x80" * 100_000, bytes(MOST_ABOUT_BYTES + 1)),
        *(raw(v=2), raw(v=True), raw(label=3), raw(source=None), raw(more=1), raw(labels={"a": 0}), raw(labels={"a": -1})),
        *(raw(labels={"a": 1 << 40}), raw(labels={str(i): 1 for i in range(65)}), raw(words={"a": "b"}), raw(words={"a": [1]})),
        *(raw(words={"a": ["\n"]}), raw(words={str(i): [] for i in range(300)}), raw(licence="\x07"), raw(sketch="0")),
        *(raw(sketch="AB" * 8), raw(sketch="00" * 392), raw(sketch="0000c07f" * 2), raw(sketch=3)),
    ],
)
def test_nothing_else_is_believed(data: bytes) -> None:
    with pytest.raises(UpdateRejectedError):
        decode_about(data)


def test_an_empty_one_is_valid() -> None:
    assert decode_about(raw()) == About()
