"""The watchdog of the node: finds a hang and the strategy that hangs, ends the node, and explains why a node ended.

Only what changes from one look to the next counts, on the watcher's own clock, and a look that comes late counts as one in time: a
suspended machine, a debugger or another clock is no hang.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from learnae.errors import ConfigError, LearnaeError, PluginError, Problem
from learnae.link.memory import Call, CallPage, CallsSeen
from learnae.link.messages import Failed, Quarantined

MOST = 64  # times `bench_rounds`


@attrs.define
class QuarantineTerm:
    until: int  # rounds of this peer's nodes
    rounds: int
    times: int
    why: str


@attrs.define
class QuarantineHistory:
    """`rounds` for the first time. Whoever has been called again for as many rounds as it sat is forgiven."""

    rounds: int
    _sentences: dict[str, QuarantineTerm] = attrs.field(factory=dict)

    def send(self, label: str, why: str, now: int) -> QuarantineTerm:
        """It hung in round `now`."""
        before = self._sentences.get(label)
        times = before.times + 1 if before and now < before.until + before.rounds else 1
        rounds = self.rounds * min(MOST, 2 ** (times - 1))
        self._sentences[label] = QuarantineTerm(now + rounds, rounds, times, why)
        return self._sentences[label]

    def at(self, now: int) -> tuple[Quarantined, ...]:
        """Who is benched in round `now`, and for how many rounds more."""
        return tuple(Quarantined(label, one.until - now, one.why) for label, one in self._sentences.items() if one.until > now)


LOOKS = 10  # in hang_seconds
START_SECONDS = 120.0  # the imports of plugins on a slow disk, before the loop has run once


@attrs.frozen
class Hang:
    """The node was silent for so many seconds; `call` is None where no strategy is to blame."""

    seconds: float
    call: Call | None = None

    def __str__(self) -> str:
        what = self.call.action if self.call else "calling no plugin"
        return f"it hung {self.seconds:.0f} s while {what}"


@attrs.define
class HangDetector:
    """Of one node after another."""

    page: CallPage
    hang_seconds: float
    clock: Callable[[], float] = time.monotonic
    _looked: float = 0.0
    _beats: int = 0
    _silent: float = 0.0  # seconds since the loop was last seen to run
    _ages: dict[tuple[int, float], float] = attrs.field(factory=dict)  # seconds since each call was first seen, while the loop ran

    @property
    def pause(self) -> float:
        """Between two looks."""
        return self.hang_seconds / LOOKS

    def begin(self) -> None:
        """A new node starts."""
        self.page.clear()
        self._looked, self._beats, self._silent = self.clock(), 0, 0.0
        self._ages.clear()

    def seconds_to_look(self) -> float:
        return max(0.0, self._looked + self.pause - self.clock())

    def look(self, stopped: Callable[[], bool]) -> Hang | None:
        """`stopped` tells whether the node's process was suspended by somebody: then its loop stands still, and no call is to blame."""
        seen, passed = self.page.read(), self._pass_time()
        self._silent = self._silent + passed if seen.beats == self._beats else 0.0
        self._beats = seen.beats
        alive = self._silent < 2 * self.pause  # not before the second look without a beat is something wrong
        self._ages = {_key(call): self._aged(call, passed if alive else 0.0) for call in seen.calls.values()}
        if self._silent >= (self.hang_seconds if seen.beats else max(self.hang_seconds, START_SECONDS)):
            return Hang(self._silent, None if stopped() else self._blocking(seen))
        return self._late(seen)

    def _pass_time(self) -> float:
        now, before = self.clock(), self._looked
        self._looked = now
        return min(now - before, 2 * self.pause)

    def _aged(self, call: Call, passed: float) -> float:
        key = _key(call)
        return self._ages[key] + passed if key in self._ages else 0.0

    def _blocking(self, seen: CallsSeen) -> Call | None:
        """The call in whose name the loop runs; else one in a thread, which may keep the interpreter from everybody."""
        if seen.stepping in seen.calls:
            return seen.calls[seen.stepping]
        threads = [call for call in seen.calls.values() if call.within == 0.0]
        return max(threads, key=lambda call: call.number, default=None)

    def _late(self, seen: CallsSeen) -> Hang | None:
        inner = {call.outer: call for call in seen.calls.values()}
        for call in seen.calls.values():
            if self._is_late(call, inner.get(call.number)):
                return Hang(self._age(call), call)
        return None

    def _is_late(self, call: Call, inner: Call | None) -> bool:
        """A call from within it that lasts will be late itself; one that comes and goes only shows that it needs one more look."""
        late = self._age(call) - call.within - self.hang_seconds
        return late >= 0 if inner is None else self._age(inner) == 0 and late >= self.pause

    def _age(self, call: Call) -> float:
        return self._ages[_key(call)]


