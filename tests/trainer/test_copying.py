from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from learnae.trainer import copying
from learnae.trainer.copying import ModelCopier
from learnae.trainer.shared import find_shared


class Rig:
    """A model with two slots and two pages in plain memory."""

    def __init__(self, model: nn.Module) -> None:
        places = find_shared(model).places
        self.slots, self.pages = ([self.area(places) for _ in range(2)] for _ in range(2))
        self.copier = ModelCopier(places, self.slots, self.pages)

    @staticmethod
    def area(places: Any) -> dict[str, torch.Tensor]:
        return {p.name: torch.zeros(p.spec.shape, dtype=torch.float32 if p.spec.floating else torch.int64) for p in places}

    def merge(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for name, tensor in self.slots[0].items():
            self.pages[0][name].copy_(change(tensor))

    def round(
        self, change: Callable[[torch.Tensor], torch.Tensor], *, moved: int = 0, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """The model is handed over, changed by a merge, trained by so many steps meanwhile, and adopts the change."""
        self.copier.snapshot(0, steps=1)
        self.merge(change)
        meanwhile()
        self.copier.adopt(0, 0, steps=1 + moved)


class One(nn.Module):
    """One parameter, or one buffer."""

    def __init__(self, tensor: torch.Tensor, *, buffer: bool = False) -> None:
        super().__init__()
        if buffer:
            self.x = nn.Buffer(tensor)
        else:
            self.x = nn.Parameter(tensor)


def nudge(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(by)


def test_a_delta_is_added_to_what_was_trained_meanwhile() -> None:
    model = One(torch.tensor([1.0, 2.0]))
    rig = Rig(model)
    rig.round(lambda slot: slot + 0.5, moved=1, meanwhile=lambda: nudge(model, 10.0))
    assert model.x.tolist() == [11.5, 12.5]


def test_where_nothing_moved_the_page_is_copied_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = One(torch.randn(1000))
    rig = Rig(model)
    rig.copier.snapshot(0, steps=1)
    merged = torch.randn(1000)
    rig.merge(lambda slot: merged)
    rig.copier.adopt(0, 0, steps=1)
    assert torch.equal(model.x, merged)
    by_addition = rig.slots[0]["x"] + (merged - rig.slots[0]["x"])
    assert not torch.equal(by_addition, merged), "the copy would not be needed"


def test_a_model_that_moved_without_a_counted_step_is_not_overwritten() -> None:
    model = One(torch.zeros(3))
    rig = Rig(model)
    rig.round(lambda slot: slot + 1, meanwhile=lambda: nudge(model, 1.0))
    assert model.x.tolist() == [2.0, 2.0, 2.0]


def test_a_fused_optimizer_that_counts_no_versions_is_not_overwritten() -> None:
    model = One(torch.zeros(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=True)
    rig = Rig(model)
    rig.copier.snapshot(0, steps=1)
    rig.merge(lambda slot: slot + 1)
    model.x.grad = -torch.ones(3)
    optimizer.step()
    rig.copier.adopt(0, 0, steps=2)
    assert model.x.tolist() == [2.0, 2.0, 2.0]


def test_most_small_deltas_reach_a_bfloat16_parameter_only_with_residues() -> None:
    """From 1/32 to 1/16 bfloat16 has steps of 2.4e-4, so that 1e-4 is rounded away: that, or more, is the case for all beyond 1/32."""
    torch.manual_seed(0)
    start = (torch.randn(100_000) / 32).bfloat16()
    model = One(start.clone())
    rig = Rig(model)
    unmoved = ((start.float() + 1e-4).bfloat16() == start).float().mean()
    assert 0.31 < unmoved < 0.33, "what happens without residues"
    for _step in range(1, 101):
        rig.round(lambda slot: slot + 1e-4, moved=1)
    wanted = start.float() + 0.01
    assert (rig.copier.residues["x"] + model.x.float() - wanted).abs().max() < 1e-6
    spacing = wanted.abs() * 2**-8
    assert ((model.x.float() - wanted).abs() <= spacing + 1e-6).all()


def test_a_residue_is_what_rounding_took_away() -> None:
    """Between 1 and 2 bfloat16 has steps of 1/128: 1 + 1/512 becomes 1, and the fourth such step is one of its own."""
    model = One(torch.ones(1, dtype=torch.bfloat16))
    rig = Rig(model)
    seen = []
    for _step in range(4):
        rig.round(lambda slot: slot + 1 / 512, moved=1, meanwhile=lambda: nudge(model, 0.0))
        seen.append((model.x.item(), rig.copier.residues["x"].item()))
    assert seen == [(1.0, 1 / 512), (1.0, 2 / 512), (1.0 + 4 / 512, -1 / 512), (1.0 + 4 / 512, 0.0)]


def test_a_snapshot_shows_what_rounding_took_away() -> None:
    model = One(torch.ones(1, dtype=torch.bfloat16))
    rig = Rig(model)
    rig.round(lambda slot: slot + 1 / 512)
    rig.copier.snapshot(1, 0)
    assert rig.slots[1]["x"].tolist() == [1 + 1 / 512]


def test_a_float16_parameter_does_not_overflow() -> None:
    model = One(torch.zeros(1, dtype=torch.float16))
    rig = Rig(model)
    rig.round(lambda slot: slot + 1e6)
    assert model.x.tolist() == [65504.0] and torch.isfinite(rig.copier.residues["x"]).all()


def test_a_float64_parameter_keeps_its_bits_where_the_merge_left_it_alone() -> None:
    third = 1.0 / 3.0
    model = One(torch.tensor([third, third], dtype=torch.float64))
    rig = Rig(model)
    rig.round(lambda slot: torch.tensor([slot[0], 0.5]))
    assert model.x.tolist() == [third, 0.5]


def test_counters_that_ran_on_are_not_set_back_and_others_are_copied() -> None:
    model = One(torch.tensor([5, 5, 5]), buffer=True)
    model.weight = nn.Parameter(torch.zeros(1))
    rig = Rig(model)
    rig.copier.snapshot(0, 0)
    rig.pages[0]["x"].copy_(torch.tensor([9, 6, 5]))
    model.x += 2
    rig.copier.adopt(0, 0, 1)
    assert model.x.tolist() == [9, 7, 7]
    rig.copier.snapshot(0, 1)
    rig.pages[0]["x"].copy_(torch.tensor([3, 3, 3]))
    rig.copier.adopt(0, 0, 1)
    assert model.x.tolist() == [3, 3, 3]


def test_a_narrow_integer_buffer_is_not_wrapped_around() -> None:
    model = One(torch.tensor([1, 1], dtype=torch.uint8), buffer=True)
    model.weight = nn.Parameter(torch.zeros(1))
    rig = Rig(model)
    rig.copier.snapshot(0, 0)
    rig.pages[0]["x"].copy_(torch.tensor([300, -1]))
    rig.copier.adopt(0, 0, 0)
    assert model.x.tolist() == [255, 0]


@pytest.mark.parametrize("moved", [0, 1])
def test_a_bool_buffer_is_true_where_anyone_says_so(moved: int) -> None:
    model = One(torch.tensor([True, False, False]), buffer=True)
    model.weight = nn.Parameter(torch.zeros(1))
    rig = Rig(model)
    rig.copier.snapshot(0, 0)
    rig.pages[0]["x"].copy_(torch.tensor([1, 1, 0]))
    rig.copier.adopt(0, 0, moved)
    assert model.x.tolist() == [True, True, False]


def test_a_tensor_without_dimensions_works() -> None:
    model = One(torch.tensor(3.0))
    rig = Rig(model)
    rig.round(lambda slot: slot + 1, moved=1)
    assert model.x.shape == () and model.x.item() == 4.0


FORMATS = {
    "channels_last": torch.randn(8, 3, 5, 7).to(memory_format=torch.channels_last),
    "transposed": torch.randn(30, 20).t(),
    "strided": torch.randn(40, 6)[::2, 1:4],
    "permuted": torch.randn(3, 50, 2).permute(2, 0, 1),
    "long rows": torch.randn(2, 500),
    "empty": torch.randn(0, 3),
}


@pytest.mark.parametrize("moved", [0, 1])
@pytest.mark.parametrize("form", FORMATS)
def test_any_memory_format_survives_a_round_in_small_pieces(form: str, moved: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "CHUNK", 16)
    model = One(FORMATS[form])
    before, stride = model.x.detach().clone(), model.x.stride()
    rig = Rig(model)
    rig.copier.snapshot(0, 0)
    assert torch.equal(rig.slots[0]["x"], before)
    rig.merge(lambda slot: 2 * slot)
    rig.copier.adopt(0, 0, moved)
    assert torch.allclose(model.x, 2 * before) and model.x.stride() == stride


def test_adoption_never_rebinds_and_autograd_notices_it() -> None:
    model = One(torch.ones(2))
    rig = Rig(model)
    parameter, address = model.x, model.x.data_ptr()
    rig.copier.snapshot(0, 0)
    loss = (model.x * model.x).sum()
    rig.merge(lambda slot: slot + 1)
    rig.copier.adopt(0, 0, 1)
    assert model.x is parameter and model.x.data_ptr() == address and model.x.requires_grad
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_tied_weights_take_a_delta_once() -> None:
    model = nn.ModuleDict({"embed": nn.Linear(3, 3, bias=False), "head": nn.Linear(3, 3, bias=False)})
    model["head"].weight = model["embed"].weight
    rig = Rig(model)
    assert list(rig.slots[0]) == ["embed.weight"]
    rig.copier.snapshot(0, 0)
    rig.merge(lambda slot: slot + 1)
    before = model["head"].weight.detach().clone()
    rig.copier.adopt(0, 0, 1)
    assert torch.allclose(model["head"].weight, before + 1) and model["head"].weight is model["embed"].weight


def test_a_buffer_that_the_module_rebinds_is_followed() -> None:
    model = One(torch.zeros(2), buffer=True)
    model.weight = nn.Parameter(torch.zeros(1))
    rig = Rig(model)
    model.x = torch.ones(2)
    rig.copier.snapshot(0, 0)
    assert rig.slots[0]["x"].tolist() == [1.0, 1.0]
    rig.merge(lambda slot: slot + 1)
    model.x = model.x + 5
    rig.copier.adopt(0, 0, 0)
    assert model.x.tolist() == [2.0, 2.0], "a buffer is assigned"


def test_a_compiled_model_and_the_plain_one_exchange_weights() -> None:
    plain = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    compiled = torch.compile(copy.deepcopy(plain))
    here, there = Rig(compiled), Rig(plain)
    there.copier.snapshot(0, 0)
    here.copier.snapshot(0, 0)
    for name, tensor in there.slots[0].items():
        here.pages[0][name].copy_(tensor + 1)
    here.copier.adopt(0, 0, 0)
    for mine, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, other + 1)


@settings(max_examples=50)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(1, 9),
)
def test_two_peers_that_adopt_one_page_unmoved_hold_the_same_model(values: list[float], dtype: torch.dtype, chunk: int) -> None:
    page = torch.tensor(values, dtype=torch.float32)
    models = [One(torch.full((len(values),), fill, dtype=dtype)) for fill in (0.5, -2.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "CHUNK", chunk)
        for model in models:
            rig = Rig(model)
            rig.round(lambda slot: page)
            rig.copier.snapshot(1, 0)
            assert torch.equal(rig.slots[1]["x"], page)
    assert torch.equal(models[0].x, models[1].x)
