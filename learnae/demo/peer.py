"""One peer of the demo: `python -m learnae.demo.peer PLAN FOLDER NUMBER`. It reports in JSON lines, and ends with its standard input.

Nothing in here is special to the demo but the pace and the reports: a model, `learnae.join`, the ready-made loop, a checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import attrs
import torch
from torch import nn

from learnae.demo.model import Batch, Data, DemoInterrupt, accuracy, batches, loss_of, make_model, paced
from learnae.demo.processes import Plan, Stage
from learnae.logs import make_logger
from learnae.trainer.join import join
from learnae.trainer.loop import TrainingLoop, resume, train
from learnae.trainer.swarm import Swarm

SAVE_SECONDS = 1.0
MERGE_SECONDS = 0.5  # that an evaluation waits for the merge under way
LAST_MERGE_SECONDS = 5.0  # the last one does: on a busy machine a model has been trained on two digits for long until its merge comes
LOOK_SECONDS = 0.05
STDIN = 0
CHECKPOINTS = "checkpoint"
LOG = {"level": "info"}


@attrs.define
class Reporter:
    """Tells the demo how this peer fares, in one line each time."""

    swarm: Swarm
    model: nn.Module
    test: Batch
    bytes: int = 0

    def __call__(self, event: str) -> None:
        if event == "final":
            self._await_a_merge()
        else:
            self.swarm.flush(MERGE_SECONDS)
        status = self.swarm.status
        self.bytes += sum(report.published_bytes + report.fetched_bytes for report in self.swarm.reports())
        counts = {"heard": status.heard, "merged": status.merged, "refused": status.refused, "bytes": self.bytes}
        say({"event": event, "steps": status.steps, "accuracy": accuracy(self.model, self.test), **counts})

    def _await_a_merge(self) -> None:
        """A round in which nothing came leaves the model as two digits have trained it: one more is waited for, but not for ever."""
        merged, end = self.swarm.status.merged, time.monotonic() + LAST_MERGE_SECONDS
        while self.swarm.status.merged == merged and (left := end - time.monotonic()) > 0:
            self.swarm.flush(left)


def say(line: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def play(plan: Plan, stage: Stage, number: int) -> None:
    """Train until standard input ends."""
    torch.set_num_threads(1)
    ended = when_input_ends()
    while not stage.data.exists():  # whoever started this process writes it meanwhile
        if ended.wait(LOOK_SECONDS):
            return
    data = Data.load(stage.data)
    model, optimizer = make_model(plan, number)
    part, home = data.part(plan.classes[number - 1]), stage.home(number)
    trainer = TrainingLoop(
        model=model,
        optimizer=optimizer,
        batches=lambda: paced(batches(part, plan), plan.steps_per_second, ended.is_set),
        loss=loss_of,
        evaluate_steps=2 * plan.local_steps,
    )
    saved = resume(trainer, home / CHECKPOINTS, make_logger())
    with join(model, config=plan.config(number), optimizer=optimizer, home=home, resume=saved, log=LOG) as swarm:
        report = Reporter(swarm, model, data.test)
        say({"event": "training", "steps": swarm.status.steps})
        with contextlib.suppress(DemoInterrupt):
            train(trainer, swarm, folder=home / CHECKPOINTS, save_seconds=SAVE_SECONDS, on_progress=lambda moment: report("progress"))
        report("final")


def when_input_ends() -> threading.Event:
    """Set when whoever started this process closes its end, or dies."""
    ended = threading.Event()

    def wait() -> None:
        while os.read(STDIN, 1024):  # not sys.stdin: its lock, held here, would abort the interpreter's own end
            pass
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended


if __name__ == "__main__":
    play(Plan.from_json(sys.argv[1]), Stage(Path(sys.argv[2])), int(sys.argv[3]))
