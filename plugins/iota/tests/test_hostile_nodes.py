"""What answers bends HTTP, answers by drops, or refuses some calls: the announcer goes on with another node."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from learnae import UnavailableError
from learnae_iota.announcer import IotaAnnouncer
from learnae_iota.calls import MOST_FOUND, find, meet
from learnae_iota.line import ANSWER_BYTES, NodeApi, NodeNonsenseError
from learnae_iota.node import TangleNode
from learnae_iota.options import IotaAnnouncerOptions
from learnae_iota.pace import FASTEST_SECONDS, LONGEST_REST_SECONDS, PollingPace
from learnae_iota.places import Places
from learnae_iota.transactions import NOTHING, make
from tests.support.tangle import FakeNode
from tests.support.tangle.talk import announce, announced, listening

if TYPE_CHECKING:
    from learnae import Context

    Contexts = Callable[[str], Context]

SILENCE = 1.0  # on a machine that others use too
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"\r\n{}\r\n0\r\n\r\n"


@pytest.fixture
def nodes() -> Iterator[Callable[[], FakeNode]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(FakeNode().running())


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of what gives each caller this answer, whatever it is asked."""

    def serve() -> None:
        while True:
            try:
                caller, _ = server.accept()
            except OSError:
                return
            with caller:
                try:
                    while (data := caller.recv(65536)) and b"}" not in data:  # else the end of the line is a reset of it
                        pass
                    answer(caller)
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def asked(answer: bytes) -> dict[str, Any]:
    with answering(lambda caller: caller.sendall(answer)) as address:
        line = NodeApi(f"http://{address}", 5.0)
        try:
            return line.ask("getNodeInfo")
        finally:
            line.close()


def test_an_answer_in_chunks_is_put_together() -> None:
    assert asked(CHUNKED + b'5\r\n{"a":\r\n3;x=y\r\n 7}\r\n0\r\n\r\n') == {"a": 7}


@pytest.mark.parametrize(
    "chunks",
    [b"-1\r\n{}", b"-5\r\n{}", b"+2" + CHUNK, b"0x2" + CHUNK, b"\r\n", b"", b"2\r\n{}x", b"9" * 5000, b"2\r\n{}\r\n0\r\n"],
)
def test_chunks_that_are_none_are_nonsense(chunks: bytes) -> None:
    with pytest.raises(NodeNonsenseError):
        asked(CHUNKED + chunks)


@pytest.mark.parametrize("size", [b"-1", b"%x" % (ANSWER_BYTES + 1), b"ffffffff"])
def test_no_size_of_a_chunk_makes_more_be_read_than_an_answer_may_have(size: bytes) -> None:
    sent = 0

    def pour(caller: socket.socket) -> None:
        nonlocal sent
        caller.sendall(CHUNKED + size + b"\r\n")
        for _ in range(64):
            sent += caller.send(b"x" * (1 << 20))

    with answering(pour) as address, pytest.raises(NodeNonsenseError):
        NodeApi(f"http://{address}", 5.0).ask("getNodeInfo")
    assert sent <= 2 * ANSWER_BYTES


async def test_a_node_that_bends_http_is_given_up_in_favour_of_another(nodes: Any, learnae_contexts: Contexts) -> None:
    second = nodes()

    with answering(lambda caller: caller.sendall(CHUNKED + b"-5\r\n")) as address:
        async with IotaAnnouncer(IotaAnnouncerOptions(nodes=(f"http://{address}", second.url)), learnae_contexts("a")) as a:
            await announce(a, b"hello")
    assert second.asked["broadcastTransactions"] == 1


async def test_a_node_that_answers_by_drops_is_given_up_in_favour_of_another(nodes: Any, learnae_contexts: Contexts) -> None:
    first, second = nodes(), nodes()
    second.transactions = first.transactions

    options = IotaAnnouncerOptions(nodes=(first.url, second.url), silence_seconds=SILENCE, poll_seconds=0.2)
    async with IotaAnnouncer(options, learnae_contexts("a")) as a, listening(a) as ear:
        await announced(a, b"before")
        await ear.hears(b"before")
        first.dripping = True
        await announced(a, b"meanwhile")
        await ear.hears(b"meanwhile")
        first.dripping = False


