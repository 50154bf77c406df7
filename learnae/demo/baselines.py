"""What the swarm is compared with: `python -m learnae.demo.baselines PLAN FOLDER`. Each peer alone, and one model with all the data.

The same model, the same 360 test images, and the number of steps that it reads from standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from learnae.demo.model import Batch, Data, accuracy, batches, loss_of, make_model
from learnae.demo.processes import Plan, Stage


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
