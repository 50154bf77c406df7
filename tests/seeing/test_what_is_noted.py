"""What a node notes for people: whom it heard, and the file that it was started with."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from learnae.config.saved_config import FILE, keep, kept
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.peers import on_wall_clock, sightings
from learnae.plugins.manager import open_document
from learnae.records import Announcement, AnnouncementKind, PeerId, Present
from tests.support.records import an_update

ALICE, BOB = PeerId("a" * 64), PeerId("b" * 64)
UPDATE = an_update(bytes=100, lineage=b"lineage1", architecture=b"shapes 1", age=7, provisional=True, codec="fp32")


def entry(peer, body, heard_at, *, number=1, backlog=False):
    return InboxEntry(Announcement(swarm=b"s" * 16, peer=peer, number=number, body=body), bytes([number]), b"", heard_at, 3, backlog)


def inbox_with(*entries):
    inbox = Inbox(10, lambda peer: False)
    for item in entries:
        inbox.put(item)
    return inbox


def test_a_peer_is_sighted_with_its_newest_update_and_the_moment_of_whatever_came_last():
    inbox = inbox_with(entry(ALICE, UPDATE, 10.0), entry(ALICE, Present(), 12.0, number=2))
    (seen,) = sightings(inbox, inbox.take_changed_marks())
    assert (seen.peer, seen.at, seen.round, seen.live) == (ALICE, 12.0, 3, True)
    assert (seen.number, seen.root, seen.lineage, seen.age, seen.provisional, seen.bytes) == (1, "root", b"lineage1", 7, True, 100)


def test_who_announced_no_update_is_sighted_without_one_and_the_silent_not_at_all():
    inbox = inbox_with(entry(ALICE, UPDATE, 10.0))
    inbox.take_changed_marks()
    inbox.put(entry(BOB, Present(), 11.0))
    (seen,) = sightings(inbox, inbox.take_changed_marks())
    assert (seen.peer, seen.number, seen.lineage) == (BOB, None, None)


def test_what_was_left_behind_is_not_live_and_who_was_forgotten_is_not_sighted():
    inbox = inbox_with(entry(ALICE, UPDATE, 10.0, backlog=True), entry(BOB, UPDATE, 11.0))
    inbox.forget(BOB)
    (seen,) = sightings(inbox, [(ALICE, AnnouncementKind.UPDATE), (BOB, AnnouncementKind.UPDATE)])
    assert (seen.peer, seen.live) == (ALICE, False)


def test_a_sighting_of_five_seconds_ago_is_five_seconds_old_on_the_wall_too(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    inbox = inbox_with(entry(ALICE, UPDATE, 10.0))
    (seen,) = on_wall_clock(sightings(inbox, inbox.take_changed_marks()), 15.0)
    assert seen.at == 999_995.0


def test_a_file_that_is_kept_makes_the_same_peer_again(tmp_path: Path):
    document = {"swarm": {"name": "digits"}, "peer": {"home": "home"}, "storage": [{"use": "directory", "path": "blocks"}]}
    config, _ = open_document(document, folder=tmp_path)
    keep(config, tmp_path)
    again = kept(tmp_path)
    assert again is not None and again.table("swarm")["name"] == "digits" and again.table("nothing") == {}
    same, _ = open_document(again.document, folder=again.folder)
    assert same == config
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    keep(attrs.evolve(config, swarm=attrs.evolve(config.swarm, name="letters")), tmp_path)
    assert kept(tmp_path).table("swarm")["name"] == "letters"  # type: ignore[union-attr]


def test_where_no_peer_has_run_nothing_is_kept(tmp_path: Path):
    assert kept(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"config": {}}', '{"folder": "/", "config": 3}'])
def test_a_kept_file_that_is_damaged_is_told_with_a_remedy(tmp_path: Path, text: str):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(Exception, match="start this peer once"):
        kept(tmp_path)