@pytest.mark.parametrize("drop", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"], ids=["a status line", "continuations"])
async def test_nothing_that_comes_by_drops_is_waited_for(drop: bytes, learnae_contexts: Contexts) -> None:
    def drip(caller: socket.socket) -> None:
        while True:
            caller.sendall(drop)
            time.sleep(0.01)

    with answering(drip) as address:
        options = IotaAnnouncerOptions(nodes=(f"http://{address}",), silence_seconds=SILENCE)
        async with IotaAnnouncer(options, learnae_contexts("a")) as a:
            with pytest.raises(UnavailableError, match=r"takes too long|put off again and again"):
                await announce(a, b"hello")


async def test_work_between_two_answers_has_all_the_time_it_needs(
    nodes: Any, learnae_contexts: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof of work of this machine may take minutes."""
    node = nodes()
    monkeypatch.setattr("learnae_iota.line.PATIENCE", 0.25)

    one = TangleNode(node.url, 4.0, learnae_contexts("a").in_thread)

    def work(line: NodeApi) -> bool:
        time.sleep(1.2)
        return bool(line.ask("getNodeInfo"))

    assert await one.call(work)
    one.close()


def test_after_a_look_of_minutes_the_pause_has_an_end() -> None:
    pace = PollingPace(0.5)
    assert pace.pause(came=True, took_seconds=110.0) == LONGEST_REST_SECONDS
    assert pace.pause(came=True, took_seconds=0.0) == FASTEST_SECONDS


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502])
@pytest.mark.parametrize("command", ["broadcastTransactions", "attachToTangle"])
async def test_a_node_that_takes_no_transactions_is_passed_over_and_still_listened_to(
    status: int, command: str, nodes: Any, learnae_contexts: Contexts
) -> None:
    first, second = nodes(), nodes()
    second.transactions = first.transactions
    first.misbehave = lambda asked: (status, b"<html>no</html>") if asked == command else None
    second.misbehave = lambda asked: (500, b"") if asked == "findTransactions" else None
    work = "node" if command == "attachToTangle" else "local"

    options = IotaAnnouncerOptions(nodes=(first.url, second.url), poll_seconds=0.2, proof_of_work=work)
    async with IotaAnnouncer(options, learnae_contexts("a")) as a, listening(a) as ear:
        await announce(a, b"hello")
        await ear.hears(b"hello")
        assert not ear.failed.is_set()
    assert second.asked["broadcastTransactions"] == 1


async def test_what_no_node_takes_is_told_with_the_cause(nodes: Any, learnae_contexts: Contexts) -> None:
    node = nodes()
    node.misbehave = lambda asked: (401, b'{"error":"protected"}') if asked == "broadcastTransactions" else None

    async with IotaAnnouncer(IotaAnnouncerOptions(nodes=(node.url,)), learnae_contexts("a")) as a:
        with pytest.raises(UnavailableError, match="takes no transactions: broadcastTransactions: 401 protected"):
            await announce(a, b"hello")


INVALID = (400, b'{"error":"Invalid transaction hash"}')


async def test_a_node_that_calls_sound_transactions_invalid_silences_nobody_and_is_asked_last(
    nodes: Any, learnae_contexts: Contexts
) -> None:
    first, second = nodes(), nodes()
    second.transactions = first.transactions
    first.misbehave = lambda asked: INVALID if asked == "broadcastTransactions" else None

    options = IotaAnnouncerOptions(nodes=(first.url, second.url), poll_seconds=0.2)
    async with IotaAnnouncer(options, learnae_contexts("a")) as a, listening(a) as ear:
        for number in range(3):
            await announce(a, b"hello %d" % number)
            await ear.hears(b"hello %d" % number)
    assert (first.asked["broadcastTransactions"], second.asked["broadcastTransactions"]) == (1, 3)


async def test_a_transaction_that_all_nodes_call_invalid_is_told_with_what_to_mend(nodes: Any, learnae_contexts: Contexts) -> None:
    both = nodes(), nodes()
    for node in both:
        node.misbehave = lambda asked: INVALID if asked == "broadcastTransactions" else None

    async with IotaAnnouncer(IotaAnnouncerOptions(nodes=tuple(node.url for node in both)), learnae_contexts("a")) as a:
        with pytest.raises(UnavailableError, match="weight_magnitude"):
            await announce(a, b"hello")
    assert all(node.asked["broadcastTransactions"] for node in both)


def test_a_node_that_would_list_a_million_transactions_is_asked_for_fewer(nodes: Any) -> None:
    node = nodes()
    node.most_found = 1_000_000
    place = Places.of("c", None).at(1)
    transaction = make(b"", place, (NOTHING, NOTHING), 0)
    node.transactions = {"".join("9ABCDEFGHI"[int(digit)] for digit in f"{number:081}"): transaction for number in range(MOST_FOUND + 1000)}
    line = NodeApi(node.url, 5.0)
    meet(line)
    asked = []
    ask = line.ask
    line.ask = lambda command, **arguments: asked.append(ask(command, **arguments)) or asked[-1]  # type: ignore[method-assign]
    assert len(find(line, [place.address])) == len(asked[0]["hashes"]) == MOST_FOUND
    line.close()


@pytest.mark.parametrize("address", ["http://node..lan:14265", f"http://{'a' * 64}.lan"])
def test_a_name_that_nobody_can_look_up_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as"):
        IotaAnnouncerOptions(nodes=(address,))


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_feed_has_a_port_that_can_be(port: str) -> None:
    with pytest.raises(ValueError, match="port from 1 to 65535"):
        IotaAnnouncerOptions(feed=f"tcp://127.0.0.1:{port}")
    IotaAnnouncerOptions(feed="tcp://127.0.0.1:65535")
