"""How a peer is, from its home alone."""

from __future__ import annotations

import json
import os
import time

import attrs
import pytest

from learnae.cli import home_state
from learnae.cli.homes import Processes
from learnae.identity.homes import claim
from learnae.node.connections import FILE as CONNECTIONS
from learnae.node.connections import ConnectionState
from learnae.node.history import PeerRecord
from learnae.observations import PeerConnection
from learnae.records import PeerId

KEYS = [
    "home",
    "at",
    "running",
    "trainer_pid",
    "node_pid",
    "peer",
    "role",
    "swarm",
    "private",
    "weights_only",
    "lineage",
    "age",
    "provisional",
    "young",
    "last_lineage",
    "rounds",
    "last_round",
    "splits",
    "bytes",
    "kept",
    "own_slices",
    "disk",
    "updates",
    "refused_messages",
    "denied",
    "rejoin",
    "evaluation",
    "addresses",
    "connected",
    "connections_known",
    "connections_at",
    "connections",
    "peers_known",
    "peers",
]


def test_what_was_last_measured_is_shown(lived, learnae):
    home = lived()
    home.happened(round=41, metrics={"loss": 2.0}).happened(round=42, metrics={"loss": 0.25, "accuracy": 0.9})
    assert "accuracy 0.9, loss 0.25; 0 s ago, in round 42" in learnae("status", home.path).words
    found = learnae("status", home.path, "--json").json["evaluation"]
    assert (found["round"], found["age"], found["metrics"]) == (42, 820, {"loss": 0.25, "accuracy": 0.9})


def test_the_keys_for_programs_stay(lived, learnae):
    home = lived()
    home.heard(home.sighting())
    found = learnae("status", home.path, "--json").json
    assert list(found) == KEYS
    assert list(found["peers"][0]) == [
        "peer",
        "heard_at",
        "live",
        "lineage",
        "age",
        "provisional",
        "young",
        "failures",
        "ever_accepted",
        "trust",
        "bytes_per_second",
        "shut_out",
        "last_verdict",
    ]


def test_a_peer_that_does_not_run_is_told_by_what_it_left(lived, learnae):
    home = lived().configured(peer={"quota_bytes": 5_000_000})
    found = learnae("status", home.path, "--json").json
    assert (found["running"], found["trainer_pid"], found["peer"], found["swarm"]) == (False, None, home.own, "digits")
    assert (found["lineage"], found["age"], found["provisional"], found["rounds"]) == (home.lineage.hex(), 820, False, 41)
    assert found["bytes"] == {"published": 1500, "fetched": 3000, "published_last_hour": 1500, "fetched_last_hour": 3000}
    assert (found["disk"]["own_updates"], found["disk"]["own_updates_bytes"], found["disk"]["quota_bytes"]) == (1, 2_000_000, 5_000_000)
    assert found["disk"]["home_bytes"] > 0


def test_the_role_is_shown(lived, learnae):
    home = lived()
    assert learnae("status", home.path, "--json").json["role"] == "trainer"
    assert "trainer" in learnae("status", home.path).out.splitlines()[3]


def test_whoever_holds_the_lock_is_named_and_keeps_it(lived, learnae):
    home = lived()
    with claim(home.path) as held:
        before = (home.path / "lock").read_bytes()
        found = learnae("status", home.path, "--json").json
        assert str(found["trainer_pid"]).encode() == before.strip()
        assert (found["running"], found["node_pid"]) == (True, None)
        assert "its node is down" in learnae("status", home.path).out
        assert held.lock_fd >= 0 and (home.path / "lock").read_bytes() == before
    assert learnae("status", home.path, "--json").json["running"] is False


def test_a_process_that_has_the_number_of_a_dead_peer_is_not_taken_for_it(lived, learnae):
    home = lived()
    (home.path / "lock").write_text(f"{os.getpid()}\n")
    assert learnae("status", home.path, "--json").json["running"] is False


def test_the_home_stands_in_one_column_with_what_is_below_it(lived, learnae):
    home = lived()
    first, second, *_ = learnae("status", home.path).out.splitlines()
    assert first.index(str(home.path)) == second.index("not running")


def test_looking_changes_no_file(lived, learnae):
    home = lived()
    before = {path: path.read_bytes() for path in home.path.iterdir()}
    for command in ("status", "why", "history"):
        assert learnae(command, home.path).code == 0
    assert {path: path.read_bytes() for path in home.path.iterdir()} == before


