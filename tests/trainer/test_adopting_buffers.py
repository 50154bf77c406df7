"""Buffers are assigned, never added to, and what no merge touched keeps what it ran on to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from learnae.trainer.copying import ModelCopier
from learnae.trainer.shared import find_shared

FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


class Rig:
    """A model with one parameter and one buffer, `w` and `b`, and the areas that a node would see."""

    def __init__(self, buffer: torch.Tensor) -> None:
        self.model = nn.Module()
        self.model.w = nn.Parameter(torch.zeros(2))
        self.model.b = nn.Buffer(buffer)
        places = find_shared(self.model).places
        self.slots, self.pages = ([self._area(places) for _ in range(2)] for _ in range(2))
        self.copier = ModelCopier(places, self.slots, self.pages)
        self.copier.snapshot(0, 0)

    def offer(self, *values: float) -> None:
        """What the node merged from the first snapshot."""
        for name, tensor in self.slots[0].items():
            self.pages[0][name].copy_(tensor)
        self.pages[0]["b"].copy_(torch.tensor(values))

    @staticmethod
    def _area(places) -> dict[str, torch.Tensor]:
        return {p.name: torch.zeros(p.spec.shape, dtype=torch.float32 if p.spec.floating else torch.int64) for p in places}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("whole", [False, True])
def test_a_buffer_takes_the_merged_value_however_far_it_ran_on_meanwhile(dtype: torch.dtype, whole: bool) -> None:
    """Added to, the variance would be 0.125 + (0.25 - 1) < 0."""
    rig = Rig(torch.ones(2, dtype=dtype))
    rig.offer(0.25, 0.5)
    rig.model.b.fill_(0.125)
    rig.copier.adopt(0, 0, 1, whole=whole)
    assert rig.model.b.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64, torch.bool])
@pytest.mark.parametrize("whole", [False, True])
def test_a_buffer_that_no_merge_touched_keeps_what_it_ran_on_to(dtype: torch.dtype, whole: bool) -> None:
    rig = Rig(torch.ones(2, dtype=dtype))
    rig.offer(1.0, 1.0)
    rig.model.b.fill_(0)
    rig.copier.adopt(0, 0, 1, whole=whole)
    assert rig.model.b.tolist() == [0, 0]


def test_a_buffer_of_low_precision_keeps_no_rest_that_later_values_would_bear() -> None:
    rig = Rig(torch.ones(2, dtype=torch.bfloat16))
    rig.offer(1.001, 1.001)
    rig.copier.adopt(0, 0, 0)
    assert rig.copier.residues == {}
    rig.copier.snapshot(1, 1)
    assert rig.slots[1]["b"].tolist() == [1.0, 1.0]


def test_a_buffer_of_half_precision_does_not_overflow() -> None:
    rig = Rig(torch.ones(2, dtype=torch.float16))
    rig.offer(1e6, -1e6)
    rig.copier.adopt(0, 0, 1)
    assert rig.model.b.tolist() == [65504.0, -65504.0]


def test_a_counter_of_a_merged_model_is_not_set_back_and_that_of_a_whole_one_is_replaced() -> None:
    for whole, expected in ((False, [9, 7]), (True, [9, 6])):
        rig = Rig(torch.tensor([5, 5]))
        rig.offer(9, 6)
        rig.model.b += 2
        rig.copier.adopt(0, 0, 1, whole=whole)
        assert rig.model.b.tolist() == expected


def test_a_permutation_of_a_model_that_is_adopted_whole_arrives_as_it_is_though_the_own_one_was_shuffled_meanwhile() -> None:
    theirs = [7, 6, 0, 3, 5, 1, 2, 4]
    rig = Rig(torch.arange(8))
    rig.offer(*theirs)
    rig.model.b.copy_(torch.arange(7, -1, -1))
    rig.copier.adopt(0, 0, 1, whole=True)
    assert rig.model.b.tolist() == theirs


def test_a_buffer_that_was_rebound_in_inference_mode_can_be_assigned() -> None:
    rig = Rig(torch.ones(2))
    rig.offer(0.25, 0.5)
    with torch.inference_mode():
        rig.model.b = torch.full((2,), 3.0)
    rig.copier.adopt(0, 0, 1)
    assert rig.model.b.tolist() == [0.25, 0.5]
