"""Lightning's own trainer with the callback: steps, evaluation, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from learnae.errors import ConfigError
from learnae.integrations.lightning import TRAINED, LearnaeCallback

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Lightning warns of small data, and of torch that changes
ROWS = TensorDataset(torch.arange(16.0)[:, None], 2 * torch.arange(16.0)[:, None])


class Line(L.LightningModule):
    def __init__(self, optimizer: Any = torch.optim.SGD) -> None:
        super().__init__()
        self.model, self.optimizer = nn.Linear(1, 1), optimizer

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        return nn.functional.mse_loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.model(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = self.optimizer(self.parameters(), lr=1e-4)
        return made


class Moves(L.Callback):
    """Stands for merges: what is told to be merged is 100 more than what was trained, and is lent."""

    def __init__(self, callback: LearnaeCallback) -> None:
        self.callback, self.validated, self.trained = callback, list[float](), list[float]()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        session = self.callback.swarm._session
        for name, page in session.shared_memory.pages[0].items():
            page.copy_(pl_module.state_dict()[name] + 100)
        session._merged_page = 0
        self.trained.append(pl_module.model.weight.item())

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.validated.append(pl_module.model.weight.item())


def trainer(folder: Path, *callbacks: L.Callback, **how: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return L.Trainer(default_root_dir=folder, accelerator="cpu", callbacks=list(callbacks), **quiet, **how)


def loader() -> DataLoader[Any]:
    return DataLoader(ROWS, batch_size=4)


def learnae_callback(tmp_path: Path, **how: Any) -> LearnaeCallback:
    return LearnaeCallback("line", home=str(tmp_path / "home"), **how)


def test_micro_batches_of_one_step_count_once_with_all_their_samples(tmp_path: Path) -> None:
    callback = learnae_callback(tmp_path)
    trainer(tmp_path, callback, max_steps=4, accumulate_grad_batches=2, enable_checkpointing=False).fit(Line(), loader())
    assert (callback.swarm.status.steps, callback.swarm.status.samples) == (4, 32)
    assert callback.swarm.status.node == "left"


@pytest.mark.parametrize("merged", [True, False])
def test_validation_measures_the_merged_model_unless_told_otherwise(tmp_path: Path, merged: bool) -> None:
    callback = learnae_callback(tmp_path, evaluate_merged=merged)
    moves, module = Moves(callback), Line()
    trainer(tmp_path, callback, moves, max_epochs=2, enable_checkpointing=False).fit(module, loader(), loader())
    after = [moves.trained[3], moves.trained[7]]
    assert moves.validated == pytest.approx([value + 100 * merged for value in after])
    assert len(moves.trained) == 8 and max(moves.trained) < 50, "training went on from what it was trained to"


def test_a_checkpoint_holds_the_merged_model_and_a_resumed_fit_goes_on_from_the_trained_one(tmp_path: Path) -> None:
    callback, module = learnae_callback(tmp_path), Line()
    moves, saved = Moves(callback), ModelCheckpoint(tmp_path / "saved", save_last=True)
    trainer(tmp_path, callback, moves, saved, max_epochs=1).fit(module, loader(), loader())
    checkpoint = torch.load(saved.last_model_path, weights_only=True)
    trained = moves.trained[-1]
    assert checkpoint["state_dict"]["model.weight"].item() == pytest.approx(trained + 100)
    assert checkpoint[TRAINED]["model.weight"].item() == trained
    assert Line.load_from_checkpoint(saved.last_model_path).model.weight.item() == pytest.approx(trained + 100)

    class First(L.Callback):
        weight: float | None = None

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self.weight = pl_module.model.weight.item() if self.weight is None else self.weight

    again, first = learnae_callback(tmp_path), First()
    trainer(tmp_path, again, first, max_epochs=2, enable_checkpointing=False).fit(Line(), loader(), ckpt_path=saved.last_model_path)
    assert first.weight == trained
    assert again.swarm.status.steps == 8, "those of the first run count"
    assert again.swarm.peer == callback.swarm.peer


def test_an_error_in_training_leaves_the_swarm_and_comes_through(tmp_path: Path) -> None:
    class Fails(Line):
        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            if number == 2:
                raise ZeroDivisionError
            return super().training_step(batch, number)

    callback = learnae_callback(tmp_path)
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False).fit(Fails(), loader())
    assert callback.swarm.status.node == "left"


def test_what_join_refuses_ends_the_fit_with_its_remedy(tmp_path: Path) -> None:
    callback = LearnaeCallback("line", home=str(tmp_path / "home"), overrides=["merge.use=avrage"])
    with pytest.raises(ConfigError, match="average"):
        trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False).fit(Line(), loader())
