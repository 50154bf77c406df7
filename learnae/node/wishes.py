"""What a person wants of a peer while it runs: written by the command line, read by the node at the beginning of each round."""

from __future__ import annotations

import time

import attrs

from learnae.node.database import Database
from learnae.records import PeerId


@attrs.frozen
class Rejoin:
    """An order to leave the own lineage for another: this one, or whichever the rules of joining choose."""

    lineage: bytes | None
    at: float  # on the machine's wall clock; tells one order from the next
    outcome: str = ""  # empty while nobody has carried it out


class Wishes(Database):
    """Stay in the home until they are taken back or carried out."""

    def order_rejoin(self, lineage: bytes | None) -> Rejoin:
        """Replaces an order that was not carried out yet."""
        order = Rejoin(lineage, time.time())
        with self._writing_durably() as db:
            db.execute("INSERT OR REPLACE INTO rejoin VALUES (1, ?, ?, '')", (lineage, order.at))
        return order

    def take_rejoin(self) -> Rejoin | None:
        """The order to be carried out; the same one again until `end_rejoin`, so that a crash loses none."""
        order = self.last_rejoin()
        return None if order is None or order.outcome else order

    def aim_rejoin(self, order: Rejoin, lineage: bytes) -> None:
        """Say where an order that names no lineage leads: given again after a crash, it would lead straight back."""
        with self._writing_durably() as db:
            db.execute("UPDATE rejoin SET lineage = ? WHERE at = ?", (lineage, order.at))

    def end_rejoin(self, order: Rejoin, outcome: str) -> None:
        """Say, in a word or a sentence, what has become of it. An order that was given meanwhile stays."""
        with self._writing_durably() as db:
            db.execute("UPDATE rejoin SET outcome = ? WHERE at = ?", (outcome, order.at))

    def last_rejoin(self) -> Rejoin | None:
        """Also one that was carried out."""
        rows = self._rows("SELECT lineage, at, outcome FROM rejoin")
        return Rejoin(*rows[0]) if rows else None

    def deny(self, peer: PeerId) -> None:
        """Hear this peer no more."""
        with self._writing_durably() as db:
            db.execute("INSERT OR IGNORE INTO denied VALUES (?, ?)", (peer, time.time()))

    def allow_again(self, peer: PeerId) -> None:
        with self._writing_durably() as db:
            db.execute("DELETE FROM denied WHERE peer = ?", (peer,))

    def denied(self) -> frozenset[PeerId]:
        """Beside those that the peer's file denies."""
        return frozenset(PeerId(peer) for (peer,) in self._rows("SELECT peer FROM denied"))
