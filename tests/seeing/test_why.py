"""The fate of each update, in plain sentences."""

from __future__ import annotations

import time

import pytest

from learnae.cli.why import fate, meaning
from learnae.node.history import EquivocationProof, PeerRecord
from learnae.node.kept import KeptTable, KeptUpdate
from learnae.records import AnnouncementKind
from tests.seeing.conftest import root

LOST = {"merged": False, "weight": 0.0}
FATES = [  # what was noted of an update, and what is named
    ({}, ["fetched", "merged", "weight 1"]),
    ({"weight": 0.5}, ["merged", "weight 0.5"]),
    ({"stage": "clip", "reason": "norm 1"}, ["merged", "clip: norm 1"]),
    ({"scale": 0.3125, "stage": "clip", "reason": "norm 6.4"}, ["scaled to 0.31 by clip", "3.2 times the limit", "norm 6.4", "merged"]),
    ({**LOST, "stage": "fetch", "reason": "nothing whole"}, ["could not be fetched: nothing whole"]),
    ({**LOST, "stage": "decode", "reason": "too-large: 9 bytes"}, ["refused before any gate: too-large: 9 bytes"]),
    ({**LOST, "stage": "sane", "reason": "non-finite"}, ["fetched", "refused by gate sane: non-finite"]),
    ({"merged": False, "stage": "merge", "reason": "plugin 'x' failed"}, ["accepted", "not merged: plugin 'x' failed"]),
    ({**LOST, "stage": "plugin", "reason": "plugin 'x' failed"}, ["lost here", "refused by nobody: plugin 'x' failed"]),
    ({**LOST, "stage": "architecture", "reason": "0.bias is 64 here"}, ["not fetched", "its model is another: 0.bias is 64 here"]),
    ({**LOST, "stage": "join", "reason": "not finite"}, ["fetched to be adopted", "not adopted: not finite"]),
]


@pytest.mark.parametrize(("changes", "named"), FATES)
def test_each_fate_is_a_sentence(changes, named):
    plain = {"merged": True, "weight": 1.0, "scale": 1.0, "stage": "merge", "reason": ""}
    told = fate({**plain, **changes})
    assert [words for words in named if words not in told] == []


def test_of_a_peer_everything_is_told_newest_first(lived, learnae):
    home = lived()
    home.happened(home.verdict(round=42, number=8, merged=False, weight=0.0, stage="sane", reason="non-finite"), round=42)
    home.happened(home.verdict(home.bob, round=43, number=1), round=43)
    shown = learnae("why", home.path, "a11c").out.splitlines()
    assert shown[0] == f"peer {home.alice}"
    told = [line for line in shown if line.startswith("round")]
    assert [line.partition(": ")[2] for line in told] == [
        "update 8 fetched, refused by gate sane: non-finite",
        "update 7 fetched, merged with weight 1",
    ]
    assert shown[-1] == f"  non-finite: {meaning('non-finite')}"


def test_a_peer_that_was_always_alone_is_not_said_to_have_merged(lived, learnae):
    home = lived("alone")
    (home.path / "history.sqlite").unlink()
    home.happened()
    assert learnae("why", home.path).out == "No update of another peer was ever tried.\n"


@pytest.mark.parametrize(("role", "word"), [("keeper", "keeps"), ("provider", "gives rows")])
def test_who_makes_no_rounds_is_not_said_to_have_tried_nothing(lived, learnae, role, word):
    home = lived("serving").configured(peer={"role": role})
    (home.path / "history.sqlite").unlink()
    home.happened(outcome="served").heard(home.sighting())
    for told in (learnae("why", home.path).out, learnae("why", home.path, "a11c").out):
        assert word in told
        assert "tried" not in told and "rejoin" not in told


def test_a_keeper_says_what_it_keeps_of_a_peer(lived, learnae):
    home = lived("serving").configured(peer={"role": "keeper"}).heard(lived("other").sighting())
    with home.open() as history:
        for number in (6, 7):
            KeptTable(history.database).add(KeptUpdate(root("k" if number == 6 else "l"), home.alice, number, 10, 0.0, b"l", b"m"))
    told = learnae("why", home.path, "a11c").out
    assert "keeps 2 updates of it, the newest with number 7: the newer one" in told


