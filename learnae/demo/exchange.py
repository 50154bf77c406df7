"""The demo with rows: the same peers three times, one after the other. They share their models, then a few rows, then both."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import trio
from rich import box
from rich.console import Group

from learnae.demo.director import Baselines, Director, silence
from learnae.demo.processes import Peer, Plan, State
from learnae.demo.screen import accuracy_bar, percent
from learnae.screen import Table, cell

if TYPE_CHECKING:
    from rich.text import Text

WEIGHTS, ROWS, BOTH = "weights only", "rows only", "both"
SHARE = 0.05  # of its rows, by each peer
QUOTA = 1 << 20

DATA = {"share": "slices", "share_fraction": SHARE, "licence": "BSD-3-Clause", "source": "digits of scikit-learn", "accept_bytes": QUOTA}
BY_ITSELF = {"wait_seconds": 0.0, "settle_rounds": 0, "settle_seconds": 0.0}  # adopts no model and goes over to none

EXCHANGE = Plan(
    classes=((0, 1), (2, 3), (4, 5), (6, 7), (8, 9)),
    steps=800,
    steps_per_second=60.0,
    acts={
        WEIGHTS: {},
        ROWS: {"data": DATA, "selector": {"use": "fixed", "count": 1}, "join": BY_ITSELF},
        BOTH: {"data": DATA, "selector": {"use": "planner"}},
    },
)
"""Two digits a peer. In the second act nobody is named whose models it should fetch, so it fetches none."""

INTRODUCTION = """\
Five peers learn to read handwritten digits. Each has images of two digits only.
They learn three times, each time anew: first they share their models, then five
in a hundred of their images and no models, then both. No server, no leader.
"""


class ExchangeDirector(Director):
    """Plays one act after the other with the same processes, which load PyTorch once. Nobody is killed."""

    async def _acts(self, nursery: trio.Nursery) -> None:
        self._tell("the peers start, and load PyTorch")
        for number, _ in enumerate(self.plan.classes):
            await self._start(self.peers[number], nursery)
        *before, last = self.casts
        for act in before:
            await self._play_act(act)
            for child in self._child_of.values():
                await child.say("\n")
            await self._until(lambda: all(peer.state == State.DONE for peer in self.peers))
        comparing = await self._start_comparing()
        await self._play_act(last)
        await self._dismiss_all()
        self._tell("all are done; to compare with, models are trained without a swarm")
        await self._compare(comparing)

    async def _play_act(self, act: str) -> None:
        self.act = act
        await self._until(lambda: all(peer.state == State.TRAINING for peer in self.peers))
        self._tell(f"{list(self.casts).index(act) + 1} of {len(self.casts)}: all peers train, and share {TOLD[act]}")
        await self._until(lambda: all(peer.steps >= self.plan.steps for peer in self.peers))


TOLD = {WEIGHTS: "their models", ROWS: "a few images, no models", BOTH: "both"}
MEANS = {WEIGHTS: 0.60, ROWS: 0.60, BOTH: 0.82}  # a busy machine merges less often


def exchange_shortcomings(director: Director) -> list[str]:
    """Why the demo has failed, in plain words; empty if it has not."""
    found = [f"{act}: {said}" for act, peers in director.casts.items() for said in silence(peers)]
    if found:
        return found
    for act, peers in director.casts.items():
        reached = mean_of(peers)
        if reached < MEANS[act]:
            found.append(f"{act}: the mean accuracy is {reached:.3f}, and should be at least {MEANS[act]:.2f}")
        found += [f"{act}: {peer.name} got no rows of others" for peer in peers if act != WEIGHTS and not peer.rows]
    return found


def mean_of(peers: list[Peer]) -> float:
    return fmean(peer.accuracy or 0.0 for peer in peers)


def exchange_table(director: Director, width: int) -> Group:
    """Where all stand, act by act; the one that is played has bars. Fits into 80 columns, whatever `width` is."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{director.seconds:3.0f} s", title_justify="left", title_style="bold")
    for name in ("peer", "images"):
        table.add_column(name, no_wrap=True)
    for act in director.casts:
        table.add_column(act, justify="right", no_wrap=True)
    for at, peer in enumerate(director.peers):
        table.add_row(peer.name, peer.knows, *(_accuracy(director, act, peers[at]) for act, peers in director.casts.items()))
    table.add_section()
    table.add_row("steps", "", *(f"{min(peer.steps for peer in peers):,}" for peers in director.casts.values()))
    table.add_row("rows of others", "", *(_rows(peers) for peers in director.casts.values()))
    return Group(table, "")  # the terminal writes ^C behind its end: in a line that is full, that would begin another one


def _accuracy(director: Director, act: str, peer: Peer) -> Text | str:
    return accuracy_bar(peer.accuracy) if act == director.act else percent(peer.accuracy)


def _rows(peers: list[Peer]) -> str:
    return f"{fmean(peer.rows for peer in peers):.0f}"


def kilobytes(count: float) -> str:
    return f"{count / 1e3:,.0f} kB"


def exchange_in_words(director: Director) -> str:
    """The act that is played, in one line."""
    shown = [f"{peer.name} {percent(peer.accuracy)}" for peer in director.peers]
    return f"{director.act}: {', '.join(shown)}; rows of others {_rows(director.peers)}"


def exchange_closing(director: Director, baselines: Baselines) -> Table:
    """What it came to: each peer alone, and in each act."""
    table = Table(box=box.SIMPLE_HEAD, title="Accuracy on 360 images of all ten digits", title_justify="left", title_style="bold")
    for name, justify in (("peer", "left"), ("images", "left"), ("alone", "right"), *((act, "right") for act in director.casts)):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for at, (peer, alone) in enumerate(zip(director.peers, baselines.alone, strict=True)):
        table.add_row(peer.name, peer.knows, percent(alone), *(percent(peers[at].accuracy) for peers in director.casts.values()))
    table.add_section()
    means = (cell(percent(mean_of(peers)), "bold green") for peers in director.casts.values())
    table.add_row("mean", "", percent(fmean(baselines.alone)), *means)
    table.add_row("fetched by each", "", "", *(kilobytes(fmean(p.fetched for p in peers)) for peers in director.casts.values()))
    return table


def exchange_summary(director: Director, baselines: Baselines) -> str:
    """The same in three sentences."""
    weights, rows, both = (percent(mean_of(director.casts[act])) for act in (WEIGHTS, ROWS, BOTH))
    alone, central = percent(fmean(baselines.alone)), percent(baselines.central)
    return (
        f"Alone, the peers would have reached {alone}. They reach {weights} if they share their models, {rows} if each has "
        f"{_rows(director.casts[ROWS])} images of the others and no models, and {both} with both. "
        f"One model that has all the images, and as many steps as the busiest peer ({baselines.steps:,}), reaches {central}."
    )
