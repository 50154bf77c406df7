"""What the demo shows: a live table on a terminal, plain lines elsewhere, and a picture at the end."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import trio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.console import Group
from rich.live import Live

from learnae.demo.director import Baselines, Director
from learnae.demo.processes import Peer, State
from learnae.screen import Screen, Table, cell, line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.text import Text


BAR = 16  # characters
WIDE = 104  # columns of a terminal
STYLES = {State.KILLED: "bold red", State.RETURNING: "yellow", State.STARTING: "dim", State.DONE: "green", State.FAILED: "bold red"}


def live_table(director: Director, width: int) -> Group:
    """Where all peers stand now; a terminal of fewer than 104 columns shows less."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{director.seconds:3.0f} s", title_justify="left", title_style="bold")
    wide = ("hears", "refused", "data") if width >= WIDE else ()
    for name in ("peer", "images", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("steps", "accuracy", "merged", *wide):
        table.add_column(name, justify="right", no_wrap=True)
    for peer in director.peers:
        state, total = cell(peer.state, STYLES.get(peer.state, "")), peer.total
        more = (str(peer.heard), f"{total.refused:,}", megabytes(total.bytes))
        shown = (peer.name, peer.knows, state, f"{peer.steps:,}", _bar(peer.accuracy), f"{total.merged:,}")
        table.add_row(*shown, *more[: len(wide)])
    return Group(table, "")  # the terminal writes ^C behind its end: in a line that is full, that would begin another one


def closing_table(peers: list[Peer], baselines: Baselines) -> Table:
    """What it came to: each peer alone, in the swarm, and one model with all the data."""
    table = Table(box=box.SIMPLE_HEAD, title="Accuracy on 360 images of all ten digits", title_justify="left", title_style="bold")
    for name, justify in (("peer", "left"), ("has images of", "left"), ("alone", "right"), ("in the swarm", "right"), ("", "left")):
        table.add_column(name, justify=justify, no_wrap=bool(name))  # type: ignore[arg-type]
    for peer, alone in zip(peers, baselines.alone, strict=True):
        table.add_row(peer.name, peer.knows, percent(alone), cell(percent(peer.accuracy), "bold green"), _fate(peer))
    table.add_section()
    table.add_row("mean", "", percent(fmean(baselines.alone)), cell(percent(mean_accuracy(peers)), "bold green"))
    return table


def summary(peers: list[Peer], baselines: Baselines) -> str:
    """The same in three sentences."""
    best, together, all_data = percent(max(baselines.alone)), percent(mean_accuracy(peers)), percent(baselines.central)
    return (
        f"Alone, none of the peers would have got beyond {best}. In the swarm they reach {together}, and no image has left its peer. "
        f"One model that has all the images, and as many steps as the busiest peer ({baselines.steps:,}), reaches {all_data}."
    )


def mean_accuracy(peers: list[Peer]) -> float:
    return fmean(peer.accuracy or 0.0 for peer in peers)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _fate(peer: Peer) -> str:
    merged = f"merged {peer.total.merged:,}"
    if peer.killed_at is None or peer.back_at is None:
        return merged
    return f"{merged}, {peer.merged_since_return:,} since it came back"


def _bar(accuracy: float | None) -> Text:
    filled = round(BAR * (accuracy or 0.0))
    return cell("━" * filled, "green").append("─" * (BAR - filled), "dim").append(f" {percent(accuracy):>6}")


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind as well (Okabe and Ito)
GREY = "#8a8a8a"
INK = "#333333"
BOX = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "boxstyle": "round,pad=0.4"}

Point = tuple[float, float]  # seconds, accuracy


