"""Looks after the node: ends one that hangs, and remembers which strategy is benched for it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs

from learnae.link.messages import Benched
from learnae.trainer.bench import Bench
from learnae.trainer.watch import Hang, Watch

STACKS_SECONDS = 0.5  # for the node to write the stacks of its threads
ADVICE = "if it was only slow, raise node.hang_seconds"
NOBODY = "the stacks above tell where it stood, unless it was suspended"


@attrs.define
class Lookout:
    """Lives as long as the trainer's process; the page that it watches belongs to one node after another."""

    watch: Watch
    bench: Bench
    log: Any
    _rounds_before: int = 0  # made by the nodes before this one

    @property
    def benched(self) -> tuple[Benched, ...]:
        """From any thread."""
        return self.bench.at(self._round)

    @property
    def _round(self) -> int:
        return self._rounds_before + self.watch.page.rounds

    @property
    def pause(self) -> float:
        """Seconds between two looks, and between two signs of life."""
        return self.watch.pause

    def seconds_to_look(self) -> float:
        return self.watch.seconds_to_look()

    def begin(self) -> None:
        """A new node is about to be greeted; its predecessor has ended."""
        self._rounds_before = self._round
        self.watch.begin()

    def look(self, process: subprocess.Popen[bytes]) -> Hang | None:
        """If a look is due and the node hangs: ends it and tells why."""
        if self.watch.seconds_to_look() > 0:
            return None
        hang = self.watch.look(lambda: suspended(process.pid))
        if hang is not None:
            self._tell(hang)
            end_with_stacks(process)
        return hang

    def _tell(self, hang: Hang) -> None:
        call, seconds = hang.call, round(hang.seconds, 1)
        if call is None:
            self.log.error("node.hung", seconds=seconds, advice=NOBODY)
            return
        rounds = self.bench.send(call.label, str(hang), self._round).rounds
        shown = {"strategy": call.label, "plugin": call.plugin, "doing": call.action}
        self.log.error("node.hung", **shown, seconds=seconds, benched_rounds=rounds, advice=ADVICE)


def end_with_stacks(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL; but first the node writes to stderr where each of its threads stands."""
    process.send_signal(signal.SIGUSR1)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STACKS_SECONDS)
    process.kill()


def suspended(pid: int) -> bool:
    """By a SIGSTOP or a debugger; where the system does not tell, it was not."""
    if sys.platform != "linux":
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")
