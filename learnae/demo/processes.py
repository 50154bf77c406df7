"""The processes of the demo: the plan that they follow, how they are started and ended, and what they report."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import attrs
import trio

from learnae import launch
from learnae.errors import ConfigError
from learnae.identity.homes import claim, holders


@attrs.frozen(kw_only=True)
class Plan:
    """All numbers of the demo."""

    classes: tuple[tuple[int, ...], ...] = ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))  # the digits that each peer has images of
    steps: int = 1500  # of each peer at least: all train until the last one has made so many
    steps_per_second: float = 80.0  # slow enough to watch, and two cores bear it
    local_steps: int = 10
    batch: int = 16
    learning_rate: float = 0.2
    hidden: int = 64
    seed: int = 0
    victim: int = 2  # the number of the peer that is killed, from 1
    kill_after: float = 0.5  # share of the steps
    away_seconds: float = 2.0
    patience_seconds: float = 150.0  # without a step nearer to its end: then it has failed, whatever the reason
    scenery: Mapping[str, Any] = attrs.field(factory=dict)  # tables of each peer's file, beside those of `config`
    further: tuple[Mapping[str, Mapping[str, Any]], ...] = ()  # for each peer, more keys of its storage and its announcer
    acts: Mapping[str, Mapping[str, Any]] = attrs.field(factory=lambda: {"": {}})  # one after the other: each one's own tables, by its name

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "classes": tuple(map(tuple, values["classes"])), "further": tuple(values["further"])})

    def config(self, number: int, act: str = "") -> dict[str, Any]:
        """The file of one peer, as a document: a pace that shows something, and the embedded defaults where the scenery is silent.

        Each act has a swarm of its own, so nothing of the one before is heard in it.
        """
        plain: dict[str, Any] = {
            "swarm": {"name": f"demo, {act}" if act else "demo"},
            "peer": {"seed": self.seed + number},
            "train": {"local_steps": self.local_steps},
            "selector": {"count": len(self.classes) - 1},
        }
        more = self.further[number - 1] if self.further else {}
        services = {kind: [{**self.scenery[kind][0], **keys}] for kind, keys in more.items()}
        own = self.acts[act]
        selector = {**plain["selector"], **own.get("selector", {})}
        swarm = {**plain["swarm"], **self.scenery.get("swarm", {})}
        return {**plain, **self.scenery, **services, **own, "selector": selector, "swarm": swarm}


@attrs.frozen
class Stage:
    """The folders of one run; nothing outside of them is touched."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "digits.npz"

    @property
    def state(self) -> Path:
        """Stands for XDG_STATE_HOME: the peers meet in it, and no other swarm does."""
        return self.folder / "state"

    @property
    def key(self) -> Path:
        """Of the swarm, where it is a private one."""
        return self.folder / "swarm.key"

    def home(self, number: int, act: str = "") -> Path:
        """Acts that have a name have homes of their own."""
        return self.folder / "-".join([f"peer-{number}", *act.split()])

    def log(self, number: int) -> Path:
        return self.folder / f"peer-{number}.log"


