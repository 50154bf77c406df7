"""A trainer of Hugging Face's transformers in a swarm. The lines of Learnae are marked."""

import tempfile

from digits import accuracy, arguments, load, make_model
from torch import nn
from transformers import Trainer, TrainingArguments

from learnae.integrations.transformers import LearnaeCallback  # 1


class Digits(nn.Module):
    """A model in the form that a Trainer wants: it computes its loss."""

    def __init__(self):
        super().__init__()
        self.model = make_model()

    def forward(self, images, labels):
        scores = self.model(images)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def main(chosen):
    rows, test = load(chosen.classes)
    model = Digits()
    callbacks = [] if chosen.alone else [LearnaeCallback("transformers-digits", overrides=["train.local_steps=10"])]  # 2
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=chosen.steps,
            per_device_train_batch_size=16,
            learning_rate=1e-3,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        )
        trained = [{"images": image, "labels": label} for image, label in rows]
        Trainer(model=model, args=args, train_dataset=trained, callbacks=callbacks).train()
    print(f"accuracy on all ten digits: {accuracy(model.model, test):.3f}")


if __name__ == "__main__":
    main(arguments(__doc__))
