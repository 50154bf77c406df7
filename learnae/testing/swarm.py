"""A whole swarm in one process and in virtual time: real nodes, in-memory media, and trainers that are plain functions."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import attrs
import numpy as np
import structlog
import trio
import trio.testing
from trio._core import _run as trio_internals

from learnae.config.load import load_document
from learnae.config.tables import SERVING
from learnae.identity import envelopes, keys
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmKey
from learnae.link.messages import PAGES, SLOTS, Hello, MergeResult, Snapshot, TrainerGoneError, TrainerProgress
from learnae.node.build_serving import build_any
from learnae.node.history import History
from learnae.node.runtime import Runtime, SharedResources, inline
from learnae.observations import RoundReport
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryMedium
from learnae.readers import ModelInMemory
from learnae.records import PeerId, TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array


T = TypeVar("T")


def run_in_virtual_time(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0, limit_seconds: float = 1e6) -> T:
    """Run `main` with a clock that jumps to the next deadline when nothing else can run. The same seed gives the same order of events."""

    async def bounded() -> T:
        with trio.fail_after(limit_seconds):
            return await main(*args)

    deterministic, chance = trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r
    trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r = True, random.Random(seed)  # type: ignore[misc]
    try:
        with _each_message_read_once():
            return trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        trio_internals._ALLOW_DETERMINISTIC_SCHEDULING, trio_internals._r = deterministic, chance  # type: ignore[misc]


MESSAGES = 4096  # whose reading is kept


@contextmanager
def _each_message_read_once() -> Iterator[None]:
    """What all peers of a simulation do with the same bytes and the same result, a fifth of its cost, is done for the first of them."""
    module: Any = envelopes
    load = _plain_function(module._load)
    if _plain_function(module.verify) is not keys.verify:  # a test counts them
        yield
        return
    module.verify, module._load = lru_cache(MESSAGES)(keys.verify), lru_cache(MESSAGES)(load)
    try:
        yield
    finally:
        module.verify, module._load = keys.verify, load


def _plain_function(function: Any) -> Any:
    """Without a cache that a test put back which had looked at it inside a simulation."""
    return getattr(function, "__wrapped__", function)


Model = dict[str, Any]
Train = Callable[[Model], int]


def specs_of(model: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dtype=str(array.dtype), shape=tuple(array.shape)) for name, array in model.items())


def _areas(model: Model, count: int) -> list[Model]:
    return [{name: np.zeros_like(array) for name, array in model.items()} for _ in range(count)]


@attrs.define(kw_only=True)
class MemoryTrainer:
    """Trains `model` (float32 and int64 arrays). `train` changes it in place, and returns how many optimiser steps it took.

    `lag` is the number of rounds before an offer is adopted. With 0 it is adopted at once, before the next training.
    """

    model: Model
    train: Train
    round_seconds: Callable[[], float]
    run: str
    lag: Callable[[], int] = lambda: 0
    progress: TrainerProgress = attrs.field(factory=lambda: TrainerProgress(0, b"", 0, 0, 0, 0.0))
    reports: list[RoundReport] = attrs.field(factory=list)
    adopted_outcomes: list[str] = attrs.field(factory=list)
    link: MemoryLink | None = None
    _due: deque[tuple[int, MemoryLink, MergeResult]] = attrs.field(factory=deque)

    def connect(self, session: str) -> MemoryLink:
        """Start a session: what another session offered is void."""
        self._due.clear()
        self.link = MemoryLink(self, Hello(self.run, session, self.progress, specs_of(self.model)))
        return self.link

    def disconnect(self) -> None:
        if self.link is not None:
            self.link.hang_up()
        self.link = None

    async def train_on(self) -> None:
        """Rounds without end; cancel to stop."""
        while True:
            await trio.sleep(self.round_seconds())
            self.train_round()

    def train_round(self) -> None:
        steps = self.train(self.model)
        now = self.progress
        self.progress = attrs.evolve(now, steps=now.steps + steps, age=now.age + steps, samples=now.samples + steps)
        self._adopt_due()
        if self.link is not None:
            self.link.take_snapshot()

    def receive(self, link: MemoryLink, offer: MergeResult) -> None:
        self._due.append((self.lag(), link, offer))
        if self._due[0][0] == 0:
            self._adopt(*self._due.popleft()[1:])

    def _adopt_due(self) -> None:
        for _ in range(len(self._due)):
            rounds, link, offer = self._due.popleft()
            if rounds <= 1:
                self._adopt(link, offer)
            else:
                self._due.append((rounds - 1, link, offer))

    def _adopt(self, link: MemoryLink, offer: MergeResult) -> None:
        page, slot = link.pages[offer.page], link.slots[offer.slot]
        for name, array in self.model.items():
            np.copyto(array, _adopted(array, page[name], slot[name], whole=offer.whole))
        age = self.progress.age + offer.age_gain
        self.progress = attrs.evolve(self.progress, adoption=offer.number, lineage=offer.lineage, age=age)
        self.adopted_outcomes.append(offer.outcome)
        link.name_adopted(offer.number)


def _adopted(mine: Array, new: Array, old: Array, *, whole: bool) -> Array:
    """As a real trainer takes a tensor over: counters that ran on meanwhile are not set back."""
    if np.array_equal(mine, old) or (whole and mine.dtype.kind == "i"):
        return new
    return np.maximum(mine, new) if mine.dtype.kind == "i" else mine + (new - old)


@attrs.define
class MemoryLink:
    """The node's end, for one session."""

    trainer: MemoryTrainer
    hello: Hello
    slots: list[Model] = attrs.field(init=False)
    pages: list[Model] = attrs.field(init=False)
    _free: set[int] = attrs.field(init=False)
    _newest: Snapshot | None = None
    _adopted: int = 0
    _gone: bool = False
    _changed: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.slots, self.pages = _areas(self.trainer.model, SLOTS), _areas(self.trainer.model, PAGES)
        self._free = set(range(SLOTS))

    async def next_snapshot(self) -> Snapshot:
        while self._newest is None:
            await self._change()
        snapshot, self._newest = self._newest, None
        return snapshot

    def release(self, slot: int) -> None:
        self._free.add(slot)

    def page(self, index: int) -> Model:
        return self.pages[index]

    def offer(self, offer: MergeResult) -> None:
        self.trainer.receive(self, offer)

    async def adopted(self, number: int) -> None:
        while self._adopted < number:
            await self._change()

    def send_report(self, report: RoundReport, outages: Mapping[str, str]) -> None:
        self.trainer.reports.append(report)

    def take_snapshot(self) -> None:
        """With no free slot the trainer skips; a snapshot that the node has not looked at yet gives its slot back."""
        if not self._free:
            return
        slot = self._free.pop()
        for name, array in self.slots[slot].items():
            np.copyto(array, self.trainer.model[name])
        if self._newest is not None:
            self._free.add(self._newest.slot)
        self._newest = Snapshot(slot, self.trainer.progress, ModelInMemory(self.slots[slot]))
        self._notify()

    def name_adopted(self, number: int) -> None:
        self._adopted = number
        self._notify()

    def hang_up(self) -> None:
        self._gone = True
        self._notify()

    async def _change(self) -> None:
        if self._gone:
            raise TrainerGoneError
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


