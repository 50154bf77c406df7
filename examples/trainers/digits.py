"""What the scripts train: handwritten digits, of which each peer has some only."""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import TensorDataset


def load(classes):
    """The training images of these digits, and the test images of all ten."""
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images, test_images, labels, test_labels = train_test_split(images.float() / 16, labels, test_size=0.2, random_state=0, stratify=labels)
    mine = torch.isin(labels, torch.tensor(classes))
    return TensorDataset(images[mine], labels[mine]), TensorDataset(test_images, test_labels)


def make_model():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@torch.no_grad()
def accuracy(model, test):
    """The share of right answers."""
    images, labels = test.tensors
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def arguments(doc, steps=3000, more=()):
    options = argparse.ArgumentParser(description=doc)
    options.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9", help="the digits that this peer has images of, such as 0,1,2,3,4")
    options.add_argument("--steps", type=int, default=steps)
    options.add_argument("--alone", action="store_true", help="without a swarm, to compare")
    for name, option in dict(more).items():
        options.add_argument(name, **option)
    chosen = options.parse_args()
    chosen.classes = [int(digit) for digit in chosen.classes.split(",")]
    return chosen
