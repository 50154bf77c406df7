"""The dashboard for Grafana asks for nothing that a node does not tell, and leaves out nothing of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from learnae.plugins.observers.prometheus import Prometheus

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "static" / "grafana.json").read_text())
PANELS = DASHBOARD["panels"]
ASKED = " ".join(
    [target["expr"] for panel in PANELS for target in panel["targets"]] + [one["query"] for one in DASHBOARD["templating"]["list"]]
)


def told() -> set[str]:
    """The names of all series of a node, as Prometheus has them."""
    found = re.findall(r"^# TYPE (learnae_\w+) (\w+)$", generate_latest(Prometheus("digits").registry).decode(), re.MULTILINE)
    return {f"{name}_bucket" if kind == "histogram" else name for name, kind in found if not name.endswith("_created")}


def test_each_number_that_a_node_tells_is_shown_and_no_other_is_asked_for() -> None:
    assert set(re.findall(r"learnae_\w+", ASKED)) == told()


def test_labels_that_are_asked_for_exist() -> None:
    assert set(re.findall(r"(\w+)=~?\"", ASKED)) <= {"instance", "name", "outcome", "fate", "le"}


def test_no_two_panels_lie_on_each_other() -> None:
    cells = [
        (x, y)
        for panel in PANELS
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
