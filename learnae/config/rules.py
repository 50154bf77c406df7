"""What must be true across keys, and what is refused whatever it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from learnae.config.problems import Problems
from learnae.config.tables import JoinTable

SETTLE_WAITS = 3  # with less, two peers that founded at once may both be grown before they hear of each other


def without_secrets(swarm: Mapping[str, Any], problems: Problems) -> Mapping[str, Any]:
    """The table without the key itself, which has no place in a file that is shown and shared."""
    if "key" in swarm:
        problems.add("swarm.key", "a key never stands in this file", 'name the variable that holds it: key_env = "SWARM_KEY"')
    return {name: value for name, value in swarm.items() if name != "key"}


def refuse_private(swarm: Mapping[str, Any], problems: Problems) -> None:
    """Until seals are built: a swarm that only looks private would be worse than none."""
    for name in ("key_env", "key_file"):
        if swarm.get(name) is not None:
            problems.add(f"swarm.{name}", "private swarms are not built yet", "leave it out to train in an open swarm")


def settled(join: JoinTable, problems: Problems, *, given: bool) -> JoinTable:
    """With a `settle_seconds` that fits `wait_seconds`; one that was given is never changed."""
    least = SETTLE_WAITS * join.wait_seconds
    if not given:
        return attrs.evolve(join, settle_seconds=max(join.settle_seconds, least))
    if join.settle_seconds < least:
        problems.add("join.settle_seconds", f"must be at least three times join.wait_seconds, {least}, not {join.settle_seconds}")
    return join
