"""The pages of merged models, and the one offer that may be outstanding (DESIGN 3, "Adoption protocol")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import numpy as np

from learnae.link.contract import Link, Offer, Snapshot
from learnae.node.memory import Memory
from learnae.records import LocalModel, State

if TYPE_CHECKING:
    from learnae.records import Array


@attrs.define
class Adopting:
    """One page holds the last adopted model, the `start` of the next merge; the other is free to be written."""

    link: Link
    memory: Memory
    _start_page: int | None = None
    _last_number: int | None = None
    _buffers: frozenset[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._buffers = frozenset(spec.name for spec in self.link.hello.specs if spec.buffer)

    def contains_last_offer(self, snapshot: Snapshot) -> bool:
        """Only such a snapshot may be merged: a delta that lands two rounds late makes the swarm diverge."""
        return self._last_number is None or snapshot.progress.adoption == self._last_number

    def local(self, snapshot: Snapshot) -> LocalModel:
        """The own model for the strategies; the first snapshot of a session is its start."""
        if self._start_page is None:
            self._start_page = 0
            copy_tensors(snapshot.tensors, self.link.page(0))
        start = {name: _read_only(array) for name, array in self.link.page(self._start_page).items()}
        progress = snapshot.progress
        return LocalModel(start, snapshot.tensors, progress.age, progress.samples, progress.loss, self._buffers)

    def free_page(self) -> Mapping[str, Array]:
        return self.link.page(self._free)

    async def hand_over(self, snapshot: Snapshot, *, lineage: bytes, age: int, outcome: str, states: Mapping[str, State] | None) -> None:
        """Offer the free page, wait for the adoption, then commit the strategies' states; None: begin anew. Raises TrainerGone."""
        number = snapshot.progress.adoption + 1
        self._last_number = number
        gain = age - snapshot.progress.age
        self.link.offer(Offer(self.link.hello.session, number, self._free, snapshot.slot, lineage, gain, outcome))
        await self.link.adopted(number)
        self._start_page = self._free
        self.memory.commit(number, states)

    @property
    def _free(self) -> int:
        return 1 if self._start_page == 0 else 0


def copy_tensors(source: Mapping[str, Array], target: Mapping[str, Array]) -> None:
    for name, array in target.items():
        np.copyto(array, source[name])


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
