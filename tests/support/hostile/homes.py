"""Files of a home that somebody else may have written, as whoever only looks at it reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from learnae.config.options import build
from learnae.config.saved_config import FILE, KeptFile, kept
from learnae.config.tables import PeerTable, SwarmTable
from learnae.errors import ConfigError, UnavailableError
from learnae.identity.homes import holders
from learnae.node.history import History
from tests.support.hostile.targets import Target

HISTORY = "history.sqlite"


def targets(folder: Path) -> Iterator[Target]:
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    yield _kept(home)
    yield _history(home)
    yield _lock(home)


def _kept(home: Path) -> Target:
    def decode(data: bytes) -> KeptFile | None:
        (home / FILE).write_bytes(data)
        found = kept(home)
        if found is not None:
            build(SwarmTable, found.table("swarm"), "swarm", found.folder)
            build(PeerTable, found.table("peer"), "peer", found.folder)
        return found

    def is_a_place(data: bytes, found: KeptFile | None) -> None:
        assert found is None or found.folder.is_absolute()

    document = {"swarm": {"name": "one", "open": True}, "peer": {"deny": ["a" * 64], "home": "home"}}
    seeds = tuple(json.dumps({"folder": "/tmp", "config": config}).encode() for config in (document, {}))
    return Target("kept", decode, (ConfigError,), seeds, (), is_a_place)


def _history(home: Path) -> Target:
    path = home / HISTORY

    def decode(data: bytes) -> tuple[Any, ...]:
        path.write_bytes(data)
        with History.read(path) as history:
            return (
                history.lineage_state(),
                history.reader.totals(),
                history.reader.heard(),
                history.published(),
                history.reader.past_rounds(10),
                history.peers(),
            )

    with History.open(path) as history:
        history.save_lineage_state(b"lineage1", 3, 1.0)
    return Target("history", decode, (ConfigError, UnavailableError), (path.read_bytes(),))


def _lock(home: Path) -> Target:
    def decode(data: bytes) -> tuple[int, ...]:
        (home / "lock").write_bytes(data)
        return holders(home)

    return Target("lock", decode, (), (b"1\n", b"1\n2\n"), (), lambda data, pids: None)
