"""Who is heard: the peers that the user allows, less those that the user denies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from learnae.errors import ConfigError, Problem
from learnae.records import PeerId

SHORTEST_NAME = 8  # hexadecimal digits

_NAME = re.compile(f"[0-9a-f]{{{SHORTEST_NAME},64}}")


class Admission:
    """Peers are named by their key or by its beginning, at least 8 digits. No allowed peer named: everyone is allowed.

    A beginning can be forged by trying out keys (8 digits take hours). So the first two keys that are heard with the same allowed
    beginning make that name void: neither is heard by it any more. Whole keys cannot be forged.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """Raises ConfigError for names that are no keys, too short, or of which one begins with another."""
        self._allow, self._deny = ({name.lower(): name for name in names} for names in (allow, deny))
        problems = [*_bad_names("peer.allow", self._allow), *_bad_names("peer.deny", self._deny), *self._ambiguous_names()]
        if problems:
            raise ConfigError(problems)
        self._bearers: dict[str, PeerId | None] = {}  # by allowed name: the first key heard with it; None: two were

    def refuses(self, peer: PeerId) -> str | None:
        """Why this verified peer is not heard: "denied", "not-allowed" or "ambiguous"; None if it is heard."""
        if any(peer.startswith(name) for name in self._deny):
            return "denied"
        if not self._allow:
            return None
        name = next((name for name in self._allow if peer.startswith(name)), None)
        if name is None:
            return "not-allowed"
        if self._bearers.setdefault(name, peer) != peer:
            self._bearers[name] = None
        return None if self._bearers[name] else "ambiguous"

    def _ambiguous_names(self) -> Iterable[Problem]:
        names = sorted([*self._allow, *self._deny])
        for shorter, longer in pairwise(names):
            if longer.startswith(shorter):
                message = f"{shorter!r} and {longer!r} may be the same peer"
                yield Problem("peer.allow, peer.deny", message, "name each peer once, by its whole key")


def _bad_names(key: str, names: Iterable[str]) -> Iterable[Problem]:
    for name in names:
        if not _NAME.fullmatch(name):
            message = f"{name!r} is not the key of a peer"
            yield Problem(key, message, f"write its 64 hexadecimal digits, or the first {SHORTEST_NAME} of them or more")
