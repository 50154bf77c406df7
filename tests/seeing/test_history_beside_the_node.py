"""A history beside the node that writes it: read by others, brought up to date, given orders, asked by people."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import attrs
import pytest

from learnae.errors import ConfigError, UnavailableError
from learnae.node import history_file
from learnae.node.history import History
from learnae.node.history_reader import Sighting
from learnae.node.history_schema import STEPS, VERSION
from learnae.observations import UpdateVerdict
from learnae.records import AnnouncementKind, Cid, PeerId
from tests.support.records import a_full_report

ALICE = PeerId("a" * 64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.sqlite"


# -- beside the node -------------------------------------------------------------------------------------------------------------


def files_of(path):
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_reader_sees_what_a_node_writes_and_keeps_nobody_from_writing(path):
    writer = History.open(path)
    reader = History.read(path)
    writer.add_round(a_full_report(1))
    assert [one.round for one in reader.reader.past_rounds(10)] == [1]
    writer.add_round(a_full_report(2))
    assert [one.round for one in reader.reader.past_rounds(10)] == [2, 1]
    with pytest.raises(UnavailableError, match="readonly"):
        reader.orders.deny(ALICE)


def test_a_reader_leaves_the_home_of_a_peer_that_has_ended_as_it_was(path):
    with History.open(path) as writer:
        writer.add_round(a_full_report(1))
    before = files_of(path)
    assert list(before) == [path.name]
    with History.read(path) as reader:
        assert reader.last_round() == 1
    assert files_of(path) == before


def test_a_file_at_rest_that_a_node_opens_while_it_is_read_is_read_again(path, monkeypatch):
    with History.open(path) as earlier:
        earlier.add_round(a_full_report(1))
    writers = []

    def copied_while_a_node_starts(connection, place, copied=history_file._copied):
        copy = copied(connection, place)
        if not writers:
            writers.append(History.open(path))
            writers[0].add_round(a_full_report(2))
        return copy

    monkeypatch.setattr(history_file, "_copied", copied_while_a_node_starts)
    with History.read(path) as reader:
        assert reader.last_round() == 2
        writers[0].add_round(a_full_report(3))
        assert reader.last_round() == 3
    writers[0].close()


def test_a_file_at_rest_that_is_changed_and_closed_while_it_is_read_is_read_again(path, monkeypatch):
    with History.open(path) as earlier:
        earlier.add_round(a_full_report(1))
    states = iter([(0, 0, 0)])
    state = history_file._state

    def state_before(place):
        """Of before somebody wrote and left."""
        return next(states, None) or state(place)

    monkeypatch.setattr(history_file, "_state", state_before)
    with History.read(path) as reader:
        assert reader.last_round() == 1


def test_a_history_that_changes_at_every_look_ends_in_words(path, monkeypatch):
    History.open(path).close()
    numbers = iter(range(100))
    monkeypatch.setattr(history_file, "_state", lambda place: next(numbers))
    with pytest.raises(ConfigError, match="try again"):
        History.read(path)


def test_a_reader_of_a_file_at_rest_cannot_write_either(path):
    History.open(path).close()
    with History.read(path) as reader, pytest.raises(UnavailableError, match="readonly"):
        reader.orders.deny(ALICE)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes a folder of another user")
@pytest.mark.parametrize("killed", [False, True])
def test_a_history_in_a_folder_that_can_only_be_read_is_read_with_all_that_was_written(killed):
    with tempfile.TemporaryDirectory(prefix="learnae-history-") as folder:
        live, path = Path(folder) / "live", Path(folder) / "kept" / "history.sqlite"
        live.mkdir()
        writer = History.open(live / path.name)
        writer.add_round(a_full_report(1))
        if not killed:
            writer.close()
        shutil.copytree(live, path.parent, ignore=shutil.ignore_patterns("*-shm"))
        for place, mode in ((Path(folder), 0o755), (path.parent, 0o555), *((file, 0o444) for file in path.parent.iterdir())):
            place.chmod(mode)
        assert (path.parent / f"{path.name}-wal").exists() == killed
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.setgid(53_000)
                os.setuid(53_000)
                with History.read(path) as reader:
                    os.write(writing, str(reader.last_round()).encode())
            except BaseException as error:
                os.write(writing, repr(error).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert pipe.read() == "1"
        os.waitpid(child, 0)
        writer.close()


def test_reading_where_no_peer_has_run_makes_nothing_and_says_what_to_name(tmp_path):
    with pytest.raises(ConfigError, match="name the home of a peer that has run"):
        History.read(tmp_path / "history.sqlite")
    assert list(tmp_path.iterdir()) == []


def of_version_1(path):
    """As the first version wrote it: two rounds, of 10 and 20 bytes."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in STEPS[0]:
        connection.execute(statement)
    for number, sent in ((1, 10), (2, 20)):
        values = (number, 100.0, 0.5, "merged", b"l" * 8, 20, "root", sent, 3, 2, 1, 1, 0, 0)
        connection.execute(f"INSERT INTO rounds VALUES ({','.join('?' * 14)})", values)
    connection.execute("INSERT INTO own_numbers VALUES (1, 41)")
    for name, failures, accepted in (("good", 0, 1), ("late", 1, 1), ("gone", 9, 1), ("new", 0, 0)):
        connection.execute("INSERT INTO peers VALUES (?, 2, ?, ?, 7, 1.5, NULL)", (name, failures, accepted))
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def version_of(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    finally:
        connection.close()


def test_a_history_of_the_first_version_is_brought_up_to_date_and_loses_nothing(path):
    of_version_1(path)
    with History.open(path) as history:
        assert history.next_number(AnnouncementKind.UPDATE) == 42
        assert history.reader.totals() == {"published_bytes": 30, "fetched_bytes": 6, "merged": 2, "refused": 0, "failed": 0}
        history.add_round(a_full_report(3))
        assert [(one.round, one.splits, one.lost) for one in history.reader.past_rounds(2)] == [(3, (), 0), (2, (), 0)]
    assert version_of(path) == VERSION
    with History.open(path) as again:
        assert again.reader.totals()["published_bytes"] == 40


def test_peers_of_an_old_history_are_trusted_by_how_they_stood(path):
    of_version_1(path)
    with History.open(path) as history:
        peers = history.peers()
        history.save_peers({}, {PeerId("gone"): attrs.evolve(peers[PeerId("gone")], trust=0.5)}, {})
    assert {name: record.trust for name, record in peers.items()} == {"good": 1, "late": 1 / 8, "gone": 0, "new": 0}
    with History.open(path) as again:
        assert again.peers()[PeerId("gone")].trust == 0.5


def test_whoever_only_looks_at_an_old_history_leaves_it_old(path):
    of_version_1(path)
    before = files_of(path)
    with History.read(path) as history:
        assert history.reader.totals()["published_bytes"] == 30
        assert history.reader.heard() == []
    assert files_of(path) == before


def test_a_history_of_a_newer_version_is_refused_and_left_as_it_was(path):
    History.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for opening in (History.open, History.read):
        with pytest.raises(ConfigError, match="newer Learnae"):
            opening(path)
    assert version_of(path) == 99


def test_an_upgrade_that_fails_half_way_leaves_the_old_history(path, monkeypatch):
    of_version_1(path)
    monkeypatch.setattr("learnae.node.history_file.STEPS", (STEPS[0], (*STEPS[1], "INSERT INTO nowhere VALUES (1)")))
    with pytest.raises(ConfigError, match="nowhere"):
        History.open(path)
    monkeypatch.undo()
    assert version_of(path) == 1
    with History.open(path) as history:
        assert history.reader.totals()["published_bytes"] == 30


# -- what a person wants ---------------------------------------------------------------------------------------------------------


def test_an_order_to_rejoin_is_taken_again_until_it_is_ended(path):
    History.open(path).orders.order_rejoin(b"m" * 8)
    node = History.open(path)
    order = node.orders.take_rejoin()
    assert order is not None and order.lineage == b"m" * 8
    assert node.orders.take_rejoin() == order
    node.orders.end_rejoin(order, "moved")
    assert node.orders.take_rejoin() is None
    assert node.orders.last_rejoin() == attrs.evolve(order, outcome="moved")


def test_an_order_that_was_given_meanwhile_is_not_ended_with_the_first(path):
    history = History.open(path)
    first = history.orders.order_rejoin(b"m" * 8)
    second = history.orders.order_rejoin(None)
    history.orders.end_rejoin(first, "gave up")
    assert history.orders.take_rejoin() == second


def test_who_is_denied_is_known_to_the_node_until_taken_back(path):
    node, person = History.open(path), History.open(path)
    assert node.orders.denied() == frozenset()
    person.orders.deny(ALICE)
    person.orders.deny(ALICE)
    assert node.orders.denied() == {ALICE}
    person.orders.allow_again(ALICE)
    assert node.orders.denied() == frozenset()


# -- what people ask -------------------------------------------------------------------------------------------------------------


def test_of_each_peer_the_last_sighting_is_kept_those_heard_last_first(path, monkeypatch):
    monkeypatch.setattr("learnae.node.history.KEPT_PEERS", 2)
    history = History.open(path)
    seen = [
        Sighting(PeerId(letter * 64), at, 3, True, 7, Cid("r"), b"l" * 8, 20, False, b"s" * 8, 100)
        for letter, at in (("a", 1.0), ("b", 2.0))
    ]
    history.save_peers({}, {}, {}, heard=seen)
    assert history.reader.heard() == seen[::-1]
    left = attrs.evolve(seen[0], at=3.0, live=False)
    silent = Sighting(PeerId("c" * 64), 4.0, 5, True)
    history.save_peers({}, {}, {}, heard=[left, silent])
    assert history.reader.heard() == [silent, left]


def test_bytes_are_summed_over_all_time_and_since_a_moment(path, monkeypatch):
    history, now = History.open(path), [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("learnae.node.history.KEPT_ROUNDS", 2)
    for number in (1, 2, 3):
        history.add_round(a_full_report(number))
        now[0] += 100
    assert len(history.reader.past_rounds(10)) == 2
    assert (history.reader.totals()["published_bytes"], history.reader.totals()["fetched_bytes"]) == (30, 60)
    assert history.reader.bytes_since(1200.0) == (10, 20)


def test_splits_come_back_with_their_round(path):
    history = History.open(path)
    history.add_round(attrs.evolve(a_full_report(1), splits=(b"12345678", b"abcdefgh")))
    assert history.reader.past_rounds(1)[0].splits == (b"12345678", b"abcdefgh")


def test_peers_and_roots_are_found_by_their_beginning(path):
    history, good = (
        History.open(path),
        UpdateVerdict(round=1, peer=ALICE, number=5, root=Cid("bafyrei5"), merged=True, weight=1.0, scale=1.0, stage="merge", reason=""),
    )
    history.add_round(a_full_report(1, good))
    history.orders.deny(PeerId("ab" * 32))
    assert history.reader.peers_beginning("aaaa", 10) == [ALICE]
    assert history.reader.peers_beginning("a", 10) == [ALICE, PeerId("ab" * 32)]
    assert history.reader.peers_beginning("%", 10) == []
    assert history.reader.roots_beginning("bafy", 10) == ["bafyrei5"]
