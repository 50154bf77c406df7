"""Fetches beside the rounds: what holds a round up, and how many may be under way."""

from __future__ import annotations

import attrs
import pytest
import trio

from learnae.content.cids import dag_cid
from learnae.node.fetching import Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.obtaining import BackgroundFetches, Obtained, TransferPace
from learnae.node.reports import RoundRecord
from learnae.records import Announcement, PeerId
from learnae.testing.context import make_runtime
from learnae.testing.swarm import run_in_virtual_time
from tests.support.records import an_update

pytestmark = pytest.mark.virtual_time


def entry(peer: str) -> InboxEntry:
    update = an_update(dag_cid(peer.encode()), bytes=100, lineage=b"lineage1", architecture=b"signatur")
    return InboxEntry(Announcement(swarm=b"", peer=PeerId(peer), number=1, body=update), b"", b"", 0.0, 0, backlog=False)


@attrs.define
class Stuck:
    """Fetches by a client that blocks for so many seconds, whoever cuts them off."""

    seconds: float
    limit: int = 1000
    under_way: int = 0
    most: int = 0

    def expected_bytes(self, entry: InboxEntry) -> int:
        return entry.update.bytes

    async def obtain_one(
        self, entry: InboxEntry, round_record: RoundRecord, limit: trio.CancelScope, *, beside: bool, transfer: Transfer
    ) -> Obtained | None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        with trio.CancelScope(shield=True):
            await trio.sleep(self.seconds)
        self.under_way -= 1
        round_record.failed(entry, "fetch", "stuck")
        return None


@attrs.frozen
class Trusting:
    trusted: bool
    refused: bool = False

    def trusts(self, peer: PeerId) -> bool:
        return self.trusted

    def get(self, peer: PeerId) -> Trusting:
        return self


def rounds_with(obtainer: Stuck, *, trusted: bool, count: int = 8) -> list[float]:
    """How long each of so many rounds took, in each of which two more peers are chosen."""

    async def main() -> list[float]:
        fetches = BackgroundFetches(obtainer, Trusting(trusted), TransferPace(0.3), 2, make_runtime(clock=trio.current_time))
        took = []
        async with trio.open_nursery() as nursery:
            await nursery.start(fetches.run)
            for number in range(count):
                began = trio.current_time()
                await fetches.obtain([entry(f"{number} {side}") for side in "ab"], RoundRecord(number, began))
                took.append(trio.current_time() - began)
                await trio.sleep(0.1)  # the trainer's steps
            nursery.cancel_scope.cancel()
        return took

    return run_in_virtual_time(main)


def test_a_client_that_cannot_be_cut_off_holds_no_round_up_longer_than_its_deadline() -> None:
    assert max(rounds_with(Stuck(6.0), trusted=True)) < 0.5


def test_of_strangers_no_more_are_under_way_than_the_bound_and_one_that_gives_way() -> None:
    stuck = Stuck(60.0)
    rounds_with(stuck, trusted=False)
    assert stuck.most == 3


async def test_a_round_has_chosen_what_it_sent_for() -> None:
    fetches = BackgroundFetches(Stuck(6.0), Trusting(False), TransferPace(0.3), 2, make_runtime(clock=trio.current_time))
    round_record = RoundRecord(1, 0.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(fetches.run)
        await fetches.obtain([entry(name) for name in "abc"], round_record)
        nursery.cancel_scope.cancel()
    assert round_record.chosen == 2