def descendants(pids: Iterable[int]) -> set[int]:
    """Of living processes, as Linux tells them; elsewhere none are found."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, new = set[int](), list(pids)
    while new:
        for pid in children.get(new.pop(), ()):
            if pid not in found:
                found.add(pid)
                new.append(pid)
    return found


def _parents() -> Iterable[tuple[int, int]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            behind_the_name = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        yield int(stat.parent.name), int(behind_the_name[1])


LEAVE_SECONDS = 15.0
REAP_SECONDS = 5.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@attrs.frozen
class DemoProcess:
    """One process; it reads until its standard input ends, and then it leaves."""

    process: trio.Process
    homes: tuple[Path, ...] = ()

    async def lines(self) -> AsyncIterator[dict[str, Any]]:
        """What it says, until it ends."""
        assert self.process.stdout is not None
        rest = b""
        async for piece in self.process.stdout:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield json.loads(line)

    async def say(self, text: str) -> None:
        """Raises trio.BrokenResourceError if it has ended."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(text.encode())

    async def dismiss(self) -> None:
        """Let it leave; end it if it takes too long."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        with trio.move_on_after(LEAVE_SECONDS):
            await self.process.wait()
            return
        self.kill()

    def kill(self) -> None:
        """SIGKILL at once to trainer, node, and what these have started: as a power cut would."""
        living = self._living()
        for pid in living | descendants(living):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def gone(self) -> None:
        """Reap it, so that nothing is written any more."""
        with trio.move_on_after(REAP_SECONDS, shield=True):
            await self.process.wait()

    def _living(self) -> set[int]:
        """This process, and the node that shares its home: only while they hold its lock are they sure to be ours."""
        own = {self.process.pid} if self.process.returncode is None else set[int]()
        return own.union(*(holders(home) for home in self.homes if _locked(home)))


def _locked(home: Path) -> bool:
    try:
        claim(home).close()
    except ConfigError:
        return True
    return False


@attrs.frozen
class Commands:
    """What is started; the plan, the folder and the number follow as arguments."""

    peer: tuple[str, ...] = attrs.field(factory=lambda: launch.command("learnae.demo.peer"))
    baselines: tuple[str, ...] = attrs.field(factory=lambda: launch.command("learnae.demo.model"))


async def start_peer(commands: Commands, plan: Plan, stage: Stage, number: int) -> DemoProcess:
    command = [*commands.peer, plan.to_json(), str(stage.folder), str(number)]
    return DemoProcess(await _start(command, stage, stage.log(number)), tuple(stage.home(number, act) for act in plan.acts))


async def start_baselines(commands: Commands, plan: Plan, stage: Stage) -> DemoProcess:
    command = [*commands.baselines, plan.to_json(), str(stage.folder)]
    return DemoProcess(await _start(command, stage, stage.folder / "baselines.log"))


async def _start(command: list[str], stage: Stage, log: Path) -> trio.Process:
    """In a session of its own: Ctrl-C reaches the demo alone, which then ends them in order."""
    own_cache = {"TORCHINDUCTOR_CACHE_DIR": str(stage.folder / "torchinductor")}  # PyTorch's choice is in /tmp, where others write
    environment = {**own_cache, **os.environ, **ONE_THREAD, "XDG_STATE_HOME": str(stage.state)}
    with log.open("ab") as stderr:
        return await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=stage.folder, start_new_session=True
        )


class State(StrEnum):
    """Where a peer is in its life."""

    STARTING = "loading PyTorch"
    TRAINING = "training"
    KILLED = "killed"
    RETURNING = "returning"
    DONE = "done"
    FAILED = "failed"


@attrs.frozen
class Counts:
    """What one process of a peer has counted."""

    merged: int = 0
    refused: int = 0
    bytes: int = 0


@attrs.define
class Peer:
    """One peer over all of its lives."""

    number: int
    classes: tuple[int, ...]
    state: State = State.STARTING
    steps: int = 0
    heard: int = 0
    rows: int = 0  # of others, that it trains on
    fetched: int = 0  # bytes
    accuracy: float | None = None
    curve: list[tuple[float, float]] = attrs.field(factory=list)  # (seconds, accuracy)
    by_steps: list[tuple[int, float]] = attrs.field(factory=list)  # (steps, accuracy)
    trained: list[tuple[float, float]] = attrs.field(factory=list)  # (seconds, accuracy of the model that trains, between two merges)
    killed_at: float | None = None
    back_at: float | None = None
    now: Counts = attrs.field(factory=Counts)
    before: Counts = attrs.field(factory=Counts)  # of the life that was ended

    @property
    def name(self) -> str:
        return f"peer {self.number}"

    @property
    def knows(self) -> str:
        return " ".join(map(str, self.classes))

    @property
    def total(self) -> Counts:
        return Counts(*(getattr(self.before, name) + getattr(self.now, name) for name in ("merged", "refused", "bytes")))

    @property
    def merged_since_return(self) -> int:
        return self.now.merged if self.back_at is not None else 0

    def hear(self, line: Mapping[str, Any], seconds: float) -> None:
        """Take in a line of its process."""
        if line["event"] == "training":
            self.back_at = seconds if self.state == State.RETURNING else self.back_at
            self.state, self.steps = State.TRAINING, line["steps"]
            return
        self.steps, self.heard, self.accuracy = line["steps"], line["heard"], line["accuracy"]
        self.now = Counts(line["merged"], line["refused"], line["bytes"])
        self.rows, self.fetched = line["rows"], line["fetched"]
        self.curve.append((seconds, line["accuracy"]))
        self.trained.append((seconds, line["trained"]))
        self.by_steps.append((line["steps"], line["accuracy"]))
        if line["event"] == "final":
            self.state = State.DONE

    def die(self, seconds: float) -> None:
        """Its processes were killed: what they counted is history."""
        self.state, self.killed_at, self.heard = State.KILLED, seconds, 0
        self.before, self.now = self.total, Counts()
