"""`learnae deny`, `allow` and `rejoin`: orders to a peer, also while it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from learnae.cli import options
from learnae.cli.home_state import HomeState, find_peer, read_home
from learnae.cli.homes import HISTORY, command_for, find_home, home_and_rest
from learnae.errors import ConfigError, Problem
from learnae.node.history import History
from learnae.outlets import print_result
from learnae.records import PeerId


def order_deny(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    with read_home(path) as seen:
        if peer == seen.own:
            raise ConfigError(Problem("PEER", f"{peer} is this peer itself", "name another one"))
        from_when = _from_when(seen)
    with History.open(path / HISTORY) as history:
        history.orders.deny(peer)
    yield f"denied: {peer}"
    yield f"{from_when} nothing of it is heard or fetched. {command_for(path, 'allow', peer)} takes that back."


def order_allow(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    with read_home(path):  # what keeps us from telling how it stands is told before anything is changed
        pass
    with History.open(path / HISTORY) as history:
        history.orders.allow_again(peer)
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


LINEAGE = re.compile("[0-9a-f]{16}")


def order_rejoin(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError for what is no lineage, and for the own one."""
    home, text = home_and_rest(home, text)
    lineage = _lineage(text)
    path = find_home(home)
    with read_home(path) as seen:
        if lineage is not None and lineage == seen.lineage_state.lineage:
            raise ConfigError(Problem("LINEAGE", f"{lineage.hex()} is the lineage of this peer already", "name another one"))
        said = list(_said(seen, lineage))
    with History.open(path / HISTORY) as history:
        history.orders.order_rejoin(lineage)
    yield from said


def _lineage(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not LINEAGE.fullmatch(text.lower()):
        raise ConfigError(Problem("LINEAGE", f"{text} is no lineage", "write its 16 hexadecimal digits, as `learnae status` shows them"))
    return bytes.fromhex(text)


def _said(seen: HomeState, lineage: bytes | None) -> Iterator[str]:
    own = seen.lineage_state.lineage
    target = f"lineage {lineage.hex()}" if lineage else "another lineage that it hears"
    when = "at its next round" if seen.processes.running else "at the first round after its next start"
    yield f"{seen.home}: {when}, this peer leaves {own.hex() if own else 'what it has'} for {target}."
    shows = command_for(seen.home, "status")
    yield f"It takes over the model of a peer there, and gives its own up; {shows} shows what has become of it."
    heard = {sighting.lineage for sighting in seen.sightings.values() if sighting.live and sighting.lineage not in (None, own)}
    if not heard or (lineage is not None and lineage not in heard):
        yield "Nobody there was heard lately, so it may take a while, or come to nothing."


peer = click.argument("peer", required=False, metavar="PEER")


@click.command()
@options.home
@peer
def deny(home: str | None, peer: str | None) -> None:
    """Let the peer in HOME ignore PEER, until `learnae allow`. A peer that runs does so from its next round on.

    PEER is a whole key, or at least 4 digits of the beginning of a key that was heard. HOME is a peer's folder or its TOML file. Without
    HOME it is learnae.toml in this folder, or else the home under the state folder.
    """
    for line in order_deny(home, peer):
        print_result(line)


@click.command()
@options.home
@peer
def allow(home: str | None, peer: str | None) -> None:
    """Let the peer in HOME hear PEER again. This takes `learnae deny` back.

    It changes neither what the peer's file says nor a proof of equivocation. PEER and HOME are named as for `learnae deny`.
    """
    for line in order_allow(home, peer):
        print_result(line)


@click.command()
@options.home
@click.argument("lineage", required=False, metavar="[LINEAGE]")
def rejoin(home: str | None, lineage: str | None) -> None:
    """Let the peer in HOME leave its lineage for LINEAGE, or for another one that it hears.

    The peer gives up its own model, and takes one of that lineage. LINEAGE has 16 hexadecimal digits, as `learnae status` shows them.
    HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this folder, or else the home under the state folder.
    """
    for line in order_rejoin(home, lineage):
        print_result(line)
