from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from learnae.errors import ConfigError
from learnae.trainer.model_progress import checked

STATE = {"run": "a1", "adoption": 2, "lineage": "00" * 8, "age": 7, "steps": 5, "samples": 40, "residues": {}, "local": ["mask"]}


def test_a_state_is_taken_as_it_was_given() -> None:
    assert checked(STATE) == {**STATE, "local": ("mask",)}


def test_numbers_that_went_through_other_programs_are_plain_again() -> None:
    state = checked({**STATE, "steps": np.int64(5), "samples": 40.0, "age": torch.tensor(7)})
    assert [type(state[key]) for key in ("steps", "samples", "age")] == [int, int, int]


def test_a_state_of_an_earlier_version_knows_of_no_tensors_that_stay_local() -> None:
    assert checked({key: value for key, value in STATE.items() if key != "local"})["local"] == ()


@pytest.mark.parametrize("key", [key for key in STATE if key != "local"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: is missing"):
        checked({name: value for name, value in STATE.items() if name != key})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", 5),
        ("run", ""),
        ("adoption", -1),
        ("adoption", None),
        ("lineage", "xyz"),
        ("lineage", "00"),
        ("lineage", b"\x00" * 8),
        ("age", 1.5),
        ("steps", "5"),
        ("samples", 10**30),
        ("residues", []),
        ("residues", {"w": 1}),
        ("local", "mask"),
        ("local", 5),
    ],
)
def test_a_value_that_cannot_be_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"resume: {key}: "):
        checked({**STATE, key: value})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        checked({})
    assert len(caught.value.problems) == 7


def test_a_whole_checkpoint_is_told_from_its_part() -> None:
    with pytest.raises(ConfigError, match=r'checkpoint\["swarm"\]'):
        checked({"model": {}, "swarm": STATE})


@pytest.mark.parametrize("state", [None, [], "checkpoint.pt", 5])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError, match=r"swarm\.state_dict\(\)"):
        checked(state)
