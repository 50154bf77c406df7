"""The values that pass between the core, the strategies and the network. All are immutable, and have no behaviour."""

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
    """One message that an announcer delivers.

    `backlog` is true if the message was on the medium before this call of `listen` began to look. The core then does not take it as a sign
    that the sender is alive.
    """

    message: bytes
    backlog: bool = False


class Standing(enum.IntEnum):
    """Whose message this may be, told before its signature is checked. Each is worth more than those before it."""

    FOREIGN = 0  # nobody of this swarm has written it, nor would any of them pass it on
    UNWANTED = 1  # of no use here: old, of a peer that this one does not hear, or of another version; who passes it on may be honest
    STRANGER = 2  # of an open swarm, and of anybody
    ACCEPTED = 3  # it names a peer an update of which was merged here; anybody can write that name
    MEMBER = 4  # whoever has written it has the key of this private swarm


@attrs.frozen
class FirstLook:
    """What `Context.first_look` says of a message. `peer` is who it claims to come from, if it says so.

    What is worth less than a stranger's is not checked, kept or passed on: else outsiders have the whole swarm carry what they like. Where
    there is too much, those of more worth come first. Who brings what is foreign is no honest peer.
    """

    standing: Standing = Standing.FOREIGN
    peer: PeerId | None = None


@attrs.frozen(kw_only=True)
class TensorSpec:
    """Name, dtype (numpy's spelling, or `bfloat16`) and shape of one shared tensor.

    `buffer`: no gradient trains this tensor. `apart`: this tensor means something only as a whole, so it is never mixed. Both come from
    the own model. An update of another peer does not carry them.
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
    """What an announcement is about. Each kind has a sequence number of its own."""

    UPDATE = 1
    SLICE = 2
    SAMPLE = 3
    PRESENT = 4
    LEAVING = 5


@attrs.frozen(kw_only=True)
class Update:
    """One published version of a peer's weights. All fields are claims of the sender. Only the root is checked, by hashing the blocks."""

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
    sketch: Octets = b""  # of the model, by learnae.sketches; 400 bytes


renamed_fields(Update, {"signature": "architecture", "young": "provisional"}, gone_in="0.2")


@attrs.frozen(kw_only=True)
class Slice:
    """A published piece of training data. All fields are claims of the sender, which whoever fetches it counts again.

    `labels` may be empty because they do not fit into a message, `sketch` as well: mean and standard deviation of at most 48 features.
    """

    root: Cid
    bytes: int
    schema: Octets  # 8 bytes
    rows: int
    labels: Mapping[str, int] = attrs.field(factory=dict)
    sketch: Octets = b""  # at most 96 x float32


@attrs.frozen
class Sample:
    """A few readings of a small device."""

    payload: bytes


@attrs.frozen
class Present:
    """The peer is there. `hints` tells, by the name of each storage, where the peer's blocks can be reached.

    `contributions` is the root of its signed view of what others gave, if it publishes one.
    """

    hints: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    role: str = "trainer"
    versions: tuple[int, ...] = (1,)
    contributions: Cid | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Leaving:
    """The peer leaves the swarm."""


Body = Update | Slice | Sample | Present | Leaving


@attrs.frozen(kw_only=True)
class Announcement:
    """What one signed message says: number `number` of this kind, from this peer, has this body."""

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
    """One tensor, encoded: `data` goes into the blocks, `meta` (numbers and text) into the description of the update."""

    data: bytes
    meta: Mapping[str, int | float | str] = attrs.field(factory=dict)


@attrs.frozen
class Decoded:
    """One tensor, decoded: float32, in the shape of its TensorSpec. `mask`, of that shape, is true where a value came; None: everywhere."""

    array: Array
    mask: NDArray[np.bool_] | None = None


@attrs.frozen(kw_only=True)
class LocalModel:
    """The own model as a strategy sees it. Arrays are read-only: float32 for floating tensors, int64 for all others.

    `current` is the snapshot that is being merged. `start` is the model as the last merge left it, before this peer trained on.
    `buffers` names the tensors that no gradient trains, such as a running variance. An outer optimiser gets neither buffers nor integers.
    `age` counts optimiser steps, `samples` training samples. `loss` is the last one that the loop gave to `swarm.step`.
    """

    start: Mapping[str, Array]
    current: Mapping[str, Array]
    age: int = 0
    samples: int = 0
    loss: float | None = None
    buffers: Collection[str] = ()