IN_MEMORY = {"storage": {"use": "memory"}, "announcer": {"use": "memory"}}
PLAIN: Mapping[str, Any] = {"gate": [{"use": "sane"}, {"use": "clip"}], "outer": {"use": "none"}}
"""Unless a simulation names a preset, whoever trains merges by plain means: what tests work out by hand."""


def _plain(role: str) -> Mapping[str, Any]:
    """The tables of `PLAIN` that such a peer may have."""
    if role in SERVING:
        return {}
    return {name: table for name, table in PLAIN.items() if name != "outer" or role != "observer"}


QUIET = logging.ERROR


@attrs.define(kw_only=True)
class SimulatedPeer:
    """A peer that a test can start, kill without warning, and start again on its home, with or without the trainer's model."""

    name: str
    swarm: SimulatedSwarm
    settings: Mapping[str, Any]
    trainer: MemoryTrainer
    identity: Identity
    history: History = attrs.field(factory=lambda: History.open(":memory:"))
    node: Any = None  # of its role
    _starts: int = 0
    _node_scope: trio.CancelScope | None = None
    _trainer_scope: trio.CancelScope | None = None

    @property
    def peer(self) -> PeerId:
        return self.identity.peer

    @property
    def lineage(self) -> bytes:
        return self.trainer.progress.lineage

    def start(self) -> Self:
        self.start_node()
        self._trainer_scope = trio.CancelScope()
        self.swarm.nursery.start_soon(self._run_trainer, self._trainer_scope)
        return self

    def start_node(self) -> None:
        """A new session on the old home."""
        self._starts += 1
        link = self.trainer.connect(f"session-{self._starts}")
        self.node = build_any(self.swarm.config(self.settings), self.swarm.manager, self.identity, self.history, link, self._runtime())
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

    async def _run_node(self, node: Any, scope: trio.CancelScope) -> None:
        with scope:
            await node.run()

    async def _run_trainer(self, scope: trio.CancelScope) -> None:
        with scope:
            await self.trainer.train_on()

    def _runtime(self) -> Runtime:
        log = structlog.wrap_logger(self.swarm.logger, wrapper_class=structlog.make_filtering_bound_logger(self.swarm.level)).bind(
            own=self.name
        )
        seed = int.from_bytes(hashlib.sha256(f"{self.swarm.seed}/{self.name}/{self._starts}".encode()).digest()[:8], "big")
        folder = self.swarm.folder / self.name
        return Runtime(
            home=folder,
            meeting=self.swarm.folder,
            clock=trio.current_time,
            seed=seed,
            in_thread=inline,
            in_watcher_thread=inline,
            share=self.swarm.shared,
            log=log,
        )


