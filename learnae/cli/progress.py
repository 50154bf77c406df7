"""How `learnae run` shows where it stands: a line that moves on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

import json
import math
import sys
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


@contextmanager
def show_progress(swarm: Swarm, name: str, *, as_json: bool) -> Iterator[Callable[[Moment], None]]:
    """What `train` calls with each moment; a step that was shown is not shown again at the end."""
    if as_json:
        yield _Once(lambda moment: click.echo(json.dumps(facts(moment, swarm.status))))
    elif not sys.stdout.isatty():
        yield _Once(lambda moment: click.echo(in_words(moment, swarm.status)))
    else:
        with _on_terminal(swarm, name) as show:
            yield _Once(show)


@attrs.define
class _Once:
    show: Callable[[Moment], None]
    step: int | None = None

    def __call__(self, moment: Moment) -> None:
        if moment.step != self.step:
            self.step = moment.step
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
    }


def in_words(moment: Moment, status: Status) -> str:
    measured = [f"loss {moment.loss:.4f}", *(f"{name} {value:.4f}" for name, value in moment.metrics.items())]
    return f"step {moment.step:,}: {', '.join(measured)}; {_swarm_in_words(status)}"


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
    return f"{node}round {status.rounds}, hears {status.heard}, merged {status.merged}, refused {status.refused}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
