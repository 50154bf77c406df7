"""The trainers of this example, one function for each peer's file: `learnae run ewr.toml`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flights
import torch
from torch import nn

import learnae

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

BATCH = 64
FEW = 300  # rows of an airport that has just begun to write down what happens
FOREIGN = 0.9  # of each batch of an airport, where there are rows of others: they are many more
GATHERED = 0.1  # of each batch of the workstation, where sensors have sent readings: they are far fewer than its own rows


def workstation() -> learnae.TrainingLoop:
    """All flights of all three airports."""
    found = flights.read()
    return trainer(found.training, found.test, GATHERED)


def ewr() -> learnae.TrainingLoop:
    return airport("EWR", month=1)


def jfk() -> learnae.TrainingLoop:
    return airport("JFK", month=5)


def lga() -> learnae.TrainingLoop:
    return airport("LGA", month=9)


def airport(name: str, month: int) -> learnae.TrainingLoop:
    """A few flights of one airport in one month. It is examined on those of all airports in all months, as the others are."""
    found = flights.read()
    return trainer(found.training.few(name, month, FEW), found.test, FOREIGN)


def observer() -> learnae.TrainingLoop:
    """Examines the model of the others, and trains nothing."""
    test = flights.read().test
    return learnae.TrainingLoop(model=make_model(), evaluate=lambda model: examine(model, test))


def make_model() -> nn.Module:
    width = 32
    return nn.Sequential(nn.Linear(len(flights.FEATURES), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def trainer(own: flights.Flights, test: flights.Flights, foreign: float) -> learnae.TrainingLoop:
    model = make_model()
    rows = torch.utils.data.TensorDataset(torch.from_numpy(own.features), torch.from_numpy(own.late))
    return learnae.TrainingLoop(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3),
        loader=lambda swarm: swarm.dataset(rows, labels=range(2), foreign=foreign).loader(BATCH),
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        evaluate=lambda model: examine(model, test),
        evaluate_steps=50,
    )


def examine(model: nn.Module, test: flights.Flights) -> Mapping[str, float]:
    """The loss, and how well the model ranks flights. Late ones are a fifth, so the share of right answers would say little."""
    said, late = model(torch.from_numpy(test.features)), torch.from_numpy(test.late)
    return {"loss": nn.functional.cross_entropy(said, late).item(), "auc": auc(said[:, 1] - said[:, 0], late)}


def auc(scores: Tensor, labels: Tensor) -> float:
    """The area under the ROC curve: how often one of label 1 has a higher score than one of label 0. 0.5 is chance, 1 is perfect.

    It is the statistic of Mann and Whitney: from the sum of the ranks of label 1, where equal scores share the mean of their ranks.
    """
    _, place, count = torch.unique(scores, return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[place].double()
    ones = int(labels.sum())
    return float((rank[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))
