"""What a node takes over from earlier runs of its peer when it is put together."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from learnae.link.messages import TrainerProgress
from learnae.node.build import Given, raw_bytes
from learnae.node.history import PublishedUpdate
from learnae.records import Cid, TensorSpec

SHAPE, OTHER = b"shapes 1", b"shapes 2"
SPECS = (TensorSpec(name="w", dtype="float32", shape=(10, 10)), TensorSpec(name="n", dtype="int64", shape=()))


def update(number: int, age: int, signature: bytes = SHAPE) -> PublishedUpdate:
    return PublishedUpdate(number, Cid(f"root {number}"), b"lineage1", age, 0, 100, "fp32", signature)


def given(*, trained: int = 0, kept: Sequence[PublishedUpdate] = (), bound: int | None = None, role: str = "trainer") -> Given:
    """Of a trainer whose model has so many steps in its history."""
    nothing: Any = None
    link: Any = SimpleNamespace(hello=SimpleNamespace(specs=SPECS, progress=TrainerProgress(0, b"", trained, 0, 0, 0.0)))
    config: Any = SimpleNamespace(peer=SimpleNamespace(max_update_bytes=bound, role=role))
    return Given(config, nothing, nothing, link, nothing, nothing, SHAPE, kept)


@pytest.mark.parametrize("trained", [0, 7])
def test_the_newest_own_update_is_what_a_trainer_that_has_come_no_further_may_go_on_from(trained: int) -> None:
    kept = [update(3, age=7), update(2, age=6)]
    assert given(trained=trained, kept=kept).left_behind == kept[0]


def test_a_trainer_that_has_come_further_by_a_checkpoint_goes_back_to_none() -> None:
    assert given(trained=8, kept=[update(3, age=7), update(2, age=6)]).left_behind is None


def test_an_observer_goes_on_from_no_update_that_this_home_has_published_as_a_trainer() -> None:
    assert given(kept=[update(3, age=7)], role="observer").left_behind is None


def test_an_own_update_of_another_architecture_is_passed_over() -> None:
    kept = [update(3, age=7, signature=OTHER), update(2, age=6)]
    assert given(kept=kept).left_behind == kept[1]
    assert given(kept=kept[:1]).left_behind is None


def test_nothing_is_left_behind_where_nothing_was_published() -> None:
    assert given().left_behind is None


def test_tensors_are_found_by_name_and_an_update_may_take_more_than_they_do_and_no_more_than_the_file_says() -> None:
    made = given()
    assert {name: spec.shape for name, spec in made.by_name.items()} == {"w": (10, 10), "n": ()}
    assert made.largest_update > raw_bytes(SPECS) == 408
    assert given(bound=500).largest_update == 500
