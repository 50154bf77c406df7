"""Clocks that are wrong, and are set while somebody listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.calls import meet
from learnae_iota.line import NodeApi
from learnae_iota.node import TangleNode
from learnae_iota.options import IotaAnnouncerOptions
from tests.support.tangle import FakeNode
from tests.support.tangle.talk import announce, listening

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode().running() as node:
        yield node


class SetClock:
    """This machine's clock, off by so much, until it is set."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, off_seconds: float) -> None:
        self.off_seconds = off_seconds

    def time(self) -> float:
        return time.time() + self.off_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """That of the announcer; nodes have another one."""
    clock = SetClock(-1e9)
    for module in ("line", "calls", "looking"):
        monkeypatch.setattr(f"learnae_iota.{module}.time", clock)
    return clock


async def test_a_listener_hears_on_when_the_clock_of_its_machine_is_set(
    node: FakeNode, learnae_contexts: Contexts, clock: SetClock
) -> None:
    options = IotaAnnouncerOptions(nodes=(node.url,), poll_seconds=0.2)
    async with IotaAnnouncer(options, learnae_contexts("a")) as a, listening(a) as ear:
        await announce(a, b"before", b"1")
        await ear.hears(b"before")
        clock.off_seconds = 0.0
        async with IotaAnnouncer(options, learnae_contexts("b")) as b:
            await announce(b, b"after", b"2")
            await ear.hears(b"after")
        assert not ear.failed.is_set()


def test_without_a_clock_of_its_own_a_machine_goes_by_that_of_the_node(node: FakeNode, clock: SetClock) -> None:
    line = NodeApi(node.url, 5.0)
    assert line.clock_is_due
    meet(line)
    assert not line.clock_is_due
    assert line.ahead_seconds == pytest.approx(1e9, abs=10.0)
    clock.off_seconds = 1e8
    assert line.now() == pytest.approx(time.time(), abs=10.0)
    assert line.clock_is_due
    meet(line)
    assert not line.clock_is_due
    assert line.ahead_seconds == pytest.approx(-1e8, abs=10.0)
    assert line.now() == pytest.approx(clock.time(), abs=10.0)
    line.close()


@pytest.mark.parametrize("ahead_seconds", [-1.7e9, -1e6, -3600.0, -200.0, 200.0, 3600.0, 1e6, 1e9, 4e12])
def test_a_node_that_lies_about_the_time_moves_nobody_whose_clock_was_set(ahead_seconds: float, node: FakeNode) -> None:
    node.ahead_seconds = ahead_seconds
    line = NodeApi(node.url, 5.0)
    meet(line)
    assert line.now() == pytest.approx(time.time(), abs=10.0)
    assert line.ahead_seconds == pytest.approx(ahead_seconds, rel=1e-6, abs=10.0)
    line.close()


@pytest.mark.parametrize("ahead_seconds", [-60.0, 60.0])
def test_a_node_that_differs_by_little_is_gone_by(ahead_seconds: float, node: FakeNode) -> None:
    node.ahead_seconds = ahead_seconds
    line = NodeApi(node.url, 5.0)
    meet(line)
    assert line.now() == pytest.approx(time.time() + ahead_seconds, abs=10.0)
    line.close()


@pytest.mark.parametrize("told", [0.0, 1e6, 1e11])
def test_a_node_without_a_clock_tells_nothing_to_a_machine_without_one(told: float, node: FakeNode, clock: SetClock) -> None:
    node.ahead_seconds = told - time.time()
    line = NodeApi(node.url, 5.0)
    meet(line)
    assert line.now() == pytest.approx(clock.time(), abs=10.0)
    line.close()


async def test_peers_hear_each_other_though_the_node_of_one_lies_about_the_time(learnae_contexts: Contexts) -> None:
    with FakeNode().running() as liar, FakeNode().running() as honest:
        honest.transactions = liar.transactions
        liar.ahead_seconds = 86_400.0
        near, far = (IotaAnnouncerOptions(nodes=(node.url,), poll_seconds=0.2) for node in (honest, liar))
        async with (
            IotaAnnouncer(near, learnae_contexts("a")) as a,
            IotaAnnouncer(far, learnae_contexts("b")) as b,
            listening(a) as ear,
            listening(b) as other,
        ):
            await announce(b, b"from b", b"1")
            await ear.hears(b"from b")
            await announce(a, b"from a", b"2")
            await other.hears(b"from a")


async def test_a_node_whose_clock_is_set_is_asked_again_in_the_end(
    node: FakeNode, learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = TangleNode(node.url, 5.0, learnae_contexts("a").in_thread)
    await one.call(meet)
    node.ahead_seconds = 5000.0
    assert await one.call(lambda line: line.ahead_seconds) == pytest.approx(0.0, abs=10.0)
    monkeypatch.setattr("learnae_iota.line.CLOCK_SECONDS", 0.0)
    assert await one.call(lambda line: line.ahead_seconds) == pytest.approx(5000.0, abs=10.0)
    one.close()
