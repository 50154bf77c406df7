"""The trainer of Hugging Face's transformers with the callback: steps, evaluation, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from learnae.integrations.transformers import FILE, LearnaeCallback

pytestmark = pytest.mark.slow
ROWS = [{"x": torch.tensor([float(number)]), "labels": torch.tensor([2.0 * number])} for number in range(16)]


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.line(x)
        return {"loss": nn.functional.mse_loss(found, labels), "logits": found}


class Moves(TrainerCallback):
    """Stands for merges: what is told to be merged is 100 more than what was trained, and is lent."""

    def __init__(self, callback: LearnaeCallback) -> None:
        self.callback, self.trained, self.evaluated = callback, list[float](), list[float]()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        session, line = self.callback.swarm._session, kwargs["model"].line
        for name, page in session.shared_memory.pages[0].items():
            page.copy_(line.state_dict()[name.removeprefix("line.")] + 100)
        session._merged_page = 0
        self.trained.append(line.weight.item())

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.evaluated.append(kwargs["model"].line.weight.item())


def train(tmp_path: Path, *callbacks: TrainerCallback, resume: str | None = None, **how: Any) -> Line:
    chosen: dict[str, Any] = {"save_strategy": "no", "max_steps": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-4, **how}
    args = TrainingArguments(
        output_dir=str(tmp_path / "out"), per_device_train_batch_size=4, report_to="none", use_cpu=True, disable_tqdm=True, **chosen
    )
    model = Line()
    Trainer(model=model, args=args, train_dataset=ROWS, eval_dataset=ROWS[:4], callbacks=list(callbacks)).train(
        resume_from_checkpoint=resume
    )
    return model


def learnae_callback(tmp_path: Path, **how: Any) -> LearnaeCallback:
    return LearnaeCallback("line", home=str(tmp_path / "home"), **how)


def test_accumulated_micro_batches_count_as_one_step_with_all_their_samples(tmp_path: Path) -> None:
    callback = learnae_callback(tmp_path)
    train(tmp_path, callback, max_steps=3, gradient_accumulation_steps=2)
    assert (callback.swarm.status.steps, callback.swarm.status.samples) == (3, 24)
    assert callback.swarm.status.node == "left"


@pytest.mark.parametrize("strategy", ["steps", "epoch"])
@pytest.mark.parametrize("merged", [True, False])
def test_an_evaluation_measures_the_merged_model_unless_told_otherwise(tmp_path: Path, merged: bool, strategy: str) -> None:
    callback = learnae_callback(tmp_path, evaluate_merged=merged)
    moves = Moves(callback)
    train(tmp_path, moves, callback, max_steps=8, eval_strategy=strategy, eval_steps=4)
    after = [moves.trained[3], moves.trained[7]]
    assert moves.evaluated == pytest.approx([value + 100 * merged for value in after])
    assert max(moves.trained) < 50, "training went on from what it was trained to"


def test_a_run_that_is_resumed_goes_on_as_the_same_peer(tmp_path: Path) -> None:
    callback = learnae_callback(tmp_path)
    train(tmp_path, callback, max_steps=4, save_strategy="steps", save_steps=4)
    folder = tmp_path / "out" / "checkpoint-4"
    assert (folder / FILE).exists()
    again = learnae_callback(tmp_path)
    train(tmp_path, again, resume=str(folder), max_steps=6)
    assert again.swarm.status.steps == 6
    assert again.swarm.peer == callback.swarm.peer


def test_a_checkpoint_without_the_swarms_file_makes_a_newcomer(tmp_path: Path) -> None:
    train(tmp_path, max_steps=4, save_strategy="steps", save_steps=4)
    callback = learnae_callback(tmp_path)
    train(tmp_path, callback, resume=str(tmp_path / "out" / "checkpoint-4"), max_steps=6)
    assert callback.swarm.status.steps == 2


@pytest.mark.parametrize("by", ["leave", "the next train"])
def test_an_interrupted_evaluation_ends_the_node_and_gives_the_trained_model_back(tmp_path: Path, by: str) -> None:
    class Interrupts(TrainerCallback):
        model: Any = None

        def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.model = kwargs["model"]
            raise KeyboardInterrupt

    callback, interrupts = learnae_callback(tmp_path), Interrupts()
    moves = Moves(callback)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, moves, callback, interrupts, eval_strategy="steps", eval_steps=4)
    first, model = callback.swarm, interrupts.model
    assert model.line.weight.item() == pytest.approx(moves.trained[-1] + 100)
    if by == "leave":
        callback.leave()
    else:
        train(tmp_path, callback)
    assert first.status.node == "left"
    assert model.line.weight.item() == moves.trained[-1]
