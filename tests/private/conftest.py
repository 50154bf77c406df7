"""Two members of a private swarm on folders that a stranger can read and write too."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from learnae.identity.swarms import SwarmKey
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import run_within

NAME = "sparrows"
TENSOR = "secret_layer.weight"


def model(value: float) -> dict[str, np.ndarray]:
    """One tensor of its own blocks (600,000 bytes as int8 with scales), and a small one."""
    return {TENSOR: np.full((640, 900), value, np.float32), "secret_layer.bias": np.full(3, value, np.float32)}


@attrs.define
class Folders:
    """What members and strangers share."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def board(self) -> Path:
        return self.root / "board"

    def settings(self) -> dict[str, Any]:
        return {
            "storage": {"use": "directory", "path": str(self.store)},
            "announcer": {"use": "directory", "path": str(self.board)},
            "gate": {"use": "sane"},
        }

    def messages(self) -> list[Path]:
        return sorted(path for path in self.board.rglob("*") if path.is_file())

    def packs(self) -> list[Path]:
        return sorted(path for path in self.store.iterdir() if path.is_file())


@attrs.define
class World:
    """A simulated private swarm on real folders."""

    swarm: SimulatedSwarm
    folders: Folders

    def member(self, name: str, value: float, **options: Any) -> SimulatedPeer:
        return self.peer(name, value, {"swarm": {"name": NAME, "key_file": str(self.swarm.key_file)}}, **options)

    def stranger(self, name: str, value: float) -> SimulatedPeer:
        """A peer of the same name, with a key of its own."""
        other = self.swarm.folder / "other.key"
        other.write_text(SwarmKey(bytes(32)).text())
        other.chmod(0o600)
        return self.peer(name, value, {"swarm": {"name": NAME, "key_file": str(other)}})

    def peer(self, name: str, value: float, settings: dict[str, Any], *, still: bool = True) -> SimulatedPeer:
        def drift(weights: dict[str, np.ndarray]) -> int:
            if not still:
                weights[TENSOR] += 0.01
            return 1

        return self.swarm.peer(name, model(value), drift, settings=settings)


def value(peer: SimulatedPeer) -> float:
    return float(peer.trainer.model[TENSOR].mean())


@pytest.fixture
def a_world(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[World]]:
    folders = Folders(tmp_path / "shared")
    folders.store.mkdir(parents=True)
    folders.board.mkdir()

    @asynccontextmanager
    async def opened(*, seed: int = 0, **settings: Any) -> AsyncIterator[World]:
        tables = folders.settings() | settings
        async with SimulatedSwarm(seed=seed, settings=tables, folder=tmp_path, private=True, level=logging.INFO) as swarm:
            yield World(swarm, folders)

    return opened


@pytest.fixture
def run_world(a_world: Callable[..., AbstractAsyncContextManager[World]]) -> Callable[..., Any]:
    """Runs an async function with a World, in a time of its own; what it returns is returned."""
    return partial(run_within, a_world)
