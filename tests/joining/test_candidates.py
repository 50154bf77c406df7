"""Whose model may be adopted."""

from types import SimpleNamespace

import attrs
import pytest

from learnae.config.tables import JoinTable
from learnae.node.attempts import FetchAttempts
from learnae.node.history import PublishedUpdate
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.joining import LineageAdoption
from learnae.node.lineage import LineageState, Support
from learnae.node.lineage_search import LANES
from learnae.node.peers import Peers
from learnae.node.selection import UpdateSelection
from learnae.records import Announcement, Cid, PeerId
from learnae.testing.context import make_runtime
from tests.support.records import an_update

LINEAGE = b"lineage1"
ME, ALICE, BOB = PeerId("e" * 64), PeerId("a" * 64), PeerId("b" * 64)
OWN = PublishedUpdate(3, Cid("own"), LINEAGE, 7, 0, 10, "fp32", b"s" * 8)


def entry(peer: PeerId, *, backlog: bool = False) -> InboxEntry:
    body = an_update(lineage=LINEAGE, age=7, codec="fp32")
    return InboxEntry(Announcement(swarm=b"", peer=peer, number=1, body=body), b"", b"", 0.0, 1, backlog)


def adoption(rules: JoinTable, *entries: InboxEntry) -> LineageAdoption:
    selection = SimpleNamespace(
        of_lineage=lambda lineage: list(entries), fresh=lambda lineage, round_, announced: [item for item in entries if not item.backlog]
    )
    known = Peers(9)
    obtainer = SimpleNamespace(peers=known, attempts=FetchAttempts(Inbox(9, known.trusts), known))
    return LineageAdoption(LineageState(rules, ME), selection, obtainer, None, OWN, make_runtime())


def peers(entries: list[InboxEntry]) -> list[PeerId]:
    return [item.peer for item in entries]


def test_those_who_are_there_come_before_what_was_left_behind_and_the_own_past():
    every = adoption(JoinTable(), entry(ALICE, backlog=True), entry(BOB))
    assert peers(every.candidates(LINEAGE)) == [BOB, ALICE, ME]
    assert peers(every.live_candidates(LINEAGE, 1)) == [BOB]


def test_a_fresh_start_takes_nothing_that_was_left_behind_also_where_somebody_is_there():
    fresh = adoption(JoinTable(fresh=True), entry(ALICE, backlog=True), entry(BOB))
    assert peers(fresh.candidates(LINEAGE)) == [BOB]


def test_with_trust_only_those_and_the_own_past_are_taken():
    picky = adoption(JoinTable(trust=(ALICE,)), entry(ALICE), entry(BOB), entry(BOB, backlog=True))
    assert peers(picky.candidates(LINEAGE)) == [ALICE, ME]
    assert peers(picky.live_candidates(LINEAGE, 1)) == [ALICE]


def test_those_who_have_failed_come_after_the_others():
    made = adoption(JoinTable(), entry(ALICE), entry(BOB))
    made.obtainer.peers.failed(ALICE)
    assert peers(made.candidates(LINEAGE)) == [BOB, ALICE, ME]
    assert peers(made.live_candidates(LINEAGE, 1)) == [BOB, ALICE]


class Counting(Inbox):
    visits = 0

    def updates(self):
        for item in super().updates():
            self.visits += 1
            yield item


@pytest.mark.parametrize("newcomer", [False, True])
def test_as_many_lineages_as_peers_are_gone_through_once_and_no_more_are_looked_for_than_at_once(newcomer):
    inbox, records = Counting(300, lambda peer: False), Peers(300)
    for number in range(300):
        body = an_update(lineage=number.to_bytes(8, "big"), age=7, codec="fp32")
        inbox.put(InboxEntry(Announcement(swarm=b"", peer=PeerId(f"{number:064x}"), number=1, body=body), b"", b"", 0.0, 1, backlog=False))
    selection = UpdateSelection(inbox, records, FetchAttempts(inbox, records), None, 2, 10**6, b"s" * 8, 8, None, lambda: 1e6)
    made = attrs.evolve(adoption(JoinTable()), selection=selection)
    among = made.lineage_state.where_to_join(selection.seen(1))
    inbox.visits = 0
    leads = made.leads(among, lambda lineage, some: made.candidates(lineage, some) if newcomer else made.live_candidates(lineage, 1, some))
    assert [lead.lineage for lead in leads] == [number.to_bytes(8, "big") for number in range(LANES)]
    assert inbox.visits == 300


def test_of_lineages_of_equal_support_those_come_last_whose_models_did_not_come_or_whose_peers_have_failed():
    made = adoption(JoinTable())
    records = made.obtainer.peers
    made.selection.by_lineage = lambda: {b"a": [entry(ALICE)], b"b": [entry(BOB)], b"c": [entry(ME), entry(ALICE)], b"d": [entry(ME)]}
    records.failed(ALICE)
    made.misses.note(b"b", 1)
    among = [Support(b"d", 2), *(Support(name, 1) for name in (b"a", b"b", b"c"))]
    assert [lead.lineage for lead in made.leads(among, lambda lineage, some: list(some))] == [b"d", b"c", b"a", b"b"]
    records.failed(ME)
    made.misses.forget(b"b")
    assert [lead.lineage for lead in made.leads(among, lambda lineage, some: list(some))] == [b"d", b"b", b"a", b"c"]
