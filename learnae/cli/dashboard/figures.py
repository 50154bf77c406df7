"""Curves over time as figures for plotly, in plain data, and all that the page is told, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from learnae.cli.dashboard.graph import COLOURS, Figure, draw_graph, shown
from learnae.cli.dashboard.overview import MOST_REASONS, MOST_REFUSALS, Curve, HomeView, Overview, Reason
from learnae.cli.why import meaning

MOST_GRAPHS = 4
T = TypeVar("T")
LEFT_OUT = ("kept", "young", "denied")  # of the facts of a home: what the page does not show


def draw_measured(overview: Overview, metric: str) -> Figure:
    """What each peer measured on its own test data."""
    figure = _curves(overview, [(view, view.measured.get(metric, ()), {}) for view in overview.homes])
    figure["layout"]["yaxis"] = {"title": {"text": shown(metric)}}
    if all(0 <= value <= 1 for view in overview.homes for *_, value in view.measured.get(metric, ())) and "acc" in metric:
        figure["layout"]["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.02]}
    return figure


def draw_traffic(overview: Overview) -> Figure:
    """Bytes that came in and went out, added up. What goes out is dotted."""
    lines: list[tuple[HomeView, Curve, Figure]] = []
    for view in overview.homes:
        name = shown(view.name)
        lines.append((view, view.fetched, {"name": f"{name} in", "legendgroup": name}))
        lines.append((view, view.published, {"name": f"{name} out", "legendgroup": name, "line": {"dash": "dot", "width": 2}}))
    figure = _curves(overview, lines)
    figure["layout"]["yaxis"] = {"title": {"text": "bytes"}, "tickformat": "~s", "ticksuffix": "B", "rangemode": "tozero"}
    return figure


def _curves(overview: Overview, lines: Iterable[tuple[HomeView, Curve, Figure]]) -> Figure:
    """With the moments in `x`, in seconds since 1970, and the ages of the model in `steps`: the page takes one of them."""
    colours = {view.home: COLOURS[place % len(COLOURS)] for place, view in enumerate(overview.homes)}
    data = []
    for view, curve, how in lines:
        if not curve:
            continue
        style = {"width": 2, **how.get("line", {}), "color": colours[view.home]}
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if len(curve) > 1 else "markers",
                "name": shown(view.name),
                **how,
                "line": style,
                "marker": {"color": colours[view.home]},
                "x": [round(at, 3) for at, _, _ in curve],
                "steps": [age for _, age, _ in curve],
                "y": [value for *_, value in curve],
            }
        )
    return {"data": data, "layout": {"hovermode": "x unified", "showlegend": True}}


def as_data(overview: Overview) -> dict[str, Any]:
    """What the page is told. JSON-ready."""
    measured = {metric: draw_measured(overview, metric) for metric in overview.metrics}
    swarms = overview.swarms[:MOST_GRAPHS]
    return {
        "at": overview.at,
        "homes": [_home(overview, place) for place in range(len(overview.homes))],
        "graphs": [{"swarm": swarm, **draw_graph(overview, swarm)} for swarm in swarms],
        "measured": [{"metric": metric, **figure} for metric, figure in measured.items()],
        "traffic": draw_traffic(overview),
        "lineages": [
            {"swarm": swarm, "lineage": lineage, "peers": peers, "split": _is_split(overview, swarm)}
            for (swarm, lineage), peers in overview.lineages().items()
        ],
        "refusals": [attrs.asdict(one) | {"peer": overview.name_of(one.peer)} for one in newest_refusals(overview)],
        "reasons": [attrs.asdict(one) for one in all_reasons(overview)],
        "messages": all_messages(overview),
        "connections": list(_connections(overview)),
    }


def _is_split(overview: Overview, swarm: str) -> bool:
    return any(view.facts.get("splits") for view in overview.homes if view.swarm == swarm)


def _home(overview: Overview, place: int) -> dict[str, Any]:
    view = overview.homes[place]
    facts = {name: value for name, value in view.facts.items() if name not in (*LEFT_OUT, "peers", "connections", "refused_messages")}
    return {**facts, "home": view.home, "name": view.name, "error": view.error, "colour": COLOURS[place % len(COLOURS)]}


def newest_refusals(overview: Overview) -> list[Any]:
    """Of all homes, the newest first."""
    every = [one for view in overview.homes for one in view.refusals]
    return sorted(every, key=lambda one: -(one.at or 0.0))[:MOST_REFUSALS]


def all_reasons(overview: Overview) -> list[Reason]:
    """Of all homes together, the most frequent first."""
    found: dict[tuple[str, str], Reason] = {}
    for one in (one for view in overview.homes for one in view.reasons):
        before = found.get((one.stage, one.reason))
        found[one.stage, one.reason] = one if before is None else attrs.evolve(before, count=before.count + one.count)
    return _most(found.values(), lambda one: one.count)


def all_messages(overview: Overview) -> list[dict[str, Any]]:
    """How many messages never became a candidate, by reason."""
    counts: dict[str, int] = {}
    for view in overview.homes:
        for reason, count in view.facts.get("refused_messages", {}).items():
            counts[reason] = counts.get(reason, 0) + count
    found = [{"reason": reason, "count": count, "meaning": meaning(reason)} for reason, count in counts.items()]
    return _most(found, lambda one: int(one["count"]))


def _most(found: Iterable[T], count: Callable[[T], int]) -> list[T]:
    return sorted(found, key=lambda one: -count(one))[:MOST_REASONS]


def _connections(overview: Overview) -> Iterable[dict[str, Any]]:
    for view in overview.homes:
        for one in view.facts.get("connections", ())[:MOST_REFUSALS]:
            yield {**one, "home": view.name, "peer": overview.name_of(one["peer"] or "?")}
