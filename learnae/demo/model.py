"""The model of the demo and how it learns: the same for the peers and for those that they are compared with.

`python -m learnae.demo.model PLAN FOLDER` trains what the swarm is compared with: each peer alone, and one model with all the data. They
have the same 360 test images, and take the number of steps that it reads from standard input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from learnae.demo.digits import CLASSES, FEATURES
from learnae.demo.processes import Plan, Stage

Batch = tuple[Tensor, Tensor]


@attrs.frozen(eq=False)
class Data:
    """Images and labels, to learn from and to be tested with."""

    train: Batch
    test: Batch

    @classmethod
    def load(cls, path: Path) -> Data:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        return cls((tensors["train_x"], tensors["train_y"]), (tensors["test_x"], tensors["test_y"]))

    def part(self, classes: tuple[int, ...]) -> Batch:
        """The training images of these classes."""
        images, labels = self.train
        rows = torch.isin(labels, torch.tensor(classes))
        return images[rows], labels[rows]


class PlainSGD:
    """torch.optim.SGD, less all options. Making that one imports PyTorch's compiler: 4 CPU seconds in each of six processes."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": lr}]
        self.state: dict[str, Any] = {}

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=group["lr"])

    def zero_grad(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """There is none."""


def make_model(plan: Plan, number: int) -> tuple[nn.Module, PlainSGD]:
    """First weights of this peer's own, and plain SGD."""
    torch.manual_seed(plan.seed + number)
    model = nn.Sequential(nn.Linear(FEATURES, plan.hidden), nn.ReLU(), nn.Linear(plan.hidden, CLASSES))
    return model, PlainSGD(model.parameters(), plan.learning_rate)


def batches(part: Batch, plan: Plan) -> Iterator[Batch]:
    """Random ones, without end."""
    images, labels = part
    while True:
        rows = torch.randint(len(labels), (plan.batch,))
        yield images[rows], labels[rows]


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    images, labels = batch
    return nn.functional.cross_entropy(model(images), labels)


@torch.no_grad()
def accuracy(model: nn.Module, test: Batch) -> float:
    """The share of right answers."""
    images, labels = test
    return float((model(images).argmax(dim=1) == labels).float().mean())


class DemoInterrupt(KeyboardInterrupt):
    """Whoever started this process wants it to end: an interrupt, which is no mistake of the batches, and comes between two steps."""


def paced(source: Iterator[Batch], per_second: float, ended: Callable[[], bool]) -> Iterator[Batch]:
    """At most so many in a second; what was missed is not made up for. Raises Ended."""
    due = time.monotonic()
    while not ended():
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + 1 / per_second, time.monotonic())
        yield next(source)
    raise DemoInterrupt


def trained(plan: Plan, number: int, steps: int, part: Batch, test: Batch) -> float:
    """The accuracy of a model that has learned from this part only."""
    model, optimizer = make_model(plan, number)
    source = batches(part, plan)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, next(source)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return accuracy(model, test)


def main(plan: Plan, stage: Stage) -> None:
    torch.set_num_threads(1)
    data = Data.load(stage.data)
    steps = int(sys.stdin.readline())
    alone = [trained(plan, number, steps, data.part(classes), data.test) for number, classes in enumerate(plan.classes, 1)]
    central = trained(plan, 0, steps, data.train, data.test)
    sys.stdout.write(f"{json.dumps({'steps': steps, 'alone': alone, 'central': central})}\n")


if __name__ == "__main__":
    main(Plan.from_json(sys.argv[1]), Stage(Path(sys.argv[2])))
