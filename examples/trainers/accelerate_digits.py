"""A loop of Hugging Face's Accelerate in a swarm. The lines of Learnae are marked."""

import torch
from accelerate import Accelerator
from digits import accuracy, arguments, load, make_model
from torch import nn
from torch.utils.data import DataLoader

import learnae  # 1


def main(chosen):
    rows, test = load(chosen.classes)
    accelerator = Accelerator(cpu=True)
    model = make_model()
    model, optimizer, loader = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), lr=0.1), DataLoader(rows, batch_size=16, shuffle=True)
    )
    if not chosen.alone:
        swarm = learnae.join(model, "accelerate-digits", optimizer=optimizer, overrides=["train.local_steps=10"], auto=True)  # 2
    steps = 0
    while steps < chosen.steps:
        for images, labels in loader:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            steps += 1
    if not chosen.alone:
        swarm.flush(timeout=5)  # 3: take in what is merged now
        swarm.leave()
    print(f"accuracy on all ten digits: {accuracy(model, test):.3f}")


if __name__ == "__main__":
    main(arguments(__doc__, steps=10_000))
