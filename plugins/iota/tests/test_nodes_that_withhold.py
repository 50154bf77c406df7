"""One node of several keeps messages back: all others are looked at too, and what was sent is looked for there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.curl import TRANSACTION_TRYTES
from learnae_iota.options import IotaAnnouncerOptions
from tests.support.tangle import FakeNode
from tests.support.tangle.fake_node import Answer
from tests.support.tangle.talk import announced, listening

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]

SILENCE_SECONDS = 1.0
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MANY = [LETTERS[number % 26] + LETTERS[number // 26] + "9" * 79 for number in range(500)]


@pytest.fixture
def two_nodes() -> Iterator[tuple[FakeNode, FakeNode]]:
    with ExitStack() as stack:
        yield stack.enter_context(FakeNode().running()), stack.enter_context(FakeNode().running())


def at(*nodes: FakeNode, **others: Any) -> IotaAnnouncerOptions:
    return IotaAnnouncerOptions(
        nodes=tuple(node.url for node in nodes), **{"poll_seconds": 0.1, "silence_seconds": SILENCE_SECONDS, **others}
    )


def lists_nothing(command: str) -> Answer | None:
    return (200, b'{"hashes":[]}') if command == "findTransactions" else None


def lists_much_and_brings_it_slowly(command: str) -> Answer | None:
    """Each answer comes in time."""
    if command == "getNodeAPIConfiguration":
        return 200, b'{"maxFindTransactions":1000,"maxGetTrytes":1}'
    if command == "findTransactions":
        return 200, json.dumps({"hashes": MANY}).encode()
    if command == "getTrytes":
        time.sleep(0.9 * SILENCE_SECONDS)
        return 200, json.dumps({"trytes": ["A" * TRANSACTION_TRYTES]}).encode()
    return None


def brings_others(command: str) -> Answer | None:
    return (200, json.dumps({"trytes": ["9" * TRANSACTION_TRYTES]}).encode()) if command == "getTrytes" else None


@pytest.mark.parametrize("misbehave", [lists_nothing, lists_much_and_brings_it_slowly, brings_others])
@pytest.mark.parametrize("when", ["live", "backlog"])
async def test_what_the_first_node_keeps_back_is_heard_from_the_second(
    two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts, misbehave: Any, when: str
) -> None:
    first, second = two_nodes
    first.transactions = second.transactions
    first.misbehave = misbehave

    honest, victim = IotaAnnouncer(at(second), learnae_contexts("honest")), IotaAnnouncer(at(first, second), learnae_contexts("victim"))
    async with honest, victim:
        if when == "backlog":
            await announced(honest, b"hello")
        async with listening(victim) as ear:
            if when == "live":
                await announced(honest, b"hello")
            await ear.hears(b"hello")


async def test_what_two_nodes_bring_is_heard_once(two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts) -> None:
    first, second = two_nodes
    first.transactions = second.transactions

    honest, reader = IotaAnnouncer(at(second), learnae_contexts("honest")), IotaAnnouncer(at(first, second), learnae_contexts("reader"))
    async with honest, reader, listening(reader) as ear:
        for number in range(5):
            await announced(honest, b"%d" % number)
            await ear.hears(b"%d" % number)
        brought = second.asked["getTrytes"]
        while second.asked["getTrytes"] == brought:  # noqa: ASYNC110  # it tells nobody
            await trio.sleep(0.05)
        await announced(honest, b"last")
        await ear.hears(b"last")
        assert [heard.message for heard in ear.heard] == [b"0", b"1", b"2", b"3", b"4", b"last"]


@pytest.mark.parametrize("swallowing", [0, 1], ids=["first", "second"])
async def test_what_one_node_swallows_is_given_to_the_other(
    two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts, swallowing: int
) -> None:
    def swallows(command: str) -> Answer | None:
        return (200, b"{}") if command == "broadcastTransactions" else None

    two_nodes[swallowing].misbehave = swallows
    sound = two_nodes[1 - swallowing]

    honest, victim = IotaAnnouncer(at(sound), learnae_contexts("honest")), IotaAnnouncer(at(*two_nodes), learnae_contexts("victim"))
    async with honest, victim, listening(honest) as ear:
        for number in range(2):
            await announced(victim, b"%d" % number)
            await ear.hears(b"%d" % number)


async def test_what_two_nodes_of_one_tangle_have_is_sent_once(two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts) -> None:
    first, second = two_nodes
    first.transactions = second.transactions

    async with IotaAnnouncer(at(first, second), learnae_contexts("a")) as a:
        await announced(a, b"hello")
        while not second.asked["getTrytes"]:  # noqa: ASYNC110  # it tells nobody
            await trio.sleep(0.05)
        await announced(a, b"another")
    assert second.asked["broadcastTransactions"] == 0
    assert len(second.transactions) == 2


async def test_a_node_that_works_out_another_transaction_than_it_was_given_hides_none(
    two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts
) -> None:
    """The others have that one already, and would count as witnesses."""
    liar, sound = two_nodes

    def swallows(command: str) -> Answer | None:
        if command == "attachToTangle" and sound.transactions:
            return 200, json.dumps({"trytes": [next(iter(sound.transactions.values()))]}).encode()
        return (200, b"{}") if command == "broadcastTransactions" else None

    liar.misbehave = swallows
    options = at(liar, sound, proof_of_work="node")
    honest, victim = IotaAnnouncer(at(sound), learnae_contexts("honest")), IotaAnnouncer(options, learnae_contexts("victim"))
    async with honest, victim, listening(honest) as ear:
        for number in range(3):
            await announced(victim, b"%d" % number)
            await ear.hears(b"%d" % number)


async def test_a_node_that_takes_its_time_is_given_messages_last(
    two_nodes: tuple[FakeNode, FakeNode], learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It swallows them too, and each answer comes in time: others would have looked for each one, one after the other, once it was done."""
    monkeypatch.setattr("learnae_iota.nodes.SLOW_SECONDS", 0.5 * SILENCE_SECONDS)
    slow, sound = two_nodes

    def takes_its_time(command: str) -> Answer | None:
        if command == "broadcastTransactions":
            time.sleep(0.9 * SILENCE_SECONDS)
            return 200, b"{}"
        return None

    slow.misbehave = takes_its_time
    async with IotaAnnouncer(at(slow, sound), learnae_contexts("victim")) as victim:
        for number in range(4):
            await announced(victim, b"%d" % number)
        assert slow.asked["broadcastTransactions"] == 1
        assert sound.asked["broadcastTransactions"] >= 3
