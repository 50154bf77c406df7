"""What the user's loop says is checked before it counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from learnae.errors import ConfigError, LearnaeDeprecationWarning
from learnae.trainer.shared import find_shared
from learnae.trainer.status import SwarmSettings
from learnae.trainer.swarm import Swarm


@pytest.fixture
def swarm(zeros: nn.Module) -> Iterator[Swarm]:
    """Without a node."""
    swarm = Swarm(zeros, find_shared(zeros), SwarmSettings())
    yield swarm
    swarm.leave()


@pytest.mark.parametrize("samples", [8, 8.0, np.int64(8), np.float32(8), torch.tensor(8.0)])
def test_whole_samples_count_however_they_come(swarm: Swarm, samples: Any) -> None:
    swarm.step(num_samples=samples)
    assert (swarm.status.steps, swarm.status.samples, type(swarm.status.samples)) == (1, 8, int)


@pytest.mark.parametrize("samples", [1.5, -1, math.nan, 10**30, torch.ones(3), "8", None, True])
@pytest.mark.parametrize("due", [False, True])
def test_a_step_with_samples_that_cannot_be_counts_for_nothing(swarm: Swarm, samples: Any, due: bool) -> None:
    swarm.step(num_samples=4, loss=0.5)
    if due:
        swarm._session.due = 0
    with pytest.raises((ValueError, TypeError), match="samples is"):
        swarm.step(num_samples=samples, loss=0.25)
    assert (swarm.status.steps, swarm.status.samples, swarm._model_progress.loss) == (1, 4, 0.5)


@pytest.mark.parametrize("loss", [torch.ones(3), "0.5", [0.5], {"loss": 1}, 10**400])
def test_a_step_with_a_loss_that_cannot_be_counts_for_nothing(swarm: Swarm, loss: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="loss is"):
        swarm.step(num_samples=4, loss=loss)
    assert (swarm.status.steps, swarm.status.samples) == (0, 0)


def test_a_loss_may_be_missing_or_not_a_number(swarm: Swarm) -> None:
    swarm.step(4, None)
    swarm.step(4, math.nan)
    swarm.step(4, torch.tensor([0.5]))
    assert swarm._model_progress.progress(0).loss == 0.5


def test_more_samples_than_can_be_told_are_refused(swarm: Swarm) -> None:
    swarm.step(2**62)
    with pytest.raises(ValueError, match="with those before"):
        swarm.step(2**62)
    assert (swarm.status.steps, swarm.status.samples) == (1, 2**62)


def test_a_step_after_leaving_counts_for_nothing(swarm: Swarm) -> None:
    swarm.leave()
    with pytest.raises(RuntimeError):
        swarm.step(4)
    assert swarm.status.steps == 0


@pytest.mark.parametrize("timeout", [-1, math.nan, math.inf, "1", None])
def test_a_flush_for_a_time_that_cannot_be_is_refused(swarm: Swarm, timeout: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="timeout is"):
        swarm.flush(timeout)


def test_the_old_keywords_of_step_and_flush_count_and_warn_where_they_are_written(swarm: Swarm) -> None:
    with pytest.warns(LearnaeDeprecationWarning, match="num_samples") as told:
        swarm.step(samples=4)
    assert swarm.status.samples == 4
    with pytest.warns(LearnaeDeprecationWarning, match="timeout") as told_too:
        swarm.flush(seconds=0.0)
    assert {one.filename for one in (*told, *told_too)} == {__file__}


def test_an_old_keyword_beside_the_new_one_is_refused_and_counts_for_nothing(swarm: Swarm) -> None:
    with pytest.raises(TypeError, match="samples"):
        swarm.step(num_samples=4, samples=4)
    with pytest.raises(TypeError, match="seconds"):
        swarm.flush(timeout=1.0, seconds=1.0)
    assert swarm.status.steps == 0


def test_what_the_old_keyword_brings_is_checked_as_ever(swarm: Swarm) -> None:
    with pytest.raises(ValueError, match="samples is"), pytest.warns(LearnaeDeprecationWarning):
        swarm.step(samples=-1)
    assert swarm.status.steps == 0


@pytest.mark.parametrize(
    "spoil", [dict.clear, lambda state: state.pop("residues"), lambda state: state.update(steps=-1)], ids=["empty", "part", "negative"]
)
def test_a_state_that_cannot_be_changes_nothing(swarm: Swarm, spoil: Callable[[dict[str, Any]], object]) -> None:
    swarm.step(4)
    state = swarm.state_dict()
    spoil(state)
    with pytest.raises(ConfigError, match="resume: "):
        swarm.load_state_dict(state)
    assert (swarm.status.steps, swarm.status.samples) == (1, 4)
