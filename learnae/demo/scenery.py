"""What the demo's peers stand on: where their blocks lie, and by which way they hear of each other."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import attrs

from learnae.demo.plan import Plan, Stage
from learnae.identity.swarm_keys import SwarmKey

EMBEDDED = "directory"
KINDS = ("storage", "announcer")
ON_LOOPBACK: dict[str, dict[str, Any]] = {"ipfs": {"listen": ["/ip4/127.0.0.1/tcp/0"]}}  # options that keep it on this machine
BUILDERS = {"iota": "learnae_iota.demo:tangle"}  # of what has to run before peers can use it
STEPS_PER_SECOND = 30.0  # daemons share the cores, and rounds take longer
LEARNING_RATE = 0.1  # more steps pass between two merges, each by itself on two or three of the digits
STEPS = 2500  # so it takes more of them
LIMIT_SECONDS = 400.0


@attrs.frozen
class Built:
    """What a plugin has made for the demo: options that lead to it, and what happens to it half-way, told in one line."""

    options: Mapping[str, Any]
    half_way: Callable[[], str]


Builder = Callable[[Path], AbstractContextManager[Built]]


@attrs.frozen
class Scene:
    """The play, and what happens half-way beside it."""

    plan: Plan
    half_way: tuple[Callable[[], str], ...] = ()


def table(name: str) -> dict[str, Any]:
    """The choice of it in a peer's file, as far as that is known before the demo."""
    return {"use": name, **ON_LOOPBACK.get(name, {})}


@contextmanager
def built(chosen: Mapping[str, str], stage: Stage) -> Iterator[Scene]:
    """`chosen` names a storage and an announcer. With other than the embedded ones the swarm is a private one. Raises LearnaeError."""
    others = {kind: name for kind, name in chosen.items() if name != EMBEDDED}
    if not others:
        yield Scene(Plan())
        return
    stage.key.touch(mode=0o600)
    stage.key.write_text(SwarmKey.generate().text())
    tables: dict[str, Any] = {"swarm": {"key_file": str(stage.key)}}
    with ExitStack() as stack:
        made = {name: stack.enter_context(_builder(name)(stage.folder / name)) for name in others.values() if name in BUILDERS}
        for kind, name in others.items():
            tables[kind] = [{**table(name), **(made[name].options if name in made else {})}]
        plan = Plan(
            scenery=tables, steps_per_second=STEPS_PER_SECOND, learning_rate=LEARNING_RATE, steps=STEPS, limit_seconds=LIMIT_SECONDS
        )
        yield Scene(plan, tuple(one.half_way for one in made.values()))


def _builder(name: str) -> Builder:
    module, _, function = BUILDERS[name].partition(":")
    builder: Builder = getattr(importlib.import_module(module), function)
    return builder
