"""A peer that learns to write like the texts that it has: `TEXT=book.txt learnae run learnae.toml`."""

import math

import texts
import torch
from model import TOKENS, Transformer
from torch import nn

import learnae

BATCH, EXAM = 16, 32  # windows, each as long as the model's context


def windows(text, starts, length):
    """The bytes at these places, and those that follow each (both: starts x length, int64)."""
    rows = text[starts[:, None] + torch.arange(length + 1)].long()
    return rows[:, :-1], rows[:, 1:]


def loss(model, batch):
    """How badly each next byte is foreseen, in nats."""
    seen, following = batch
    return nn.functional.cross_entropy(model(seen).reshape(-1, TOKENS), following.reshape(-1))


def make_trainer():
    model = Transformer()
    length = model.context
    learn, exam = texts.read(texts.named(), least=length + 1)
    questions = windows(exam, torch.linspace(0, len(exam) - length - 1, EXAM).long(), length)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)  # its averages stay with this peer, only weights are shared

    def batches():
        while True:
            yield windows(learn, torch.randint(len(learn) - length, (BATCH,)), length)

    def evaluate(model):
        return {"bits_per_byte": loss(model, questions).item() / math.log(2)}

    return learnae.TrainingLoop(model=model, optimizer=optimizer, batches=batches, loss=loss, evaluate=evaluate, evaluate_steps=25)
