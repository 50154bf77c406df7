"""Two peers with real nodes, trainers included, that talk over a real tangle."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import learnae
from learnae.lowlevel import SwarmKey
from tests.support.random_walk import RandomWalker, train_until

if TYPE_CHECKING:
    from learnae_iota.devnet import Tangle


def member(seed: int, urls: list[str], folder: Path, stack: ExitStack) -> RandomWalker:
    document = {
        "swarm": {"name": "sparrows", "key_env": "SPARROWS_KEY"},
        "storage": {"use": "directory", "path": str(folder / "store")},
        "announcer": {"use": "iota", "nodes": urls},
    }
    settings = {"overrides": ["train.local_steps=5", "join.wait_seconds=0.5"], "log": {"level": "warning", "style": "json"}}
    home = folder / f"home-{seed}"
    return RandomWalker(seed, lambda model: stack.enter_context(learnae.join(model, config=document, home=home, **settings)))


@pytest.mark.slow
def test_a_swarm_trains_on_when_the_coordinators_node_is_killed(
    new_tangle: Callable[..., Tangle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARROWS_KEY", SwarmKey.generate().text())
    coordinator, second, third = new_tangle(nodes=3).nodes
    with ExitStack() as stack:
        one = member(1, [coordinator.url, second.url], tmp_path, stack)
        other = member(2, [third.url], tmp_path, stack)
        train_until(lambda: one.swarm.status.merged >= 2 and other.swarm.status.merged >= 2, one, other)
        coordinator.kill()
        before = one.swarm.status.merged, other.swarm.status.merged
        train_until(lambda: one.swarm.status.merged >= before[0] + 3 and other.swarm.status.merged >= before[1] + 3, one, other)
        assert one.swarm.status.lineage == other.swarm.status.lineage != b""
