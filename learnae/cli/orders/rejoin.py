"""What `learnae rejoin` writes into a home, and what it says will happen."""

from __future__ import annotations

import re
from collections.abc import Iterator

from learnae.cli.homes.find import HISTORY, find_home, home_and_rest
from learnae.cli.homes.state import HomeState, read_home
from learnae.errors import ConfigError, Problem
from learnae.node.history import History

LINEAGE = re.compile("[0-9a-f]{16}")


def order_rejoin(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError for what is no lineage, and for the own one."""
    home, text = home_and_rest(home, text)
    lineage = _lineage(text)
    path = find_home(home)
    with read_home(path) as seen:
        if lineage is not None and lineage == seen.standing.lineage:
            raise ConfigError(Problem("LINEAGE", f"{lineage.hex()} is the lineage of this peer already", "name another one"))
        said = list(_said(seen, lineage))
    with History.open(path / HISTORY) as history:
        history.order_rejoin(lineage)
    yield from said


def _lineage(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not LINEAGE.fullmatch(text.lower()):
        raise ConfigError(Problem("LINEAGE", f"{text} is no lineage", "write its 16 hexadecimal digits, as `learnae status` shows them"))
    return bytes.fromhex(text)


def _said(seen: HomeState, lineage: bytes | None) -> Iterator[str]:
    own = seen.standing.lineage
    target = f"lineage {lineage.hex()}" if lineage else "another lineage that it hears"
    when = "at its next round" if seen.processes.running else "at the first round after its next start"
    yield f"{seen.home}: {when}, this peer leaves {own.hex() if own else 'what it has'} for {target}."
    yield "It takes over the model of a peer there, and gives its own up; `learnae status` shows what has become of it."
    heard = {sighting.lineage for sighting in seen.sightings.values() if sighting.live and sighting.lineage not in (None, own)}
    if not heard or (lineage is not None and lineage not in heard):
        yield "Nobody there was heard lately, so it may take a while, or come to nothing."
