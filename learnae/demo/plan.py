"""What the demo plays: who knows what, how long it takes, and what must come out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs


@attrs.frozen(kw_only=True)
class Plan:
    """All numbers of the demo."""

    classes: tuple[tuple[int, ...], ...] = ((0, 1, 2), (3, 4, 5), (6, 7), (8, 9))  # the digits that each peer has images of
    steps: int = 1500  # of each peer at least: all train until the last one has made so many
    steps_per_second: float = 80.0  # slow enough to watch, and two cores bear it
    local_steps: int = 10
    batch: int = 16
    learning_rate: float = 0.2
    hidden: int = 64
    seed: int = 0
    victim: int = 2  # the number of the peer that is killed, from 1
    kill_after: float = 0.5  # share of the steps
    away_seconds: float = 2.0
    limit_seconds: float = 150.0  # then it has failed, whatever the reason
    scenery: Mapping[str, Any] = attrs.field(factory=dict)  # tables of each peer's file, beside those of `config`

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "classes": tuple(map(tuple, values["classes"]))})

    def config(self, number: int) -> dict[str, Any]:
        """The file of one peer, as a document: a pace that shows something, and the embedded defaults where the scenery is silent."""
        plain: dict[str, Any] = {
            "swarm": {"name": "demo"},
            "peer": {"seed": self.seed + number},
            "train": {"local_steps": self.local_steps},
            "selector": {"count": len(self.classes) - 1},
        }
        return {**plain, **self.scenery, "swarm": {**plain["swarm"], **self.scenery.get("swarm", {})}}


@attrs.frozen
class Stage:
    """The folders of one run; nothing outside of them is touched."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "digits.npz"

    @property
    def state(self) -> Path:
        """Stands for XDG_STATE_HOME: the peers meet in it, and no other swarm does."""
        return self.folder / "state"

    @property
    def key(self) -> Path:
        """Of the swarm, where it is a private one."""
        return self.folder / "swarm.key"

    def home(self, number: int) -> Path:
        return self.folder / f"peer-{number}"

    def log(self, number: int) -> Path:
        return self.folder / f"peer-{number}.log"
