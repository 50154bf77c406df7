"""A Hugging Face trainer as a peer: `Trainer(..., callbacks=[LearnaeCallback("my-swarm")])`. It needs `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from learnae.integrations.hosted_peer import HostedPeer
from learnae.logs import make_logger

FILE = "learnae.pt"  # beside the other files of a checkpoint


class LearnaeCallback(TrainerCallback):
    """Joins the swarm `name` when training begins, and leaves it when training ends.

        trainer = Trainer(model=model, args=args, train_dataset=rows, callbacks=[LearnaeCallback("my-swarm")])

    Each step of the optimizer counts: accumulated micro-batches, and steps that a GradScaler skips, do not. Evaluations in between measure
    the model as it was merged last; with `evaluate_merged=False` as it was trained since. At the end the model is what came of the last
    merge, unless the trainer has loaded its best one. After an error call `leave`. Checkpoints have the file `learnae.pt`: a run that is
    resumed from one goes on as the same peer. `arguments` are those of `learnae.join`, such as `config="learnae.toml"` or `home="peer-1"`.
    `train` raises what `join` raises.
    """

    def __init__(self, name: str | None = None, *, evaluate_merged: bool = True, **arguments: Any) -> None:
        self._peer = HostedPeer(name, arguments, evaluate_merged)

    @property
    def swarm(self) -> Any:
        """The `learnae.Swarm`, or None before training has begun."""
        return self._peer.swarm

    def leave(self) -> None:
        """After an error or an interrupt in `train`, of which callbacks hear nothing: end the node, and take the model back. Idempotent."""
        self._peer.end(adopt=False)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step:
            self._peer.resume = _saved(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / FILE)
        self._peer.begin(kwargs["model"], kwargs["optimizer"])

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._peer.take_back()  # an evaluation that was announced, and did not come
        if self._peer.hook is not None:
            self._peer.hook.num_samples = args.train_batch_size * args.gradient_accumulation_steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_evaluate:
            self._peer.lend_merged()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if control.should_evaluate:
            self._peer.lend_merged()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._peer.take_back()
        metrics: Mapping[str, Any] = kwargs.get("metrics") or {}
        self._peer.log_metrics({name.removeprefix("eval_"): value for name, value in metrics.items()})

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        loss = (kwargs.get("logs") or {}).get("loss")
        if self._peer.hook is not None and isinstance(loss, int | float):
            self._peer.hook.loss = loss

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._peer.take_back()
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            torch.save(self._peer.state_dict(), folder / FILE)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._peer.end(adopt=not args.load_best_model_at_end)


def _saved(file: Path) -> Mapping[str, Any] | None:
    if not file.exists():
        advice = "it joins as a newcomer, and adopts what the swarm has"
        make_logger().warning("checkpoint.without_learnae", file=str(file), advice=advice)
        return None
    state: Mapping[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state