def test_each_peer_has_a_line_with_what_matters_of_it(lived, learnae):
    home = lived()
    home.heard(
        home.sighting(), home.sighting(home.bob, lineage=home.other_lineage), records={home.alice: PeerRecord(41, 3, True, 7, 1.5e6)}
    )
    shown = learnae("status", home.path)
    (alice,) = [line for line in shown.out.splitlines() if line.startswith("a11c0000")]
    assert alice.split() == ["a11c0000", "3", "s", "900", "3", "1.5", "MB", "round", "41:", "merged"]
    (bob,) = [line for line in shown.out.splitlines() if line.startswith("b0b00000")]
    assert bob.split()[-3:] == ["in", "lineage", home.other_lineage.hex()]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"deny": ["a11c" + "0" * 60]}, "denied by this peer's file"),
        ({"allow": ["b" * 64]}, "not among those that this peer's file allows"),
    ],
)
def test_who_is_not_heard_is_shown_with_the_reason(lived, learnae, config, reason):
    home = lived().configured(peer=config)
    home.heard(home.sighting())
    assert learnae("status", home.path, "--json").json["peers"][0]["shut_out"] == reason


def test_a_scaled_and_a_refused_update_are_told_apart(lived, learnae):
    home = lived()
    home.happened(home.verdict(round=42, scale=0.31, stage="clip", reason="norm 6.4 scaled down to the limit 2"), round=42)
    home.happened(home.verdict(home.bob, round=43, merged=False, weight=0.0, stage="sane", reason="non-finite"), round=43)
    home.heard(home.sighting(), home.sighting(home.bob))
    shown = learnae("status", home.path).words
    assert "round 42: merged, scaled to 0.31" in shown
    assert "round 43: sane: non-finite" in shown


def test_a_home_without_others_says_so_and_one_without_rounds_is_shown_too(lived, learnae, tmp_path):
    assert "No other peer was ever heard." in learnae("status", lived().path).out
    fresh = lived("fresh")
    (fresh.path / "history.sqlite").unlink()
    fresh.open().close()
    shown = learnae("status", fresh.path)
    assert shown.code == 0 and "none yet" in shown.out


def test_what_a_plugin_has_lost_is_told_apart_from_what_was_refused(lived, learnae):
    home = lived()
    home.happened(home.verdict(merged=False, stage="plugin", reason="plugin 'x' failed"), refused=0, lost=1)
    shown = learnae("status", home.path)
    assert "0 refused" in shown.out and "lost 1" in " ".join(shown.out.split())
    assert "lost" in learnae("history", home.path).out
    assert learnae("status", home.path, "--json").json["updates"]["lost"] == 1


def test_where_nothing_was_lost_nothing_is_said_of_it(lived, learnae):
    home = lived()
    home.happened(home.verdict())
    assert "lost" not in learnae("status", home.path).out.partition("\n")[2]  # the first line names the folder, whatever that is called
    assert "lost" not in learnae("history", home.path).out


def test_nothing_is_wider_than_80_columns(lived, learnae):
    home = lived().configured(peer={"deny": ["a11c" + "0" * 60]})
    home.heard(
        home.sighting(age=12_345_678), home.sighting(home.bob, lineage=home.other_lineage), counts={"unknown-kind": 123_456, "signature": 3}
    )
    home.happened(round=123_456, age=123_456_789, published_bytes=10**9, splits=(home.other_lineage,), outcome="founded")
    for words in (("status",), ("history",)):
        lines = [line for line in learnae(*words, home.path).out.splitlines() if str(home.path) not in line]  # in one piece, to be copied
        assert max(map(len, lines)) <= 80


def test_refused_messages_are_counted_with_what_they_mean(lived, learnae):
    home = lived()
    home.heard(counts={"signature": 3, "foreign": 12})
    assert list(learnae("status", home.path, "--json").json["refused_messages"].items()) == [("foreign", 12), ("signature", 3)]
    assert "3 signature the signature is not that of the named peer" in learnae("status", home.path).words


def test_a_split_and_what_ends_it_are_shown(lived, learnae):
    home = lived()
    home.happened(round=42, splits=(home.other_lineage,))
    assert home.other_lineage.hex() in learnae("status", home.path).out and "learnae rejoin" in learnae("status", home.path).words


def test_only_so_many_peers_are_listed_and_the_rest_is_counted(lived, learnae):
    home = lived()
    home.heard(*(home.sighting(f"{number:064x}", at=float(number)) for number in range(30)))
    found = learnae("status", home.path, "--json", "--peers", "5").json
    assert [peer["peer"][-2:] for peer in found["peers"]] == ["1d", "1c", "1b", "1a", "19"] and found["peers_known"] == 30
    assert "and 10 more" in learnae("status", home.path).out


def test_a_home_without_a_kept_file_is_shown_with_what_it_has(lived, learnae):
    home = lived()
    (home.path / "config.json").unlink()
    found = learnae("status", home.path, "--json").json
    assert (found["swarm"], found["private"], found["rounds"]) == (None, None, 41)


def test_a_kept_file_that_is_damaged_says_what_to_do(lived, learnae):
    home = lived()
    (home.path / "config.json").write_text("{")
    shown = learnae("status", home.path)
    assert shown.code == 2 and "start this peer once" in shown.err


def test_a_kept_count_that_is_no_number_is_taken_for_the_default(lived, learnae):
    home = lived().configured(selector={"count": "many"})
    assert learnae("status", home.path).code == 0


