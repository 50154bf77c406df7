"""Machines on which peers of setting D20 run, under virtual time, and what may happen to them.

Each kind of disruption is a context manager: what happens, happens inside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import trio
from pooled_digits import GIVES, ON_WIRES, RATE, SPLIT, Wire, entries, from_pool, make_manager

from learnae.link.messages import TrainerProgress
from learnae.plugins.memory import MemoryStore
from learnae.records import PeerId
from learnae.testing.swarm import MemoryTrainer, Model, SimulatedPeer, SimulatedSwarm, Train
from tests.support.digits_swarm import SPLITS, Learner, accuracy, fresh_model

if TYPE_CHECKING:
    from learnae.demo.digits import Digits

SPEED = 10_000.0  # bytes a second, each way: an update takes less than half a second
LOSS = 0.5  # of announcements, for each receiver, and of fetches
SAVE_SECONDS = 30.0  # between two checkpoints, as `learnae run` has it
STEPS = 10  # of a round, after each of which a trainer looks whether it was frozen
PROVIDER = 0  # the number of the machine that gives most
PROVIDER_GIVES = {**GIVES, "share_fraction": 0.5}
LINEAGE = b"disrupts"  # eight bytes
UNKNOWING = TrainerProgress(0, b"", 0, 0, 0, 0.0)


@attrs.define(kw_only=True)
class Trainer(MemoryTrainer):
    """Stands still while its machine is frozen, and saves its model now and then."""

    thawed: Callable[[float], Awaitable[float]]
    saved: tuple[Model, TrainerProgress]
    _saved_at: float = attrs.field(factory=trio.current_time)

    async def train_on(self) -> None:
        while True:
            for _ in range(STEPS):
                began = trio.current_time()
                await trio.sleep(self.round_seconds() / STEPS)
                if lost := await self.thawed(began):
                    await trio.sleep(lost)
            self.train_round()
            if trio.current_time() - self._saved_at >= SAVE_SECONDS:
                self.saved, self._saved_at = (copied(self.model), self.progress), trio.current_time()


@attrs.define(kw_only=True, eq=False)
class Machine:
    """One machine with its rows. Its peer is the same in all its runs, but for one that begins with an empty home."""

    peer: SimulatedPeer
    train: Train
    wire: Wire
    fresh: Model
    round_seconds: float
    runs: list[Trainer] = attrs.field(factory=list)
    dead: bool = False

    @property
    def working(self) -> bool:
        return not self.dead and self.peer.peer not in self.wire.frozen

    @property
    def merging_rounds(self) -> int:
        """Of all runs."""
        return sum(report.merged > 0 for run in self.runs for report in run.reports)

    def start(self, model: Model, progress: TrainerProgress) -> None:
        peer = self.peer
        trainer = Trainer(
            model=copied(model),
            train=self.train,
            round_seconds=lambda: self.round_seconds,
            run=f"{peer.name}-{len(self.runs)}",
            progress=progress,
            saved=(copied(model), progress),
            thawed=lambda since: self.wire.thawed(peer.peer, since),
        )
        self.runs.append(trainer)
        peer.replace_trainer(trainer)
        peer.start()
        self.dead = False

    def kill(self) -> None:
        """As a power cut does: no goodbye, and nobody gives its blocks any more."""
        self.peer.kill()
        self.dead = True

    def restart(self) -> None:
        """On its home, from its last checkpoint."""
        self.start(*self.runs[-1].saved)


@attrs.define(kw_only=True, eq=False)
class DisruptedSwarm:
    """All begin together, from the same weights and in one lineage."""

    simulated: SimulatedSwarm
    digits: Digits
    machines: list[Machine]
    half: Sequence[Machine]  # whom it hits, by lot
    make: Callable[[int, str], Machine]

    @property
    def wire(self) -> Wire:
        return self.simulated.shared(Wire)

    @property
    def working(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.working]

    def accuracies(self) -> list[float]:
        """Of those that work now, from 0 to 1."""
        return [accuracy(machine.peer.trainer.model, self.digits) for machine in self.working]

    def rows(self) -> float:
        """In the pool of one, on average."""
        return float(np.mean([sum(one.rows for one in entries(machine.peer)) for machine in self.working]))

    def reaches(self, giver: PeerId, taker: PeerId) -> bool:
        """Whether blocks and messages get there."""
        dead = {machine.peer.peer for machine in self.machines if machine.dead}
        return giver not in dead and taker not in self.wire.frozen


def copied(model: Model) -> Model:
    return {name: array.copy() for name, array in model.items()}


def start_swarm(simulated: SimulatedSwarm, digits: Digits, *, pooled: bool, peers: int, round_seconds: float) -> DisruptedSwarm:
    """Inside `async with simulated`."""
    seed, shards = simulated.seed, SPLITS[SPLIT](digits.train_y, peers, simulated.seed)
    wire, fresh = simulated.shared(Wire), fresh_model(simulated.seed)
    wire.seed = seed

    def make(number: int, name: str) -> Machine:
        rows, labels = digits.train_x[shards[number]], digits.train_y[shards[number]]
        data = PROVIDER_GIVES if number == PROVIDER else GIVES
        train = Learner(rows, labels, RATE, np.random.default_rng([seed, number])).train
        if pooled:
            train = from_pool(rows, labels, simulated.folder / name, f"{seed} {name}", rate=RATE, data=data).train
        peer = simulated.peer(name, fresh, train, settings={"data": data} if pooled else {})
        wire.speeds = {**wire.speeds, peer.peer: SPEED}
        return Machine(peer=peer, train=train, wire=wire, fresh=fresh, round_seconds=round_seconds)

    machines = [make(number, f"peer-{number}") for number in range(peers)]
    chosen = np.random.default_rng([seed, peers]).permutation(peers)[: peers // 2]
    swarm = DisruptedSwarm(simulated=simulated, digits=digits, machines=machines, half=[machines[i] for i in chosen], make=make)
    wire.reaches = simulated.medium.reaches = swarm.reaches
    for machine in machines:
        machine.start(fresh, attrs.evolve(UNKNOWING, lineage=LINEAGE))
    return swarm


@contextmanager
def killed(swarm: DisruptedSwarm) -> Iterator[None]:
    for machine in swarm.half:
        machine.kill()
    yield
    for machine in swarm.half:
        machine.restart()


@contextmanager
def killed_and_emptied(swarm: DisruptedSwarm) -> Iterator[None]:
    """They come back with their rows alone: as other peers, with models that know nothing. What lay on their disks is gone."""
    for machine in swarm.half:
        machine.kill()
    store = swarm.simulated.shared(MemoryStore)
    gone = {machine.peer.peer for machine in swarm.half}
    for peer, root in [place for place in store.roots if place[0] in gone]:
        store.drop(peer, root)
    yield
    for machine in swarm.half:
        number = swarm.machines.index(machine)
        newcomer = swarm.make(number, f"{machine.peer.name}-new")
        newcomer.runs += machine.runs
        swarm.machines[number] = newcomer
        newcomer.start(newcomer.fresh, UNKNOWING)


@contextmanager
def frozen(swarm: DisruptedSwarm) -> Iterator[None]:
    """They do nothing, then they go on. Nothing that is sent meanwhile is kept for them; who asks them waits in vain."""
    swarm.wire.frozen_at = trio.current_time()
    for machine in swarm.half:
        swarm.wire.frozen[machine.peer.peer] = trio.Event()
    yield
    while swarm.wire.frozen:
        swarm.wire.frozen.popitem()[1].set()


@contextmanager
def partitioned(swarm: DisruptedSwarm) -> Iterator[None]:
    side = {machine.peer.peer for machine in swarm.half}
    swarm.wire.reaches = swarm.simulated.medium.reaches = lambda giver, taker: (giver in side) == (taker in side)
    yield
    swarm.wire.reaches = swarm.simulated.medium.reaches = swarm.reaches


@contextmanager
def lossy(swarm: DisruptedSwarm) -> Iterator[None]:
    swarm.wire.loss = swarm.simulated.medium.loss = LOSS
    yield
    swarm.wire.loss = swarm.simulated.medium.loss = 0.0


@contextmanager
def slow(swarm: DisruptedSwarm) -> Iterator[None]:
    before = swarm.wire.speeds
    swarm.wire.speeds = {**before, **{machine.peer.peer: SPEED / 10 for machine in swarm.half}}
    yield
    swarm.wire.speeds = before


@contextmanager
def without_storage(swarm: DisruptedSwarm) -> Iterator[None]:
    swarm.wire.broken = True
    yield
    swarm.wire.broken = False


@contextmanager
def without_provider(swarm: DisruptedSwarm) -> Iterator[None]:
    """For good."""
    swarm.machines[PROVIDER].kill()
    yield


Kind = Callable[[DisruptedSwarm], AbstractContextManager[None]]
UNDISTURBED, FOR_GOOD = "undisturbed", "provider gone"
KINDS: Mapping[str, Kind] = {
    "kill": killed,
    "kill, empty home": killed_and_emptied,
    "freeze": frozen,
    "partition": partitioned,
    "loss": lossy,
    "slow link": slow,
    "storage outage": without_storage,
    FOR_GOOD: without_provider,
    UNDISTURBED: lambda swarm: nullcontext(),
}


def simulated_swarm(folder: Path, seed: int) -> Any:
    return SimulatedSwarm(seed=seed, settings=ON_WIRES, folder=folder, manager=make_manager())
