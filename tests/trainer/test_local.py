from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.ao.quantization import MinMaxObserver, get_default_qat_qconfig, prepare_qat

from learnae.trainer.shared import by_reason, find_shared, listed
from learnae.trainer.structure import ModelStructure


def with_buffer(values: torch.Tensor, name: str = "mask") -> nn.Module:
    model = nn.Linear(2, 1)
    model.register_buffer(name, values)
    return model


def kept(model: nn.Module, *patterns: str) -> list[str]:
    return [one.name for one in find_shared(model, patterns).kept]


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_buffer_that_is_not_finite_stays_local_with_a_reason(value: float, dtype: torch.dtype) -> None:
    shared = find_shared(with_buffer(torch.tensor([0.0, value], dtype=dtype)))
    assert [place.name for place in shared.places] == ["bias", "weight"]
    assert [(one.name, "not finite" in one.reason) for one in shared.kept] == [("mask", True)]


def test_a_mask_that_is_finite_in_float64_alone_stays_local_too() -> None:
    assert kept(with_buffer(torch.tensor([torch.finfo(torch.float64).min], dtype=torch.float64))) == ["mask"]


@pytest.mark.parametrize("values", [torch.tensor([-1e9, 0.0]), torch.tensor([1, 2]), torch.zeros(0), torch.tensor(True)])
def test_any_other_buffer_is_shared(values: torch.Tensor) -> None:
    assert kept(with_buffer(values)) == []


def test_a_pattern_of_the_user_goes_first_and_counts_as_matched() -> None:
    shared = find_shared(with_buffer(torch.tensor(math.inf)), ["mask"])
    assert (shared.kept, shared.unmatched) == ((), ())


def test_an_observer_stays_local_whether_it_has_seen_data_or_not() -> None:
    fresh, used = (nn.ModuleDict({"a": nn.Linear(2, 1), "o": MinMaxObserver()}) for _ in range(2))
    used["o"](torch.tensor([1.0, 2.0]))
    assert kept(fresh) == kept(used) == ["o.eps", "o.min_val", "o.max_val"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_model_that_learns_to_be_quantised_is_shared_without_its_observers() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model.qconfig = get_default_qat_qconfig("x86")
    prepared = prepare_qat(model.train())
    structure = ModelStructure(find_shared(prepared), None)
    prepared(torch.ones(3, 2))
    assert [place.name for place in structure.follow().places] == ["0.bias", "0.weight", "1.bias", "1.weight"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_scripted_model_is_shared_by_its_names() -> None:
    shared = find_shared(torch.jit.script(nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))))
    assert len(shared.places) == 7 and ModelStructure(shared, None).follow() is shared


def test_what_stayed_local_before_stays_local_whatever_it_holds_now() -> None:
    shared = find_shared(with_buffer(torch.zeros(2)), kept_before=["mask"])
    assert [one.name for one in shared.kept] == ["mask"] and "mask" not in [place.name for place in shared.places]


def test_a_mask_that_several_modules_hold_is_named_once() -> None:
    model = nn.ModuleDict({"a": with_buffer(torch.tensor(math.inf)), "b": nn.Linear(1, 1)})
    model["b"].register_buffer("mask", model["a"].mask)
    assert kept(model) == ["a.mask"]


def test_a_parameter_that_is_not_finite_is_shared_and_named() -> None:
    model = nn.Linear(2, 1)
    nn.init.constant_(model.bias, math.nan)
    shared = find_shared(model)
    assert shared.broken == ("bias",) and len(shared.places) == 2


def test_many_names_are_listed_in_short() -> None:
    shared = find_shared(nn.ModuleList([with_buffer(torch.tensor(math.inf)) for _ in range(8)]))
    (names,) = by_reason(shared.kept).values()
    assert listed(names) == "0.mask, 1.mask, 2.mask, 3.mask, 4.mask, 5.mask and 2 more"
