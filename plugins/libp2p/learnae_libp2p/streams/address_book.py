"""Peers that are remembered across restarts, with addresses. What strangers say fits in, but pushes nobody out who was ever reached."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from learnae.lowlevel import BadResponseError, load_json, read_file, save_file

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

MOST_PEERS, MOST_UNREACHED = 1000, 500
MOST_ADDRESSES = 8  # of one peer
MOST_TOLD_ADDRESSES = 2  # of them, of a peer that was reached, that others may say at once
PEER_CHARACTERS, ADDRESS_CHARACTERS = 128, 256
_MOST_BYTES, _MOST_ITEMS = 4_000_000, 40_000
_VERSION = 1


@attrs.frozen(kw_only=True)
class RememberedPeer:
    """What is remembered of one peer. Times are those of the wall clock, since they outlive the machine's start."""

    peer: str
    addresses: tuple[str, ...]  # the one that answered last comes first
    found_by: str = ""
    heard_at: float = 0.0
    reached_at: float | None = None  # when a connection to it was made last; None where that was never


@attrs.define(eq=False, kw_only=True)
class AddressBook:
    """Bounded in every direction, and harmless whatever stands in its file. `now` is the wall clock, in seconds."""

    path: Path
    now: Callable[[], float]
    log: FilteringBoundLogger
    changed: bool = False  # since it was loaded or saved
    _peers: dict[str, RememberedPeer] = attrs.field(factory=dict)

    def load(self) -> None:
        """Read its file; begin anew where that is missing, not ours or no book. In a thread."""
        try:
            content = load_json(read_file(self.path, _MOST_BYTES), _MOST_ITEMS)
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError, BadResponseError) as error:
            self.log.warning("addresses.unreadable", file=str(self.path), cause=str(error))
            return
        entries = content.get("peers") if isinstance(content, dict) and content.get("version") == _VERSION else None
        for entry in entries if isinstance(entries, list) else ():
            if (known := _read(entry)) is not None and known.peer not in self._peers:
                self._peers[known.peer] = known
        self._make_room()
        self.changed = False

    def content(self) -> bytes:
        """What `save` writes. In the loop, since it reads what may change."""
        peers = [{**attrs.asdict(known), "addresses": list(known.addresses)} for known in self._peers.values()]
        self.changed = False
        return json.dumps({"version": _VERSION, "peers": peers}, indent=1).encode()

    def save(self, content: bytes) -> None:
        """In a thread. The next one may do what a full disk has refused."""
        try:
            save_file(self.path, content)
        except OSError as error:
            self.changed = True
            self.log.warning("addresses.not_saved", file=str(self.path), cause=str(error))

    def __contains__(self, peer: object) -> bool:
        return peer in self._peers

    def peers(self) -> Sequence[RememberedPeer]:
        """Those who were reached last come first."""
        return sorted(self._peers.values(), key=_value, reverse=True)

    def addresses(self, peer: str) -> Sequence[str]:
        known = self._peers.get(peer)
        return known.addresses if known is not None else ()

    def found_by(self, peer: str) -> str:
        known = self._peers.get(peer)
        return known.found_by if known is not None else ""

    def heard(self, peer: str, addresses: Iterable[str], found_by: str) -> None:
        """Somebody has said that this peer is there. Of one that was reached, what answered then stays first."""
        said = [address for address in addresses if _is_text(address, ADDRESS_CHARACTERS)]
        if not said or not _is_text(peer, PEER_CHARACTERS):
            return
        known = self._peers.get(peer) or RememberedPeer(peer=peer, addresses=(), found_by=found_by)
        kept = known.addresses[:1] if known.reached_at is not None else ()
        merged = tuple(dict.fromkeys([*kept, *said, *known.addresses]))[:MOST_ADDRESSES]
        self._put(attrs.evolve(known, addresses=merged, heard_at=self.now()))

    def told(self, peer: str, addresses: Sequence[str], found_by: str) -> None:
        """A third one has said where this peer is. Of one that was reached that comes last, and pushes little out."""
        known = self._peers.get(peer)
        if known is None or known.reached_at is None:
            self.heard(peer, addresses, found_by)
            return
        said = [address for address in addresses if _is_text(address, ADDRESS_CHARACTERS)][:MOST_TOLD_ADDRESSES]
        merged = tuple(dict.fromkeys([*known.addresses[: MOST_ADDRESSES - MOST_TOLD_ADDRESSES], *said]))
        self._put(attrs.evolve(known, addresses=merged))

    def get(self, peer: str) -> RememberedPeer | None:
        return self._peers.get(peer)

    def reached(self, peer: str, address: str, found_by: str = "") -> None:
        """This address has answered, and it was that peer."""
        if not _is_text(address, ADDRESS_CHARACTERS) or not _is_text(peer, PEER_CHARACTERS):
            return
        known = self._peers.get(peer) or RememberedPeer(peer=peer, addresses=(), found_by=found_by)
        addresses = tuple(dict.fromkeys([address, *known.addresses]))[:MOST_ADDRESSES]
        self._put(attrs.evolve(known, addresses=addresses, heard_at=self.now(), reached_at=self.now()))

    def forget(self, peer: str) -> None:
        self.changed |= self._peers.pop(peer, None) is not None

    def _put(self, known: RememberedPeer) -> None:
        self._peers[known.peer] = known
        self.changed = True
        self._make_room()

    def _make_room(self) -> None:
        unreached = [known for known in self._peers.values() if known.reached_at is None]
        if len(unreached) > MOST_UNREACHED or len(self._peers) > MOST_PEERS:
            del self._peers[min(unreached or self._peers.values(), key=_value).peer]
            self._make_room()


def _value(known: RememberedPeer) -> tuple[float, float]:
    return known.reached_at or 0.0, known.heard_at


def _is_text(value: object, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most and value.isascii() and value.isprintable() and " " not in value


def _time(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e11 else 0.0


def _read(entry: Any) -> RememberedPeer | None:
    """None for what is no entry."""
    if not isinstance(entry, dict) or not _is_text(entry.get("peer"), PEER_CHARACTERS) or not isinstance(entry.get("addresses"), list):
        return None
    addresses = tuple(address for address in entry["addresses"][:MOST_ADDRESSES] if _is_text(address, ADDRESS_CHARACTERS))
    if not addresses:
        return None
    found_by = entry.get("found_by")
    return RememberedPeer(
        peer=entry["peer"],
        addresses=addresses,
        found_by=found_by if isinstance(found_by, str) and _is_text(found_by, 32) else "",
        heard_at=_time(entry.get("heard_at")),
        reached_at=_time(entry.get("reached_at")) or None,
    )
