"""What those who watch a peer are told: verdicts, reports of rounds, connections."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from learnae.records import Cid, PeerId

MOST_METRICS = 16
METRIC_CHARACTERS = 64
"""How many numbers an evaluation has, and how long their names are, at most."""


@attrs.frozen(kw_only=True)
class UpdateVerdict:
    """What became of one update in one round. The history keeps it, and watchers get it."""

    round: int
    peer: PeerId
    number: int
    root: Cid
    merged: bool
    weight: float
    scale: float
    stage: str  # where it ended: "fetch", "decode", the name of a gate, "merge", or "plugin" if a plugin of this peer failed
    reason: str


@attrs.frozen(kw_only=True)
class RoundReport:
    """One round of one node.

    An update that was tried counts once: as merged, refused (by a gate or by decoding), failed (it could not be fetched) or lost. Lost
    means that it came and was not used, because a plugin of this peer failed or is not installed.
    """

    round: int
    seconds: float
    lineage: bytes
    age: int
    published: Cid | None
    published_bytes: int
    fetched_bytes: int
    heard: int  # peers with a fresh update
    chosen: int
    merged: int
    refused: int
    failed: int
    outcome: str  # "merged", "alone", "founded", "joined", "moved", "yielded", "rejoined"
    verdicts: tuple[UpdateVerdict, ...] = ()
    splits: tuple[bytes, ...] = ()  # other established lineages under the same name
    lost: int = 0
    connected: int = 0  # peers that the services told of as connected, at the end of the round
    metrics: Mapping[str, float] = attrs.field(factory=dict, hash=False)  # what the trainer has measured on test data since the last round


@attrs.frozen(kw_only=True)
class PeerConnection:
    """A peer that a service is connected to, or knows and is not connected to. `learnae status` shows it.

    Texts are cut after 200 characters, and what others wrote in them is made harmless.
    """

    peer: PeerId | None = None  # None if the medium does not tell
    connected: bool = True
    found_by: str = ""  # in a word, such as "file" or "mdns"; empty if the peer came by itself
    relayed: bool = False  # it goes through another peer
    relay: PeerId | None = None  # that peer, if the medium tells
    inbound: bool = False  # the other end has dialled
    address: str = ""  # of the other end
    own_address: str = ""
    interface: str = ""  # of this machine
    rtt_seconds: float | None = None  # None before it was measured
    bytes_in: int = 0  # over this connection
    bytes_out: int = 0
    why: str = ""  # a peer that is not connected, or of no use though it is: the reason
    next_try_seconds: float | None = None  # a peer that is not connected: from now; None if it is not tried again
