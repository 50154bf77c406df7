"""How long transfers take, and from that how long each is waited for (docs/decisions/0022)."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from statistics import median, median_low, quantiles

import attrs

from learnae.records import PeerId

WINDOW = 20
SLACK = 1.5
LEAST_SECONDS = 0.25  # below this a deadline would measure the scheduler, not the network
GRACE = 0.05  # the share of a typical round for which it waits for those that were never accepted
PATIENT_WITH = 64  # peers whose last transfers are remembered
PATIENCE = 2
MARGIN = 0.08  # the share of a typical round for which it waits beyond the typical transfer: less than a tenth, whoever is late
FEW = 5  # whole transfers of a peer, of which one that was slow by bad luck says nothing
MOST = 10  # times the first deadline: whoever has a slower line raises `fetch_seconds`


def _window() -> deque[float]:
    return deque(maxlen=WINDOW)


@attrs.define
class _LastTransfers:
    """Of one accepted peer: how long the last whole ones took, and how long nothing came within the last."""

    seconds: deque[float] = attrs.field(factory=lambda: deque(maxlen=FEW))
    silence: float = 0.0

    @property
    def typical_seconds(self) -> float:
        return median_low(self.seconds)


@attrs.define
class TransferPace:
    """`first_seconds` is the deadline of a fetch before anything was measured."""

    first_seconds: float
    _rounds: deque[float] = attrs.field(factory=_window)
    _per_byte: deque[float] = attrs.field(factory=_window)
    _peers: OrderedDict[PeerId, _LastTransfers] = attrs.field(factory=OrderedDict)
    slowest_seconds: float = 0.0

    def round_took(self, seconds: float) -> None:
        self._rounds.append(seconds)

    def transfer_took(self, seconds: float, size: int) -> None:
        """Of a whole update: what little came of a broken one says nothing about the line."""
        self._per_byte.append(seconds / max(size, 1))
        self.slowest_seconds = max(self.slowest_seconds, seconds)

    def came_whole(self, peer: PeerId, seconds: float, silence: float) -> None:
        """So long it took to come from this accepted peer, and for so long nothing came meanwhile."""
        last = self._peers.setdefault(peer, _LastTransfers())
        last.seconds.append(seconds)
        last.silence = silence
        self._peers.move_to_end(peer)
        if len(self._peers) > PATIENT_WITH:
            self._peers.popitem(last=False)

    def wait_seconds(self, peer: PeerId) -> float:
        """So long a round waits for this peer in all: the typical time, and a share of a round; not at all for one that takes longer.

        Typical is the median of peers, not of transfers, and the shorter of two: no single peer sets it by being slow. However its blocks
        come, whoever is late holds a round up for its share and no longer.
        """
        if not self._peers:
            return math.inf
        margin = MARGIN * self.round_seconds if self.round_seconds is not None else LEAST_SECONDS
        most = margin + median_low(last.typical_seconds for last in self._peers.values())
        return most if peer not in self._peers or self._peers[peer].typical_seconds <= most else 0.0

    def silence_seconds(self, peer: PeerId) -> float:
        """A round bears no longer silence of this peer: twice the typical one; none at all of one that is known to take longer."""
        if not self._peers:
            return math.inf
        most = max(LEAST_SECONDS, PATIENCE * median_low(last.silence for last in self._peers.values()))
        return most if peer not in self._peers or self._peers[peer].silence <= most else 0.0

    @property
    def retention_seconds(self) -> float:
        """For so long others may still be fetching what was announced: twice what the first deadline allows, or the slowest fetch took."""
        return 2 * max(self.first_seconds, self.slowest_seconds)

    @property
    def round_seconds(self) -> float | None:
        """The typical round: the median; None before the first."""
        return median(self._rounds) if self._rounds else None

    @property
    def grace_seconds(self) -> float:
        """So long a round waits for strangers."""
        return GRACE * self.round_seconds if self.round_seconds is not None else LEAST_SECONDS

    def deadline_seconds(self, size: int, bytes_per_second: float | None = None) -> float:
        """1.5 times the 90th percentile of the last 20 transfers, for this many bytes; longer for a peer that was measured slower."""
        most, own = MOST * self.first_seconds, size / bytes_per_second if bytes_per_second else 0.0
        usual = self._slow_per_byte() * size if self._per_byte else self.first_seconds / SLACK
        return min(most, max(LEAST_SECONDS, SLACK * usual, SLACK * own))

    def speed_of_silence(self, size: int) -> float:
        """At least so many bytes a second are expected of a peer of whom nothing came: its next deadline is the first one at most."""
        return SLACK * size / self.first_seconds

    def _slow_per_byte(self) -> float:
        """Between two samples, never beyond the slowest."""
        slow = quantiles(self._per_byte, n=10)[-1] if len(self._per_byte) > 1 else self._per_byte[0]
        return min(slow, max(self._per_byte))
