"""Gives rows away: what lies in `data/own`, and in `data/gathered` where this peer gathers readings, is put into the storages, and
announced again and again, until it lies there no more.

A node has this only where the file consents (`[data] share`) and the swarm is not one of weights only.
"""

from __future__ import annotations

from collections import OrderedDict

import attrs
import trio

from learnae.content.pack import Packed
from learnae.data.own import OwnSlices
from learnae.errors import ConfigError, UnavailableError
from learnae.node.sending import Sender
from learnae.records import Cid, Slice

LOOK_SECONDS = 5.0
CYCLE_SECONDS = 30.0
"""How long it takes until each slice was announced once more, for newcomers on media that keep no messages."""
LEAST_SECONDS = 2.0
"""Between two announcements, however many slices there are: a minute has at most 30."""

_WHAT = "giving rows"


@attrs.define
class Sharing:
    """The own slices that are given away now. Each announcement names one of them; all take turns (docs/decisions/0049).

    It contains the roots under which own rows are in the storages. What lies in `data/own` by another `consent` than that of this run is
    not given away: an earlier run may have given more, or under another licence.
    """

    own: OwnSlices
    sender: Sender
    consent: bytes
    gathered: OwnSlices | None = None
    _offered: OrderedDict[Cid, Slice] = attrs.field(factory=OrderedDict)  # by the name of its file, the next one first
    _stored: set[Cid] = attrs.field(factory=set)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __contains__(self, root: object) -> bool:
        return root in self._stored

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. It has started when it knows what an earlier run has put and may stay."""
        self._stored.update(await self._roots() or ())
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_announcing)
            while True:
                await self._look()
                await trio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        """Offer what is new, and take back what is gone. An unusable slice is told as an outage, and delays no other."""
        if (there := await self._roots()) is None:
            return
        for gone in self._offered.keys() - set(there):
            root = self._offered.pop(gone).root
            await self.sender.drop(root)
            self._stored.discard(root)
        flaw = ""
        for name in there:
            if name not in self._offered:
                flaw = await self._offer(name) or flaw
        if flaw:
            self.sender.runtime.outages.failed(_WHAT, flaw)
        else:
            self.sender.runtime.outages.works(_WHAT)

    async def _roots(self) -> tuple[Cid, ...] | None:
        """What lies there by the consent of this run. None where that cannot be read."""
        try:
            return await self.sender.runtime.in_thread(self._names)
        except (ConfigError, OSError) as error:
            self.sender.runtime.outages.failed(_WHAT, str(error))
            return None

    def _names(self) -> tuple[Cid, ...]:
        gathered = self.gathered.roots() if self.gathered is not None else ()
        return tuple(dict.fromkeys((*self.own.offered(self.consent), *gathered)))

    async def _offer(self, name: Cid) -> str:
        """Put it into the storages. Returns what was wrong with it."""
        try:
            packed, announced = await self.sender.runtime.in_thread(self._load, name)
        except UnavailableError:
            return ""  # gone since
        except (ConfigError, OSError) as error:
            return str(error)
        self._stored.add(packed.root)  # before it is put: what is cleaned up meanwhile leaves it
        if await self.sender.put(packed.root, packed.blocks, self.sender.strategies.storages):
            self._offered[name] = announced
            self._offered.move_to_end(name, last=False)
            self._news.set()
        return ""

    def _load(self, name: Cid) -> tuple[Packed, Slice]:
        holder = self.gathered if self.gathered is not None and name in self.gathered.roots() else self.own
        _, slice_ = holder.load(name, self.sender.swarm.blocks)
        return slice_.packed, slice_.announced

    async def _keep_announcing(self) -> None:
        while True:
            if not self._offered:
                await self._news.wait()
            self._news = trio.Event()
            if self._offered:
                name = next(iter(self._offered))
                self._offered.move_to_end(name)
                await self._announce(self._offered[name])
            await trio.sleep(LEAST_SECONDS)
            with trio.move_on_after(max(0.0, CYCLE_SECONDS / max(1, len(self._offered)) - LEAST_SECONDS)):
                await self._news.wait()

    async def _announce(self, slice_: Slice) -> None:
        try:
            await self.sender.announce(slice_)
        except UnavailableError as error:
            self.sender.runtime.outages.failed("history", str(error))
