"""What `learnae why` and `learnae deny` are asked about: a peer by the beginning of its key, an update by the beginning of its root."""

from __future__ import annotations

import re

import attrs

from learnae.errors import ConfigError, Problem
from learnae.node.history import History
from learnae.records import Cid, PeerId

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
        return Subject(root=Cid(_only("root", text, history.roots_beginning(text, LISTED + 1))))
    remedy = f"a peer is named by at least {LEAST_DIGITS} digits of its key, an update by at least 12 letters of its root"
    raise ConfigError(Problem(text, "is neither the beginning of a key nor that of a root", remedy))


def find_peer(text: str, history: History, *, unknown: bool = False) -> PeerId:
    """The peer whose key begins like this; with `unknown`, a whole key is also that of a peer that was never heard."""
    digits = text.lower()
    if not _KEY.fullmatch(digits):
        raise ConfigError(Problem(text, "is not the beginning of a key", f"name at least {LEAST_DIGITS} of its 64 hexadecimal digits"))
    if unknown and len(digits) == 64:
        return PeerId(digits)
    return PeerId(_only("peer", digits, history.peers_beginning(digits, LISTED + 1)))


def _only(what: str, text: str, found: list[PeerId] | list[Cid]) -> str:
    if not found:
        raise ConfigError(Problem(text, f"this home knows of no {what} that begins like this", "`learnae status` lists whom it has heard"))
    if len(found) > 1:
        names = [*found[:LISTED], *(["and more"] if len(found) > LISTED else [])]
        raise ConfigError(Problem(text, "several begin like this, name more of it:" + "".join(f"\n    {name}" for name in names)))
    return found[0]