def test_a_newcomer_is_told_that_it_looks_for_a_model_and_then_that_it_has_one(lived, learnae):
    home = lived("new")
    (home.path / "history.sqlite").unlink()
    home.heard(home.sighting())
    assert "no lineage yet" in learnae("why", home.path).out
    assert "may adopt this model" in learnae("why", home.path, "a11c").out
    home.happened(outcome="joined", round=1)
    told = learnae("why", home.path).out
    assert "adopted a model of others as a whole: joined in round 1" in told


def test_without_a_subject_only_what_went_wrong_is_told_with_its_peer(lived, learnae):
    home = lived()
    assert "Every update that was tried has been merged." in learnae("why", home.path).out
    home.happened(home.verdict(home.bob, round=42, merged=False, weight=0.0, stage="fetch", reason="nothing whole within 1.50 s"), round=42)
    assert [line.partition(": ")[2] for line in learnae("why", home.path).out.splitlines()] == [
        "peer b0b00000, update 7 could not be fetched: nothing whole within 1.50 s"
    ]


def test_an_update_is_found_by_the_beginning_of_its_root(lived, learnae):
    home = lived()
    found = learnae("why", home.path, "bafyreiaaaaa", "--json").json
    assert [one["peer"] for one in found["verdicts"]] == [home.alice] and found["verdicts"][0]["at"] == pytest.approx(time.time(), abs=60)
    own = learnae("why", home.path, home.own_root).out
    assert "An own update: number 3, age 820, 2.0 MB" in own


@pytest.mark.parametrize("word", ["a11", "xyz", "bafyreiaa", "a11d", "bafyreizzzzz", "A11C" + "1" * 60])
def test_what_names_nobody_is_refused_with_what_to_name(lived, learnae, word):
    shown = learnae("why", lived().path, word)
    assert shown.code == 2 and word.lower() in shown.err.lower() and "Traceback" not in shown.err


def test_of_several_that_begin_alike_all_are_listed(lived, learnae):
    home = lived()
    twin = "a11c" + "1" * 60
    home.heard(home.sighting(twin))
    shown = learnae("why", home.path, "a11c")
    assert shown.code == 2 and home.alice in shown.err and twin in shown.err
    assert learnae("why", home.path, "a11c1").code == 0


STRANGER = "5" * 64
SITUATIONS = [
    ({"number": None, "lineage": None}, None, "So there is nothing to fetch."),
    ({"architecture": b"shapes 2"}, None, "another architecture"),
    ({"lineage": b"lineage2"}, None, "models of two lineages cannot be merged"),
    ({}, PeerRecord(41, 0, True, 8), "Its number 8 was fetched already"),
    ({"live": False}, None, "left behind is for newcomers"),
    ({"round": 30}, None, "silent for 11 rounds; after 8 an update is too old"),
    ({}, None, "was not chosen yet: a round takes 2"),
    ({}, PeerRecord(40, 3, False, 7), "the last try was in round 40, 3 in a row without success"),
    ({}, PeerRecord(40, 1, True, 7, trust=0.125), "trusted 12%"),
    ({}, PeerRecord(refused="equivocation"), "refused for good: equivocation"),
]


@pytest.mark.parametrize(("changes", "record", "words"), SITUATIONS)
def test_what_was_never_fetched_is_explained_as_far_as_can_be_known(lived, learnae, changes, record, words):
    home = lived()
    home.heard(home.sighting(STRANGER, **changes), records={STRANGER: record} if record else None)
    found = learnae("why", home.path, "5555", "--json").json
    assert words in found["situation"][-1]
    assert "None of its updates was ever tried." in learnae("why", home.path, "5555").out


def test_an_equivocation_is_told_with_its_proof(lived, learnae):
    home = lived()
    proof = EquivocationProof(STRANGER, AnnouncementKind.UPDATE, 7, b"one", b"another")
    home.heard(home.sighting(STRANGER), records={STRANGER: PeerRecord(refused="equivocation")}, proofs=[proof])
    assert "two different messages of kind UPDATE under number 7; both are kept" in learnae("why", home.path, "5555").out


def test_a_peer_that_was_denied_but_never_heard_is_told_as_both(lived, learnae):
    home = lived()
    with home.open() as history:
        history.orders.deny(STRANGER)
    told = learnae("why", home.path, "5555", "--json").json["situation"]
    assert "never heard" in told[0] and "denied by `learnae deny`" in told[1]


def test_the_own_key_is_told_to_be_that(lived, learnae):
    home = lived()
    home.heard(home.sighting(home.own))
    assert "this peer itself" in learnae("why", home.path, home.own[:8]).out