def draw(peers: list[Peer], baselines: Baselines, path: Path) -> None:
    """Write a PNG. Raises OSError."""
    figure = Figure(figsize=(13, 6.2), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    over_time, came_to = figure.subplots(1, 2, width_ratios=(1.7, 1), sharey=True)
    figure.suptitle("Four peers learn to read all ten digits, though each has images of only two or three", fontsize=15, color=INK)
    _draw_curves(over_time, peers, baselines)
    _draw_bars(came_to, peers, baselines)
    figure.savefig(path)


def _draw_curves(axes: Axes, peers: list[Peer], baselines: Baselines) -> None:
    start = min(seconds for peer in peers for seconds, _ in peer.curve)
    _level(axes, baselines.central, "one model with all the data", 0.01, "left")
    _level(axes, max(baselines.alone), "the best peer, had it been alone", 0.99, "right")
    for peer, colour in zip(peers, COLOURS, strict=False):
        before, after = _lives(peer)
        _curve(axes, before, start, colour, label=f"{peer.name}, with images of {peer.knows}")
        _curve(axes, after, start, colour)
        if before and after:
            _mark_absence(axes, peer, before[-1], after[0], start, colour)
    axes.set(xlabel="seconds of training", ylabel="accuracy on 360 images of all ten digits", ylim=(0, 1.04), xlim=(0, None))
    axes.set_title("In the swarm, over time", fontsize=12, color=INK, loc="left")
    axes.legend(loc="lower right", frameon=False, labelcolor=INK)
    _tidy(axes)


def _lives(peer: Peer) -> tuple[list[Point], list[Point]]:
    """The curve before the kill, and after it."""
    end = peer.killed_at if peer.killed_at is not None else math.inf
    return [point for point in peer.curve if point[0] <= end], [point for point in peer.curve if point[0] > end]


def _curve(axes: Axes, points: list[Point], start: float, colour: str, label: str = "") -> None:
    axes.plot([seconds - start for seconds, _ in points], [accuracy for _, accuracy in points], color=colour, linewidth=1.8, label=label)


def _mark_absence(axes: Axes, peer: Peer, last: Point, first: Point, start: float, colour: str) -> None:
    gone, back = last[0] - start, first[0] - start
    axes.axvspan(gone, back, color="#f3ece6", zorder=-1, linewidth=0)
    axes.plot([gone, back], [last[1], first[1]], color=colour, linewidth=1.2, linestyle=":")
    axes.plot(gone, last[1], marker="X", markersize=12, color=colour, markeredgecolor="white", zorder=5)
    axes.plot(back, first[1], marker="o", markersize=10, color=colour, markeredgecolor="white", zorder=5)
    story = f"{peer.name} is killed:\nthe others unlearn {peer.knows},\nwhich nobody else has.\nThen it comes back."
    axes.text((gone + back) / 2, 0.02, story, ha="center", va="bottom", color=INK, linespacing=1.4, bbox=BOX)


def _level(axes: Axes, accuracy: float, text: str, place: float, side: str) -> None:
    axes.axhline(accuracy, color=GREY, linewidth=1.2, linestyle="--", zorder=0)
    label = f"{text}: {100 * accuracy:.0f} %"
    at: Any = {"xycoords": ("axes fraction", "data"), "xytext": (0, 4), "textcoords": "offset points"}
    axes.annotate(label, (place, accuracy), ha=side, color=GREY, **at)


def _draw_bars(axes: Axes, peers: list[Peer], baselines: Baselines) -> None:
    alone, together = list(baselines.alone), [peer.accuracy or 0.0 for peer in peers]
    places = range(len(peers))
    _bars(axes, [place - 0.2 for place in places], alone, ["#c4c4c4"] * len(peers))
    _bars(axes, [place + 0.2 for place in places], together, COLOURS[: len(peers)])
    _bars(axes, [len(peers)], [baselines.central], [GREY])
    axes.set_xticks([*places, len(peers)], [*(f"{peer.name}\n{peer.knows}" for peer in peers), "one model,\nall the data"])
    axes.set_title("In the end: alone (grey), and in the swarm", fontsize=12, color=INK, loc="left")
    _tidy(axes)
    axes.tick_params(left=False)


def _bars(axes: Axes, places: list[float], heights: list[float], colours: Any) -> None:
    bars = axes.bar(places, heights, width=0.38, color=colours)
    axes.bar_label(bars, [f"{100 * height:.0f}" for height in heights], padding=2, color=INK)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


FRAME_SECONDS = 0.25
LINE_SECONDS = 3.0


async def watch(director: Director, console: Screen) -> None:
    """Show until cancelled."""
    if console.is_terminal:
        await _frames(director, console)
    else:
        await _lines(director, console)


async def _frames(director: Director, console: Screen) -> None:
    told = 0
    with Live(live_table(director, console.width), console=console, auto_refresh=False) as live:
        try:
            while True:
                told = _tell_events(director, console, told)
                live.update(live_table(director, console.width), refresh=True)
                await trio.sleep(FRAME_SECONDS)
        finally:
            _tell_events(director, console, told)
            live.update(live_table(director, console.width), refresh=True)


async def _lines(director: Director, console: Screen) -> None:
    told, shown = 0, ""
    while True:
        told = _tell_events(director, console, told)
        words = _in_words(director)
        if words != shown and any(peer.accuracy is not None for peer in director.peers):
            console.print(line(f"{director.seconds:3.0f} s  {words}"), soft_wrap=True)
            shown = words
        await trio.sleep(LINE_SECONDS)


def _tell_events(director: Director, console: Screen, told: int) -> int:
    for seconds, event in director.events[told:]:
        console.print(line(f"{seconds:3.0f} s  {event}", "bold"), soft_wrap=True)
    return len(director.events)


def _in_words(director: Director) -> str:
    shown = [f"{peer.name} {percent(peer.accuracy)}{_remark(peer)}" for peer in director.peers]
    merged = sum(peer.total.merged for peer in director.peers)
    moved = sum(peer.total.bytes for peer in director.peers)
    return f"{', '.join(shown)}; merged {merged:,}, {megabytes(moved)}"


def _remark(peer: Peer) -> str:
    return "" if peer.state in (State.TRAINING, State.DONE) else f" ({peer.state})"
