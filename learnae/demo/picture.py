"""The demo as a picture: how the peers fared over time, and what it came to."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from learnae.demo.director import Baselines
    from learnae.demo.processes import Peer

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by the colour-blind as well (Okabe and Ito)
GREY = "#8a8a8a"
INK = "#333333"
BOX = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "boxstyle": "round,pad=0.4"}

Point = tuple[float, float]  # seconds, accuracy


def draw(peers: list[Peer], baselines: Baselines) -> bytes:
    """A PNG."""
    figure = Figure(figsize=(13, 6.2), dpi=120, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    over_time, came_to = figure.subplots(1, 2, width_ratios=(1.7, 1), sharey=True)
    figure.suptitle("Four peers learn to read all ten digits, though each has images of only two or three", fontsize=15, color=INK)
    _draw_curves(over_time, peers, baselines)
    _draw_bars(came_to, peers, baselines)
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


def _bars(axes: Axes, places: list[float], heights: list[float], colours: Any) -> None:
    bars = axes.bar(places, heights, width=0.38, color=colours)
    axes.bar_label(bars, [f"{100 * height:.0f}" for height in heights], padding=2, color=INK)


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
