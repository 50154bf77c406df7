"""Whose model may be adopted."""

from types import SimpleNamespace

import numpy as np
import structlog

from learnae.config.tables import JoinTable
from learnae.node.history import Published
from learnae.node.inbox import Entry
from learnae.node.settling import Settling
from learnae.node.standing import Standing
from learnae.records import Announcement, Cid, PeerId, Update

LINEAGE = b"lineage1"
ME, ALICE, BOB = PeerId("e" * 64), PeerId("a" * 64), PeerId("b" * 64)
OWN = Published(3, Cid("own"), LINEAGE, 7, 0, 10, "fp32", b"s" * 8)


def entry(peer: PeerId, *, backlog: bool = False) -> Entry:
    body = Update(Cid("root"), 1, LINEAGE, b"s" * 8, 7, False, 0, 0, 0.0, "fp32")
    return Entry(Announcement(b"", peer, 1, body), b"", b"", 0.0, 1, backlog)


def settling(rules: JoinTable, *entries: Entry) -> Settling:
    chooser = SimpleNamespace(
        of_lineage=lambda lineage: list(entries), fresh=lambda lineage, round_: [item for item in entries if not item.backlog]
    )
    nothing = [None] * 2
    return Settling(Standing(rules, ME), chooser, *nothing, OWN, lambda: 0.0, None, np.random.default_rng(0), structlog.get_logger())


def peers(entries: list[Entry]) -> list[PeerId]:
    return [item.peer for item in entries]


def test_those_who_are_there_come_before_what_was_left_behind_and_the_own_past():
    every = settling(JoinTable(), entry(ALICE, backlog=True), entry(BOB))
    assert peers(every.candidates(LINEAGE)) == [BOB, ALICE, ME]
    assert peers(every.live_candidates(LINEAGE, 1)) == [BOB]


def test_a_fresh_start_takes_nothing_that_was_left_behind_also_where_somebody_is_there():
    fresh = settling(JoinTable(fresh=True), entry(ALICE, backlog=True), entry(BOB))
    assert peers(fresh.candidates(LINEAGE)) == [BOB]


def test_with_trust_only_those_and_the_own_past_are_taken():
    picky = settling(JoinTable(trust=(ALICE,)), entry(ALICE), entry(BOB), entry(BOB, backlog=True))
    assert peers(picky.candidates(LINEAGE)) == [ALICE, ME]
    assert peers(picky.live_candidates(LINEAGE, 1)) == [ALICE]


def test_at_most_three_are_taken_by_a_peer_that_has_a_lineage():
    crowd = [entry(PeerId(str(number) * 64)) for number in range(9)]
    assert len(settling(JoinTable(), *crowd).live_candidates(LINEAGE, 1)) == 3
