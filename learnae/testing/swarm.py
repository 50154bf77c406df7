"""A whole swarm in one process and in virtual time: the real node, in-memory media, trainers that are plain functions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
import structlog
import trio

from learnae.config.load import load_document
from learnae.identity.keys import Identity
from learnae.identity.swarm_keys import SwarmKey
from learnae.node.build import build
from learnae.node.history import History
from learnae.node.node import Node
from learnae.node.surroundings import Shared, Surroundings, inline
from learnae.plugins.announcer.memory import MemoryMedium
from learnae.plugins.manager import PluginManager
from learnae.records import PeerId
from learnae.testing.trainer import MemoryTrainer, Model, Train

IN_MEMORY = {"storage": {"use": "memory"}, "announcer": {"use": "memory"}}
QUIET = logging.ERROR


@attrs.define
class SimulatedPeer:
    """A peer that can be started, killed without warning, and started again with its home, with or without its trainer's model."""

    name: str
    swarm: SimulatedSwarm
    settings: Mapping[str, Any]
    trainer: MemoryTrainer
    identity: Identity
    history: History = attrs.field(factory=lambda: History.open(":memory:"))
    node: Node | None = None
    _starts: int = 0
    _node_scope: trio.CancelScope | None = None
    _trainer_scope: trio.CancelScope | None = None

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    @property
    def lineage(self) -> bytes:
        return self.trainer.progress.lineage

    def start(self) -> None:
        self.start_node()
        self._trainer_scope = trio.CancelScope()
        self.swarm.nursery.start_soon(self._run_trainer, self._trainer_scope)

    def start_node(self) -> None:
        """A new session on the old home."""
        self._starts += 1
        link = self.trainer.connect(f"session-{self._starts}")
        self.node = build(self.swarm.config(self.settings), self.swarm.manager, self.identity, self.history, link, self._surroundings())
        self._node_scope = trio.CancelScope()
        self.swarm.nursery.start_soon(self._run_node, self.node, self._node_scope)

    def kill_node(self) -> None:
        """As SIGKILL does: no goodbye."""
        if self._node_scope is not None:
            self._node_scope.cancel()
        self.node, self.trainer.link = None, None

    def kill(self) -> None:
        """Node and trainer at once."""
        self.kill_node()
        if self._trainer_scope is not None:
            self._trainer_scope.cancel()

    def replace_trainer(self, trainer: MemoryTrainer) -> None:
        """A new process on the old home, with whatever model it brings."""
        self.trainer = trainer

    async def _run_node(self, node: Node, scope: trio.CancelScope) -> None:
        with scope:
            await node.run()

    async def _run_trainer(self, scope: trio.CancelScope) -> None:
        with scope:
            await self.trainer.train_on()

    def _surroundings(self) -> Surroundings:
        log = structlog.wrap_logger(self.swarm.logger, wrapper_class=structlog.make_filtering_bound_logger(self.swarm.level)).bind(
            peer=self.name
        )
        seed = int.from_bytes(hashlib.sha256(f"{self.swarm.seed}/{self.name}/{self._starts}".encode()).digest()[:8], "big")
        folder = self.swarm.folder / self.name
        return Surroundings(
            home=folder,
            meeting=self.swarm.folder,
            clock=trio.current_time,
            seed=seed,
            in_thread=inline,
            in_watcher_thread=inline,
            share=self.swarm.shared,
            log=log,
        )


@attrs.define
class SimulatedSwarm:
    """`async with SimulatedSwarm(...)` inside `run_in_virtual_time`; `medium` may be changed at any moment.

    A `private` one writes its key to `folder`; peers whose own settings say something of `[swarm]` are not given it.
    """

    seed: int = 0
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    folder: Path = attrs.field(factory=Path)
    private: bool = False
    level: int = QUIET
    logger: Any = attrs.field(factory=structlog.PrintLogger)
    medium: MemoryMedium = attrs.field(factory=MemoryMedium)
    manager: PluginManager = attrs.field(factory=lambda: PluginManager.discover(only=()))
    shared: Shared = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    _opened: Any = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.medium.seed = self.seed
        self.shared = Shared(self.medium)
        if self.private:
            self.key_file.write_text(SwarmKey(hashlib.sha256(f"key {self.seed}".encode()).digest()).text())
            self.key_file.chmod(0o600)

    @property
    def key_file(self) -> Path:
        return self.folder / "swarm.key"

    def peer(
        self,
        name: str,
        model: Model,
        train: Train,
        *,
        round_seconds: Callable[[], float] = lambda: 1.0,
        lag: Callable[[], int] = lambda: 0,
        settings: Mapping[str, Any] | None = None,
    ) -> SimulatedPeer:
        trainer = MemoryTrainer(model, train, round_seconds, run=f"{name}-1", lag=lag)
        identity = Identity.generate(hashlib.sha256(f"{self.seed}/{name}".encode()).digest())
        return SimulatedPeer(name, self, settings or {}, trainer, identity)

    def config(self, settings: Mapping[str, Any]) -> Any:
        member = {"swarm": {"key_file": str(self.key_file)}} if self.private else {}
        document = IN_MEMORY | member | dict(self.settings) | dict(settings)
        return load_document(document, folder=self.folder, options_of=self.manager.options_of(self.folder))

    async def __aenter__(self) -> Self:
        self._opened = trio.open_nursery()
        self.nursery = await self._opened.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Any:
        self.nursery.cancel_scope.cancel()
        return await self._opened.__aexit__(kind, error, trace)
