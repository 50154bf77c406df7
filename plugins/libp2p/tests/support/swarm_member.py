"""A program: one peer of a swarm, as small as can be. Node, host, gossipsub and storage are real; the trainer moves some numbers.

Argument: a JSON object with `name`, `home`, `listen`, `peers`, and what `Member` takes. It tells each round and who is connected, each a
line of JSON, and ends with its input.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import structlog
import trio

import learnae
from learnae.config.load import load_document
from learnae.node.build import build
from learnae.node.history import History
from learnae.node.runtime import Runtime, SharedResources, in_worker_threads, keep_memory
from learnae.observations import RoundReport
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.testing.context import identity_named
from learnae.testing.swarm import MemoryTrainer, Model
from learnae_libp2p.host import Libp2pHost
from learnae_libp2p.libp2p_transport import Libp2pTransport
from plugins.libp2p.tests.support.lone_peer import orders, tell


@attrs.frozen(kw_only=True)
class Member:
    """What one peer is like. `round_seconds` is its trainer's pace, `width` the side of its square model."""

    name: str
    home: str
    listen: list[str]
    peers: list[str]
    round_seconds: float = 2.0
    width: int = 64
    wait_seconds: float = 2.0
    peer: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def settings(self) -> Mapping[str, Any]:
        medium = {"listen": self.listen, "peers": self.peers, "mdns": False}
        return {
            "swarm": {"name": "churn", "open": True},
            "join": {"wait_seconds": self.wait_seconds, "on_split": "yield"},
            "announcer": {"use": "gossipsub", **medium},
            "storage": {"use": "libp2p", **medium},
            "peer": self.peer,
        }

    def trainer(self, run: int) -> MemoryTrainer:
        chance = np.random.default_rng([run, *hashlib.sha256(self.name.encode()).digest()])
        goal = np.random.default_rng(0).normal(size=(self.width, self.width)).astype(np.float32)

        def train(model: Model) -> int:
            noise = chance.normal(size=goal.shape).astype(np.float32)
            model["w"] += 0.1 * (goal - model["w"]) + 0.01 * noise
            return 1

        return MemoryTrainer(
            model={"w": np.zeros_like(goal)},
            train=train,
            round_seconds=lambda: float(self.round_seconds * chance.uniform(0.9, 1.1)),
            run=f"{self.name}-{run}",
        )


def told(report: RoundReport) -> None:
    """All that says how a round went, without CIDs."""
    names = ("round", "seconds", "outcome", "heard", "chosen", "merged", "refused", "failed", "lost", "age", "fetched_bytes")
    reasons = sorted({verdict.reason for verdict in report.verdicts if not verdict.merged})
    partners = sorted(verdict.peer for verdict in report.verdicts if verdict.merged)
    tell(event="round", lineage=report.lineage.hex(), why=reasons, partners=partners, **{name: getattr(report, name) for name in names})


def watched(manager: PluginManager) -> PluginManager:
    def learnae_round_finished(report: RoundReport) -> None:
        told(report)

    hook = learnae.hookimpl(learnae_round_finished)
    manager.register(type("Watcher", (), {hook.__name__: staticmethod(hook)})(), Plugin("watcher"))
    return manager


async def tell_connections(share: SharedResources) -> None:
    host = share(Libp2pHost)
    while True:
        news = host.news
        connections = Libp2pTransport(host).connections()
        relayed = sorted(connection.peer for connection in connections if not connection.direct)
        tell(event="connections", peers=sorted(connection.peer for connection in connections), relayed=relayed, built=host.times_built)
        await news.wait()


async def main(member: Member) -> None:
    home, share, identity = Path(member.home), SharedResources(), identity_named(member.name)
    manager = watched(PluginManager.discover(only=("learnae-libp2p",)))
    config = load_document(dict(member.settings), folder=home, options_of=manager.options_of(home))
    run = time.time_ns()
    trainer = member.trainer(run)
    log = structlog.get_logger().bind(own=member.name)
    runtime = Runtime(
        home=home,
        meeting=home,
        clock=time.monotonic,
        seed=run,
        in_thread=in_worker_threads(),
        threads=in_worker_threads,
        in_watcher_thread=in_worker_threads(2, abandon=True),
        share=share,
        log=log,
    )
    node = build(config, manager, identity, History.open(home / "history.sqlite"), trainer.connect(f"session-{run}"), runtime)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell_connections, share)
        nursery.start_soon(node.run)
        nursery.start_soon(trainer.train_on)
        tell(event="ready")
        await orders(lambda order: None)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    keep_memory()
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr), wrapper_class=structlog.make_filtering_bound_logger("warning")
    )
    trio.run(main, Member(**json.loads(sys.argv[1])))
