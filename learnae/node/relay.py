"""Joins peers that share no medium: what is heard on one is announced on the others, what was fetched from one is put into the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
import trio

from learnae.node.assembly import Named
from learnae.node.carrying import Carrying
from learnae.node.forwarding import Forwarding
from learnae.node.inbox import Entry
from learnae.node.transfer import Transfer
from learnae.records import Kind, PeerId
from learnae.strategies import Announcer


@attrs.define
class Relay:
    """An update is passed on once its blocks are where this peer can put them, all else at once. `alias` is how a key is called outside."""

    own: PeerId
    forwarding: Mapping[Named[Announcer], Forwarding]
    carrying: Carrying
    alias: Callable[[str], bytes]

    def hear(self, announcer: Named[Announcer], entry: Entry, *, news: bool) -> None:
        """What an announcer has delivered: admitted, live, and news unless another one has delivered it before."""
        self.forwarding[announcer].note(entry)
        if news and not (entry.announcement.kind is Kind.UPDATE and self.carrying.needed):
            self._announce(entry)

    def fetched(self, entry: Entry, transfer: Transfer) -> None:
        """An update that has come whole. What was left behind is not passed on: others would take its peer for alive."""
        if not self.carrying.needed or entry.backlog:
            return
        if self.carrying.targets(transfer):
            self.carrying.add(entry, transfer)
        elif self.carrying.still_there(entry):
            self._announce(entry)

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.carrying.run, self._announce_carried)
            for forwarding in self.forwarding.values():
                nursery.start_soon(forwarding.run)

    def _announce(self, entry: Entry) -> bool:
        """Wherever it was not heard; False where there is no such medium."""
        lacking = [forwarding for forwarding in self.forwarding.values() if forwarding.lacks(entry)]
        for forwarding in lacking:
            forwarding.add(entry, self.alias(f"{entry.peer}/{entry.announcement.kind.value}"))
        return bool(lacking)

    def _announce_carried(self, entry: Entry) -> None:
        """Where all have heard of it before it could be had: once more, beside what its owner says there, which may be newer by now."""
        if not self._announce(entry):
            for forwarding in self.forwarding.values():
                forwarding.add(entry, self.alias(f"{entry.peer}/{entry.announcement.kind.value} by {self.own}"), again=True)
