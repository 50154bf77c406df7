"""The storage of `learnae demo --storage ipfs`: each peer has a daemon of its own, and they listen on this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from learnae import DemoSetup


@contextmanager
def daemons_on_loopback(_: Path) -> Iterator[DemoSetup]:
    """Nothing is started here: each peer starts its own."""
    yield DemoSetup(storage={"listen": ["/ip4/127.0.0.1/tcp/0"]})
