"""What a trained peer writes: `python write.py HOME "It was"`, where HOME is the folder that `learnae run` saved in."""

import argparse
import sys
from pathlib import Path

import torch
from model import Transformer


def main(home, beginning, count):
    try:
        saved = torch.load(home / "checkpoint" / "checkpoint.pt", weights_only=True)
    except OSError as error:
        sys.exit(f"{home} holds no checkpoint: {error}")
    model = Transformer()
    model.load_state_dict(saved["model"])
    model.eval()
    print(beginning + model.write(beginning.encode(), count).decode(errors="replace"))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("home", type=Path, help="the peer's folder")
    options.add_argument("beginning", nargs="?", default="The ", help="what the text begins with")
    options.add_argument("--count", type=int, default=300, help="how many bytes to write")
    chosen = options.parse_args()
    main(chosen.home, chosen.beginning, chosen.count)
