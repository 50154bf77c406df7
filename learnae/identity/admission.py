"""Who is heard: the peers that the user allows, less those that the user denies."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from learnae.records import PeerId


def _keys(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen
class Admission:
    """Peers are named by their whole keys, since the beginning of one can be forged. No allowed peer named: everyone is allowed."""

    allow: frozenset[str] = attrs.field(default=frozenset(), converter=_keys)
    deny: frozenset[str] = attrs.field(default=frozenset(), converter=_keys)

    def refuses(self, peer: PeerId) -> str | None:
        """Why this verified peer is not heard: "denied", which wins, or "not-allowed"; None if it is heard."""
        if peer in self.deny:
            return "denied"
        return "not-allowed" if self.allow and peer not in self.allow else None
