"""What is remembered of peers: across restarts, within bounds, whatever stands in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from learnae.testing.kit import inherited
from learnae_libp2p.streams.address_book import (
    MOST_ADDRESSES,
    MOST_PEERS,
    MOST_UNREACHED,
    AddressBook,
)


class Clock:
    seconds = 1_000_000.0

    def __call__(self) -> float:
        self.seconds += 1.0
        return self.seconds


def book(path: Path) -> AddressBook:
    made = AddressBook(path=path, now=Clock(), log=structlog.get_logger())
    made.load()
    return made


def test_peers_are_known_again_after_a_restart(tmp_path: Path) -> None:
    before = book(tmp_path / "b")
    before.heard("one", ["a1", "a2"], "mdns")
    before.reached("one", "a2")
    before.heard("two", ["b1"], "hint")
    assert before.changed
    before.save(before.content())
    after = book(tmp_path / "b")
    assert after.peers() == before.peers()
    assert not after.changed
    assert after.addresses("one") == ("a2", "a1")
    assert after.found_by("one") == "mdns"
    assert [known.peer for known in after.peers()] == ["one", "two"]


def test_what_answered_last_stays_first_whatever_others_say(tmp_path: Path) -> None:
    made = book(tmp_path / "b")
    made.reached("one", "good")
    for number in range(50):
        made.heard("one", [f"bad{number}.{place}" for place in range(20)], "hint")
    assert made.addresses("one")[0] == "good"
    assert len(made.addresses("one")) == MOST_ADDRESSES


def test_strangers_push_out_nobody_who_was_reached(tmp_path: Path) -> None:
    made = book(tmp_path / "b")
    for number in range(MOST_PEERS - MOST_UNREACHED):
        made.reached(f"reached{number}", "a")
    for number in range(2 * MOST_PEERS):
        made.heard(f"stranger{number}", ["a"], "hint")
    assert sum(known.reached_at is not None for known in made.peers()) == MOST_PEERS - MOST_UNREACHED
    assert len(made.peers()) <= MOST_PEERS
    assert f"stranger{2 * MOST_PEERS - 1}" in made


def test_of_too_many_who_were_reached_the_one_of_long_ago_goes(tmp_path: Path) -> None:
    made = book(tmp_path / "b")
    for number in range(MOST_PEERS + 5):
        made.reached(f"peer{number}", "a")
    assert len(made.peers()) == MOST_PEERS
    assert "peer4" not in made and "peer5" in made


@pytest.mark.parametrize("text", ["", " ", "a b", "a\nb", "x" * 300, "\x1b[2J", "\N{SNOWMAN}"])
def test_what_is_no_address_or_no_peer_is_not_remembered(tmp_path: Path, text: str) -> None:
    made = book(tmp_path / "b")
    made.heard("one", [text], "hint")
    made.heard(text, ["a"], "hint")
    made.reached("one", text)
    made.reached(text, "a")
    assert made.peers() == []


HOSTILE = [
    b"",
    b"{",
    b"[" * 100_000,
    b"[]",
    b'{"version": 2, "peers": [{"peer": "one", "addresses": ["a"]}]}',
    b'{"version": 1, "peers": 7}',
    b'{"version": 1, "peers": [null, 1, [], {}, {"peer": 1, "addresses": ["a"]}, {"peer": "one", "addresses": "a"}]}',
    b'{"version": 1, "peers": [{"peer": "one", "addresses": [1, null, "", "a b"]}]}',
    b'{"version": 1, "peers": [' + b"[]," * 100_000 + b"[]]}",
    b"\xff" * 100,
    b"x" * 5_000_000,
]


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_stands_in_the_file_the_book_begins_empty_and_works(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    made = book(tmp_path / "b")
    assert made.peers() == []
    made.reached("one", "a")
    made.save(made.content())
    assert book(tmp_path / "b").addresses("one") == ("a",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("peer", "addresses", "found_by", "heard_at", "reached_at"), JSON) | {"more": JSON}
)


@inherited
@given(st.lists(ENTRIES | JSON, max_size=5))
def test_entries_of_any_form_are_skipped_one_by_one(tmp_path_factory: pytest.TempPathFactory, entries: list[Any]) -> None:
    path = tmp_path_factory.mktemp("book") / "b"
    good = {"peer": "good", "addresses": ["a"], "found_by": "file", "heard_at": 1.0, "reached_at": 2.0}
    path.write_text(json.dumps({"version": 1, "peers": [*entries, good]}))
    made = book(path)
    assert made.addresses("good") == ("a",)
    assert all(known.addresses for known in made.peers())
    made.content()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_file_that_is_none_is_neither_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").write_text('{"version": 1, "peers": [{"peer": "one", "addresses": ["a"]}]}')
        (tmp_path / "b").symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(tmp_path / "b")
    else:
        (tmp_path / "b").mkdir()
    assert book(tmp_path / "b").peers() == []


def test_a_book_that_cannot_be_saved_is_saved_the_next_time(tmp_path: Path) -> None:
    made = book(tmp_path / "there" / "b")
    made.reached("one", "a")
    made.save(made.content())
    assert made.changed
    (tmp_path / "there").mkdir()
    made.save(made.content())
    assert book(tmp_path / "there" / "b").addresses("one") == ("a",)
