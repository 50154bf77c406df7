"""Peers with rows of data: what they train on, what they give, and what has come into their pool."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learnae.data.about import count_labels
from learnae.data.own import OwnSlices, consent_of
from learnae.data.pool import Pool
from learnae.data.pool_index import PooledSlice
from learnae.data.schema import Rows, schema_of
from learnae.data.slices import make_slices
from learnae.data.trained_on import TrainedOn, tell
from learnae.testing.swarm import SimulatedPeer, SimulatedSwarm
from tests.support.simulated import wandering

QUOTA = 1 << 20
SHARES: dict[str, dict[str, Any]] = {"data": {"share": "slices", "share_rows": 1000, "licence": "CC0-1.0"}}
TAKES = {"data": {"accept_bytes": QUOTA}}


def digits(labels: tuple[int, ...], count: int = 20, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Rows of these labels in turn."""
    rng = np.random.default_rng(seed)
    return {"x": rng.random((count, 4, 4), np.float32), "y": np.array([labels[i % len(labels)] for i in range(count)])}


def home_of(peer: SimulatedPeer) -> Path:
    folder = peer.swarm.folder / peer.name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def with_rows(
    swarm: SimulatedSwarm,
    name: str,
    rows: Rows,
    settings: Mapping[str, Any],
    *,
    known: tuple[str, ...] | None = None,
    round_seconds: float = 2.0,
) -> SimulatedPeer:
    """A peer that trains on these rows, as its trainer's process tells the node."""
    model = {"w": np.zeros(4, np.float32)}
    peer = swarm.peer(name, model, wandering(len(name)), round_seconds=lambda: round_seconds, settings=settings)
    schema = schema_of(rows, "y")
    tell(home_of(peer), TrainedOn(schema=schema, rows=len(rows["y"]), labels=count_labels(rows, schema), known_labels=known))
    return peer


def give(peer: SimulatedPeer, rows: Rows, *, most_rows: int = 4096, licence: str = "CC0-1.0") -> None:
    """Put them where the trainer's process puts what it gives away, by the consent of the peer's settings."""
    said = {**SHARES["data"], **(peer.settings or {}).get("data", {})}
    consent = consent_of(most_rows=said["share_rows"], fraction=None, licence=said["licence"], source=said.get("source", ""))
    made = make_slices(rows, schema_of(rows, "y"), licence=licence, most_rows=most_rows)
    OwnSlices(home_of(peer)).replace(made, most_rows=100_000, consent=consent)


def pool_of(peer: SimulatedPeer) -> tuple[PooledSlice, ...]:
    return Pool(home_of(peer), QUOTA).entries()


def labels_in_pool(peer: SimulatedPeer) -> set[str]:
    return {label for one in pool_of(peer) for label in one.labels}
