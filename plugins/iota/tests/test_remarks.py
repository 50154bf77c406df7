"""What `learnae check` finds about nodes, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae import ConfigError
from learnae_iota import building
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.options import IotaAnnouncerOptions
from tests.support.tangle import FakeNode

if TYPE_CHECKING:
    from learnae import Context
    from learnae_iota.devnet import Tangle

NOBODY = "http://127.0.0.1:1"
Check = Callable[..., list[str]]
PROTECTED = 403, b'{"error":"command [x] is protected"}'


@pytest.fixture
def check(learnae_context: Context) -> Check:
    """The lines; or raises what is to be mended."""

    def run(*nodes: str, **options: Any) -> list[str]:
        announcer = IotaAnnouncer(IotaAnnouncerOptions(nodes=nodes, **options), learnae_context)
        return [*trio.run(announcer.check)]

    return run


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode().running() as node:
        yield node


def test_a_real_node_is_fine(shared_tangle: Tangle, check: Check) -> None:
    one, two = shared_tangle.urls
    lines = check(one, two, feed=shared_tangle.nodes[0].feed)
    assert sorted(lines[:2]) == [f"HORNET 0.5.6 at {url} permits all calls that are needed" for url in sorted((one, two))]
    assert lines[2:] == ["the proof of work is done here, in Python"]


def test_a_real_node_tells_the_weight_of_its_tangle(shared_tangle: Tangle, check: Check) -> None:
    with pytest.raises(ConfigError, match=r"announcer\.weight_magnitude.*requested: 5, expected: 1"):
        check(shared_tangle.urls[0], weight_magnitude=5)


def test_a_node_that_is_not_there_is_told_with_how_to_start_one(check: Check) -> None:
    with pytest.raises(ConfigError, match=r"no node answers at http://127\.0\.0\.1:1: .*learnae iota devnet"):
        check(NOBODY)


def test_one_of_several_may_be_gone(node: FakeNode, check: Check) -> None:
    assert f"no node answers at {NOBODY}" in check(NOBODY, node.url)[-1]


def test_what_is_no_node_is_told(node: FakeNode, check: Check) -> None:
    node.misbehave = lambda command: (200, b"<html>Welcome</html>")
    with pytest.raises(ConfigError, match=r"is no node.*name the HTTP API of a Hornet"):
        check(node.url)


@pytest.mark.parametrize("command", ["findTransactions", "getTrytes", "getTransactionsToApprove", "broadcastTransactions", "getNodeInfo"])
def test_a_call_that_is_not_permitted_is_told(command: str, node: FakeNode, check: Check) -> None:
    node.misbehave = lambda asked: PROTECTED if asked == command else None
    with pytest.raises(ConfigError, match=f"does not permit {command} .*permitRemoteAccess"):
        check(node.url)


def test_work_by_a_node_that_does_not_permit_it_is_told(node: FakeNode, check: Check) -> None:
    node.misbehave = lambda asked: PROTECTED if asked == "attachToTangle" else None
    assert check(node.url)
    with pytest.raises(ConfigError, match="does not permit attachToTangle"):
        check(node.url, proof_of_work="node")


def test_a_clock_that_is_off_is_told(node: FakeNode, check: Check) -> None:
    node.ahead_seconds = -4000.0
    with pytest.raises(ConfigError, match=r"the clock of the node .* is [34],\d\d\d s behind this machine's .*NTP"):
        check(node.url)


def test_another_version_is_remarked(node: FakeNode, check: Check) -> None:
    node.version = "0.6.0"
    assert "0.6.0, where 0.5.6 was tested," in check(node.url)[0]


def test_a_node_cannot_write_to_the_terminal(node: FakeNode, check: Check) -> None:
    node.version = "0.5\x1b[2J\x07\n.7"
    assert all(line.isprintable() for line in check(node.url))


def test_a_node_without_milestones_is_remarked(node: FakeNode, check: Check) -> None:
    node.milestones = False
    assert "no fresh milestones" in check(node.url)[1]


def test_heavy_work_without_the_extension_is_told(node: FakeNode, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "load_pow", lambda: None)
    with pytest.raises(ConfigError, match="pyota-pow"):
        check(node.url, weight_magnitude=14)
    assert check(node.url, weight_magnitude=14, proof_of_work="node")


def test_a_feed_that_nobody_serves_is_told(node: FakeNode, check: Check) -> None:
    with pytest.raises(ConfigError, match=r"announcer\.feed: nobody serves a feed at .*plugin `zmq`"):
        check(node.url, feed="tcp://127.0.0.1:1")


def test_nothing_is_left_on_the_node(node: FakeNode, check: Check) -> None:
    check(node.url)
    assert node.transactions == {}
