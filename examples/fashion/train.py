"""A peer that learns to tell clothes apart, though it has pictures of a few kinds only: `FASHION_CLASSES=0,1 learnae run learnae.toml`."""

from __future__ import annotations

import os

import fashion
import torch
from torch import nn

import learnae
from learnae import Problem

BATCH = 64
FOREIGN = 0.5  # of each batch, where there are rows of others


def classes() -> list[int]:
    """The kinds that this peer has pictures of: all, or those that FASHION_CLASSES names."""
    text = os.environ.get("FASHION_CLASSES", "0,1,2,3,4,5,6,7,8,9")
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) < len(fashion.NAMES) for word in words):
        raise learnae.ConfigError(Problem("FASHION_CLASSES", f"is no list of numbers from 0 to 9: {text!r}", "such as 0,1"))
    return sorted({int(word) for word in words})


def make_trainer() -> learnae.TrainingLoop:
    own, exam = fashion.read("train").of(classes()), fashion.read("t10k")
    rows = torch.utils.data.TensorDataset(torch.from_numpy(own.images.copy()), torch.from_numpy(own.labels))
    exam_images, exam_labels = torch.from_numpy(exam.images.copy()), torch.from_numpy(exam.labels)
    model = nn.Sequential(nn.Flatten(), nn.Linear(fashion.SIDE**2, 128), nn.ReLU(), nn.Linear(128, len(fashion.NAMES)))

    def said(model, images):
        return model(images.float() / 255)

    return learnae.TrainingLoop(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loader=lambda swarm: swarm.dataset(rows, labels=range(10), foreign=FOREIGN).loader(BATCH),
        loss=lambda model, batch: nn.functional.cross_entropy(said(model, batch[0]), batch[1]),
        evaluate=lambda model: {"accuracy": (said(model, exam_images).argmax(dim=1) == exam_labels).float().mean().item()},
        evaluate_steps=100,
    )
