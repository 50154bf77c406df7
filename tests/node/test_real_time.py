"""Two nodes in one process, in real time, over real folders; the folders are taken away and given back while they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import numpy as np
import pytest
import structlog
import trio
from structlog.testing import capture_logs

from learnae.config.load import load_document
from learnae.identity.keys import Identity
from learnae.node.build import build
from learnae.node.history import History
from learnae.node.node import Node
from learnae.node.runtime import Runtime, SharedResources, in_worker_threads
from learnae.plugins.manager import PluginManager
from learnae.testing.swarm import MemoryTrainer

LIMIT_SECONDS = 60


@attrs.define(eq=False)
class Watched(MemoryTrainer):
    """A trainer whose reports can be waited for."""

    changed: trio.Event = attrs.field(factory=trio.Event)

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(LIMIT_SECONDS):
            while not condition():
                await self.changed.wait()
                self.changed = trio.Event()

    def train_round(self) -> None:
        super().train_round()
        self.changed.set()

    @property
    def merges(self) -> int:
        return sum(report.merged for report in self.reports)


@pytest.fixture
def peers(tmp_path: Path):
    """Makes a node and its trainer, in this meeting folder, with a home of its own."""
    manager = PluginManager.discover(only=())

    def make(name: str, value: float) -> tuple[Watched, Node]:
        home = tmp_path / name
        home.mkdir()
        model = {"w": np.full(1000, value, np.float32)}
        trainer = Watched(model=model, train=lambda model: 1, round_seconds=lambda: 0.05, run=name)
        document = {
            "storage": {"use": "directory", "path": str(tmp_path / "meeting" / "blocks")},
            "announcer": {"use": "directory", "path": str(tmp_path / "meeting" / "announcements"), "poll_seconds": 0.2},
            "gate": {"use": "sane"},
            "join": {"wait_seconds": 0.3, "settle_seconds": 1.0},
            "node": {"fetch_seconds": 2.0},
        }
        runtime = Runtime(
            home=home,
            meeting=tmp_path / "meeting",
            clock=time.monotonic,
            seed=0,
            in_thread=in_worker_threads(),
            in_watcher_thread=in_worker_threads(2, abandon=True),
            share=SharedResources(),
            log=structlog.get_logger().bind(own=name),
        )
        config = load_document(document, folder=tmp_path, options_of=manager.options_of(tmp_path))
        identity, history = Identity.load_or_create(home / "key"), History.open(home / "history.sqlite")
        return trainer, build(config, manager, identity, history, trainer.connect("session"), runtime)

    return make


async def run_both(made, main) -> None:
    """Until `main` is over and both nodes have left by themselves."""
    async with trio.open_nursery() as trainers:
        for trainer, _ in made:
            trainers.start_soon(trainer.train_on)
        with trio.fail_after(LIMIT_SECONDS):
            async with trio.open_nursery() as nodes:
                for _, node in made:
                    nodes.start_soon(node.run)
                await main(*(trainer for trainer, _ in made))
                for _, node in made:
                    node.stop()
        trainers.cancel_scope.cancel()


def test_two_nodes_find_each_other_and_merge_in_real_time(peers):
    async def main(a: Watched, b: Watched) -> None:
        await a.until(lambda: a.merges >= 3)
        await b.until(lambda: b.merges >= 3)
        assert a.progress.lineage == b.progress.lineage

    trio.run(partial(run_both, [peers("a", 0.0), peers("b", 8.0)], main))


def test_folders_that_vanish_stop_nothing_for_good(peers, tmp_path):
    async def main(a: Watched, b: Watched) -> None:
        await a.until(lambda: a.merges >= 2)
        (tmp_path / "meeting").rename(tmp_path / "taken-away")  # at once: a folder that is being written to cannot be removed
        (tmp_path / "meeting").write_text("in the way")
        gone = len(a.reports)
        await a.until(lambda: len(a.reports) > gone + 3)
        assert a.reports[-1].published is None
        (tmp_path / "meeting").unlink()
        (tmp_path / "meeting" / "blocks").mkdir(parents=True)
        (tmp_path / "meeting" / "announcements").mkdir()
        before = a.merges, b.merges
        await a.until(lambda: a.merges > before[0] + 2)
        await b.until(lambda: b.merges > before[1] + 2)

    with capture_logs() as logs:
        trio.run(partial(run_both, [peers("a", 0.0), peers("b", 8.0)], main))
    told = [(line["event"], line["what"]) for line in logs if line["event"].startswith("outage") and line["own"] == "a"]
    assert told.count(("outage", "putting blocks by storage directory")) == 1
    assert told.count(("outage.over", "putting blocks by storage directory")) == 1
