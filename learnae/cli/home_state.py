"""The state of a home as commands show it: its history, its size, and the peer or update that was named."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.homes import HISTORY, Processes, processes_of
from learnae.cli.options import ago, counted, of_bytes
from learnae.config.options import build
from learnae.config.saved_config import KeptFile, kept
from learnae.config.tables import JoinTable, NodeTable, PeerTable, SelectorChoice, SwarmTable
from learnae.data.own import OwnSlices
from learnae.errors import ConfigError, Problem
from learnae.identity.keys import identity_in
from learnae.node.history import History, PeerRecord
from learnae.node.history_reader import Sighting
from learnae.node.kept import KeptSliceTable, KeptTable
from learnae.node.lineage import LineageState
from learnae.records import Cid, PeerId

MOST_FILES = 200_000  # more are not counted: nobody waits for ever


def bytes_in(home: Path) -> int:
    """As the disk counts them. No link is followed; what goes meanwhile, or may not be looked into, counts nothing."""
    total, left, folders = 0, MOST_FILES, [os.fspath(home)]
    while folders and left > 0:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        break
                    with suppress(OSError):  # of this one alone
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


@attrs.frozen
class HomeState:
    """`now` is on the machine's wall clock, as all moments in a history."""

    home: Path
    history: History
    now: float
    processes: Processes
    own: PeerId | None
    swarm: SwarmTable | None  # None for the home of a peer that has not run since such things are kept
    peer: PeerTable
    join: JoinTable
    node: NodeTable
    count: int
    sightings: dict[PeerId, Sighting]
    records: dict[PeerId, PeerRecord]
    denied: frozenset[PeerId]

    @property
    def lineage_state(self) -> LineageState:
        """As of its last round."""
        lineage, rounds, seconds = self.history.lineage_state()
        return LineageState(self.join, lineage=lineage, rounds=rounds, since=self.now - seconds)

    @property
    def architecture(self) -> bytes | None:
        """Of the own architecture, known once something was published."""
        return next((item.architecture for item in self.history.published()), None)

    def shut_out(self, peer: PeerId) -> str | None:
        """Why nothing of this peer is heard, whatever it sends."""
        if peer in self.peer.deny:
            return "denied by this peer's file"
        if peer in self.denied:
            return "denied by `learnae deny`"
        if self.peer.allow and peer not in self.peer.allow:
            return "not among those that this peer's file allows"
        record = self.records.get(peer)
        return f"refused for good: {record.refused}" if record and record.refused else None


@contextmanager
def read_home(home: Path) -> Iterator[HomeState]:
    """Raises ConfigError for a home that cannot be read, UnavailableError for a disk that cannot."""
    settings = kept(home) or KeptFile({}, home)
    with History.read(home / HISTORY) as history:
        yield HomeState(
            home=home,
            history=history,
            now=time.time(),
            processes=processes_of(home),
            own=identity.peer if (identity := identity_in(home, looking=True)) is not None else None,
            swarm=build(SwarmTable, settings.table("swarm"), "swarm", settings.folder) if settings.document else None,
            peer=build(PeerTable, settings.table("peer"), "peer", settings.folder),
            join=build(JoinTable, settings.table("join"), "join", settings.folder),
            node=build(NodeTable, settings.table("node"), "node", settings.folder),
            count=_count(settings),
            sightings={sighting.peer: sighting for sighting in history.reader.heard()},
            records=history.peers(),
            denied=history.orders.denied(),
        )


def _count(settings: KeptFile) -> int:
    """How many updates a round takes."""
    usual: Any = attrs.fields(SelectorChoice).count.default
    count = settings.table("selector").get("count", usual)
    return count if isinstance(count, int) else int(usual)


LEAST_DIGITS = 4
LISTED = 10

_KEY = re.compile(f"[0-9a-f]{{{LEAST_DIGITS},64}}")
_ROOT = re.compile("b[a-z2-7]{11,58}")  # the first letters of all roots are the same


@attrs.frozen
class Subject:
    """One of the two."""

    peer: PeerId | None = None
    root: Cid | None = None


