"""Publishes this peer's own view of what others gave, where its file says so, and fetches the views of others when its user orders it."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from learnae.content.pack import Packed
from learnae.content.unpack import Content, Manifest
from learnae.errors import UnavailableError, UpdateRejectedError
from learnae.node.fetching import Fetcher, Transfer
from learnae.node.history_reader import KeptView
from learnae.node.publishing import Publisher
from learnae.node.rate_limits import TimeShare
from learnae.node.runtime import Runtime
from learnae.node.views import VIEW_LIMITS, ContributionView, GivenBy, decode_view, encode_view, pack_view, unpack_view, view_of
from learnae.records import AnnouncementKind, Cid, PeerId, Present

FIRST_SECONDS = 60.0
AGAIN_SECONDS = 600.0
"""Until the own view is signed for the first time in a run, and from then on. What has not changed is not signed again."""
LOOK_SECONDS = 5.0
AT_ONCE = 4  # views that are fetched
MOST_ASKED = 64  # peers, by one order
LONGEST_ASKING = 4
"""Times as long as one view may take, all of them together: anybody can name one that never comes."""
_WHAT = "publishing the own view of contributions"


@attrs.define
class ViewExchange:
    """`shares` says whether the own view is published. It contains the roots of own views that are in the storages."""

    shares: bool
    publisher: Publisher
    fetcher: Fetcher
    fetch_seconds: float
    runtime: Runtime
    _given: tuple[GivenBy, ...] | None = None  # what the own view says that is in the storages
    _roots: list[Cid] = attrs.field(factory=list)  # the one before too: others may just be fetching it
    _strangers: TimeShare = attrs.field(
        default=attrs.Factory(lambda self: TimeShare(self.runtime.in_decoding_thread, self.runtime.clock), takes_self=True)
    )

    def __contains__(self, root: object) -> bool:
        return root in self._roots

    @property
    def root(self) -> Cid | None:
        """Of the own view, for others to fetch."""
        return self._roots[-1] if self._roots else None

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            if self.shares:
                nursery.start_soon(self._keep_publishing)
            while True:
                await trio.sleep(LOOK_SECONDS)
                try:
                    await self._carry_out()
                except UnavailableError as error:
                    self.runtime.outages.failed("history", str(error))

    async def _keep_publishing(self) -> None:
        await trio.sleep(FIRST_SECONDS)
        while True:
            try:
                await self._publish()
            except (UnavailableError, ValueError) as error:
                self.runtime.outages.failed(_WHAT, str(error))
            else:
                self.runtime.outages.works(_WHAT)
            await trio.sleep(AGAIN_SECONDS)

    async def _publish(self) -> None:
        view = await self.runtime.in_thread(self._view)
        if view is None or view.given == self._given:  # its round is another one each time
            return
        packed = await self.runtime.in_thread(self._packed, view)
        self._roots.append(packed.root)  # before it is put: what is cleaned up meanwhile leaves it
        if not await self.publisher.put(packed.root, packed.blocks, self.publisher.strategies.storages):
            self._roots.remove(packed.root)
            return
        self._given = view.given
        for root in self._roots[:-2]:
            await self.publisher.drop(root)
        del self._roots[:-2]

    def _view(self) -> ContributionView | None:
        """None where there is nothing to tell yet."""
        history, swarm, identity = self.publisher.history, self.publisher.swarm, self.publisher.identity
        found = history.reader.contributions()
        if not found:
            return None
        return view_of(found, swarm=swarm.id, peer=identity.peer, round_=history.last_round())

    def _packed(self, view: ContributionView) -> Packed:
        swarm, identity = self.publisher.swarm, self.publisher.identity
        return pack_view(encode_view(view, identity), identity.peer, swarm.blocks)

    async def _carry_out(self) -> None:
        order = await self.runtime.in_thread(self.publisher.history.orders.take_ask)
        if order is not None:
            outcome = await self._ask()
            await self.runtime.in_thread(self.publisher.history.orders.end_ask, order, outcome)
            self.runtime.log.info("contributions.asked", outcome=outcome)

    async def _ask(self) -> str:
        """Fetch the views of all that have one. Returns what came of it, in a sentence."""
        offers, came, reasons = self._offers(), list[KeptView](), list[str]()
        limiter = trio.CapacityLimiter(AT_ONCE)

        async def one(peer: PeerId, root: Cid) -> None:
            async with limiter:
                try:
                    came.append(KeptView(peer, 0.0, await self._fetch(peer, root)))
                except (UnavailableError, UpdateRejectedError) as error:
                    reasons.append(f"{peer[:8]}: {error}")

        with trio.move_on_after(LONGEST_ASKING * self.fetch_seconds):
            async with trio.open_nursery() as nursery:
                for peer, root in offers:
                    nursery.start_soon(one, peer, root)
        if came:
            await self.runtime.in_thread(self.publisher.history.keep_views, came)
        if not offers:
            return "no peer that is heard publishes a view"
        failed = f"; {'; '.join(sorted(reasons)[:AT_ONCE])}" if reasons else ""
        return f"{len(came)} of {len(offers)} views came{failed}"[:1000]

    def _offers(self) -> Sequence[tuple[PeerId, Cid]]:
        """Those whose updates were merged come first: anybody can make up peers that have views."""
        receiver, offers = self.publisher.receiver, list[tuple[PeerId, Cid]]()
        for peer in receiver.inbox.known:
            entry = receiver.inbox.get(peer, AnnouncementKind.PRESENT)
            present = entry.announcement.body if entry and not entry.backlog else None
            if isinstance(present, Present) and present.contributions and not receiver.admission.refuses(peer):
                offers.append((peer, present.contributions))
        return sorted(offers, key=lambda offer: not receiver.peers.accepted(offer[0]))[:MOST_ASKED]

    async def _fetch(self, peer: PeerId, root: Cid) -> bytes:
        """The signed bytes, all of them checked. Raises UnavailableError, UpdateRejectedError."""
        decode_in = self.runtime.in_decoding_thread if self.publisher.receiver.peers.trusts(peer) else self._strangers
        encryption = self.fetcher.encryption
        with trio.move_on_after(self.fetch_seconds) as limit:
            read = self.fetcher.reader(peer, Transfer(VIEW_LIMITS.bytes))
            manifest = await Manifest.read(root, read, VIEW_LIMITS, encryption, decode_in=decode_in)
            content = Content(manifest.meta, manifest.data_cids, await read(manifest.data_cids), encryption)
            return await decode_in(self._checked, content, peer)
        assert limit.cancelled_caught
        raise UnavailableError("its view did not come in time", [root])

    def _checked(self, content: Content, peer: PeerId) -> bytes:
        data = unpack_view(content)
        decode_view(data, swarm=self.publisher.swarm.id, peer=peer)
        return data
