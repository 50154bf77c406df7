"""Who owns which slot, and which offer may be adopted: the rules that hold a swarm together.

Each was learned from a swarm that stopped or diverged: a slot belongs to one side at a time; an offer of another session is void; the next
offer counts one more than the last adoption; it must come from a snapshot that contains the last adoption.
"""

from __future__ import annotations

import attrs

from learnae.link.messages import PAGES, SLOTS, Adopted, GarbledError, MergeResult, Release, Want


@attrs.define
class SessionState:
    """The state of one trainer run. Sessions come and go with the nodes that it starts."""

    adoption: int = 0
    session: str = ""
    wanted: bool = False
    offer: MergeResult | None = None
    _lent: dict[int, int] = attrs.field(factory=dict, init=False)  # slot in the node's hands: the adoption in its snapshot

    def begin(self, session: str) -> None:
        """Another node, or none: its predecessor's offers are void and all slots are back."""
        self.session, self.wanted, self.offer = session, False, None
        self._lent.clear()

    def new_run(self) -> None:
        """The model is another one now, loaded from a checkpoint: count from 0."""
        self.begin("")
        self.adoption = 0

    def free_slot(self) -> int | None:
        """A slot that the trainer may write to."""
        return next((slot for slot in range(SLOTS) if slot not in self._lent), None)

    def lent(self, slot: int) -> bool:
        """Whether the node may be reading this slot."""
        return slot in self._lent

    def lend(self, slot: int) -> None:
        """The slot holds a snapshot of the model as it is, and goes to the node."""
        self.wanted = False
        self._lent[slot] = self.adoption

    def hear(self, message: Want | Release | MergeResult) -> None:
        """Take in what the node of the present session says. Raises GarbledError if it broke the protocol."""
        match message:
            case Want():
                self.wanted = True
            case Release(slot):
                self._release(slot)
            case MergeResult():
                self._receive(message)

    def adopt(self, offer: MergeResult) -> Adopted:
        """The model contains this offer of the present session: say so to the node. It may be told again."""
        self.adoption = offer.number
        if self.offer is offer:
            self.offer = None
        return Adopted(offer.number)

    def _release(self, slot: int) -> None:
        if self.offer is not None and self.offer.slot == slot:
            raise GarbledError(f"slot {slot} was released while the offer that was merged from it waits")
        self._lent.pop(slot, None)

    def _receive(self, offer: MergeResult) -> None:
        if offer.session != self.session:
            return
        if self.offer is not None or offer.number != self.adoption + 1:
            raise GarbledError(f"offer {offer.number} came where {self.adoption + 1} was expected, or while another one waits")
        if self._lent.get(offer.slot) != self.adoption or not 0 <= offer.page < PAGES:
            raise GarbledError(f"offer {offer.number} was not merged from a snapshot that contains adoption {self.adoption}")
        self.offer = offer
