"""Directs the demo: starts the peers, kills one, lets it return, ends them all, and judges the result."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from learnae.demo.processes import Commands, DemoProcess, Peer, Plan, Stage, State, start_baselines, start_peer
from learnae.errors import LearnaeError

LOG_LINES = 15


@attrs.frozen
class Baselines:
    """The accuracy of each peer alone, and of one model with all the data, after so many steps."""

    steps: int
    alone: tuple[float, ...]
    central: float


@attrs.define
class Director:
    """One performance; all that is public may be looked at any time."""

    plan: Plan
    stage: Stage
    commands: Commands = attrs.field(factory=Commands)
    half_way: Sequence[Callable[[], str]] = ()  # what happens beside the play; each tells it in one line
    casts: Mapping[str, list[Peer]] = attrs.field(init=False)  # the peers of each act, by its name
    act: str = attrs.field(init=False)  # the one that is played, or was last
    baselines: Baselines | None = None
    events: list[tuple[float, str]] = attrs.field(factory=list)
    failure: str = ""  # why it could not be played to its end
    interrupted: bool = False
    _began: float = attrs.field(factory=time.monotonic)
    _children: list[DemoProcess] = attrs.field(factory=list)
    _child_of: dict[int, DemoProcess] = attrs.field(factory=dict)
    _heard: trio.Event = attrs.field(factory=trio.Event)  # the next line of any peer
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _limit: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _reached: tuple[int, ...] = ()  # see `_renew_patience`

    def __attrs_post_init__(self) -> None:
        self.casts = {act: [Peer(number, classes) for number, classes in enumerate(self.plan.classes, 1)] for act in self.plan.acts}
        self.act = next(iter(self.casts))

    @property
    def peers(self) -> list[Peer]:
        """Those of the act that is played."""
        return self.casts[self.act]

    @property
    def seconds(self) -> float:
        """Since the demo began."""
        return time.monotonic() - self._began

    async def play(self) -> None:
        """See `failure` and `interrupted` for how it ended. However it did, no process is left."""
        try:
            with self._scope, trio.move_on_after(self.plan.patience_seconds) as self._limit:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._heed_signals)
                    await self._acts(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            await self._end_all()
        if self._limit.cancelled_caught:
            self._fail(f"it was not over, and nothing moved for {self.plan.patience_seconds:.0f} seconds: {self._states()}")

    async def _acts(self, nursery: trio.Nursery) -> None:
        self._tell("the peers start, and load PyTorch")
        for peer in self.peers:
            await self._start(peer, nursery)
        await self._until(lambda: all(peer.state == State.TRAINING for peer in self.peers))
        self._tell("all peers train")
        victim = self.peers[self.plan.victim - 1]
        await self._until(lambda: victim.steps >= self.plan.kill_after * self.plan.steps)
        self._kill(victim)
        for event in self.half_way:
            try:
                self._tell(await trio.to_thread.run_sync(event, abandon_on_cancel=True))
            except LearnaeError as error:
                self._fail(str(error))
        await trio.sleep(self.plan.away_seconds)
        await self._bring_back(victim, nursery)
        comparing = await self._start_comparing()
        await self._until(lambda: all(peer.steps >= self.plan.steps for peer in self.peers) and victim.merged_since_return >= MERGED)
        await self._dismiss_all()
        self._tell("all are done; to compare with, models are trained without a swarm")
        await self._compare(comparing)

    async def _start(self, peer: Peer, nursery: trio.Nursery) -> None:
        child = self._child_of[peer.number] = self._remember(await start_peer(self.commands, self.plan, self.stage, peer.number))
        nursery.start_soon(self._listen, peer, child)

    def _remember(self, child: DemoProcess) -> DemoProcess:
        self._children.append(child)
        return child

    async def _listen(self, peer: Peer, child: DemoProcess) -> None:
        async for line in child.lines():
            peer = self.casts[line["act"]][peer.number - 1]
            if child is self._child_of[peer.number] and peer.state != State.KILLED:
                self.hear(peer, line)
        code = await child.process.wait()
        peer = list(self.casts.values())[-1][peer.number - 1]
        if child is self._child_of[peer.number] and peer.state not in (State.KILLED, State.DONE):
            peer.state = State.FAILED
            self._fail(f"{peer.name} ended with exit code {code}; the end of its log:\n{self._end_of_log(peer)}")

    def hear(self, peer: Peer, line: Mapping[str, Any]) -> None:
        """Take in what a process of this peer says."""
        peer.hear(line, self.seconds)
        self._renew_patience()
        self._heard.set()
        self._heard = trio.Event()

    def _renew_patience(self) -> None:
        """If the play has come nearer to its end. On a busy machine it takes longer, and goes well all the same."""
        played = [peer for peers in self.casts.values() for peer in peers]
        steps = sum(min(peer.steps, self.plan.steps) for peer in played)
        merged = sum(min(peer.merged_since_return, MERGED) for peer in played)
        reached = (len(self.events), sum(peer.state != State.STARTING for peer in played), steps, merged)
        if reached > self._reached:
            self._reached = reached
            self._limit.deadline = trio.current_time() + self.plan.patience_seconds

    def _kill(self, victim: Peer) -> None:
        self._child_of[victim.number].kill()
        victim.die(self.seconds)
        hit = "its trainer, its node and all that they run" if self.plan.scenery else "its trainer and its node"
        self._tell(f"{victim.name} was killed after {victim.steps:,} steps: SIGKILL to {hit}")

    async def _bring_back(self, victim: Peer, nursery: trio.Nursery) -> None:
        """A new process with the same home and the last checkpoint."""
        await self._start(victim, nursery)
        victim.state = State.RETURNING
        await self._until(lambda: victim.state != State.RETURNING)
        self._tell(f"{victim.name} is back with its old home, and goes on from step {victim.steps:,}")

    async def _dismiss_all(self) -> None:
        """All at the same time, each with a last look at its accuracy."""
        async with trio.open_nursery() as goodbyes:
            for child in self._child_of.values():
                goodbyes.start_soon(child.dismiss)
        await self._until(lambda: all(peer.state == State.DONE for peer in self.peers))

    async def _start_comparing(self) -> DemoProcess:
        return self._remember(await start_baselines(self.commands, self.plan, self.stage))

    async def _compare(self, child: DemoProcess) -> None:
        """With as many steps as the busiest peer has made: no less for those that the swarm is measured by."""
        with contextlib.suppress(trio.BrokenResourceError):  # it has ended already: then it says nothing
            await child.say(f"{max(peer.steps for peers in self.casts.values() for peer in peers)}\n")
        async for line in child.lines():
            self.baselines = Baselines(line["steps"], tuple(line["alone"]), line["central"])
        if self.baselines is None:
            self._fail("the models to compare with could not be trained: see baselines.log")

    async def _heed_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async for _ in received:
                self.interrupted = True
                self._scope.cancel()

    async def _end_all(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            await child.gone()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._heard.wait()

    def _tell(self, event: str) -> None:
        self.events.append((self.seconds, event))
        self._renew_patience()

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why
        self._scope.cancel()

    def _states(self) -> str:
        return ", ".join(f"{peer.name} is {peer.state} at step {peer.steps:,}" for peer in self.peers)

    def _end_of_log(self, peer: Peer) -> str:
        return "\n".join(self.stage.log(peer.number).read_text(errors="replace").splitlines()[-LOG_LINES:])


MEAN, WORST, MERGED = 0.88, 0.80, 3


def shortcomings(peers: Sequence[Peer]) -> list[str]:
    """Why the demo has failed, in plain words; empty if it has not."""
    silent = silence(peers)
    if silent:
        return silent
    reached = {peer.name: peer.accuracy for peer in peers if peer.accuracy is not None}
    mean, worst = sum(reached.values()) / len(reached), min(reached, key=lambda name: reached[name])
    found = []
    if mean < MEAN:
        found.append(f"the mean accuracy is {mean:.3f}, and should be at least {MEAN:.2f}")
    if reached[worst] < WORST:
        found.append(f"{worst} has an accuracy of {reached[worst]:.3f}, and should have at least {WORST:.2f}")
    return found + _of_the_victim([peer for peer in peers if peer.killed_at is not None])


def silence(peers: Sequence[Peer]) -> list[str]:
    """Who has said nothing."""
    silent = [peer.name for peer in peers if peer.accuracy is None]
    return [f"{', '.join(silent)} never reported an accuracy"] if silent else []


def _of_the_victim(killed: Sequence[Peer]) -> list[str]:
    if not killed:
        return ["no peer was killed"]
    return [
        f"{peer.name} was killed and merged {peer.merged_since_return} updates after its return, and should have merged at least {MERGED}"
        for peer in killed
        if peer.merged_since_return < MERGED
    ]
