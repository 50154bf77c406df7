"""What passes between a trainer and its node. Both sides import this, and neither imports the other.

Slots and pages. The trainer copies its model into a *slot* and names it in a Snapshot; from then on the slot is the node's until the node
releases it. The node writes a merged model into one of two *pages* and names page and slot in an Offer; the trainer then does
`parameter += page - slot` (or copies the page, bit for bit, when nothing moved since), and names the number that it has adopted.
Buffers are never added to: where the page differs from the slot they are assigned, integers of a merged model as counters that only grow.
At most one offer is outstanding. The node holds the slot of its offer until the offer is adopted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from learnae.records import RoundReport, TensorSpec

if TYPE_CHECKING:
    from learnae.records import Array

SLOTS = 2
PAGES = 2


@attrs.frozen
class Progress:
    """Where the trainer's model stands. Lineage and age belong to the model, not to the home."""

    adoption: int  # the last adopted offer of this trainer run, 0 at first
    lineage: bytes  # 8 bytes, or empty: the model has none yet
    age: int  # optimiser steps in the history of the model
    steps: int  # own optimiser steps
    samples: int
    step_seconds: float
    loss: float | None = None


@attrs.frozen
class Hello:
    """The trainer's first word to each node that it starts."""

    run: str  # names this run of the trainer; adoption numbers count within it
    session: str  # names this start of the node; offers of other sessions are void
    progress: Progress
    specs: tuple[TensorSpec, ...]
    frozen: bytes = b""  # digest of the parameters that are not shared
    resumed: str = ""  # the run that the trainer's checkpoint came from, if any
    resumed_adoption: int = 0


@attrs.frozen
class Snapshot:
    """A copy of the trainer's model: float32 for floating tensors, int64 for the others; read-only."""

    slot: int
    progress: Progress
    tensors: Mapping[str, Array]


@attrs.frozen
class Offer:
    """A merged model for the trainer to adopt."""

    session: str
    number: int  # the next adoption number of this trainer run
    page: int
    slot: int  # the snapshot that it was merged from
    lineage: bytes
    age_gain: int  # added to the model's age on adoption: the merged age less the snapshot's; may be negative when moving
    outcome: str  # as in RoundReport

    @property
    def whole(self) -> bool:
        """Whether it is the model of another peer (or the own one), not one in which several were merged."""
        return self.outcome != "merged"


class TrainerGone(Exception):
    """The trainer has ended or closed the link: leave."""


class Link(Protocol):
    """The node's end."""

    @property
    def hello(self) -> Hello: ...

    async def next_snapshot(self) -> Snapshot:
        """Wait for the newest snapshot; older ones that were not taken go back by themselves. Raises TrainerGone."""

    def release(self, slot: int) -> None:
        """Give a slot back to the trainer."""

    def page(self, index: int) -> Mapping[str, Array]:
        """The writable arrays of one merged page."""

    def offer(self, offer: Offer) -> None:
        """Hand a merged model over."""

    async def adopted(self, number: int) -> None:
        """Wait until the trainer has named this number. Raises TrainerGone."""

    def tell(self, report: RoundReport, **facts: Any) -> None:
        """Show a round to the trainer's side."""
