from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from learnae.trainer.arguments import loss_of, seconds_of, whole


@pytest.mark.parametrize(
    "value",
    [
        8,
        8.0,
        np.int32(8),
        np.uint8(8),
        np.float32(8),
        np.array(8),
        np.array([8]),
        torch.tensor(8),
        torch.tensor(8.0),
        torch.tensor([8]),
        torch.tensor(8.0, requires_grad=True),
        torch.tensor(8, dtype=torch.bfloat16),
        Fraction(16, 2),
        Decimal(8),
    ],
)
def test_a_whole_number_is_one_however_it_comes(value: Any) -> None:
    found = whole(value, "samples")
    assert found == 8 and type(found) is int


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        -1,
        -0.5,
        math.nan,
        math.inf,
        10**30,
        np.float64(2.5),
        torch.tensor(1.5),
        torch.tensor([1, 2]),
        np.zeros(3),
        np.zeros(0),
        torch.tensor(-1),
        torch.zeros(0),
        torch.zeros(1, device="meta"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        1e300,
    ],
)
def test_no_whole_number_is_refused_with_what_was_given(value: Any) -> None:
    with pytest.raises(ValueError, match=r"samples is .+wanted is|cannot be read"):
        whole(value, "samples")


@pytest.mark.parametrize("value", [None, "8", b"ate", True, np.bool_(True), torch.tensor(True), [8], {"n": 8}, object(), 8j, whole])
def test_no_number_at_all_is_refused_with_what_was_given(value: Any) -> None:
    with pytest.raises(TypeError, match=r"samples is .+wanted is"):
        whole(value, "samples")


@pytest.mark.parametrize("value", [1, 0.5, math.nan, math.inf, np.float32(0.5), np.array([0.5]), Fraction(1, 2), Decimal("0.5")])
def test_a_loss_is_any_number_also_one_that_is_not_finite(value: Any) -> None:
    assert type(loss_of(value)) is float


def test_a_loss_of_one_element_is_not_read_yet() -> None:
    for loss in (torch.tensor(0.5, requires_grad=True), torch.tensor([[0.5]]), torch.tensor(3)):
        assert loss_of(loss) is loss


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2), torch.zeros(0), torch.zeros((), device="meta"), torch.zeros((), dtype=torch.cfloat), np.zeros(2), 10**400],
)
def test_what_is_no_single_value_is_no_loss(value: Any) -> None:
    with pytest.raises(ValueError, match="loss is"):
        loss_of(value)


@pytest.mark.parametrize("value", ["0.5", [0.5], {"loss": 0.5}, True, object(), 1j])
def test_what_is_no_number_is_no_loss(value: Any) -> None:
    with pytest.raises(TypeError, match="loss is"):
        loss_of(value)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["sparse", "quantised"])
def test_a_loss_that_is_stored_in_another_way_is_read_at_once(kind: str) -> None:
    one = torch.ones(1)
    assert loss_of(one.to_sparse() if kind == "sparse" else torch.quantize_per_tensor(one, 1, 0, torch.qint8)) == 1.0


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["csr", "mkldnn", "nested"])
def test_a_loss_that_nobody_can_read_is_refused_where_it_is_given(kind: str) -> None:
    make = {
        "csr": lambda: torch.ones(1, 1).to_sparse_csr(),
        "mkldnn": lambda: torch.ones(1).to_mkldnn(),
        "nested": lambda: torch.nested.nested_tensor([torch.ones(1)]),
    }
    with pytest.raises(ValueError, match=r"loss is .+(cannot be read|wanted is)"):
        loss_of(make[kind]())


def test_a_loss_that_signals_is_told_in_our_words() -> None:
    with pytest.raises(ValueError, match=r"loss is .+wanted is"):
        loss_of(Decimal("sNaN"))


@pytest.mark.parametrize("value", [0, 1.5, np.float32(2), torch.tensor(3.0)])
def test_seconds_are_any_time_that_ends(value: Any) -> None:
    assert type(seconds_of(value)) is float


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1e30, 10**400, Decimal("NaN"), Decimal("sNaN"), None, "1", True, [1]])
def test_a_time_that_never_ends_or_is_none_is_refused(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="seconds is"):
        seconds_of(value)
