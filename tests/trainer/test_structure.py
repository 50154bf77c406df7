"""What becomes of a model after it was joined is followed, or refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from learnae.errors import ConfigError
from learnae.trainer.shared import find_shared
from learnae.trainer.structure import ModelStructure


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.head = nn.Linear(2, 2)
        self.register_buffer("cache", torch.zeros(1))
        self.register_buffer("mask", torch.tensor(-math.inf))


@pytest.fixture
def net() -> Net:
    return Net()


class Told(list[str]):
    """A log."""

    def warning(self, event: str, *, tensors: str, advice: str) -> None:
        self.append(f"{event}: {tensors} ({advice})")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def structure(net: Net, told: Told) -> ModelStructure:
    return ModelStructure(find_shared(net, ["cache"]), told)


def refusal(structure: ModelStructure) -> str:
    with pytest.raises(ConfigError) as caught:
        structure.follow()
    text = str(caught.value)
    assert "swarm.leave()" in text and "learnae.join()" in text
    return text


def tensors(structure: ModelStructure) -> dict[str, torch.Tensor]:
    return {place.name: place.tensor() for place in structure.follow().places}


def test_a_model_that_only_learns_is_as_it_was(net: Net, structure: ModelStructure) -> None:
    before = structure.follow()
    net.body(torch.ones(4, 3)).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    net.eval()
    net.load_state_dict(Net().state_dict())
    assert structure.follow() is before


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "head", nn.Linear(2, 2)),
        lambda net: setattr(net.head, "weight", nn.Parameter(torch.zeros(2, 2))),
        lambda net: setattr(net, "body", nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))),
        lambda net: setattr(net.body[1], "running_mean", torch.ones(2)),
        lambda net: setattr(net.head.weight, "data", torch.ones(2, 2)),
        lambda net: net.load_state_dict(Net().state_dict(), assign=True),
        lambda net: net.body.__setitem__(0, torch.compile(net.body[0])),
        lambda net: setattr(net, "head", nn.DataParallel(net.head).module),
        lambda net: nn.utils.vector_to_parameters(torch.zeros(24), net.parameters()),
    ],
    ids=["head", "parameter", "several", "buffer", "data", "assigned", "compiled", "unwrapped", "vector"],
)
def test_what_is_replaced_by_its_like_is_followed(net: Net, structure: ModelStructure, change: Callable[[Net], object]) -> None:
    change(net)
    found = tensors(structure)
    assert found["head.weight"] is net.head.weight
    assert found["body.0.weight"] is net.body[0].weight
    assert found["body.1.running_mean"] is net.body[1].running_mean
    assert structure.follow() is structure.follow()


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda net: setattr(net, "head", nn.Linear(2, 5)), ["head.weight", "(5, 2)", "(2, 2)", "head.bias"]),
        (lambda net: setattr(net, "head", nn.Sequential(nn.Linear(2, 2))), ["head.weight is gone", "head.0.weight is new"]),
        (lambda net: delattr(net, "head"), ["head.weight is gone", "head.bias is gone"]),
        (lambda net: setattr(net, "second", nn.Linear(1, 1)), ["second.weight is new"]),
        (lambda net: net.register_buffer("count", torch.zeros(1)), ["count is new"]),
        (lambda net: net.frozen.requires_grad_(True), ["frozen.weight was frozen at join and is trained now"]),
        (lambda net: prune.l1_unstructured(net.head, "weight", 0.5), ["head.weight is gone", "head.weight_orig", "head.weight_mask"]),
        (lambda net: parametrizations.weight_norm(net.head), ["head.weight is gone", "head.parametrizations.weight.original0"]),
        (lambda net: nn.utils.spectral_norm(net.head), ["head.weight is gone", "head.weight_orig"]),
        (lambda net: net.head.half(), ["head.weight is float16 now and was float32"]),
        (lambda net: net.double(), ["body.0.weight is float64"]),
        (lambda net: net.to("meta"), ["body.0.weight is on the meta device"]),
        (lambda net: setattr(net.head, "weight", net.body[0].bias), ["head.weight has the shape (2,)"]),
        (lambda net: setattr(net.head, "bias", net.body[0].bias), ["head.bias is tied to body.0.bias now"]),
        (lambda net: setattr(net.head, "bias", None), ["head.bias is gone"]),
        (lambda net: setattr(net, "lazy", nn.LazyLinear(2)), ["lazy.weight is new"]),
        (lambda net: net.register_buffer("meta", torch.zeros(2, device="meta")), ["meta is new"]),
        (lambda net: setattr(net.head.weight, "data", torch.ones(1, 2).expand(2, 2)), ["head.weight is expanded"]),
    ],
)
def test_what_became_another_model_is_refused_by_name(
    net: Net, structure: ModelStructure, change: Callable[[Net], object], names: list[str]
) -> None:
    change(net)
    said = refusal(structure)
    assert all(name in said for name in names)
    assert refusal(structure) == said


def test_a_parameter_that_became_a_buffer_is_refused(net: Net, structure: ModelStructure) -> None:
    del net.head.weight
    net.head.register_buffer("weight", torch.zeros(2, 2))
    assert "head.weight is a buffer now" in refusal(structure)


def test_adapters_beside_frozen_layers_are_refused_by_name(net: Net, structure: ModelStructure) -> None:
    net.requires_grad_(False)
    net.head.lora_a = nn.Linear(2, 1, bias=False)
    assert "head.lora_a.weight is new" in refusal(structure)


def test_many_names_are_said_in_short() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(50)))
    structure = ModelStructure(find_shared(model), Told())
    model.double()
    assert "and 92 more" in refusal(structure) and len(refusal(structure)) < 800


def test_what_is_mended_is_followed_again(net: Net, structure: ModelStructure) -> None:
    head, net.head = net.head, nn.Linear(2, 5)
    refusal(structure)
    net.head = head
    assert tensors(structure)["head.weight"] is head.weight


def test_tied_weights_stay_one(structure: ModelStructure) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    structure = ModelStructure(find_shared(model), Told())
    model["a"].weight = model["b"].weight = nn.Parameter(torch.ones(2, 2))
    assert tensors(structure)["a.weight"] is model["b"].weight
    model["b"].weight = nn.Parameter(torch.ones(2, 2))
    assert "b.weight was tied to a.weight and is no more" in refusal(structure)


def test_what_stays_local_may_change_as_it_likes(net: Net, structure: ModelStructure) -> None:
    net.cache = torch.zeros(7, 7, dtype=torch.complex64).to_sparse()
    net.mask = torch.zeros(3)
    assert "head.weight" in tensors(structure)


def test_what_is_frozen_later_stays_shared_and_is_told_once(net: Net, structure: ModelStructure, told: Told) -> None:
    for _ in range(3):
        net.head.requires_grad_(False)
        assert tensors(structure)["head.weight"] is net.head.weight
        net.head.requires_grad_(True)
        structure.follow()
    assert len(told) == 1 and "head.weight" in told[0]


def test_frozen_tensors_that_come_or_change_are_told(net: Net, structure: ModelStructure, told: Told) -> None:
    net.teacher = nn.Linear(1, 1).requires_grad_(False)
    net.frozen.half()
    structure.follow()
    assert "teacher.weight" in told[0] and "frozen.weight" in told[0]


def test_a_mask_that_comes_later_stays_local_and_is_told(net: Net, structure: ModelStructure, told: Told) -> None:
    net.register_buffer("late", torch.tensor([-math.inf]))
    assert "late" not in tensors(structure)
    assert "late" in told[0]
