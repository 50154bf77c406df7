"""What a peer remembers, on a real file."""

import sqlite3

import attrs
import numpy as np
import pytest

from learnae.errors import ConfigError, UnavailableError
from learnae.node.history import RESERVED, EquivocationProof, History, PeerRecord, PublishedUpdate
from learnae.node.inbox import HighWaterMark
from learnae.node.strategy_state import dump_state, load_state
from learnae.observations import UpdateVerdict
from learnae.records import AnnouncementKind, Cid, PeerId
from tests.support.records import a_full_report

ALICE = PeerId("a" * 64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.sqlite"


def test_numbers_grow_per_kind_and_go_on_after_a_restart(path):
    history = History.open(path)
    assert [history.next_number(AnnouncementKind.UPDATE) for _ in range(3)] == [1, 2, 3]
    assert history.next_number(AnnouncementKind.PRESENT) == 1
    assert History.open(path).next_number(AnnouncementKind.UPDATE) == 1 + RESERVED  # not closed: as after a SIGKILL


def test_no_number_is_used_that_was_not_reserved_on_disk_before(path):
    history = History.open(path)
    for _ in range(2 * RESERVED + 1):
        assert history.next_number(AnnouncementKind.UPDATE) <= History.open(path).own_numbers()[AnnouncementKind.UPDATE]


def test_a_number_heard_under_the_own_key_is_never_used_again(path):
    history = History.open(path)
    assert history.next_number(AnnouncementKind.UPDATE, above=41) == 42
    assert history.next_number(AnnouncementKind.UPDATE, above=7) == 43
    assert History.open(path).next_number(AnnouncementKind.UPDATE) == 42 + RESERVED


def test_peers_marks_and_counts_come_back_as_they_were(path):
    history = History.open(path)
    record = PeerRecord(3, 2, True, 17, 1.5e6, "equivocation", 0.25)
    history.save_peers({(ALICE, AnnouncementKind.UPDATE): HighWaterMark(9, b"digest")}, {ALICE: record}, {"replay": 2})
    history.save_peers({}, {}, {"replay": 1})
    again = History.open(path)
    assert again.marks() == {(ALICE, AnnouncementKind.UPDATE): HighWaterMark(9, b"digest")}
    assert again.peers() == {ALICE: record}
    assert again.counts() == {"replay": 3}


def test_what_was_learned_is_saved_with_the_round_or_not_at_all(path, monkeypatch):
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    history = History.open(path)
    learned = {(ALICE, AnnouncementKind.UPDATE): HighWaterMark(9, b"digest")}, {ALICE: PeerRecord(3)}, {"replay": 2}
    for _ in range(2):
        with monkeypatch.context() as disk:
            disk.setattr("learnae.node.history.add_contributions", full)
            with pytest.raises(UnavailableError):
                history.save_peers(*learned, report=a_full_report(1), standing=(b"lineage1", 4, 2.5))
    assert (history.marks(), history.peers(), history.counts(), history.last_round()) == ({}, {}, {}, 0)
    history.save_peers(*learned, report=a_full_report(1), standing=(b"lineage1", 4, 2.5))
    assert (history.counts(), history.last_round()) == ({"replay": 2}, 1)
    assert history.lineage_state() == (b"lineage1", 4, 2.5)


def test_own_updates_are_listed_newest_first_until_dropped(path):
    history = History.open(path)
    items = [PublishedUpdate(n, Cid(f"r{n}"), b"l" * 8, n, n, 100, "int8", b"s" * 8) for n in (1, 2, 3)]
    for item in items:
        history.add_published(item)
    history.drop_published(2)
    assert [attrs.evolve(item, at=0.0) for item in history.published()] == [items[2], items[0]]


def test_the_fate_of_an_update_can_be_asked_for_by_peer_and_by_root(path):
    history = History.open(path)
    good = UpdateVerdict(
        round=1, peer=ALICE, number=5, root=Cid("r5"), merged=True, weight=0.5, scale=0.25, stage="clip", reason="norm 8.0 is above 2.0"
    )
    bad = UpdateVerdict(
        round=1, peer=PeerId("b" * 64), number=6, root=Cid("r6"), merged=False, weight=0.0, scale=1.0, stage="sane", reason="non-finite"
    )
    history.add_round(a_full_report(1, good, bad))
    assert history.reader.verdicts(peer=ALICE) == [good]
    assert history.reader.verdicts(root="r6") == [bad]
    assert history.reader.verdicts() == [bad, good]
    assert history.last_round() == 1


def test_a_file_that_is_no_history_is_refused_with_a_remedy_and_left_as_it_was(path):
    path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(ConfigError, match="move it away"):
        History.open(path)
    assert path.read_bytes().startswith(b"not a database")


def test_strategies_state_is_stored_under_run_and_adoption(path):
    history = History.open(path)
    history.save_states("run-1", 7, [("merge", b"bytes")])
    assert History.open(path).state("merge") == ("run-1", 7, b"bytes")
    assert history.state("outer") is None


def test_a_state_of_arrays_numbers_and_text_survives_without_pickle():
    state = {"norms": np.array([1.5, 2.5]), "count": 3, "rate": 0.1, "name": "x", "m/0.weight": np.ones((2, 3), np.float32)}
    again = load_state(dump_state(state))
    assert again.keys() == state.keys()
    assert all(np.array_equal(again[key], value) for key, value in state.items())
    with pytest.raises(TypeError):
        dump_state({"model": object()})


def test_a_failed_write_changes_nothing(path):
    history = History.open(path)
    bad = {(ALICE, AnnouncementKind.UPDATE): HighWaterMark(1, b"d")}
    with pytest.raises(sqlite3.Error):
        history.save_peers(bad, {ALICE: PeerRecord(last_tried=object())}, {})  # type: ignore[arg-type]
    assert history.marks() == {}


class FullDisk:
    """A connection whose statements of one kind find the disk full; at an INSERT that ends the transaction, as it may in SQLite."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self._connection, self._statement = connection, statement

    def execute(self, sql: str, *args):
        if sql.startswith(self._statement):
            if self._statement == "INSERT":
                self._connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, *args)

    def __getattr__(self, name: str):
        return getattr(self._connection, name)


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT", "COMMIT"])
def test_a_full_disk_is_unavailable_and_when_there_is_room_again_all_goes_on(path, statement, monkeypatch):
    monkeypatch.setattr("learnae.node.history.RESERVED", 1)  # each number is written before it is used
    history = History.open(path)
    assert history.next_number(AnnouncementKind.UPDATE) == 1
    whole, history.database._connection = history.database._connection, FullDisk(history.database._connection, statement)  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(UnavailableError, match="full"):
            history.next_number(AnnouncementKind.UPDATE)
    history.database._connection = whole
    assert history.next_number(AnnouncementKind.UPDATE) == 2


def test_a_history_that_another_process_holds_is_unavailable(path):
    history = History.open(path)
    history.database._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked"):
        history.next_number(AnnouncementKind.UPDATE)
    other.execute("ROLLBACK")
    assert history.next_number(AnnouncementKind.UPDATE) == 1
    other.close()


def test_the_memory_of_peers_is_bounded_on_disk_and_the_last_that_changed_stay(path, monkeypatch):
    monkeypatch.setattr("learnae.node.history.KEPT_PEERS", 3)
    monkeypatch.setattr("learnae.node.history.KEPT_MARKS", 3)
    history, names = History.open(path), [PeerId(f"{number:064}") for number in range(10)]
    for name in (*names, names[0]):
        history.save_peers({(name, AnnouncementKind.UPDATE): HighWaterMark(1, b"d")}, {name: PeerRecord()}, {})
    assert list(history.peers()) == [names[8], names[9], names[0]]
    assert [peer for peer, _ in history.marks()] == [names[8], names[9], names[0]]


def test_few_peers_that_change_often_drive_no_silent_one_out(path, monkeypatch):
    monkeypatch.setattr("learnae.node.history.KEPT_PEERS", 3)
    monkeypatch.setattr("learnae.node.history.KEPT_MARKS", 3)
    history, liar, busy = History.open(path), PeerId("a" * 64), PeerId("b" * 64)
    history.save_peers({(liar, AnnouncementKind.UPDATE): HighWaterMark(7, b"d")}, {liar: PeerRecord(refused="equivocation")}, {})
    for number in range(10):
        history.save_peers({(busy, AnnouncementKind.UPDATE): HighWaterMark(number, b"d")}, {busy: PeerRecord(fetched_number=number)}, {})
    assert history.peers()[liar].refused == "equivocation"
    assert history.marks()[liar, AnnouncementKind.UPDATE].number == 7


def test_proofs_are_kept_whole(path):
    history, proof = History.open(path), EquivocationProof(ALICE, AnnouncementKind.UPDATE, 7, b"first", b"second")
    history.save_peers({}, {}, {}, [proof])
    assert History.open(path).proofs() == [proof]


def test_a_damaged_history_is_unavailable_and_says_what_to_do(path):
    history = History.open(path)
    history.next_number(AnnouncementKind.UPDATE)
    history.close()
    history = History.open(path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(UnavailableError, match=r"damaged: .*move history.sqlite away"):
        history.marks()