def test_an_order_to_rejoin_is_shown_with_what_became_of_it(lived, learnae):
    home = lived()
    with home.open() as history:
        order = history.orders.order_rejoin(home.other_lineage)
        assert "waits for its next round" in learnae("status", home.path).words
        history.orders.end_rejoin(order, "moved")
    assert learnae("status", home.path, "--json").json["rejoin"] == {
        **attrs.asdict(order),
        "lineage": home.other_lineage.hex(),
        "outcome": "moved",
    }


def test_a_screen_that_says_it_has_no_columns_is_shown_all_the_same(lived, learnae, monkeypatch):
    monkeypatch.setenv("COLUMNS", "0")
    assert "merged" in learnae("status", lived().path).words


def connected_to(home, *connections, addresses=(), at=None, known=None):
    """What the node of this peer has written, and a node that seems to hold the lock."""
    state = ConnectionState(
        at=time.time() if at is None else at,
        addresses=addresses,
        connected=sum(one.connected for one in connections),
        known=len(connections) if known is None else known,
        connections=connections,
    )
    (home.path / CONNECTIONS).write_text(json.dumps(attrs.asdict(state)))


ALICE, BOB = PeerId("a11c" + "0" * 60), PeerId("b0b0" + "0" * 60)
DIRECT = PeerConnection(
    peer=ALICE, found_by="mdns", address="/ip4/192.168.1.5/tcp/4101", interface="wlan0", rtt_seconds=0.012, bytes_in=1_500_000
)
RELAYED = PeerConnection(peer=BOB, relayed=True, relay=ALICE, inbound=True, address="/ip4/192.168.1.5/tcp/4101")
AWAY = PeerConnection(peer=PeerId("c" * 64), connected=False, found_by="file", why="does not answer", next_try_seconds=12.0)
REACHED_AT = "/ip4/192.168.1.7/tcp/4101/p2p/12D3KooWQRiT1MHxqbVbUVDpWBcjEMDGDFSFUsHfKjoXSEYo5QTo"


@pytest.fixture
def running(monkeypatch):
    monkeypatch.setattr(home_state, "processes_of", lambda home: Processes(trainer=1, node=2))


def test_connections_are_shown_with_all_that_is_known_of_them(lived, learnae, running):
    home = lived()
    connected_to(home, DIRECT, RELAYED, AWAY, addresses=[REACHED_AT])
    found = learnae("status", home.path, "--json").json
    assert (found["connected"], found["connections_known"], found["addresses"]) == (2, 3, [REACHED_AT])
    assert [PeerConnection(**one) for one in found["connections"]] == [DIRECT, RELAYED, AWAY]
    shown = learnae("status", home.path)
    assert REACHED_AT in [line.strip() for line in shown.out.splitlines()]  # in one piece, to be copied
    assert "to 2 of 3 peers" in shown.words
    assert "a11c0000 mdns 12 ms 1.5 MB 0 B wlan0 /ip4/192.168.1.5/tcp/4101" in shown.words
    assert "b0b00000 itself" in shown.words and "relayed by a11c0000" in shown.words
    assert "does not answer; tried again in 12 s" in shown.words
    assert max(len(line) for line in shown.out.splitlines() if str(home.path) not in line and REACHED_AT not in line) <= 80


def test_what_makes_a_connection_useless_is_said_beside_it(lived, learnae, running):
    home = lived()
    connected_to(home, attrs.evolve(DIRECT, why="of another swarm"))
    assert "of another swarm; wlan0 /ip4/192.168.1.5/tcp/4101" in learnae("status", home.path).words


def test_connections_of_a_peer_that_does_not_run_are_not_shown(lived, learnae):
    home = lived()
    connected_to(home, DIRECT, addresses=[REACHED_AT])
    found = learnae("status", home.path, "--json").json
    assert (found["connections"], found["connected"], found["addresses"], found["connections_at"]) == ([], 0, [], None)
    assert "192.168" not in learnae("status", home.path).out


def test_of_many_connections_the_first_are_shown_and_the_rest_is_counted(lived, learnae, running):
    home = lived()
    connected_to(home, *[DIRECT] * 128, known=500)
    assert "and 470 more connections" in learnae("status", home.path).out
    assert len(learnae("status", home.path, "--json").json["connections"]) == 128


def test_a_node_that_has_written_nothing_for_long_is_told_apart(lived, learnae, running):
    home = lived()
    connected_to(home, DIRECT, at=time.time() - 300)
    assert "as of 5 min ago" in learnae("status", home.path).words


def test_what_became_of_a_slice_says_nothing_of_the_model_of_its_giver(lived, learnae):
    home = lived()
    home.heard(home.sighting())
    home.happened(home.verdict(round=42, merged=False, stage="slice", reason="licence: it names none"), round=42)
    [peer] = [one for one in json.loads(learnae("status", home.path, "--json").out)["peers"] if one["peer"] == home.alice]
    assert (peer["last_verdict"]["stage"], peer["last_verdict"]["merged"]) == ("merge", True)
    assert "slice 7 not kept: licence" in learnae("why", home.path, "a11c").out
