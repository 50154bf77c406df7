"""How `learnae run` shows where it stands: a line that moves on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from learnae.trainer.loop import Moment
    from learnae.trainer.status import Status
    from learnae.trainer.swarm import Swarm

REFRESHES = 4  # a second
PAUSE_SECONDS = 3.0


@contextmanager
def show_progress(swarm: Swarm, name: str, *, as_json: bool) -> Iterator[Progress]:
    """What `train` calls with each moment: programs are shown all of them, people one every few seconds."""
    if as_json:
        yield Progress(lambda moment: click.echo(json.dumps(facts(moment, swarm.status))))
    elif not sys.stdout.isatty():
        yield Progress(lambda moment: click.echo(in_words(moment, swarm.status)), PAUSE_SECONDS)
    else:
        with _on_terminal(swarm, name) as show:
            yield Progress(show, PAUSE_SECONDS)


@attrs.define
class Progress:
    """Shows a moment if the one before was shown long enough ago, and the last one always, but no step twice."""

    show: Callable[[Moment], None]
    pause: float = 0.0  # seconds
    clock: Callable[[], float] = time.monotonic
    _step: int | None = None
    _due: float = -math.inf

    def __call__(self, moment: Moment, *, last: bool = False) -> None:
        if moment.step != self._step and (last or self.clock() >= self._due):
            self._step, self._due = moment.step, self.clock() + self.pause
            self.show(moment)


def facts(moment: Moment, status: Status) -> dict[str, Any]:
    """JSON-ready; a number that is not finite becomes null."""
    return {
        "step": moment.step,
        "seconds": round(moment.seconds, 3),
        "loss": _finite(moment.loss),
        "metrics": {name: _finite(value) for name, value in moment.metrics.items()},
        "node": status.node,
        "lineage": status.lineage.hex(),
        "age": status.age,
        "rounds": status.rounds,
        "heard": status.heard,
        "merged": status.merged,
        "refused": status.refused,
        "lost": status.lost,
        "benched": dict(status.benched),
    }


def in_words(moment: Moment, status: Status) -> str:
    numbers = moment.metrics if moment.loss is None else {"loss": moment.loss, **moment.metrics}
    measured = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
    return f"step {moment.step:,}: {measured}{'; ' if measured else ''}{_swarm_in_words(status)}"


@contextmanager
def _on_terminal(swarm: Swarm, name: str) -> Iterator[Callable[[Moment], None]]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)

    def line() -> Text:
        status = swarm.status
        return Text(f"{name}: step {status.steps:,}, {_swarm_in_words(status)}", style="cyan", overflow="ellipsis", no_wrap=True)

    def show(moment: Moment) -> None:
        console.print(in_words(moment, swarm.status))

    with Live(get_renderable=line, console=console, refresh_per_second=REFRESHES, transient=True):
        yield show


def _swarm_in_words(status: Status) -> str:
    node = "" if status.node == "running" else f"node {status.node}, "
    benched = "".join(f", without {strategy} for {rounds} rounds" for strategy, rounds in status.benched.items())
    lost = f", lost {status.lost} to a plugin that failed" if status.lost else ""
    return f"{node}round {status.rounds}, hears {status.heard}, merged {status.merged}, refused {status.refused}{lost}{benched}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
