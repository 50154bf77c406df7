"""What ElementwiseMerge does for its authors: pieces, masks, weights, and errors that say what is wrong."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from attrs.validators import ge, lt

from learnae import ElementwiseMerge, NoOptions
from learnae.elementwise import PIECE, pieces
from learnae.testing.merge_kit import MergeConformance
from learnae.testing.models import LazyModel, constant_model, local_model, random_model, received


@attrs.frozen
class TrimOptions:
    trim: float = attrs.field(default=0.2, validator=[ge(0.0), lt(0.5)])  # share dropped at each end


class TrimmedMean(ElementwiseMerge):
    """The example of the plugin author's guide."""

    Options = TrimOptions
    library = "torch"

    def combine(self, stacked: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        drop = int(self.options.trim * len(stacked))
        return stacked.sort(dim=0).values[drop : len(stacked) - drop].mean(dim=0)


class TestTrimmedMean(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return TrimmedMean(TrimOptions(), learnae_context)


class Median(ElementwiseMerge):
    def combine(self, stacked, weights):
        return np.median(stacked, axis=0)


class TestMedian(MergeConformance):
    @pytest.fixture
    def merge(self, learnae_context):
        return Median(NoOptions(), learnae_context)


class WeightedSum(ElementwiseMerge):
    def combine(self, stacked, weights):
        return np.tensordot(weights, stacked, axes=1)


def vector(*values):
    return {"w": np.array(values, np.float32)}


def result_of(merge, local, *items):
    return dict(merge.merge(local, items, {}).tensors)


def make(combine, **members):
    return type("Made", (ElementwiseMerge,), {"combine": combine, **members})(NoOptions(), None)


def test_the_trimmed_mean_drops_both_ends():
    # sorted 0 1 2 3 100, one dropped at each end, mean of 1 2 3
    items = [received(vector(value)) for value in (1, 100, 2, 3)]
    assert result_of(TrimmedMean(TrimOptions(), None), local_model(vector(0)), *items)["w"].tolist() == [2.0]


def test_weights_are_normalised_with_the_own_one():
    # 1 : 1 : 0.5 -> 0.4 0.4 0.2
    seen = []
    merge = make(lambda self, stacked, weights: seen.append(weights.tolist()) or stacked.mean(axis=0))
    result_of(merge, local_model(vector(0)), received(vector(1)), received(vector(2), weight=0.5))
    assert seen == [pytest.approx([0.4, 0.4, 0.2])]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_takes_no_part(bad):
    merge = WeightedSum(NoOptions(), None)
    merge.weigh = lambda local, items: [bad, 1.0]
    assert result_of(merge, local_model(vector(2)), received(vector(900)), received(vector(4)))["w"].tolist() == [3.0]


def test_very_large_weights_do_not_overflow():
    merge = WeightedSum(NoOptions(), None)
    merge.weigh = lambda local, items: [1e308] * len(items)
    assert result_of(merge, local_model(vector(7)), *[received(vector(4))] * 5)["w"] == pytest.approx([4.0])


def test_an_author_who_forgets_the_gates_still_gets_nothing_refused():
    merge = WeightedSum(NoOptions(), None)
    merge.weigh = lambda local, items: [1.0] * len(items)
    assert result_of(merge, local_model(vector(2)), received(vector(900), weight=0.0), received(vector(4)))["w"].tolist() == [3.0]


def test_without_anybody_every_tensor_is_unchanged():
    local = local_model(random_model(0))
    assert result_of(WeightedSum(NoOptions(), None), local) == dict.fromkeys(local.current)


def test_each_received_tensor_is_decoded_once():
    lazy = LazyModel(random_model(1))
    result_of(WeightedSum(NoOptions(), None), local_model(random_model(0)), received(lazy))
    assert set(lazy.reads.values()) == {1}
    assert lazy.most_alive == 1


def test_a_tensor_of_several_pieces_equals_the_whole():
    rng = np.random.default_rng(0)
    models = [{"w": rng.standard_normal((3, PIECE - 7)).astype(np.float32)} for _ in range(3)]
    result = result_of(Median(NoOptions(), None), local_model(models[0]), received(models[1]), received(models[2]))["w"]
    np.testing.assert_array_equal(result, np.median([model["w"] for model in models], axis=0))


def test_a_tensor_that_is_not_contiguous_is_merged_by_place():
    own, other = np.zeros((2, 3), np.float32), np.arange(6, dtype=np.float32).reshape(3, 2).T
    result = result_of(WeightedSum(NoOptions(), None), local_model({"w": own}), received({"w": other}))["w"]
    np.testing.assert_array_equal(result, other / 2)


def test_a_combine_that_writes_into_its_arguments_spoils_nothing():
    def combine(self, stacked, weights):
        stacked *= weights[:, None]
        weights[:] = 0
        return stacked.sum(axis=0)

    local = local_model(constant_model(2))
    result = result_of(make(combine), local, received(constant_model(4)))
    assert (result["embedding"] == 3).all()
    assert (local.current["embedding"] == 2).all()


def test_pieces_cover_every_element_once():
    assert [(piece.start, piece.stop) for piece in pieces(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert list(pieces(0)) == []


BROKEN = {
    "a scalar": (lambda self, stacked, weights: np.float32(1), "returned float32, expected one array"),
    "nothing": (lambda self, stacked, weights: None, "returned NoneType"),
    "another shape": (lambda self, stacked, weights: stacked.mean(axis=1), r"the shape \(2,\) for \(2, 3\), expected \(3,\)"),
    "float64": (lambda self, stacked, weights: stacked.mean(axis=0, dtype=np.float64), "returned float64, expected float32"),
    "a view": (lambda self, stacked, weights: stacked[1], "a view of its argument"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_combine_that_breaks_its_contract_is_named(name):
    combine, message = BROKEN[name]
    with pytest.raises(ValueError, match=f"Made.combine .*{message}"):
        result_of(make(combine), local_model(vector(1, 2, 3)), received(vector(1, 2, 3)))


def test_torch_median_is_named_too():
    merge = make(lambda self, stacked, weights: stacked.median(dim=0), library="torch")
    with pytest.raises(ValueError, match="returned median, expected one array of library 'torch'"):
        result_of(merge, local_model(vector(1)), received(vector(2)))


def test_a_wrong_number_of_weights_is_named():
    merge = WeightedSum(NoOptions(), None)
    merge.weigh = lambda local, items: [1.0]
    with pytest.raises(ValueError, match=r"WeightedSum\.weigh returned 1 weights for 2 updates"):
        result_of(merge, local_model(vector(1)), received(vector(2)), received(vector(3)))


def test_an_unknown_library_is_named():
    with pytest.raises(ValueError, match="'jax', expected 'numpy' or 'torch'"):
        result_of(make(WeightedSum.combine, library="jax"), local_model(vector(1)), received(vector(2)))


def test_a_merge_that_goes_beyond_the_models_does_so_with_parameters_alone():
    class Beyond(ElementwiseMerge):
        def combine(self, stacked, weights):
            return stacked[0] + np.float32(4) * (stacked[1] - stacked[0])

    local = local_model({"w": np.ones(2, np.float32), "var": np.ones(2, np.float32)}, buffers=["var"])
    merge = Beyond(NoOptions(), None)
    other = received({"w": np.full(2, 0.5, np.float32), "var": np.full(2, 0.5, np.float32)})
    assert {name: tensor.tolist() for name, tensor in merge.merge(local, [other], {}).tensors} == {"w": [-1.0, -1.0], "var": [0.5, 0.5]}
