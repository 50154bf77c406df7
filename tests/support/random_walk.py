"""Peers with real nodes that need no data: their models wander, so that merges have something to bring together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import torch

from learnae.trainer.swarm import Swarm

LIMIT_SECONDS = 60.0
PAUSE_SECONDS = 0.002  # leaves the nodes a core; nothing is waited for


class Stepping(Protocol):
    """A peer that trains when it is told to."""

    swarm: Swarm

    def step(self) -> None: ...


class RandomWalker:
    """A small model, of random weights by its seed, that moves a little with each step; `swarm` is what joining with it gave."""

    def __init__(self, seed: int, join: Callable[[torch.nn.Module], Swarm]) -> None:
        self.model = torch.nn.Linear(20, 5)
        self.chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.normal_(generator=self.chance)
        self.swarm = join(self.model)

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=self.chance), alpha=0.001)
        self.swarm.step(num_samples=1)


def train_until(done: Callable[[], bool], *peers: Stepping, limit_seconds: float = LIMIT_SECONDS) -> None:
    """Keep all of them training, some hundred steps a second, until something has happened. Fails with their status after the limit."""
    deadline = time.monotonic() + limit_seconds
    while not done():
        assert time.monotonic() < deadline, [peer.swarm.status for peer in peers]
        for peer in peers:
            peer.step()
        time.sleep(PAUSE_SECONDS)
