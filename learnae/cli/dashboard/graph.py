"""The peers of a swarm as a graph: who merged whose updates, and how many. As a figure for plotly, in plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from learnae.cli.dashboard.overview import KEY_DIGITS, MOST_PEERS, HomeView, Overview, TakenUpdates
from learnae.cli.options import ago, counted, of_bytes
from learnae.texts import CELL_CHARACTERS, harmless

COLOURS = ("#3f8fd2", "#e0743a", "#21a179", "#c2609f", "#c99700", "#8a6fd1", "#17a2b8", "#d1495b")
"""Of the homes, in their order. Told apart by the colour-blind as well, and seen on white and on black."""
GREY = "#8b95a1"
MOST_ARROWS = 300
WIDEST, NARROWEST = 5.0, 1.0
ASIDE = 0.035  # of the two arrows between two peers, so that both are seen
FREE = 0.17  # around the middle of a peer
FADED, RECENT_SECONDS = 0.35, 60.0

Figure = dict[str, Any]


def shown(text: str) -> str:
    """For plotly, which reads tags in its texts."""
    return harmless(text, CELL_CHARACTERS).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


@attrs.frozen
class GraphNode:
    """A peer, and where it stands: on a circle."""

    peer: str
    view: HomeView | None  # None for one whose home is none of these
    lineage: str | None
    x: float
    y: float
    colour: str


@attrs.frozen
class GraphArrow:
    """From the peer that gave to the one that took."""

    giver: GraphNode
    taker: GraphNode
    given: TakenUpdates


def nodes_of(overview: Overview, swarm: str) -> dict[str, GraphNode]:
    """By key: first those whose homes these are, then those they know, the most heard first."""
    lineages: dict[str, str | None] = {}
    views = {view.peer: (place, view) for place, view in enumerate(overview.homes) if view.peer and view.swarm == swarm}
    for _, view in views.values():
        lineages[str(view.peer)] = view.lineage
    for _, view in views.values():
        for peer in view.facts.get("peers", ()):
            lineages.setdefault(peer["peer"], peer["lineage"])
        for given in view.given:
            lineages.setdefault(given.peer, None)
    found = {}
    chosen = list(lineages)[:MOST_PEERS]
    for number, peer in enumerate(chosen):
        turn = 2 * math.pi * number / len(chosen) + math.pi / 4
        place, view_here = views.get(peer, (0, None))
        colour = COLOURS[place % len(COLOURS)] if view_here else GREY
        found[peer] = GraphNode(peer, view_here, lineages[peer], -math.cos(turn), math.sin(turn), colour)
    return found


def arrows_of(nodes: Mapping[str, GraphNode]) -> list[GraphArrow]:
    """Those with the most merges first."""
    arrows = [
        GraphArrow(nodes[given.peer], node, given)
        for node in nodes.values()
        if node.view is not None
        for given in node.view.given
        if given.peer in nodes and given.peer != node.peer and given.merged
    ]
    return sorted(arrows, key=lambda arrow: -arrow.given.merged)[:MOST_ARROWS]


def draw_graph(overview: Overview, swarm: str) -> Figure:
    """An arrow leads from each peer to those that merged its updates; the wider, the more. What is long past is pale."""
    nodes = nodes_of(overview, swarm)
    arrows = arrows_of(nodes)
    newest = max((arrow.given.last_at for arrow in arrows), default=0.0)
    most = max((arrow.given.merged for arrow in arrows), default=1)
    return {
        "data": [_hovered(overview, arrows), _drawn(overview, list(nodes.values()))],
        "layout": {
            "annotations": [_arrow(arrow, most, newest) for arrow in arrows],
            "xaxis": {"visible": False, "range": [-1.45, 1.45], "fixedrange": True},
            "yaxis": {"visible": False, "range": [-1.35, 1.35], "fixedrange": True, "scaleanchor": "x"},
            "showlegend": False,
            "hovermode": "closest",
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        },
    }


def _ends(arrow: GraphArrow) -> tuple[float, float, float, float]:
    """Where it begins and ends: beside the line between the two, and outside of them."""
    across, up = arrow.taker.x - arrow.giver.x, arrow.taker.y - arrow.giver.y
    length = math.hypot(across, up) or 1.0
    across, up = across / length, up / length
    aside_x, aside_y, free = -up * ASIDE, across * ASIDE, min(FREE, length / 3)
    return (
        arrow.giver.x + across * free + aside_x,
        arrow.giver.y + up * free + aside_y,
        arrow.taker.x - across * free + aside_x,
        arrow.taker.y - up * free + aside_y,
    )


def _arrow(arrow: GraphArrow, most: int, newest: float) -> Figure:
    from_x, from_y, to_x, to_y = _ends(arrow)
    return {
        "x": to_x,
        "y": to_y,
        "ax": from_x,
        "ay": from_y,
        "xref": "x",
        "yref": "y",
        "axref": "x",
        "ayref": "y",
        "text": "",
        "showarrow": True,
        "arrowhead": 2,
        "arrowsize": 0.7,
        "arrowcolor": arrow.giver.colour,
        "arrowwidth": NARROWEST + (WIDEST - NARROWEST) * math.sqrt(arrow.given.merged / max(1, most)),
        "opacity": FADED if newest - arrow.given.last_at > RECENT_SECONDS else 0.9,
    }


def _hovered(overview: Overview, arrows: Sequence[GraphArrow]) -> Figure:
    """Points on the arrows, which are not seen: plotly says what belongs to a point, and not to an arrow."""
    ends = [_ends(arrow) for arrow in arrows]
    return {
        "type": "scatter",
        "mode": "markers",
        "marker": {"size": 22, "opacity": 0},
        "hoverinfo": "text",
        "x": [(2 * to_x + from_x) / 3 for from_x, _, to_x, _ in ends],
        "y": [(2 * to_y + from_y) / 3 for _, from_y, _, to_y in ends],
        "hovertext": [_told(overview, arrow) for arrow in arrows],
    }


def _told(overview: Overview, arrow: GraphArrow) -> str:
    given = arrow.given
    taker, giver = shown(overview.name_of(arrow.taker.peer)), shown(overview.name_of(arrow.giver.peer))
    return (
        f"{taker} merged {counted(given.merged, 'update')} of {giver}, {of_bytes(given.bytes)}<br>"
        f"refused {given.refused:,}, not fetched {given.failed:,}; the last {ago(overview.at - given.last_at)} ago"
    )


def _drawn(overview: Overview, nodes: Sequence[GraphNode]) -> Figure:
    lineages = list(dict.fromkeys(node.lineage for node in nodes if node.lineage))
    symbols = ("circle", "diamond", "square", "star")
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [node.x for node in nodes],
        "y": [node.y for node in nodes],
        "text": [shown(overview.name_of(node.peer)) for node in nodes],
        "textposition": ["top center" if node.y >= 0 else "bottom center" for node in nodes],
        "hoverinfo": "text",
        "hovertext": [_about(node) for node in nodes],
        "marker": {
            "size": 30,
            "color": [node.colour for node in nodes],
            "opacity": [1.0 if node.view is None or node.view.running else 0.55 for node in nodes],
            "symbol": [symbols[lineages.index(node.lineage) % len(symbols)] if node.lineage else "circle-open" for node in nodes],
            "line": {"width": 2, "color": [node.colour for node in nodes]},
        },
    }


def _about(node: GraphNode) -> str:
    lineage = f"lineage {shown(node.lineage)}" if node.lineage else "no lineage yet"
    if node.view is None:
        return f"peer {shown(node.peer[:KEY_DIGITS])}, heard by these<br>{lineage}"
    state = "running" if node.view.running else "not running"
    return f"{shown(node.view.name)}, peer {shown(node.peer[:KEY_DIGITS])}, {state}<br>{lineage}"
