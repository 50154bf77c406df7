"""A peer that learns to read handwritten digits, though it has images of some of them only.

A plain PyTorch loop; the lines of Learnae are marked.
"""

import argparse
import contextlib
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import learnae

CONFIG = Path(__file__).with_name("learnae.toml")


def digits():
    """1,437 images to learn from, 360 to be tested with, and the labels of both."""
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    return train_test_split(images.float() / 16, labels, test_size=0.2, random_state=0, stratify=labels)


@torch.no_grad()
def accuracy(model, images, labels):
    """The share of right answers on 360 test images of all ten digits."""
    return (model(images).argmax(dim=1) == labels).float().mean().item()


def main(classes, epochs):
    images, test_images, labels, test_labels = digits()
    mine = torch.isin(labels, torch.tensor(classes))  # what this peer has: the training images of these digits
    data = torch.utils.data.TensorDataset(images[mine], labels[mine])
    loader = torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    with learnae.join(model, config=CONFIG, optimizer=optimizer) as swarm:  # 1: join
        for epoch in range(1, epochs + 1):
            for x, y in loader:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
                swarm.step(num_samples=len(x))  # 2: after each step
            if epoch % 50 == 0:
                swarm.flush(timeout=0.5)  # 3: before you look at the model, take in what the others have learned
                right = accuracy(model, test_images, test_labels)
                print(f"epoch {epoch}: accuracy {right:.3f}, merged {swarm.status.merged} updates", flush=True)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9", help="the digits that this peer has images of, such as 0,1,2")
    options.add_argument("--epochs", type=int, default=100_000, help="passes over the images; Ctrl-C ends it sooner")
    chosen = options.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main([int(digit) for digit in chosen.classes.split(",")], chosen.epochs)
