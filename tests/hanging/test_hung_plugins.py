"""Plugins that really hang, in real nodes: the trainer goes on, the node is ended and back, and the plugin is not called for a while."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import learnae
from learnae.trainer.swarm import Swarm
from tests.support.random_walk import train_until

pytestmark = pytest.mark.slow

OVERRIDES = (
    "train.local_steps=5",
    "train.patience=0.0",
    "join.wait_seconds=0.2",
    "node.hang_seconds=1.0",
    "node.bench_rounds=4",
    "node.fetch_seconds=0.5",
)
DISTRIBUTION = {
    "METADATA": "Metadata-Version: 2.1\nName: sticky\nVersion: 1.0\n",
    "entry_points.txt": "[learnae]\nsticky = sticky\n",
}


class Peer:
    """A model that wanders a little with each step, and its swarm."""

    def __init__(self, home: Path, swarms: ExitStack, tables: dict[str, Any]) -> None:
        self.home, self.model = home, torch.nn.Linear(64, 64)  # what is smaller needs no codec
        config = {"swarm": {"name": "stuck"}, **tables}
        self.swarm: Swarm = swarms.enter_context(learnae.join(self.model, config=config, home=home, overrides=OVERRIDES))

    def step(self) -> None:
        with torch.no_grad():
            self.model.weight.add_(0.001)
        self.swarm.step(num_samples=1)

    def hang(self, kind: str) -> None:
        (self.home / f"hang-{kind}").touch()

    def come_loose(self, kind: str) -> None:
        (self.home / f"hang-{kind}").unlink()

    @property
    def quarantined(self) -> dict[str, int]:
        return dict(self.swarm.status.quarantined)


@pytest.fixture
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Peer]]:
    """Makes peers of one swarm, where the distribution "sticky" is installed."""
    site = tmp_path / "site"
    (site / "sticky-1.0.dist-info").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("sticky.py"), site)
    for name, text in DISTRIBUTION.items():
        (site / "sticky-1.0.dist-info" / name).write_text(text)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(Path(learnae.__file__).parents[1])]))
    with ExitStack() as swarms:
        yield lambda name, **tables: Peer(tmp_path / name, swarms, tables)
    sys.modules.pop("sticky", None)


def merges(*peers: Peer) -> Callable[[], bool]:
    """Whether each of them merges something, from now on."""
    before = {peer.home: peer.swarm.status.merged for peer in peers}
    return lambda: all(peer.swarm.status.merged > before[peer.home] for peer in peers)


def test_strategies_that_hang_are_ended_with_their_node_and_quarantined_and_called_again_later(peer, capfd):
    """A merge in a thread, a selector in the loop, a storage's thread after its time, a codec that another peer has chosen."""
    kinds = ("merge", "selector", "storage", "codec")
    stuck, other = peer("stuck", **{kind: {"use": "sticky"} for kind in kinds[:3]}), peer("other", codec={"use": "sticky"})
    for number, kind in enumerate(kinds, start=2):
        train_until(merges(stuck), stuck, other)
        stuck.hang(kind)
        steps = stuck.swarm.status.steps
        train_until(lambda: bool(stuck.quarantined), stuck, other)
        assert set(stuck.quarantined) == {f"{kind} sticky"}
        assert stuck.swarm.status.steps > steps + 50
        stuck.come_loose(kind)
        train_until(lambda number=number: stuck.swarm.status.node_starts == number and not stuck.quarantined, stuck, other)
    train_until(merges(stuck, other), stuck, other)
    assert other.swarm.status.node_starts == 1
    said = capfd.readouterr().err
    assert re.findall(r'"strategy": "(\w+) sticky"', said) == list(kinds)
    assert "sticky.py" in said  # the stacks
    assert re.search(r"it hung \d+ s while .*; not called in this round and [234] more", said)


def test_a_node_that_somebody_stopped_is_replaced_and_nobody_is_quarantined(peer, capfd):
    alone = peer("alone")
    train_until(lambda: alone.swarm.status.rounds > 0, alone)
    os.kill(alone.swarm._node.pid, signal.SIGSTOP)
    rounds = alone.swarm.status.rounds
    train_until(lambda: alone.swarm.status.node_starts == 2 and alone.swarm.status.rounds > rounds, alone)
    assert alone.quarantined == {}
    assert "node.hung" in capfd.readouterr().err
