"""Several homes, as `learnae status` lists them: a line about each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from learnae.cli.home_state import read_home
from learnae.cli.homes import command_for, is_of_sensor, last_used, name_of, processes_of
from learnae.cli.options import ago
from learnae.cli.sensor_home import sensor_brief
from learnae.errors import LearnaeError
from learnae.screen import Screen, line


def brief(home: Path) -> dict[str, Any]:
    """The facts about one of several homes. A home that cannot be read gives an `error`, and hides no other."""
    about: dict[str, Any] = {
        "home": str(home),
        "running": processes_of(home).running,
        "swarm": None,
        "rounds": 0,
        "used_at": last_used(home),
    }
    try:
        if is_of_sensor(home):
            return {**about, **sensor_brief(home)}
        with read_home(home) as seen:
            swarm = seen.swarm.name if seen.swarm else None
            return {**about, "swarm": swarm, "rounds": seen.history.last_round(), "error": None}
    except LearnaeError as error:
        return {**about, "error": str(error)}


def show_homes(console: Screen, homes: list[dict[str, Any]]) -> None:
    console.print(f"{len(homes)} homes. For more about one, name it: {command_for(Path(homes[0]['home']), 'status')}", soft_wrap=True)
    for home in homes:
        state = "running" if home["running"] else f"used {ago(time.time() - home['used_at'])} ago"
        rounds = "a sensor" if home.get("role") == "sensor" else f"round {home['rounds']:,}"
        about = home["error"] or f"swarm {home['swarm'] or 'unknown'}, {rounds}, {state}"
        console.print(line(name_of(Path(home["home"]))), soft_wrap=True)
        console.print(line(f"    {about}"), soft_wrap=True)