@attrs.frozen(kw_only=True)
class Received:
    """A fetched update. `tensors` decodes a tensor when it is read, and never raises.

    `masks` has an entry for each tensor that came in part: true where a value came.
    """

    peer: PeerId
    update: Update
    tensors: Mapping[str, Array]
    masks: Mapping[str, NDArray[np.bool_]] = attrs.field(factory=dict)
    staleness: float = 0.0  # age of the announcement in rounds: typical rounds of this peer or of the sender, whichever take longer
    weight: float = 1.0  # product of the weights that earlier gates gave
    sound: Collection[str] = ()  # tensors known to be finite and of the own shape, without decoding them


@attrs.frozen
class Verdict:
    """What a gate decides about one update: a weight from 0 (refused) to 1, a scale for its displacement from `current`, and a reason.

    `blames`: whether a refusal says that the peer did wrong. Such a peer waits longer for its next turn. It is false where the two models
    are only too far apart: then a peer of which something was merged before keeps its trust and its turn.
    """

    weight: float = 1.0
    scale: float = 1.0
    reason: str = ""
    blames: bool = attrs.field(default=True, kw_only=True)


@attrs.frozen
class Judged:
    """One verdict for each received update, in the same order. `state=None` leaves the gate's state as it was."""

    verdicts: Sequence[Verdict]
    state: State | None = None


@attrs.frozen
class Merged:
    """A merged model, as pairs of name and tensor. The core reads the pairs once, one after the other.

    `None` in place of a tensor leaves that tensor as it is. `state=None` leaves the state as it was.
    """

    tensors: Iterable[tuple[str, Any]]  # an array, None, or a `TensorReader`
    state: State | None = None


@attrs.frozen(kw_only=True)
class Candidate:
    """One fresh update of the own lineage, which can be fetched in this round; or a slice, for a selector that says `slices = True`.

    `trust` is from 0 to 1. Each merged update of this peer doubles it, and raises it to 1/2 at least. Each one that fails or is refused
    divides it by 8, down to 1/16. It is 0 before the first, and after three failures in a row. `rows` and `labels` are a slice's claims.
    """

    peer: PeerId
    kind: AnnouncementKind
    bytes: int
    age: int
    staleness: float  # age of the announcement in rounds: typical rounds of this peer or of the sender, whichever take longer
    sketch: Octets = b""
    bytes_per_second: float | None = None  # measured; None before the first transfer
    last_tried: int | None = None  # own round in which this peer was last tried
    failures: int = 0  # in a row
    ever_accepted: bool = False
    trust: float = 0.0
    root: Cid | None = None
    rows: int = 0
    labels: Mapping[str, int] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class View:
    """What a selector sees: the number of this round, the age of the own model, and the candidates.

    It may choose `count`, of `budget_bytes` together. `state` is what it returned last in a `Selected`, at first empty. `have` is how many
    rows this peer has of each label, its own and those of others; empty for a selector that sees no slices. `sketch` is that of the
    model that this peer has published last, for `learnae.sketches.difference`; empty before it has.
    """

    round: int
    age: int
    count: int
    budget_bytes: int
    candidates: Sequence[Candidate]
    state: State = attrs.field(factory=dict)
    have: Mapping[str, int] = attrs.field(factory=dict)
    sketch: Octets = b""


@attrs.frozen
class Selected:
    """The chosen candidates, the most wanted first. `state=None` leaves the selector's state as it was."""

    candidates: Sequence[Candidate]
    state: State | None = None


@attrs.frozen(kw_only=True)
class Budgets:
    """How many bytes the `[peer]` table allows; None is no bound. All services of one plugin share one account of them."""

    upload_bytes_per_second: int | None = None
    upload_bytes_per_hour: int | None = None
    download_bytes_per_second: int | None = None
    download_bytes_per_hour: int | None = None
