"""One run of a daemon: from its start to its end, with the last lines that it said."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self

import attrs
import trio

from learnae.lowlevel import sanitize
from learnae_ipfs.managed.guard import guarded

READY = "Daemon is ready"
READY_SECONDS = 25.0
LEAVE_SECONDS = 1.5  # that its end is waited for; then the guard sees to it alone
WARNS = "⚠️"  # that a private daemon is not in the public network, at length
LINES, LINE_BYTES = 20, 1000


@attrs.define
class Process:
    """A daemon that runs, under guard; the end of its output is kept for whoever must know why it does not."""

    guard: trio.Process
    output: trio.lowlevel.FdStream
    _said: deque[str] = attrs.field(factory=lambda: deque(maxlen=LINES))
    _ready: bool = False
    _turn: trio.Event = attrs.field(factory=trio.Event)  # it is ready, or will never be
    _silent: trio.Event = attrs.field(factory=trio.Event)

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        """In a session of its own: Ctrl-C at a terminal is for the trainer. Raises OSError."""
        reader, writer = os.pipe()
        try:
            guard = await trio.lowlevel.open_process(
                guarded(command),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=writer,
                stderr=writer,
                pass_fds=(reader,),  # or what it says of its end, when we are gone, would end it there and then
                start_new_session=True,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        return cls(guard, trio.lowlevel.FdStream(reader))

    async def ready(self) -> str | None:
        """Wait until it is; why it will not be, if so. Something else must `listen`."""
        with trio.move_on_after(READY_SECONDS):
            await self._turn.wait()
            return None if self._ready else self._last_words()
        return f"it was not ready after {READY_SECONDS:.0f} s; {self._last_words()}"

    async def ended(self) -> str:
        """Wait for its end; what it said of it."""
        await self._silent.wait()
        return f"it ended with exit code {await self.guard.wait()}: {self._last_words()}"

    def kill(self) -> None:
        """Daemon and guard, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.guard.pid, signal.SIGKILL)

    async def leave(self) -> None:
        """Let it end, which the guard enforces; wait for it only for a while."""
        assert self.guard.stdin is not None
        with trio.move_on_after(LEAVE_SECONDS, shield=True):
            await self.guard.stdin.aclose()
            await self.guard.wait()
        await trio.aclose_forcefully(self.output)

    async def listen(self) -> None:
        """Take in what it says until it ends, so that it never waits for a reader."""
        rest = b""
        async for piece in self.output:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._hear(sanitize(line.decode(errors="replace"), LINE_BYTES))
            rest = rest[-LINE_BYTES:]
        self._silent.set()
        self._turn.set()

    def _hear(self, line: str) -> None:
        if line == READY:
            self._ready = True
            self._turn.set()
        elif line and not line.startswith(WARNS):
            self._said.append(line)

    def _last_words(self) -> str:
        return "; ".join(tuple(self._said)[-3:]) or "it said nothing"
