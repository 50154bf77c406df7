"""Unit vectors and masks are not averaged: a net with spectral norm is as tame after a merge as before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from learnae.node.decoding import LazyMasks, LazyTensors
from learnae.node.merging import Merger
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.merge import Average, AverageOptions
from learnae.records import Decoded, LocalModel
from learnae.testing.models import received
from learnae.trainer.copying import ModelCopier
from learnae.trainer.shared import find_shared


class Homemade(nn.Module):
    """As GANs of the field have it: a vector beside its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.u0 = nn.Buffer(nn.functional.normalize(torch.randn(1, 6)).bfloat16())


class Innocent(nn.Module):
    """Names that look like it, of tensors that are something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.v = nn.Buffer(nn.functional.normalize(torch.ones(7), dim=0))
        self.ema_v = nn.Buffer(torch.ones(4))
        self.values_v = nn.Buffer(torch.zeros(6))
        self.u = nn.Buffer(torch.ones(6, 4))
        self.running_var = nn.Buffer(torch.ones(6))
        self.some_mask = nn.Buffer(torch.ones(6))


MODELS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "old": (lambda: spectral_norm(nn.Linear(4, 6)), {"weight_u", "weight_v"}),
    "new": (lambda: parametrizations.spectral_norm(nn.Linear(4, 6)), {"parametrizations.weight.0._u", "parametrizations.weight.0._v"}),
    "convolution": (lambda: spectral_norm(nn.Conv2d(3, 5, 3)), {"weight_u", "weight_v"}),
    "transposed": (lambda: spectral_norm(nn.ConvTranspose2d(3, 5, 3)), {"weight_u", "weight_v"}),
    "homemade": (Homemade, {"u0"}),
    "pruned": (lambda: prune.l1_unstructured(nn.Linear(4, 6), "weight", 0.5), {"weight_mask"}),
    "innocent": (Innocent, set()),
    "batch norm": (lambda: nn.BatchNorm1d(4), set()),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_stands_apart_is_recognised_by_what_it_is(kind: str) -> None:
    make, names = MODELS[kind]
    assert {spec.name for spec in find_shared(make()).specs if spec.apart} == names


def trained(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = make()
    for _ in range(30):
        model(torch.randn(8, 4))
    return model


class Update:
    """What was fetched of a model."""

    def __init__(self, model: nn.Module) -> None:
        self.specs = {spec.name: spec for spec in find_shared(model).specs}
        self.values = {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}

    def decode(self, name: str) -> Decoded:
        return Decoded(self.values[name])

    def reader(self, name: str) -> None:
        return None


def merge_into(model: nn.Module, other: nn.Module) -> None:
    """A whole round, without what lies between: snapshot, average, adoption."""
    places = find_shared(model).places
    slot, page = ({place.name: torch.zeros(place.spec.shape) for place in places} for _ in range(2))
    copier = ModelCopier(places, [slot], [page])
    copier.snapshot(0, 0)
    own = {name: tensor.numpy() for name, tensor in slot.items()}
    update = Update(other)
    tensors = LazyTensors(update, own)  # type: ignore[arg-type]
    item = received({})
    object.__setattr__(item, "tensors", tensors)
    object.__setattr__(item, "masks", LazyMasks(tensors))
    merge = Average(AverageOptions(weight="equal"), None)  # type: ignore[arg-type]
    Merger(ConfiguredStrategy("average", "average", merge), None, update.specs).run(
        LocalModel(start=own, current=own), [item], {name: tensor.numpy() for name, tensor in page.items()}, {}
    )
    copier.adopt(0, 0, 0)


@pytest.mark.parametrize("make", [MODELS["old"][0], MODELS["new"][0]], ids=["old", "new"])
def test_a_net_with_spectral_norm_is_as_tame_after_a_merge_as_before(make: Callable[[], nn.Module]) -> None:
    """The other has the same weights, and singular vectors of the other sign: their average is zero, and the net would be infinite."""
    model, other = trained(make, 0), trained(make, 0)
    with torch.no_grad():
        for name, buffer in other.named_buffers():
            if name.endswith(("_u", "_v")):
                buffer.neg_()
    merge_into(model, other)
    model.eval()
    norm = torch.linalg.matrix_norm(model.weight.detach() if make is MODELS["new"][0] else _normalised(model), 2)
    assert norm.item() == pytest.approx(1.0, abs=0.05)
    for name, buffer in model.named_buffers():
        if name.endswith(("_u", "_v")):
            assert np.isclose(buffer.norm().item(), 1.0)


def _normalised(model: nn.Module) -> torch.Tensor:
    model(torch.ones(1, 4))
    weight: torch.Tensor = model.weight.detach()
    return weight
