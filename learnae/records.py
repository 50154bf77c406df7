"""The values that pass between the core, the strategies and the network. All are immutable; what they can do is tell what they hold."""

from __future__ import annotations

import enum
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NewType

import attrs

from learnae.errors import renamed_fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

Cid = NewType("Cid", str)
"""A CIDv1 (sha2-256) in its base32 text form, `bafkrei...` for raw blocks and `bafyrei...` for dag-cbor."""

PeerId = NewType("PeerId", str)
"""An Ed25519 public key as 64 hexadecimal digits."""

NOBODY = PeerId("0" * 64)
"""No peer. What runs beside a node has this one, so that no storage takes it for the node itself."""

State = Mapping[str, Any]
"""What a strategy remembers between rounds: arrays, numbers and text by name. Immutable to the strategy."""

Octets = bytes
"""The type, where a field is called `bytes`."""

BLOCK_BYTES = 512 * 1024
"""The largest block: what every implementation of bitswap moves."""

MEGABYTE = 1 << 20


@attrs.frozen
class Block:
    """At most 512 KiB of bytes with their CID."""

    cid: Cid
    data: bytes
    sound: bool = attrs.field(default=False, init=False, eq=False, repr=False)  # noted by `learnae.content.cids.check` alone


@attrs.frozen
class Heard:
    """A message as an announcer received it; `backlog` if it was there before this listener looked."""

    message: bytes
    backlog: bool = False


@attrs.frozen(kw_only=True)
class TensorSpec:
    """Name, dtype (numpy's spelling, or `bfloat16`) and shape of one shared tensor.

    A buffer is one that no gradient trains; one that stands `apart` means something only as a whole. What a stranger's meta lists says
    nothing of either: each peer goes by its own model.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: bool = False
    apart: bool = False

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether it is float32 in the node; all else is int64 there."""
        return self.dtype.startswith(("float", "bfloat"))


class AnnouncementKind(enum.IntEnum):
    """What an announcement is about. Numbers are counted for each kind on its own."""

    UPDATE = 1
    SLICE = 2
    SAMPLE = 3
    PRESENT = 4
    LEAVING = 5


@attrs.frozen(kw_only=True)
class Update:
    """One published version of a peer's weights. All of it is claimed by the sender; nothing but the root is checked by hashing."""

    root: Cid
    bytes: int
    lineage: Octets  # 8 bytes
    architecture: Octets  # 8 bytes, over names and shapes
    age: int  # optimiser steps in the history of the model
    provisional: bool
    own_steps: int
    samples: int
    step_seconds: float
    codec: str
    base: Cid | None = None
    loss: float | None = None
    sketch: Octets = b""  # count sketch, 200 x float16


renamed_fields(Update, {"signature": "architecture", "young": "provisional"}, gone_in="0.2")


@attrs.frozen(kw_only=True)
class Slice:
    """A published piece of training data."""

    root: Cid
    bytes: int
    schema: Octets
    rows: int
    labels: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Sample:
    """A few readings of a small device."""

    payload: bytes


@attrs.frozen
class Present:
    """Here I am: where my stores can be reached, by the storage's name."""

    hints: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    role: str = "trainer"
    versions: tuple[int, ...] = (1,)


@attrs.frozen
class Leaving:
    """Goodbye."""


Body = Update | Slice | Sample | Present | Leaving


@attrs.frozen(kw_only=True)
class Announcement:
    """A small signed message: "number n of this kind from me is this"."""

    swarm: bytes  # 16 bytes
    peer: PeerId
    number: int
    body: Body

    @property
    def kind(self) -> AnnouncementKind:
        return _KINDS[type(self.body)]


_KINDS: dict[type, AnnouncementKind] = {
    Update: AnnouncementKind.UPDATE,
    Slice: AnnouncementKind.SLICE,
    Sample: AnnouncementKind.SAMPLE,
    Present: AnnouncementKind.PRESENT,
    Leaving: AnnouncementKind.LEAVING,
}