def find_subject(text: str, history: History) -> Subject:
    """Raises ConfigError for what is neither, for what nothing is known of, and for what could be several."""
    if _KEY.fullmatch(text.lower()):
        return Subject(peer=find_peer(text, history))
    if _ROOT.fullmatch(text):
        return Subject(root=Cid(_only("root", text, history.reader.roots_beginning(text, LISTED + 1))))
    remedy = f"a peer is named by at least {LEAST_DIGITS} digits of its key, an update by at least 12 letters of its root"
    raise ConfigError(Problem(text, "is neither the beginning of a key nor that of a root", remedy))


def find_peer(text: str, history: History, *, unknown: bool = False, also: Iterable[PeerId] = ()) -> PeerId:
    """The peer whose key begins like this, among those that were heard and `also` these.

    With `unknown`, a whole key is also that of a peer that was never heard.
    """
    digits = text.lower()
    if not _KEY.fullmatch(digits):
        raise ConfigError(Problem(text, "is not the beginning of a key", f"name at least {LEAST_DIGITS} of its 64 hexadecimal digits"))
    if unknown and len(digits) == 64:
        return PeerId(digits)
    found = dict.fromkeys((*history.reader.peers_beginning(digits, LISTED + 1), *(peer for peer in also if peer.startswith(digits))))
    return PeerId(_only("peer", digits, list(found)))


def _only(what: str, text: str, found: list[PeerId] | list[Cid]) -> str:
    if not found:
        raise ConfigError(Problem(text, f"this home knows of no {what} that begins like this", "`learnae status` lists whom it has heard"))
    if len(found) > 1:
        names = [*found[:LISTED], *(["and more"] if len(found) > LISTED else [])]
        raise ConfigError(Problem(text, "several begin like this, name more of it:" + "".join(f"\n    {name}" for name in names)))
    return found[0]


def role_of(home: Path) -> str:
    """As it was run last. Raises ConfigError for what its file says and no peer may say."""
    settings = kept(home) or KeptFile({}, home)
    return build(PeerTable, settings.table("peer"), "peer", settings.folder).role


def kept_facts(seen: HomeState) -> dict[str, int]:
    """What a keeper keeps of others."""
    rows, slices = KeptTable(seen.history.database).rows(), KeptSliceTable(seen.history.database).rows()
    return {
        "updates": len(rows),
        "peers": len({row.peer for row in rows}),
        "bytes": sum(row.bytes for row in rows),
        "slices": len(slices),
        "givers": len({row.peer for row in slices}),
        "slice_bytes": sum(row.bytes for row in slices),
    }


def own_slices(home: Path) -> int | None:
    """None in the home of another user: only what its database has is looked at there."""
    try:
        return len(OwnSlices(home).roots())
    except ConfigError:
        return None


def peers_that_train(count: int) -> str:
    """In words."""
    return f"{counted(count, 'peer')} that {'trains' if count == 1 else 'train'}"


def served(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Of a peer that does not train."""
    if last := found["last_round"]:
        yield "hears", f"{peers_that_train(last['heard'])}, as of {ago(found['at'] - last['at'])} ago"
    if found["role"] == "keeper":
        kept = found["kept"]
        yield "keeps", f"{counted(kept['updates'], 'update')} of {counted(kept['peers'], 'peer')}, {of_bytes(kept['bytes'])}"
        if kept["slices"]:
            yield "keeps rows", f"{counted(kept['slices'], 'slice')} of {counted(kept['givers'], 'peer')}, {of_bytes(kept['slice_bytes'])}"
        yield "main lineage", found["last_lineage"] or "none yet"
        yield "turned away", f"{found['updates']['refused']:,} updates refused, {found['updates']['failed']:,} could not be fetched"
        yield "fetched", f"{of_bytes(found['bytes']['fetched'])}, in the last hour {of_bytes(found['bytes']['fetched_last_hour'])}"
    if found["role"] == "provider" and found["own_slices"] is not None:
        yield "gives", f"{counted(found['own_slices'], 'slice')} of rows"
    disk = found["disk"]
    yield "disk", f"the home takes {of_bytes(disk['home_bytes'])}; {of_bytes(disk['quota_bytes'])} are allowed in its storages"
