"""One peer of the demo: `python -m learnae.demo.peer PLAN FOLDER NUMBER`. It reports in JSON lines, and ends with its standard input.

Nothing in here is special to the demo but the pace and the reports: a model, `learnae.join`, the ready-made loop, a checkpoint. If the
plan has several acts, each line on standard input ends one of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import attrs
import torch
from torch import nn

from learnae.demo.digits import CLASSES
from learnae.demo.model import Batch, Data, DemoInterrupt, accuracy, batches, loss_of, make_model, paced
from learnae.demo.processes import Plan, Stage
from learnae.identity.keys import write_secret
from learnae.logs import make_logger
from learnae.trainer.dataset import SwarmDataset
from learnae.trainer.join import join
from learnae.trainer.loop import TrainingLoop, resume, train
from learnae.trainer.swarm import Swarm

SAVE_SECONDS = 1.0
MERGE_SECONDS = 0.5  # that an evaluation waits for the merge under way
LAST_MERGE_SECONDS = 5.0  # the last one does: on a busy machine a model has been trained on two digits for long until its merge comes
LOOK_SECONDS = 0.05
STDIN = 0
CHECKPOINTS, KEY = "checkpoint", "key"
LOG = {"level": "info"}


@attrs.define
class Reporter:
    """Tells the demo how this peer fares, in one line each time."""

    act: str
    swarm: Swarm
    model: nn.Module
    test: Batch
    dataset: SwarmDataset | None = None
    fetched: int = 0
    published: int = 0

    def __call__(self, event: str) -> None:
        trained = accuracy(self.model, self.test)
        if event == "final" and self.swarm.status.merged:
            self._await_a_merge()
        else:
            self.swarm.flush(MERGE_SECONDS)
        status = self.swarm.status
        for report in self.swarm.reports():
            self.fetched += report.fetched_bytes
            self.published += report.published_bytes
        counts = {"heard": status.heard, "merged": status.merged, "refused": status.refused}
        data = {"bytes": self.fetched + self.published, "fetched": self.fetched, "rows": self._rows()}
        with self.swarm.merged():  # between two merges a peer forgets what it has no images of
            reached = accuracy(self.model, self.test)
        if event != "final":  # there is no round any more that could take it
            self.swarm.log_metrics({"accuracy": reached})
        say({"event": event, "act": self.act, "steps": status.steps, "accuracy": reached, "trained": trained, **counts, **data})

    def _rows(self) -> int:
        return sum(rows for _, rows in self.dataset.slices()) if self.dataset else 0

    def _await_a_merge(self) -> None:
        """A round in which nothing came leaves the model as two digits have trained it: one more is waited for, but not for ever."""
        merged, end = self.swarm.status.merged, time.monotonic() + LAST_MERGE_SECONDS
        while self.swarm.status.merged == merged and (left := end - time.monotonic()) > 0:
            self.swarm.flush(left)


def say(line: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


@attrs.define
class Cues:
    """What comes on standard input: a line ends an act, the end of the input ends the play."""

    over: threading.Event = attrs.field(factory=threading.Event)
    _given: int = 0

    def __attrs_post_init__(self) -> None:
        threading.Thread(target=self._wait, daemon=True).start()

    def given(self, acts: int) -> bool:
        """Whether so many acts were ended."""
        return self._given >= acts or self.over.is_set()

    def _wait(self) -> None:
        while heard := os.read(STDIN, 1024):  # not sys.stdin: its lock, held here, would abort the interpreter's own end
            self._given += heard.count(b"\n")
        self.over.set()


def play(plan: Plan, stage: Stage, number: int) -> None:
    """All acts, or until standard input ends."""
    torch.set_num_threads(1)
    cues = Cues()
    while not stage.data.exists():  # whoever started this process writes it meanwhile
        if cues.over.wait(LOOK_SECONDS):
            return
    data = Data.load(stage.data)
    for at, act in enumerate(plan.acts, 1):
        if not cues.over.is_set():
            play_act(plan, stage, number, act, data, partial(cues.given, at))


def play_act(plan: Plan, stage: Stage, number: int, act: str, data: Data, ended: Callable[[], bool]) -> None:
    """Train until it has ended."""
    model, optimizer = make_model(plan, number)
    part, home, config = data.part(plan.classes[number - 1]), stage.home(number, act), plan.config(number, act)
    dataset: SwarmDataset | None = None

    def source() -> Iterator[Batch]:
        return chain.from_iterable(repeat(dataset.loader(plan.batch))) if dataset else batches(part, plan)

    trainer = TrainingLoop(
        model=model,
        optimizer=optimizer,
        batches=lambda: paced(source(), plan.steps_per_second, ended),
        loss=loss_of,
        evaluate_steps=2 * plan.local_steps,
    )
    move_in(home, stage.home(number))
    saved = resume(trainer, home / CHECKPOINTS, make_logger())
    with join(model, config=config, optimizer=optimizer, home=home, resume=saved, log=LOG) as swarm:
        dataset = swarm.dataset(part, labels=range(CLASSES)) if "data" in config else None
        report = Reporter(act, swarm, model, data.test, dataset)
        say({"event": "training", "act": act, "steps": swarm.status.steps})
        with contextlib.suppress(DemoInterrupt):
            train(trainer, swarm, folder=home / CHECKPOINTS, save_seconds=SAVE_SECONDS, on_progress=lambda moment: report("progress"))
        report("final")


def move_in(home: Path, first: Path) -> None:
    """With the key of the first home, if there is one: what a plugin has started for this peer knows it by that."""
    key = home / KEY
    if (first / KEY).exists() and not key.exists():
        home.mkdir(mode=0o700, exist_ok=True)
        write_secret(key, (first / KEY).read_text())


if __name__ == "__main__":
    play(Plan.from_json(sys.argv[1]), Stage(Path(sys.argv[2])), int(sys.argv[3]))
