"""Ways through Lightning's trainer beside the plain fit: manual optimization, fits in a row, checkpoints in the middle of a validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from learnae.integrations.lightning import TRAINED
from learnae.trainer.swarm import Swarm
from tests.integrations.test_lightning import Line, Moves, learnae_callback, loader, trainer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Lightning warns of small data, and of torch that changes


class Adversaries(Line):
    """The first optimizer steps while the graph of the second one's loss is kept, as in DCGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.maker, self.judge = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)), nn.Linear(1, 1)

    def training_step(self, batch: Any, _: int) -> None:  # type: ignore[override]
        of_judge, of_maker = self.optimizers()  # type: ignore[misc]
        made = self.maker(batch[0])
        of_judge.zero_grad()
        self.manual_backward(self.judge(made.detach()).mean())
        of_judge.step()
        of_maker.zero_grad()
        self.manual_backward(self.judge(made).mean())
        of_maker.step()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=1e-4) for part in (self.judge, self.maker)]


def test_no_model_is_adopted_between_a_forward_pass_and_its_backward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callback, module, step = learnae_callback(tmp_path), Adversaries(), Swarm.step

    def adopt(swarm: Swarm, *args: Any, **kwargs: Any) -> None:
        step(swarm, *args, **kwargs)
        with torch.no_grad():  # as an adoption does
            for parameter in module.parameters():
                parameter.copy_(parameter.clone())

    monkeypatch.setattr(Swarm, "step", adopt)
    trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False).fit(module, loader())
    assert (callback.swarm.status.steps, callback.swarm.status.samples) == (4, 16)


def test_the_loss_of_a_step_is_that_of_its_own_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[Any] = []
    monkeypatch.setattr(Swarm, "step", lambda swarm, num_samples=0, loss=None: losses.append(loss))
    trainer(tmp_path, learnae_callback(tmp_path), max_epochs=1, enable_checkpointing=False).fit(Line(), loader())
    assert len(losses) == 4 and None not in losses


def test_a_checkpoint_in_the_middle_of_a_validation_holds_both_models_and_the_validation_goes_on(tmp_path: Path) -> None:
    class Saves(L.Callback):
        def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / "middle.ckpt")

    callback = learnae_callback(tmp_path)
    moves = Moves(callback)
    trainer(tmp_path, callback, moves, Saves(), max_epochs=1, enable_checkpointing=False).fit(Line(), loader(), loader())
    checkpoint, trained = torch.load(tmp_path / "middle.ckpt", weights_only=True), moves.trained[-1]
    assert checkpoint[TRAINED]["model.weight"].item() == trained
    assert checkpoint["state_dict"]["model.weight"].item() == pytest.approx(trained + 100)
    assert moves.validated == pytest.approx([trained + 100])


def test_a_second_fit_takes_nothing_from_the_checkpoint_that_the_first_was_resumed_from(tmp_path: Path) -> None:
    trainer(tmp_path, first := learnae_callback(tmp_path), max_epochs=1).fit(Line(), loader())
    saved = next(tmp_path.glob("checkpoints/*.ckpt"))
    again = learnae_callback(tmp_path)
    trainer(tmp_path, again, max_epochs=2, enable_checkpointing=False).fit(Line(), loader(), ckpt_path=saved)
    assert (first.swarm.status.steps, again.swarm.status.steps) == (4, 8)
    trainer(tmp_path, again, max_epochs=1, enable_checkpointing=False).fit(Line(), loader())
    assert again.swarm.status.steps == 4


def test_the_loss_that_the_swarm_is_told_is_that_of_the_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Logs(Line):
        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            self.log_dict({"loss": -1.0, "train_extra": -1.0})
            return super().training_step(batch, number)

    told: list[dict[str, float]] = []
    monkeypatch.setattr(Swarm, "log_metrics", lambda _, metrics: told.append(dict(metrics)))
    trainer(tmp_path, learnae_callback(tmp_path), max_epochs=1, enable_checkpointing=False).fit(Logs(), loader(), loader())
    assert [sorted(metrics) for metrics in told] == [["loss"]] and told[0]["loss"] > 0


@pytest.mark.parametrize("where", ["training_step", "validation_step"])
def test_an_interrupt_ends_the_node_and_gives_the_trained_model_back(tmp_path: Path, where: str) -> None:
    callback, module = learnae_callback(tmp_path), Line()
    moves = Moves(callback)

    def interrupt(*_: Any) -> None:
        if moves.trained:
            raise KeyboardInterrupt

    usual = module.training_step
    setattr(module, where, lambda *args: interrupt() or (usual(*args) if where == "training_step" else None))
    with pytest.raises(SystemExit):
        trainer(tmp_path, callback, moves, max_epochs=1, enable_checkpointing=False).fit(module, loader(), loader())
    assert callback.swarm.status.node == "left"
    assert module.model.weight.item() == moves.trained[-1]
