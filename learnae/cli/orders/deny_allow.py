"""What `learnae deny` and `learnae allow` write into a home, and what they say about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from learnae.cli.homes.find import HISTORY, find_home, home_and_rest
from learnae.cli.homes.state import HomeState, read_home
from learnae.cli.homes.subjects import find_peer
from learnae.errors import ConfigError, Problem
from learnae.node.history import History
from learnae.records import PeerId


def order_deny(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    with read_home(path) as seen:
        if peer == seen.own:
            raise ConfigError(Problem("PEER", f"{peer} is this peer itself", "name another one"))
        from_when = _from_when(seen)
    with History.open(path / HISTORY) as history:
        history.deny(peer)
    yield f"denied: {peer}"
    yield f"{from_when} nothing of it is heard or fetched; `learnae allow` takes it back."


def order_allow(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    with read_home(path):  # what keeps us from telling how it stands is told before anything is changed
        pass
    with History.open(path / HISTORY) as history:
        history.allow_again(peer)
    yield f"allowed: {peer}"
    with read_home(path) as seen:
        if (still := seen.shut_out(peer)) is not None:
            yield f"It is still not heard: it is {still}."
        else:
            yield f"{_from_when(seen)} it is heard again."


def _who(home: str | None, text: str | None) -> tuple[Path, PeerId]:
    home, text = home_and_rest(home, text)
    if text is None:
        raise ConfigError(Problem("PEER", "is missing", "name at least 4 digits of a key; `learnae status` lists whom this peer hears"))
    path = find_home(home)
    with History.read(path / HISTORY) as history:
        return path, find_peer(text, history, unknown=True)


def _from_when(seen: HomeState) -> str:
    return f"{seen.home}: from its next round on" if seen.processes.running else f"{seen.home}: as soon as this peer runs,"
