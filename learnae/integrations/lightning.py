"""A Lightning trainer as a peer: `Trainer(callbacks=[LearnaeCallback("my-swarm")])`. It needs `lightning`, or `pytorch-lightning`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    try:
        from lightning.pytorch import Callback, LightningModule, Trainer
    except ImportError:
        from pytorch_lightning import Callback, LightningModule, Trainer  # the same, under its other name

from learnae.errors import ConfigError
from learnae.integrations.hosted_peer import HostedPeer
from learnae.trainer.loop import count

VALIDATION = re.compile(r"(val|valid|validation|eval)[_/](?=.)")
TRAINED = "learnae_trained"  # in a checkpoint: what the model was trained to, beside the merged one


class LearnaeCallback(Callback):
    """Joins the swarm `name` when training begins, and leaves it when training ends.

        trainer = L.Trainer(callbacks=[LearnaeCallback("my-swarm")])

    Each step of the first optimizer counts: micro-batches, and steps that a GradScaler skips, do not. Validation measures the model as it
    was merged last, and a checkpoint's `state_dict` is that one, for whoever loads it; with `evaluate_merged=False` both are as it was
    trained since. A fit that is resumed from a checkpoint goes on from what was trained, as the same peer of the swarm. `arguments` are
    those of `learnae.join`, such as `config="learnae.toml"` or `home="peer-1"`. `trainer.fit` raises what `join` raises.
    """

    def __init__(self, name: str | None = None, *, evaluate_merged: bool = True, **arguments: Any) -> None:
        super().__init__()
        self._peer = HostedPeer(name, arguments, evaluate_merged)

    @property
    def swarm(self) -> Any:
        """The `learnae.Swarm`, or None before training has begun."""
        return self._peer.swarm

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peer.begin(pl_module, trainer.optimizers, wait=True)  # until the batch is over: see StepHook

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._peer.hook is not None:
            self._peer.hook.num_samples += _size(batch)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self._peer.hook is not None:
            self._peer.hook.loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            self._peer.hook.pass_on()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peer.lend_merged()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peer.take_back()
        self._peer.log_metrics(_of_validation(trainer.callback_metrics))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._peer.end(adopt=True)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._peer.end(adopt=False)

    def state_dict(self) -> dict[str, Any]:
        return self._peer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._peer.resume = state_dict or None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        swarm, state = self._peer.swarm, checkpoint.get("state_dict", {})
        if swarm is None or not self._peer.evaluate_merged:
            return
        lends = self._peer.lends
        with self._peer.trained():
            if merged := swarm.merged_tensors(state):
                # Copies in the middle of a validation: `state` is the module's own memory, which is merged again before it is written.
                checkpoint[TRAINED] = {name: state[name].clone() if lends else state[name] for name in merged}
                checkpoint["state_dict"] = {**state, **merged}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and TRAINED in checkpoint:  # Lightning has loaded the merged one before it calls this
            pl_module.load_state_dict(checkpoint[TRAINED], strict=False)


def _of_validation(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """By their names without `val_`. Lightning tells those of training with them: "loss" would be that of the rows that are trained on."""
    found = {name[named.end() :]: value for name, value in metrics.items() if (named := VALIDATION.match(name))}
    return found or {name: value for name, value in metrics.items() if not name.startswith("train")}


def _size(batch: Any) -> int:
    """How many samples it holds; 0 where that cannot be told."""
    try:
        return count(batch)
    except ConfigError:
        return 0
