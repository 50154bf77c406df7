from __future__ import annotations

import attrs
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from learnae.errors import ConfigError
from learnae.records import TensorSpec
from learnae.trainer.shared import clean_names, find_shared


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.bfloat16))
        self.register_buffer("scratch", torch.zeros(9), persistent=False)


NAMES = ["body.0.bias", "body.0.weight", "body.1.bias", "body.1.num_batches_tracked", "body.1.running_mean", "body.1.running_var"]
NAMES += ["body.1.weight", "scale"]


def names(model: nn.Module, *keep_local: str) -> list[str]:
    return [place.name for place in find_shared(model, keep_local).places]


def problem(model: nn.Module) -> str:
    with pytest.raises(ConfigError) as caught:
        find_shared(model)
    return str(caught.value)


def with_parameter(tensor: torch.Tensor) -> nn.Module:
    model = nn.Linear(2, 2)
    model.extra = nn.Parameter(tensor, requires_grad=tensor.is_floating_point() or tensor.is_complex())
    return model


def test_trained_parameters_and_kept_buffers_are_shared() -> None:
    assert names(Net()) == NAMES


def test_specs_say_name_type_and_shape() -> None:
    specs = {spec.name: spec for spec in find_shared(Net()).specs}
    assert specs["scale"] == TensorSpec(name="scale", dtype="bfloat16", shape=())
    assert specs["body.0.weight"] == TensorSpec(name="body.0.weight", dtype="float32", shape=(2, 3))
    assert specs["body.1.num_batches_tracked"] == TensorSpec(name="body.1.num_batches_tracked", dtype="int64", shape=(), buffer=True)


def test_what_matches_keep_local_is_not_shared() -> None:
    assert names(Net(), "*.running_*", "scale") == [name for name in NAMES if "running" not in name and name != "scale"]


def test_a_pattern_that_matches_nothing_is_named() -> None:
    assert find_shared(Net(), ["*.runing_*", "scale"]).unmatched == ("*.runing_*",)


def test_a_compiled_or_wrapped_model_has_the_same_names() -> None:
    assert names(torch.compile(Net())) == names(nn.DataParallel(Net())) == names(nn.DataParallel(torch.compile(Net()))) == NAMES


def test_a_compiled_part_of_a_model_has_the_same_names() -> None:
    model = Net()
    model.body = torch.compile(model.body)
    assert names(model) == NAMES


def test_a_model_with_a_part_that_is_called_module_keeps_that_name() -> None:
    assert clean_names(["module.weight", "head.weight"]) == ["module.weight", "head.weight"]
    assert clean_names(["module.module.weight", "module.head.weight"]) == ["module.weight", "head.weight"]


def test_tied_tensors_count_once_also_as_views_of_one_memory() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    model["c"].weight = nn.Parameter(model["a"].weight.detach())
    assert names(model) == ["a.weight"]


def test_a_tied_tensor_stays_local_if_any_of_its_names_matches() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False), "c": nn.Linear(2, 2, bias=False)})
    model["b"].weight = model["a"].weight
    assert names(model, "b.*") == ["c.weight"]


def test_a_parametrised_weight_is_shared_by_what_is_trained_of_it() -> None:
    assert "parametrizations.weight.original1" in names(parametrizations.weight_norm(nn.Linear(2, 2)))


def test_frozen_parameters_are_hashed_and_not_shared() -> None:
    frozen, same, other = Net(), Net(), Net()
    for model, value in ((frozen, 1.0), (same, 1.0), (other, 2.0)):
        nn.init.constant_(model.body[0].weight, value).requires_grad_(False)
    digests = [find_shared(model).frozen for model in (frozen, same, other)]
    assert "body.0.weight" not in names(frozen)
    assert digests[0] == digests[1] != digests[2] and len(digests[0]) == 32
    assert find_shared(Net()).frozen == b"" == find_shared(frozen, ["body.0.weight"]).frozen


def test_frozen_parameters_may_be_of_any_type() -> None:
    assert len(find_shared(with_parameter(torch.ones(2, dtype=torch.int8))).frozen) == 32


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.ones(2, dtype=torch.complex64), "is complex"),
        (torch.ones(2).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "meta device"),
        (torch.ones(1).expand(3), "is expanded"),
        (torch.ones(2).to(torch.float8_e4m3fn), "float8_e4m3fn"),
    ],
    ids=["complex", "sparse", "meta", "expanded", "float8"],
)
def test_what_cannot_be_shared_is_refused_by_name_with_a_way_out(tensor: torch.Tensor, says: str) -> None:
    text = problem(with_parameter(tensor))
    assert "extra" in text and says in text and 'keep_local = ["extra"]' in text


def test_all_problems_are_named_at_once() -> None:
    model = with_parameter(torch.ones(2, dtype=torch.complex64))
    model.more = nn.Parameter(torch.ones(2, device="meta"))
    assert "extra" in problem(model) and "more" in problem(model)


def test_a_lazy_module_is_refused() -> None:
    assert "run one batch" in problem(nn.LazyLinear(3))


@attrs.frozen
class Shard:
    dim: int

    def is_replicate(self) -> bool:
        return False


@attrs.frozen
class OtherShard(Shard):
    """Stands in for another kind of placement."""


@pytest.mark.parametrize(
    ("placements", "dtype", "said"),
    [
        ([Shard(1)], torch.float32, "fully_shard"),
        ([Shard(0), Shard(0)], torch.float32, "fully_shard"),
        ([OtherShard(0)], torch.float32, "fully_shard"),
        ([Shard(0)], torch.bfloat16, "mp_policy"),
    ],
)
def test_a_tensor_that_is_sharded_otherwise_than_by_rows_of_float32_is_refused(
    placements: list[Shard], dtype: torch.dtype, said: str
) -> None:
    class Sharded(torch.Tensor):
        device_mesh = "mesh"

    model = nn.Linear(2, 2, bias=False, dtype=dtype)
    model.weight.__class__ = Sharded  # stands in for DTensor, which needs several processes
    model.weight.placements = placements
    assert said in problem(model)


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2).requires_grad_(False)], ids=["empty", "frozen"])
def test_a_model_without_anything_to_share_is_refused(model: nn.Module) -> None:
    assert "nothing is shared" in problem(model)


def test_two_tensors_under_one_name_are_refused() -> None:
    model = nn.Module()
    model.a = nn.Module()
    model.a.w = nn.Parameter(torch.zeros(1))
    model.a._orig_mod = nn.Module()
    model.a._orig_mod.w = nn.Parameter(torch.zeros(1))
    assert "two tensors" in problem(model)
