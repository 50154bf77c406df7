"""The ground of all other tests here: nodes that die, come back, are cut apart, and call nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from learnae import ConfigError, UnavailableError
from learnae_iota.devnet import HornetProcess, Tangle, free_ports
from learnae_iota.pyota import load_pyota

pytestmark = pytest.mark.slow

SECONDS = 20.0
TAG = "LEARNAETEST"
ADDRESS = "LEARNAE" + "9" * 74


def send(node: HornetProcess, text: str) -> str:
    """The hash of a new transaction, worked out by the node itself."""
    iota = load_pyota()
    message = iota.TryteString.from_unicode(text)
    transfer = iota.ProposedTransaction(iota.Address(ADDRESS.encode()), 0, iota.Tag(TAG.encode()), message)
    (trytes,) = iota.Iota(node.url).send_transfer([transfer], min_weight_magnitude=1)["bundle"].as_tryte_strings()
    return str(iota.Transaction.from_tryte_string(trytes).hash)


def known(node: HornetProcess) -> set[str]:
    return set(node.call("findTransactions", tags=[TAG.ljust(27, "9")])["hashes"])


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_what_one_node_is_given_the_other_knows(shared_tangle: Tangle) -> None:
    one, other = shared_tangle.nodes
    sent = send(one, "hello")
    wait_until(lambda: sent in known(other))


def test_the_nodes_talk_to_nobody_outside(shared_tangle: Tangle) -> None:
    for node in shared_tangle.nodes:
        connections = psutil.Process(node.pid).net_connections()
        addresses = {end.ip for connection in connections for end in (connection.laddr, connection.raddr) if end}
        assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert "Update check failed" in node.log.read_text()


def test_a_node_that_was_killed_hears_from_its_peers_what_it_lost(new_tangle: Callable[..., Tangle]) -> None:
    one, other = new_tangle(milestone_seconds=1).nodes
    other.kill()
    sent = send(one, "meanwhile")
    other.start()
    wait_until(lambda: sent in known(other))


def test_a_node_that_lost_its_database_gets_it_from_its_peers(new_tangle: Callable[..., Tangle]) -> None:
    one, other = new_tangle(milestone_seconds=1).nodes
    sent = send(one, "before")
    other.kill()
    other.forget()
    other.start()
    wait_until(lambda: sent in known(other))


def test_a_line_can_be_cut_and_mended(new_tangle: Callable[..., Tangle]) -> None:
    tangle = new_tangle(milestone_seconds=1, nodes=3)
    one, two, three = tangle.nodes
    tangle.part(one, three)
    tangle.part(three, two)
    sent = send(one, "behind the wall")
    wait_until(lambda: sent in known(two))
    assert three.connected_peers == 0
    assert sent not in known(three)
    tangle.join(three, two)
    wait_until(lambda: sent in known(three))


def test_an_ended_tangle_goes_on_in_its_folder(hornet: str, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "tangle").mkdir()
    (tmp_path / "tangle" / "keys").symlink_to(keys)
    ports = free_ports(2)
    with Tangle.running(tmp_path / "tangle", hornet, ports) as tangle:
        sent = send(tangle.nodes[1], "kept")
        wait_until(lambda: sent in known(tangle.nodes[0]))
    with Tangle.running(tmp_path / "tangle", hornet, ports) as tangle:
        assert [sent in known(node) for node in tangle.nodes] == [True, True]


def test_a_tangle_whose_first_node_was_killed_begins_anew(hornet: str, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "tangle").mkdir()
    (tmp_path / "tangle" / "keys").symlink_to(keys)
    ports = free_ports(2)
    with Tangle.running(tmp_path / "tangle", hornet, ports) as tangle:
        send(tangle.nodes[1], "lost")
        tangle.nodes[0].kill()
    with Tangle.running(tmp_path / "tangle", hornet, ports) as tangle:
        assert [known(node) for node in tangle.nodes] == [set(), set()]
        send(tangle.nodes[1], "new")


def test_a_taken_port_is_named(hornet: str, keys: Path, tmp_path: Path, shared_tangle: Tangle) -> None:
    taken = shared_tangle.nodes[0].ports
    (tmp_path / "keys").symlink_to(keys)
    with pytest.raises(ConfigError, match=f"127.0.0.1:{taken.api} cannot be used"), Tangle.running(tmp_path, hornet, [taken]):
        pass


def test_a_hornet_that_does_not_start_is_quoted(new_tangle: Callable[..., Tangle]) -> None:
    with pytest.raises(UnavailableError, match=r"node-0 did not start: .*invalid address"):
        new_tangle(nodes=1, options={"coordinator": {"address": "NO"}})
