"""The demo as a picture: how the peers fared over time, and what it came to."""

from __future__ import annotations

import io
import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from learnae.demo.director import Baselines, Director
    from learnae.demo.processes import Peer

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")  # told apart by the colour-blind as well (Okabe and Ito)
GREY = "#8a8a8a"
INK = "#333333"
BOX = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "boxstyle": "round,pad=0.4"}

Point = tuple[float, float]  # seconds, accuracy


def draw_kill(director: Director, baselines: Baselines) -> bytes:
    """A PNG."""
    peers = director.peers
    figure = _figure("Four peers learn to read all ten digits, though each has images of only two or three")
    over_time, came_to = figure.subplots(1, 2, width_ratios=(1.7, 1), sharey=True)
    _draw_curves(over_time, peers, baselines)
    _draw_bars(came_to, peers, baselines)
    return _png(figure)


def draw_exchange(director: Director, baselines: Baselines) -> bytes:
    """A PNG: the mean over time in each act, between the worst and the best peer; and what each peer came to."""
    figure = _figure("Five peers learn to read all ten digits, though each has images of only two")
    over_time, came_to = figure.subplots(1, 2, width_ratios=(1.3, 1), sharey=True)
    _level(over_time, baselines.central, "one model with all the data", 0.01, "left")
    for (act, peers), colour in zip(director.casts.items(), COLOURS, strict=False):
        _band(over_time, peers, colour, act)
    over_time.set(xlabel="steps of each peer", ylabel="accuracy on 360 images of all ten digits", ylim=(0, 1.04), xlim=(0, None))
    over_time.set_title("What they share: the mean, and all between the worst peer and the best", fontsize=12, color=INK, loc="left")
    over_time.legend(loc="lower right", frameon=False, labelcolor=INK)
    groups = [("#c4c4c4", list(baselines.alone))]
    groups += [(colour, [peer.accuracy or 0.0 for peer in peers]) for peers, colour in zip(director.casts.values(), COLOURS, strict=False)]
    for at, (colour, heights) in enumerate(groups):
        places = [place + 0.2 * at - 0.3 for place in range(len(heights))]
        _bars(came_to, places, heights, [colour] * len(heights), width=0.19)
    came_to.set_xticks(range(len(director.peers)), [f"{peer.name}\n{peer.knows}" for peer in director.peers])
    came_to.set_title("In the end: alone (grey), and in each act", fontsize=12, color=INK, loc="left")
    came_to.tick_params(left=False)
    for axes in (over_time, came_to):
        _tidy(axes)
    return _png(figure)


def _band(axes: Axes, peers: list[Peer], colour: str, label: str) -> None:
    """Between so many steps as all have made."""
    steps = range(0, min(peer.by_steps[-1][0] for peer in peers) + 1, 20)
    curves = [_at(peer, steps) for peer in peers]
    axes.fill_between(steps, [min(now) for now in zip(*curves, strict=True)], [max(now) for now in zip(*curves, strict=True)],
                      color=colour, alpha=0.15, linewidth=0)  # fmt: skip
    axes.plot(steps, [sum(now) / len(now) for now in zip(*curves, strict=True)], color=colour, linewidth=2, label=label)


def _at(peer: Peer, steps: Iterable[int]) -> list[float]:
    """What it had reached after so many steps: its last evaluation before."""
    numbers = [made for made, _ in peer.by_steps]
    return [peer.by_steps[max(0, bisect_right(numbers, made) - 1)][1] for made in steps]


def _figure(title: str) -> Figure:
    figure = Figure(figsize=(13, 6.2), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=15, color=INK)
    return figure


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


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


def _bars(axes: Axes, places: list[float], heights: list[float], colours: Any, width: float = 0.38) -> None:
    bars = axes.bar(places, heights, width=width, color=colours)
    size = 10 if width > 0.2 else 7
    axes.bar_label(bars, [f"{100 * height:.0f}" for height in heights], padding=2, color=INK, fontsize=size)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
