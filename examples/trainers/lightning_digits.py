"""A Lightning trainer in a swarm. The lines of Learnae are marked."""

import lightning as L
import torch
from digits import accuracy, arguments, load, make_model
from torch import nn
from torch.utils.data import DataLoader

from learnae.integrations.lightning import LearnaeCallback  # 1


class Digits(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = make_model()

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self.model(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(chosen):
    rows, test = load(chosen.classes)
    module = Digits()
    callbacks = [] if chosen.alone else [LearnaeCallback("lightning-digits", overrides=["train.local_steps=10"])]  # 2
    trainer = L.Trainer(
        max_steps=chosen.steps,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(rows, batch_size=16, shuffle=True))
    print(f"accuracy on all ten digits: {accuracy(module.model, test):.3f}")


if __name__ == "__main__":
    main(arguments(__doc__))
