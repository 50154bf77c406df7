"""What must be true across keys, and what is refused whatever it says."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from learnae.config.problems import Problems
from learnae.config.swarm_key import swarm_of
from learnae.config.tables import Choice, JoinTable, PeerTable, StorageChoice, SwarmTable
from learnae.errors import Problem
from learnae.identity.swarm_keys import looks_like_a_key, without_keys

SETTLE_WAITS = 3  # with less, two peers that founded at once may both be grown before they hear of each other


_RESTS_ON = {"join.settle_seconds": ("join.wait_seconds",), "peer.relay": ("storage", "announcer")}


def rests_on(key: str, bad: Collection[str]) -> bool:
    """Whether the rule for this key looks at one of these as well, and so cannot be judged without them."""
    return any(other.startswith(others) for others in _RESTS_ON.get(key, ()) for other in bad)


def without_secrets(swarm: Mapping[str, Any], problems: Problems) -> Mapping[str, Any]:
    """The table without the key itself, which has no place in a file that is shown and shared: under whatever name it stands there."""
    secret = {name for name, value in swarm.items() if name == "key" or looks_like_a_key(f"{name} {value}")}
    for name in sorted(secret):
        problems.add(
            f"swarm.{name}", "a key never stands in this file", 'name the variable that holds it: key_env = "SWARM_KEY"; and change the key'
        )
    return {name: value for name, value in swarm.items() if name not in secret}


def unrevealing(problem: Problem) -> Problem:
    """The same without the key that somebody has put where it does not belong: problems are shown, logged and pasted."""
    return Problem(*(text and without_keys(text) for text in attrs.astuple(problem)))


def guarded(swarm: SwarmTable, problems: Problems) -> SwarmTable:
    """As it is; a private swarm names its key once, and whoever names one has it."""
    if swarm.key_env is not None and swarm.key_file is not None:
        problems.add("swarm.key_file", "there is swarm.key_env as well", "leave one of the two out")
        return swarm
    if swarm.open and (swarm.key_env is not None or swarm.key_file is not None):
        problems.add("swarm.open", "a swarm with a key is not open to whoever comes", "leave it out; or leave the key out")
    with problems.collected():
        swarm_of(swarm)
    return swarm


def settled(join: JoinTable, problems: Problems, *, given: bool) -> JoinTable:
    """With a `settle_seconds` that fits `wait_seconds`; one that was given is never changed."""
    least = SETTLE_WAITS * join.wait_seconds
    if not given:
        return attrs.evolve(join, settle_seconds=max(join.settle_seconds, least))
    if join.settle_seconds < least:
        problems.add("join.settle_seconds", f"must be at least three times join.wait_seconds, {least}, not {join.settle_seconds}")
    return join


def relaying(peer: PeerTable, storages: Sequence[StorageChoice], announcers: Sequence[Choice], problems: Problems) -> None:
    """A relay has something to relay between: two announcers, or two storages of which one at least is written to."""
    if peer.relay and len(announcers) < 2 and (len(storages) < 2 or not any(storage.write for storage in storages)):
        problems.add(
            "peer.relay",
            "there is nothing to relay between: one announcer, and no second storage, or none that is written to",
            "write a second [[announcer]] or a second [[storage]]; or leave it out",
        )
