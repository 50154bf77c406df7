"""What others say of where they see a peer, put together: whether it can be dialled, where, and what stands before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum

import attrs

MOST_OUTSIDE = 3
AGREEING = 2


class Outlook(Enum):
    """How the world sees this peer."""

    UNKNOWN = "nobody has said yet whether this peer can be dialled from outside"
    REACHABLE = "others can dial this peer"
    UNREACHABLE = "nobody can dial this peer: it dials others, and is reached through those"


@attrs.frozen(kw_only=True)
class OutsideView:
    """What one other has seen."""

    seen_at: str
    host: str
    reached: Sequence[str]  # of the addresses that it has tried
    mapped: bool  # it is where what comes to the port at which this peer listens would go out


@attrs.frozen
class OutsideViews:
    """Each is somebody else's. `own_hosts` are the addresses that this machine knows of itself."""

    every: Sequence[OutsideView]
    own_hosts: frozenset[str]

    @property
    def outlook(self) -> Outlook:
        """Whether this peer can be dialled, by what those say who see it from farthest away: half of them must have reached it."""
        counted = self._counted()
        if not counted:
            return Outlook.UNKNOWN
        reached = sum(bool(seen.reached) for seen in counted)
        return Outlook.REACHABLE if 2 * reached >= len(counted) else Outlook.UNREACHABLE

    @property
    def behind_router(self) -> bool:
        """Whether some router writes another address on what this peer sends."""
        return bool(self._translated())

    @property
    def symmetric(self) -> bool | None:
        """Whether that router takes another port for each whom this peer speaks to; None where one alone has said its port."""
        ports: dict[str, list[str]] = {}
        for seen in self._translated():
            if seen.mapped:
                ports.setdefault(seen.host, []).append(seen.seen_at)
        several = [set(one) for one in ports.values() if len(one) > 1]
        return any(len(one) > 1 for one in several) if several else None

    @property
    def outside(self) -> Sequence[str]:
        """Where two others and more have reached this peer, and it does not know so by itself."""
        reached = Counter(address for seen in self._translated() for address in set(seen.reached))
        return [address for address, count in reached.most_common(MOST_OUTSIDE) if count >= AGREEING]

    @property
    def seen_at(self) -> Sequence[str]:
        """Where it may be met by those who dial it while it dials them, the likeliest first."""
        mapped = Counter(seen.seen_at for seen in self.every if seen.mapped)
        return [address for address, _ in mapped.most_common(MOST_OUTSIDE)]

    @property
    def in_words(self) -> str:
        """For people. `remedy` says what they can do."""
        if self.outlook is Outlook.UNKNOWN:
            return f"{self.outlook.value}: it is connected to nobody who could"
        words = f"{self.outlook.value}; they see it at {', '.join(sorted({seen.host for seen in self._counted()})[:MOST_OUTSIDE])}"
        if self.outlook is Outlook.REACHABLE or not self.behind_router:
            return words
        kind = ", which takes another port for each connection: to others behind a router it stays relayed" if self.symmetric else ""
        return f"{words}, behind a router{kind}"

    @property
    def remedy(self) -> str:
        """What makes others able to dial this peer; empty where they are, or nobody knows."""
        if self.outlook is not Outlook.UNREACHABLE:
            return ""
        if self.behind_router:
            return "to be dialled as well, forward the port at which it listens in that router"
        return "let the port at which it listens through this machine's firewall"

    def _translated(self) -> list[OutsideView]:
        return [seen for seen in self.every if seen.host not in self.own_hosts]

    def _counted(self) -> Sequence[OutsideView]:
        """Neighbours on one's own side of a router see nothing of it."""
        return self._translated() or self.every
