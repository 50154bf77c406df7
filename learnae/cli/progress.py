"""How `learnae run` shows where it stands: a line that moves on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from learnae.cli.options import on_terminal
from learnae.node.connections import read_connections
from learnae.outlets import print_json, print_message, print_result, print_to_copy

if TYPE_CHECKING:
    from rich.text import Text

    from learnae.trainer.loop import TrainingProgress
    from learnae.trainer.status import Status
    from learnae.trainer.swarm import Swarm

MERGED = " (merged)"  # measured of the model as it was merged last
REFRESHES = 4  # a second
PAUSE_SECONDS = 3.0
LOOK_SECONDS, LOOKED_FOR_SECONDS = 1.0, 120.0


@contextmanager
def show_progress(swarm: Swarm, name: str, *, as_json: bool) -> Iterator[ProgressLine]:
    """What `train` calls with each moment: programs are shown all of them, people one every few seconds."""
    if as_json:
        yield ProgressLine(lambda moment: print_json(facts(moment, swarm.status)))
    elif not on_terminal():
        yield ProgressLine(lambda moment: print_result(in_words(moment, swarm.status)), PAUSE_SECONDS)
    else:
        with _on_terminal(swarm, name) as show:
            yield ProgressLine(show, PAUSE_SECONDS)


@attrs.define
class ProgressLine:
    """Shows a moment if the one before was shown long enough ago, and the last one always, but no step twice.

    Where nobody can be shown anything any more - a reader that has left, a full disk, a terminal that was closed - training goes on.
    """

    show: Callable[[TrainingProgress], None]
    pause: float = 0.0  # seconds
    clock: Callable[[], float] = time.monotonic
    _step: int | None = None
    _due: float = -math.inf

    def __call__(self, moment: TrainingProgress, *, last: bool = False) -> None:
        if moment.step != self._step and (last or self.clock() >= self._due) and self._due < math.inf:
            self._step, self._due = moment.step, self.clock() + self.pause
            try:
                self.show(moment)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self._due = math.inf
                _turn_away(error)


@attrs.define
class AddressLine:
    """Says once where others reach this peer, as soon as its node knows. It is not looked for for ever: many peers have no address."""

    home: Path
    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _due: float = -math.inf

    def __call__(self) -> None:
        now = self.clock()
        if now < self._due:
            return
        self._began = now if self._began is None else self._began
        state = read_connections(self.home)
        self._due = now + LOOK_SECONDS if not (state and state.addresses) and now < self._began + LOOKED_FOR_SECONDS else math.inf
        if state is not None and state.addresses:
            print_to_copy("others reach this peer at:", *state.addresses)


def facts(moment: TrainingProgress, status: Status) -> dict[str, Any]:
    """JSON-ready; a number that is not finite becomes null."""
    return {
        "step": moment.step,
        "seconds": round(moment.seconds, 3),
        "loss": _finite(moment.loss),
        "metrics": {name: _finite(value) for name, value in moment.metrics.items()},
        "metrics_of": "merged" if moment.merged else "trained",
        "node": status.node,
        "lineage": status.lineage.hex(),
        "age": status.age,
        "rounds": status.rounds,
        "heard": status.heard,
        "merged": status.merged,
        "refused": status.refused,
        "lost": status.lost,
        "quarantined": dict(status.quarantined),
        "benched": dict(status.quarantined),  # the name before, until 0.2
    }


def in_words(moment: TrainingProgress, status: Status, width: int | None = None) -> str:
    """In a line of `width` columns: what was refused gives way, then with a mark what was measured last, then the rest of the swarm."""
    numbers = moment.metrics if moment.loss is None else {"loss": moment.loss, **moment.metrics}
    measured = [f"{name} {value:.4f}" for name, value in numbers.items()]
    if moment.merged and moment.metrics:
        measured[-1] += MERGED
    swarm = list(_swarm_in_words(status))
    lines = [_line(moment, measured, swarm), _line(moment, measured, swarm[:-1])]
    lines += [_line(moment, [*measured[:count], "..."], swarm[:-1]) for count in range(len(measured) - 1, 0, -1)]
    lines += [_line(moment, [*measured[:1], *(["..."] if measured[1:] else [])], swarm[:count]) for count in range(len(swarm) - 2, -1, -1)]
    return next((line for line in lines if width is None or len(line) <= width), f"step {moment.step:,}")


def _line(moment: TrainingProgress, measured: Sequence[str], swarm: Sequence[str]) -> str:
    said = "; ".join(", ".join(words) for words in (measured, swarm) if words)
    return f"step {moment.step:,}: {said}" if said else f"step {moment.step:,}"


@contextmanager
def _on_terminal(swarm: Swarm, name: str) -> Iterator[Callable[[TrainingProgress], None]]:
    from rich.live import Live

    from learnae.screen import Screen
    from learnae.screen import line as one_line

    console = Screen()

    def line() -> Text:
        status = swarm.status
        said = ", ".join((f"{name}: step {status.steps:,}", *_swarm_in_words(status)))
        return one_line(said, "cyan", overflow="ellipsis", no_wrap=True)

    def show(moment: TrainingProgress) -> None:
        console.print(one_line(in_words(moment, swarm.status, console.width), overflow="ellipsis", no_wrap=True))

    live = Live(get_renderable=line, console=console, refresh_per_second=REFRESHES, transient=True)
    with suppress(OSError):  # here and below: the terminal was closed
        live.start()
    try:
        yield show
    finally:
        with suppress(OSError):
            live.stop()


def _swarm_in_words(status: Status) -> Iterator[str]:
    """What is wanted most comes first."""
    if status.node != "running":
        yield f"node {status.node}"
    yield from (f"without {strategy} for {rounds} rounds" for strategy, rounds in status.quarantined.items())
    if not status.lineage:
        yield "looking for the swarm"
        return
    if any(what.startswith("split ") for what in status.outages):
        yield "split: see learnae status"
    yield f"round {status.rounds:,}"
    yield f"hears {status.heard:,}"
    yield f"merged {status.merged:,}"
    if status.lost:
        yield f"lost {status.lost:,} to a plugin that failed"
    yield f"refused {status.refused:,}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _turn_away(error: Exception) -> None:
    """What is left in the buffer would be tried again at the end, and spoil the exit code."""
    print_message(f"the results cannot be shown any more: {error}; training goes on")
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
