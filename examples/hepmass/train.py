"""A peer that learns to tell new particles from the background, from its share of the rows of HEPMASS: `learnae run learnae.toml`."""

import os
from pathlib import Path

import hepmass
import torch
from torch import nn

import learnae
from learnae import Problem

HOW = """name the data set with HEPMASS_FILE=all_train.csv.gz learnae run learnae.toml
  - HEPMASS, UCI Machine Learning Repository: https://archive.ics.uci.edu/dataset/347/hepmass, or
  - synthetic rows of the same form: python hepmass.py synthetic.csv.gz"""


def collisions():
    """The rows of this peer: all, or with HEPMASS_SHARE=2/4 the second of four shares."""
    if "HEPMASS_FILE" not in os.environ:
        raise learnae.ConfigError(Problem("HEPMASS_FILE", "is not set", HOW))
    share = hepmass.Share.parse(os.environ.get("HEPMASS_SHARE", "1/1"), "HEPMASS_SHARE")
    return hepmass.Collisions.open(Path(os.environ["HEPMASS_FILE"]).expanduser(), share)


def make_trainer():
    data = collisions()
    exam, answers = map(torch.from_numpy, data.exam)
    width = 256
    model = nn.Sequential(
        *(nn.Linear(28, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)),
        nn.Flatten(0),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def batches():
        return ((torch.from_numpy(features), torch.from_numpy(labels)) for features, labels in data)

    def loss(model, batch):
        features, labels = batch
        return nn.functional.binary_cross_entropy_with_logits(model(features), labels)

    def evaluate(model):
        said = model(exam)
        right = ((said > 0) == (answers > 0)).float().mean().item()
        return {"exam_loss": nn.functional.binary_cross_entropy_with_logits(said, answers).item(), "accuracy": right}

    return learnae.TrainingLoop(model=model, optimizer=optimizer, batches=batches, loss=loss, evaluate=evaluate, evaluate_steps=100)
