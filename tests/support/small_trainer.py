"""The smallest project that trains: the text of its `train.py`."""

SMALL_TRAINER = """
import torch
from torch import nn
import learnae

def make_trainer():
    model = nn.Linear(4, 1)
    return learnae.TrainingLoop(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        batches=lambda: [torch.ones(2, 4)],
        loss=lambda model, batch: model(batch).square().mean(),
    )
"""
