"""Two peers of different speeds with batch normalisation: merges come late, and every evaluation is finite all the same."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch import nn

import learnae
from learnae.trainer.swarm import Swarm
from tests.support.plain_sgd import PlainSGD

EVALUATIONS = 200
STEP_SECONDS, SLOW_EVERY = 0.15, 2  # the other peer takes a step in each second of them
READ_SECONDS = 0.35
SLOW = f"""
import trio
from learnae.plugins.directory.storage import DirectoryStorage


class Slow(DirectoryStorage):
    async def get(self, cids, deliver, *, hints=()):
        await trio.sleep({READ_SECONDS})
        await super().get(cids, deliver, hints=hints)
"""


class Peer:
    """The inputs of one tenth of its steps are a hundred times larger: its running variance rises and falls by powers of ten."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.5), nn.Linear(8, 1))
        self.optimizer = PlainSGD(self.model.parameters(), 0.001)
        self.steps = 0
        self.swarm: Swarm

    def step(self) -> None:
        self.steps += 1
        x = torch.randn(16, 4, generator=self.random) * (100.0 if self.steps % 10 == 0 else 0.5)
        self.model.train()
        self.optimizer.zero_grad()
        self.model(x).sub(1).square().mean().backward()
        self.optimizer.step()
        self.swarm.step(num_samples=16)

    def evaluate(self) -> bool:
        """Whether all is as it should be."""
        self.model.eval()
        with torch.no_grad():
            finite = bool(torch.isfinite(self.model(torch.ones(4, 4))).all())
        return finite and bool((self.model[1].running_var >= 0).all())


@pytest.mark.slow
def test_no_evaluation_is_spoiled_where_merges_come_late_into_a_model_that_ran_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_storage.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    config = {
        "swarm": {"name": "norms"},
        "train": {"local_steps": 2, "patience": 0.0},
        "join": {"wait_seconds": 0.5},
        "storage": [{"use": "slow_storage:Slow"}],
    }
    one, other = Peer(1), Peer(2)
    spoiled = []
    with ExitStack() as stack:
        for peer in (one, other):
            peer.swarm = stack.enter_context(learnae.join(peer.model, config=config, optimizer=peer.optimizer))
        for tick in range(EVALUATIONS):
            for peer in (one, other) if tick % SLOW_EVERY == 0 else (one,):
                peer.step()
                if not peer.evaluate():
                    spoiled.append((tick, peer.model[1].running_var.tolist()))
            time.sleep(STEP_SECONDS)
        assert one.swarm.status.merged > 5 and other.swarm.status.merged > 5
    assert not spoiled
