"""`learnae data`: the rows that a peer gives away, and those of others in its pool; also while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from learnae.cli import options
from learnae.cli.home_state import find_peer, role_of
from learnae.cli.homes import HISTORY, command_for, find_home, home_and_rest
from learnae.cli.options import counted, of_bytes
from learnae.data.own import OwnSlices
from learnae.data.pool import Pool
from learnae.data.pool_index import PoolIndex
from learnae.data.trained_on import told
from learnae.errors import ConfigError, Problem, UnavailableError
from learnae.node.history import History
from learnae.outlets import print_json, print_result
from learnae.records import PeerId

LABELS = 12  # are shown of each; JSON has all
TRAINS_ON_NOTHING: Mapping[str, str] = {
    "provider": "A provider trains on nothing, and takes no rows of others.",
    "keeper": "A keeper trains on nothing. `learnae status` says which rows of others it keeps.",
}
"""By role."""


def facts(home: Path) -> dict[str, Any]:
    """JSON-ready. Raises ConfigError for what lies in the home and is damaged, UnavailableError for a disk that cannot be read."""
    try:
        own, index, trained_on = OwnSlices(home).roots(), _pool(home).index(), told(home)
    except OSError as error:
        raise UnavailableError(f"what lies in {home / 'data'} cannot be read: {error.strerror}") from None
    return {
        "home": str(home),
        "role": role_of(home),
        "trained_on": None if trained_on is None else {"rows": trained_on.rows, "labels": dict(trained_on.labels)},
        "own_slices": len(own),
        "pool": {
            "slices": len(index.slices),
            "rows": sum(one.rows for one in index.slices),
            "bytes": index.bytes,
            "labels": _labels(index),
        },
        "providers": [_provider(index, peer) for peer in sorted(index.bytes_by_provider(), key=lambda peer: _share(index, peer))],
        "forgotten": list(index.forgotten),
    }


def _provider(index: PoolIndex, peer: PeerId) -> dict[str, Any]:
    """What came from it first."""
    slices = [one for one in index.slices if one.providers[0] == peer]
    return {
        "peer": peer,
        "slices": len(slices),
        "rows": sum(one.rows for one in slices),
        "bytes": sum(one.bytes for one in slices),
        "labels": _labels(PoolIndex(tuple(slices))),
        "licences": sorted({one.licence for one in slices}),
    }


def _share(index: PoolIndex, peer: PeerId) -> tuple[int, PeerId]:
    return -index.bytes_by_provider()[peer], peer


def _labels(index: PoolIndex) -> dict[str, int]:
    counts = Counter[str]()
    for one in index.slices:
        counts.update(one.labels)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def shown(found: dict[str, Any]) -> Iterator[str]:
    """One sentence or row a line."""
    trained_on, pool = found["trained_on"], found["pool"]
    if (nothing := TRAINS_ON_NOTHING.get(found["role"])) is not None:
        yield nothing
    elif trained_on is None:
        yield "It has not told yet on which rows it trains: `swarm.dataset` does. Before that no rows of others are fetched."
    else:
        yield f"It trains on {trained_on['rows']:,} own rows{_counted(trained_on['labels'])}."
    yield f"It gives away {_slices(found['own_slices'])}."
    if nothing is not None and not found["providers"]:
        return
    yield f"Its pool has {pool['rows']:,} rows of others in {_slices(pool['slices'])}, {of_bytes(pool['bytes'])}{_counted(pool['labels'])}."
    for one in found["providers"]:
        size, licences = of_bytes(one["bytes"]), ", ".join(licence or "no licence" for licence in one["licences"])
        yield (f"  {one['peer']}: {counted(one['rows'], 'row')} in {_slices(one['slices'])}, {size}, {licences}{_counted(one['labels'])}")
    yield from (f"  {peer}: its rows are refused" for peer in found["forgotten"])


def _slices(count: int) -> str:
    return counted(count, "slice")


def _counted(labels: dict[str, int]) -> str:
    if not labels:
        return ""
    told_of = [f"{label}: {count:,}" for label, count in list(labels.items())[:LABELS]]
    return f" ({', '.join(told_of)}{', ...' if len(labels) > LABELS else ''})"


def forget_rows(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    gone = _pool(path).forget(peer)
    yield f"forgotten: {peer}"
    yield f"{_slices(len(gone))} that only this peer has offered left the pool of {path}. From now on nothing of it is fetched as rows."
    yield f"Its model is still heard: {command_for(path, 'deny', peer)} ends that."
    yield "`learnae data allow` takes its rows again."


def allow_rows(home: str | None, text: str | None) -> Iterator[str]:
    """Raises ConfigError where it is not clear who is meant."""
    path, peer = _who(home, text)
    _pool(path).allow(peer)
    yield f"allowed: {peer}"
    yield "Its rows are fetched again while this peer runs; what it has fetched before it was forgotten, after its next start."


def _pool(home: Path) -> Pool:
    """To be looked at, and to have slices taken out: it is not for adding any."""
    return Pool(home, 0)


def _who(home: str | None, text: str | None) -> tuple[Path, PeerId]:
    """A provider in the pool, or a peer that was heard: where several begin alike, whoever they are, more digits are wanted."""
    home, text = home_and_rest(home, text)
    if text is None:
        raise ConfigError(Problem("PEER", "is missing", "name at least 4 digits of a key; `learnae data status` lists who has given rows"))
    path = find_home(home)
    given = {peer for one in _pool(path).entries() for peer in one.providers}
    with History.read(path / HISTORY) as history:
        return path, find_peer(text, history, unknown=True, also=sorted(given))


peer = click.argument("peer", required=False, metavar="PEER")


@click.group()
def data() -> None:
    """Show the rows that a peer gives and has been given, and remove those of a peer that is not trusted."""


@data.command(short_help="Show what is given away, and what is in the pool.")
@options.home
@options.as_json
def status(home: str | None, as_json: bool) -> None:
    """Show how many own slices the peer in HOME gives away, and what its pool has of each other peer.

    HOME is a peer's folder or its TOML file. Without HOME it is learnae.toml in this folder, or else the home under the state folder.
    """
    found = facts(find_home(home))
    if as_json:
        print_json(found, indent=2)
    else:
        print_result(*shown(found))


@data.command(short_help="Remove the rows of a peer, and refuse them from now on.")
@options.home
@peer
def forget(home: str | None, peer: str | None) -> None:
    """Remove from the pool of the peer in HOME what only PEER has offered, and refuse its rows until `learnae data allow`.

    A training that runs draws no more of them from its next epoch on. PEER is a whole key, or at least 4 digits of its beginning. HOME is
    named as for `learnae data status`.
    """
    for line in forget_rows(home, peer):
        print_result(line)


@data.command(short_help="Take the rows of a peer again that was forgotten.")
@options.home
@peer
def allow(home: str | None, peer: str | None) -> None:
    """Let the peer in HOME take rows of PEER again. This takes `learnae data forget` back.

    What was removed does not come back by itself. PEER and HOME are named as for `learnae data forget`.
    """
    for line in allow_rows(home, peer):
        print_result(line)
