"""Nodes that answer slowly, wrongly, or not at all: nodes of this process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import trio
from structlog.testing import capture_logs

from learnae import Announcer, UnavailableError
from learnae.testing.announcer_kit import AnnouncerConformance, OpenAnnouncer
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.line import ANSWER_BYTES
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.places import PURPOSE, Places, window_of
from tests.support.limits import run
from tests.support.tangle import FakeNode, litter
from tests.support.tangle.talk import announce, announced, listening

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]

LIMIT = 60.0
NONSENSE = {
    "an error": (500, b'{"error":"internal error"}'),
    "an error without words": (502, b"<html>Bad gateway</html>"),
    "no JSON": (200, b"<html>Welcome</html>"),
    "no object": (200, b"[]"),
    "an empty object": (200, b"{}"),
    "wrong types": (200, json.dumps({"appName": 7, "time": "late", "hashes": "all", "trytes": [1]}).encode()),
    "deep JSON": (200, b"[" * 100_000),
    "nothing": (200, b""),
    "without end": (200, b"x" * (ANSWER_BYTES + 1000)),
    "a refusal": (401, b'{"error":"command [findTransactions] is protected"}'),
}


class TestWithNodesOfThisProcess(AnnouncerConformance):
    """So it is known that they are like real ones, as far as an announcer can see."""

    max_messages_per_second = 50

    @pytest.fixture
    def announcer(self, nodes: Callable[[], FakeNode], learnae_contexts: Contexts) -> OpenAnnouncer:
        node = nodes()
        self.node = node
        return lambda peer: IotaAnnouncer(IotaAnnouncerOptions(nodes=(node.url,)), learnae_contexts(peer))

    async def garbage(self, announcer: Announcer) -> None:
        now = time.time()
        place = Places.of("c", announcer.context.secret(PURPOSE)).at(window_of(now))
        for transaction in islice(litter(place, int(now * 1000)), 8):
            self.node.keep(transaction)


@pytest.fixture
def nodes() -> Iterator[Callable[[], FakeNode]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(FakeNode().running())


def options(*nodes: FakeNode, **others: Any) -> IotaAnnouncerOptions:
    return IotaAnnouncerOptions(nodes=tuple(node.url for node in nodes), **{"silence_seconds": 0.5, "poll_seconds": 0.2, **others})


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
async def test_a_node_that_answers_nonsense_is_unavailable_and_works_once_it_is_well(
    answer: tuple[int, bytes], nodes: Any, learnae_contexts: Contexts
) -> None:
    node = nodes()

    async with IotaAnnouncer(options(node), learnae_contexts("a")) as a, listening(a) as ear:
        await announce(a, b"before")
        await ear.hears(b"before")
        node.misbehave = lambda command: answer
        with pytest.raises(UnavailableError):
            await announce(a, b"meanwhile")
        with pytest.raises(UnavailableError):
            await a.listen(["c"], lambda heard: None)
        node.misbehave = lambda command: None
        await ear.hears(b"meanwhile")


@pytest.mark.parametrize("answer", [NONSENSE["wrong types"], NONSENSE["a refusal"]])
async def test_no_call_that_is_answered_by_nonsense_breaks_more_than_itself(
    answer: tuple[int, bytes], nodes: Any, learnae_contexts: Contexts
) -> None:
    node = nodes()

    async with IotaAnnouncer(options(node), learnae_contexts("a")) as a, listening(a) as ear:
        for bad in ("findTransactions", "getTrytes", "getTransactionsToApprove", "broadcastTransactions", "getNodeAPIConfiguration"):
            node.misbehave = lambda command, bad=bad: answer if command == bad else None
            with trio.move_on_after(1.0):
                await announced(a, b"one")
            node.misbehave = lambda command: None
            await announced(a, bad.encode())
            await ear.hears(bad.encode())


async def test_a_silent_node_is_given_up_in_favour_of_another_and_taken_again(nodes: Any, learnae_contexts: Contexts) -> None:
    first, second = nodes(), nodes()

    def silent(command: str) -> None:
        time.sleep(2.0)

    with capture_logs() as logs:
        async with IotaAnnouncer(options(first, second), learnae_contexts("a")) as a:
            await announce(a, b"at the first")
            first.misbehave = silent
            await announce(a, b"at the second")
            await announce(a, b"at the second too")
            first.misbehave = lambda command: None
            while first.asked["broadcastTransactions"] < 2:
                await announce(a, b"at the first again")
                await trio.sleep(0.05)
    assert [entry["event"] for entry in logs] == ["iota.node_lost", "iota.node_back"]


async def test_a_slow_node_is_waited_for(nodes: Any, learnae_contexts: Contexts) -> None:
    node = nodes()

    def slow(command: str) -> None:
        time.sleep(0.3)

    node.misbehave = slow
    async with IotaAnnouncer(options(node, silence_seconds=5.0), learnae_contexts("a")) as a, listening(a) as ear:
        await announce(a, b"hello")
        await ear.hears(b"hello")


async def test_a_call_that_is_cancelled_is_cut_off(nodes: Any, learnae_contexts: Contexts) -> None:
    node, asked, closed = nodes(), threading.Semaphore(0), threading.Event()
    waited_for: list[str] = []

    def silent(command: str) -> None:
        asked.release()
        if not closed.wait(LIMIT / 4):
            waited_for.append(command)

    async def cut_off(call: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, *arguments)
            assert await trio.to_thread.run_sync(partial(asked.acquire, timeout=LIMIT))
            nursery.cancel_scope.cancel()

    async with IotaAnnouncer(options(node, silence_seconds=60.0), learnae_contexts("a")) as a:
        await announce(a, b"before")
        node.misbehave = silent
        await cut_off(a.listen, ["c"], lambda heard: None)
        await cut_off(announce, a, b"meanwhile")
    closed.set()
    assert not waited_for


def test_nothing_reachable_at_first_is_no_error_and_the_newest_is_sent_in_the_end(learnae_contexts: Contexts) -> None:
    node = FakeNode()
    node.start()
    node.stop()

    async def test() -> None:
        async with IotaAnnouncer(options(node), learnae_contexts("a")) as a:
            for number in range(3):
                with pytest.raises(UnavailableError, match=node.url):
                    await announce(a, b"number %d" % number)
            node.start()
            async with listening(a) as ear:
                await ear.hears(b"number 2")
            assert not ear.has(b"number 1")

    try:
        run(test)
    finally:
        node.stop()


async def test_an_announcer_can_be_opened_again(nodes: Any, learnae_contexts: Contexts) -> None:
    """As the core does after an outage."""
    node = nodes()

    announcer = IotaAnnouncer(options(node), learnae_contexts("a"))
    async with announcer:
        await announce(announcer, b"before")
        node.stop()
        with pytest.raises(UnavailableError):
            await announce(announcer, b"meanwhile")
    node.start()
    async with announcer, listening(announcer) as ear:
        await announced(announcer, b"after")
        await ear.hears(b"after")


async def test_what_was_sent_during_an_outage_of_the_listener_is_backlog(nodes: Any, learnae_contexts: Contexts) -> None:
    node, other = nodes(), nodes()
    other.transactions = node.transactions

    here, there = IotaAnnouncer(options(node), learnae_contexts("a")), IotaAnnouncer(options(other), learnae_contexts("b"))
    async with here, there, listening(here) as ear:
        await announce(there, b"live", b"1")
        await ear.hears(b"live")
        node.stop()
        await announce(there, b"meanwhile", b"2")
        await ear.failed.wait()
        await trio.to_thread.run_sync(node.start)
        assert (await ear.hears(b"meanwhile")).backlog


async def test_without_milestones_parents_are_those_of_the_swarm(nodes: Any, learnae_contexts: Contexts) -> None:
    node = nodes()
    node.milestones = False

    async with IotaAnnouncer(options(node), learnae_contexts("a")) as a:
        await announce(a, b"first")
        known = set(node.transactions)
        await announce(a, b"second")
        (new,) = set(node.transactions) - known
        assert {node.transactions[new][2430:2511], node.transactions[new][2511:2592]} == known


async def test_too_little_work_is_told_with_what_to_change(nodes: Any, learnae_contexts: Contexts) -> None:
    node = nodes()
    refusal = 400, b'{"error":"Invalid transaction hash"}'
    node.misbehave = lambda command: refusal if command == "broadcastTransactions" else None

    async with IotaAnnouncer(options(node), learnae_contexts("a")) as a:
        with pytest.raises(UnavailableError, match=r"Invalid transaction hash; weight_magnitude must be"):
            await announce(a, b"hello")


@pytest.mark.parametrize("address", ["127.0.0.1:14265", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://a b", ""])
def test_what_is_no_address_of_a_node_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as"):
        IotaAnnouncerOptions(nodes=(address,))