@attrs.frozen
class Encoded:
    """One tensor as a codec made it: bytes for the blocks, numbers and text for the meta."""

    data: bytes
    meta: Mapping[str, int | float | str] = attrs.field(factory=dict)


@attrs.frozen
class Decoded:
    """One tensor as a codec read it: float32, and a mask of the coordinates that came (`None`: all did)."""

    array: Array
    mask: NDArray[np.bool_] | None = None


@attrs.frozen(kw_only=True)
class LocalModel:
    """The own model as a strategy sees it: read-only arrays, float32 for floating tensors and int64 for the others.

    `start` is the last merged model, without later drift; `current` is the snapshot that is being merged. `buffers` names the tensors that
    no gradient trains: a running variance must not be stepped over. An outer optimiser is shown none of them, and no integers.
    """

    start: Mapping[str, Array]
    current: Mapping[str, Array]
    age: int = 0
    samples: int = 0
    loss: float | None = None
    buffers: Collection[str] = ()


@attrs.frozen(kw_only=True)
class Received:
    """A fetched update. `tensors` decodes on access and never raises; `masks` holds only what came in part."""

    peer: PeerId
    update: Update
    tensors: Mapping[str, Array]
    masks: Mapping[str, NDArray[np.bool_]] = attrs.field(factory=dict)
    staleness: float = 0.0  # how old the announcement is, in typical rounds: own ones, or its peer's where those are longer
    weight: float = 1.0  # what the gates before left of it
    sound: Collection[str] = ()  # tensors that are known to be finite and of the own shape, without decoding them


@attrs.frozen
class Verdict:
    """A gate's word on one update: a weight from 0 (refused) to 1, a scale for the displacement, and why."""

    weight: float = 1.0
    scale: float = 1.0
    reason: str = ""


@attrs.frozen
class Judged:
    """One verdict for each received update, in order; `state=None` leaves the gate's state as it was."""

    verdicts: Sequence[Verdict]
    state: State | None = None


@attrs.frozen
class Merged:
    """A merged model: (name, tensor) pairs, consumed once and one at a time; a tensor of `None` is unchanged, so is a state of `None`."""

    tensors: Iterable[tuple[str, Array | None]]
    state: State | None = None


@attrs.frozen(kw_only=True)
class Candidate:
    """One fresh update of the own lineage that could be fetched in this round."""

    peer: PeerId
    kind: AnnouncementKind
    bytes: int
    age: int
    staleness: float  # in typical rounds, own ones or its peer's where those are longer
    sketch: Octets = b""
    bytes_per_second: float | None = None  # measured; None before the first transfer
    last_tried: int | None = None  # own round in which this peer was last tried
    failures: int = 0  # in a row
    ever_accepted: bool = False
    trust: float = 0.0  # from 0 to 1, by what became of this peer's updates: 0 where none was merged yet, or where three in a row failed


@attrs.frozen(kw_only=True)
class View:
    """What a selector sees: where this peer stands, how many it may choose and within how many bytes, and from whom.

    `state` is what the selector returned last, in a `Selected`; empty before that.
    """

    round: int
    age: int
    count: int
    budget_bytes: int
    candidates: Sequence[Candidate]
    state: State = attrs.field(factory=dict)


@attrs.frozen
class Selected:
    """The chosen candidates, the most wanted first; `state=None` leaves the selector's state as it was."""

    candidates: Sequence[Candidate]
    state: State | None = None


@attrs.frozen(kw_only=True)
class UpdateVerdict:
    """The fate of one update in one round, as it is kept, shown and handed to watchers."""

    round: int
    peer: PeerId
    number: int
    root: Cid
    merged: bool
    weight: float
    scale: float
    stage: str  # "fetch", "decode", the name of the gate, "merge", or "plugin" where one of this peer's own failed
    reason: str


@attrs.frozen(kw_only=True)
class RoundReport:
    """One round of one node."""

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
    lost: int = 0  # updates that came, and were not used because a plugin of this peer failed, or is not installed
