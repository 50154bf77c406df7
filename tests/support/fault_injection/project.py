"""The swarm that is harmed: `learnae run` on the digits, each peer with its own part of the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from learnae import launch
from learnae.demo import digits
from tests.support.fault_injection.peers import PeerProcess

CONFIG = """
[swarm]
name = "chaos"

[train]
entry = "training:make_trainer"
local_steps = 20
save_seconds = 1.0

[join]
wait_seconds = 0.5

[node]
hang_seconds = 5.0
"""

TRAINING = '''
"""A perceptron on the digits."""

import os
import time

import numpy as np
import torch
from torch import nn

import learnae
from tests.support.plain_sgd import PlainSGD

PEER, PEERS, SEED = (int(os.environ[name]) for name in ("PEER", "PEERS", "SEED"))
PAUSE = float(os.environ["PAUSE"])  # between two steps: a machine whose peers are slow rather than busy
DATA = {name: torch.from_numpy(array) for name, array in np.load("digits.npz").items()}


def batches():
    x, y = DATA["train_x"][PEER::PEERS], DATA["train_y"][PEER::PEERS]
    for rows in torch.randperm(len(x)).split(16):
        time.sleep(PAUSE)
        yield x[rows], y[rows]


def evaluate(model):
    return {"accuracy": float((model(DATA["test_x"]).argmax(1) == DATA["test_y"]).float().mean())}


def make_trainer():
    torch.manual_seed(100 * SEED + PEER)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return learnae.TrainingLoop(
        model=model,
        optimizer=PlainSGD(model.parameters(), 0.1),
        batches=batches,
        loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
        evaluate=evaluate,
        evaluate_steps=100,
    )
'''


@attrs.frozen
class Project:
    """A folder with all that the peers need; their homes lie under the state folder."""

    folder: Path
    state: Path
    peers: int
    steps: int  # of each peer, in all its lives

    def prepare(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "learnae.toml").write_text(CONFIG)
        (self.folder / "training.py").write_text(TRAINING)
        np.savez(self.folder / "digits.npz", **attrs.asdict(digits.load()))

    def member(self, number: int, *, seed: int, pause: float, **environment: str) -> PeerProcess:
        home = self.state / "learnae" / "homes" / "chaos" / f"peer-{number}"
        words = ("run", "learnae.toml", "--json", "--steps", str(self.steps), "--set", f"peer.home={home}", "--set", f"peer.seed={seed}")
        settings = {"PEER": number, "PEERS": self.peers, "SEED": seed, "PAUSE": pause, "XDG_STATE_HOME": self.state, "LEARNAE_LOG": "info"}
        return PeerProcess(
            name=f"peer-{number}",
            command=launch.command("learnae", *words),
            folder=self.folder,
            home=home,
            log=self.folder / f"peer-{number}.log",
            environment={**{name: str(value) for name, value in settings.items()}, **environment},
        )


def moments(member: PeerProcess) -> list[dict[str, Any]]:
    """What the peer told of its training, in all its lives."""
    return [json.loads(line) for line in member.log.read_text().splitlines() if line.startswith('{"step"')]