def _key(call: Call) -> tuple[int, float]:
    """Time starts anew when a call is given another limit."""
    return call.number, call.within


STACKS_SECONDS = 0.5  # for the node to write the stacks of its threads
HANG_ADVICE = "if it was only slow, raise node.hang_seconds"
NO_CALL_ADVICE = "the stacks above tell where it stood, unless it was suspended"


@attrs.define
class Watchdog:
    """Lives as long as the trainer's process; the page that it watches belongs to one node after another."""

    hang_detector: HangDetector
    quarantine_history: QuarantineHistory
    log: Any
    _rounds_before: int = 0  # made by the nodes before this one

    @property
    def quarantined(self) -> tuple[Quarantined, ...]:
        """From any thread."""
        return self.quarantine_history.at(self._round)

    @property
    def _round(self) -> int:
        return self._rounds_before + self.hang_detector.page.rounds

    @property
    def pause(self) -> float:
        """Seconds between two looks, and between two signs of life."""
        return self.hang_detector.pause

    def seconds_to_look(self) -> float:
        return self.hang_detector.seconds_to_look()

    def begin(self) -> None:
        """A new node is about to be greeted; its predecessor has ended."""
        self._rounds_before = self._round
        self.hang_detector.begin()

    def look(self, process: subprocess.Popen[bytes]) -> Hang | None:
        """If a look is due and the node hangs: ends it and tells why."""
        if self.hang_detector.seconds_to_look() > 0:
            return None
        hang = self.hang_detector.look(lambda: suspended(process.pid))
        if hang is not None:
            self._tell(hang)
            end_with_stacks(process)
        return hang

    def _tell(self, hang: Hang) -> None:
        call, seconds = hang.call, round(hang.seconds, 1)
        if call is None:
            self.log.error("node.hung", seconds=seconds, advice=NO_CALL_ADVICE)
            return
        rounds = self.quarantine_history.send(call.label, str(hang), self._round).rounds
        shown = {"strategy": call.label, "plugin": call.plugin, "doing": call.action}
        self.log.error("node.hung", **shown, seconds=seconds, benched_rounds=rounds, advice=HANG_ADVICE)


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


ALIKE = 3  # endings one after the other, of nodes that were never up
RETRY_ADVICE = "it is tried again now and then; training goes on without the swarm"


@attrs.frozen
class NodeExit:
    """`said` is what it wrote before it could speak."""

    seconds: float
    exit_code: int | None  # None: it could not even be started
    failure: Failed | None
    said: str = ""
    was_up: bool = False

    @property
    def words(self) -> str:
        """Why, in a line."""
        if self.failure is not None:
            return self.failure.text
        return self.said.rpartition("\n")[2] or _in_words(self.exit_code)

    @property
    def trace(self) -> str:
        """All that is known beside that."""
        return "\n".join(part for part in (self.failure.trace if self.failure else "", self.said) if part)

    @property
    def error(self) -> LearnaeError | None:
        """What the user must act on, if that was the reason."""
        said = self.failure.as_error() if self.failure else None
        where = self.said or "it says why on stderr, above"
        match self.exit_code:
            case 2:
                return said or ConfigError(Problem("node", "refused to start", where))
            case 3:
                return said or PluginError("unknown", "starting the node", where)
        return None


@attrs.define
class ExitReporter:
    """Tells of each ending, but not for ever of the same one."""

    log: Any
    _last: tuple[int | None, str] | None = None
    _alike: int = 0

    def tell(self, ending: NodeExit, again_in_seconds: float) -> None:
        this = (ending.exit_code, ending.words)
        self._alike = self._alike + 1 if not ending.was_up and this == self._last else 1
        self._last = None if ending.was_up else this
        facts = {"exit_code": ending.exit_code, "said": ending.words, **({"exception": ending.trace} if ending.trace else {})}
        if self._alike == ALIKE:
            self.log.error("node.cannot_start", times=ALIKE, **facts, advice=RETRY_ADVICE)
        elif self._alike < ALIKE:
            self.log.warning("node.ended", **facts, again_in_seconds=again_in_seconds)


def _in_words(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}" if exit_code else ""
    try:
        return f"ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"ended by signal {-exit_code}"
