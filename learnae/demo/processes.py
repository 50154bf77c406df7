"""The processes of the demo: started with little, heard line by line, ended for sure."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import trio

from learnae import launch
from learnae.demo.family import descendants
from learnae.demo.plan import Plan, Stage
from learnae.errors import ConfigError
from learnae.identity.homes import claim, holders

LEAVE_SECONDS = 15.0
REAP_SECONDS = 5.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@attrs.frozen
class Child:
    """One process; it reads until its standard input ends, and then it leaves."""

    process: trio.Process
    home: Path | None = None

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
        own = {self.process.pid} if self.process.returncode is None else set()
        return own | set(holders(self.home)) if self.home and _locked(self.home) else own


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
    baselines: tuple[str, ...] = attrs.field(factory=lambda: launch.command("learnae.demo.baselines"))


async def start_peer(commands: Commands, plan: Plan, stage: Stage, number: int) -> Child:
    command = [*commands.peer, plan.to_json(), str(stage.folder), str(number)]
    return Child(await _start(command, stage, stage.log(number)), stage.home(number))


async def start_baselines(commands: Commands, plan: Plan, stage: Stage) -> Child:
    command = [*commands.baselines, plan.to_json(), str(stage.folder)]
    return Child(await _start(command, stage, stage.folder / "baselines.log"))


async def _start(command: list[str], stage: Stage, log: Path) -> trio.Process:
    """In a session of its own: Ctrl-C reaches the demo alone, which then ends them in order."""
    environment = {**os.environ, **ONE_THREAD, "XDG_STATE_HOME": str(stage.state)}
    with log.open("ab") as stderr:
        return await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=stage.folder, start_new_session=True
        )