@attrs.define(kw_only=True)
class SimulatedSwarm:
    """A swarm: use `async with SimulatedSwarm(...)` inside `run_in_virtual_time`. A test may change `medium` at any moment.

    A `private` swarm writes its key to `folder`. Peers with settings of their own for `[swarm]` do not get it.
    """

    seed: int = 0
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    folder: Path = attrs.field(factory=Path)
    private: bool = False
    level: int = QUIET
    logger: Any = attrs.field(factory=structlog.PrintLogger)
    medium: MemoryMedium = attrs.field(factory=MemoryMedium)
    manager: PluginManager = attrs.field(factory=lambda: PluginManager.discover(only=()))
    shared: SharedResources = attrs.field(init=False)
    nursery: trio.Nursery = attrs.field(init=False)
    _opened: Any = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.medium.seed = self.seed
        self.shared = SharedResources(self.medium)
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
        trainer = MemoryTrainer(model=model, train=train, round_seconds=round_seconds, run=f"{name}-1", lag=lag)
        identity = Identity.generate(hashlib.sha256(f"{self.seed}/{name}".encode()).digest())
        return SimulatedPeer(name=name, swarm=self, settings=settings or {}, trainer=trainer, identity=identity)

    def config(self, settings: Mapping[str, Any]) -> Any:
        member = {"swarm": {"key_file": str(self.key_file)}} if self.private else {}
        said = dict(self.settings) | dict(settings)
        plain: Mapping[str, Any] = {} if "preset" in said else _plain(said.get("peer", {}).get("role", "trainer"))
        document = {**IN_MEMORY, **plain, **member, **said}
        return load_document(document, folder=self.folder, options_of=self.manager.options_of(self.folder))

    async def __aenter__(self) -> Self:
        self._opened = trio.open_nursery()
        self.nursery = await self._opened.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Any:
        self.nursery.cancel_scope.cancel()
        return await self._opened.__aexit__(kind, error, trace)
