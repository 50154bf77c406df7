"""A trainer in memory: the other end of the link, for swarms under virtual time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import trio

from learnae.link.contract import PAGES, SLOTS, Hello, Offer, Progress, Snapshot, TrainerGone
from learnae.records import RoundReport, TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array

Model = dict[str, Any]
Train = Callable[[Model], int]


def specs_of(model: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, str(array.dtype), tuple(array.shape)) for name, array in model.items())


def _areas(model: Model, count: int) -> list[Model]:
    return [{name: np.zeros_like(array) for name, array in model.items()} for _ in range(count)]


@attrs.define
class MemoryTrainer:
    """Trains `model` (float32 and int64 arrays) by `train`, which changes it in place and returns the optimiser steps that it took.

    `lag` is how many rounds pass before an offer is adopted: 0 adopts at once, before the next training.
    """

    model: Model
    train: Train
    round_seconds: Callable[[], float]
    run: str
    lag: Callable[[], int] = lambda: 0
    progress: Progress = attrs.field(factory=lambda: Progress(0, b"", 0, 0, 0, 0.0))
    reports: list[RoundReport] = attrs.field(factory=list)
    adopted_outcomes: list[str] = attrs.field(factory=list)
    link: MemoryLink | None = None
    _due: deque[tuple[int, MemoryLink, Offer]] = attrs.field(factory=deque)

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

    def receive(self, link: MemoryLink, offer: Offer) -> None:
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

    def _adopt(self, link: MemoryLink, offer: Offer) -> None:
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

    def offer(self, offer: Offer) -> None:
        self.trainer.receive(self, offer)

    async def adopted(self, number: int) -> None:
        while self._adopted < number:
            await self._change()

    def tell(self, report: RoundReport, **facts: Any) -> None:
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
        self._newest = Snapshot(slot, self.trainer.progress, self.slots[slot])
        self._notify()

    def name_adopted(self, number: int) -> None:
        self._adopted = number
        self._notify()

    def hang_up(self) -> None:
        self._gone = True
        self._notify()

    async def _change(self) -> None:
        if self._gone:
            raise TrainerGone
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
