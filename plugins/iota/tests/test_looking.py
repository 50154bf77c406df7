"""What a look costs and finds, at a node of this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from learnae_iota import curl, looking
from learnae_iota.backlog import MOST_NEWEST, MOST_OLDER, MOST_TRANSACTIONS, Backlog
from learnae_iota.line import NodeApi
from learnae_iota.listening import Listening
from learnae_iota.looking import MOST_FETCHED, MOST_REQUESTS, NodeView, Poller, PollResult
from learnae_iota.places import WINDOW_SECONDS, Places, window_of
from learnae_iota.transactions import NOTHING, make
from tests.support.tangle import FakeNode, litter
from tests.support.tangle.fake_node import MOST_FOUND

PLACES = Places.of("channel", None)
NOW = 1_800_000_010.0  # in the middle of a window
DAY = 86_400.0


class ClockedLine(NodeApi):
    """At a time that stands still until it is set."""

    time = NOW

    def now(self) -> float:
        return self.time


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode().running() as node:
        yield node


@pytest.fixture
def line(node: FakeNode) -> Iterator[ClockedLine]:
    line = ClockedLine(node.url, 5.0)
    yield line
    line.close()


def post(node: FakeNode, message: bytes, seconds_ago: float = 0.0, at: float = NOW) -> str:
    at -= seconds_ago
    return node.keep(make(message, PLACES.at(window_of(at)), (NOTHING, NOTHING), int(at * 1000)))


def fill(node: FakeNode, count: int, window: int) -> None:
    """With so many names of one and the same transaction: hashing as many would take minutes."""
    transaction = make(b"flood %d" % window, PLACES.at(window), (NOTHING, NOTHING), int(NOW * 1000))
    prefix = curl.hash_of(transaction)[:71]
    node.transactions |= {prefix + "".join("9ABCDEFGHI"[int(digit)] for digit in f"{number:010}"): transaction for number in range(count)}


def listening(node: FakeNode, line: NodeApi) -> Poller:
    """One that has heard all there is."""
    looker = Poller([PLACES])
    backlog = Backlog(looker, 0.0)
    while not backlog.over:
        backlog.portion(line)
    node.asked.clear()
    return looker


def test_a_look_finds_what_is_new_and_only_that(node: FakeNode, line: NodeApi) -> None:
    post(node, b"before")
    looker = listening(node, line)
    post(node, b"one", 1.0)
    post(node, b"two")
    assert looker.look(line).messages == [b"one", b"two"]
    assert looker.look(line).messages == []
    assert node.asked == {"findTransactions": 2, "getTrytes": 1}


def test_what_comes_late_or_by_a_clock_that_is_off_is_found(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    post(node, b"late", 90.0)
    post(node, b"early", -15.0)
    assert sorted(looker.look(line).messages) == [b"early", b"late"]


def test_a_pause_is_made_up_for(node: FakeNode, line: ClockedLine) -> None:
    looker = listening(node, line)
    looker.look(line)
    post(node, b"during the pause", -300.0)
    line.time += 1000.0
    assert looker.look(line).messages == [b"during the pause"]


def test_what_is_known_does_not_grow(node: FakeNode, line: ClockedLine) -> None:
    looker = listening(node, line)
    for _ in range(20):
        post(node, b"message", at=line.time)
        assert len(looker.look(line).messages) == 1
        line.time += WINDOW_SECONDS
        assert len(looker.views[line.address].known) <= looking.BEFORE_WINDOWS + 2 * looking.AFTER_WINDOWS + 1


def test_the_backlog_brings_the_newest_places_first(node: FakeNode, line: NodeApi) -> None:
    for seconds in (DAY - 60.0, 5.0, 7200.0, DAY + 60.0):
        post(node, b"%d" % seconds, seconds)
    looker, heard = Poller([PLACES]), []
    backlog = Backlog(looker, DAY)
    while not backlog.over:
        heard += backlog.portion(line).messages
    assert heard == [b"5", b"7200", b"86340"]
    assert looker.look(line).messages == []


def test_the_backlog_has_an_end(node: FakeNode, line: NodeApi) -> None:
    for age in range(0, 4000, 500):
        fill(node, 900, window_of(NOW) - age)
    backlog, count = Backlog(Poller([PLACES]), DAY), 0
    while not backlog.over:
        count += len(backlog.portion(line).messages)
    assert MOST_NEWEST < count <= MOST_TRANSACTIONS
    assert node.asked["getTrytes"] <= MOST_TRANSACTIONS / line.most_trytes + node.asked["findTransactions"]


def test_a_flood_leaves_room_for_what_is_older(node: FakeNode, line: NodeApi) -> None:
    for age in (0, 100, 700):
        fill(node, 900, window_of(NOW) - age)
    post(node, b"older", 0.9 * DAY)
    heard, backlog = list[bytes](), Backlog(Poller([PLACES]), DAY)
    while not backlog.over:
        heard += backlog.portion(line).messages
    assert heard[-1] == b"older"


def test_of_more_than_a_portion_can_take_the_newest_places_come_first(node: FakeNode, line: NodeApi) -> None:
    for age in (30, 50, 400):
        fill(node, 400, window_of(NOW) - age)
    heard, backlog = list[bytes](), Backlog(Poller([PLACES]), 500 * WINDOW_SECONDS)
    while not backlog.over:
        heard += backlog.portion(line).messages
    newest = window_of(NOW)
    assert heard.count(b"flood %d" % (newest - 30)) == 400
    assert heard.count(b"flood %d" % (newest - 50)) == MOST_OLDER - 400
    assert heard.count(b"flood %d" % (newest - 400)) == 0


@pytest.mark.parametrize("age", [0, 1, 3])
def test_what_the_backlog_leaves_over_never_comes_as_live(age: int, node: FakeNode, line: NodeApi) -> None:
    for each in range(3):
        fill(node, 900, window_of(NOW) - each)
    fill(node, MOST_FOUND + 100, window_of(NOW) - age)  # of which it cannot list all
    looker = listening(node, line)
    post(node, b"live", -15.0)
    catches = [looker.look(line)]
    while catches[-1].left:
        catches.append(looker.look(line))
    assert [message for catch in catches for message in catch.messages] == [b"live"]
    assert any(catch.older for catch in catches)


def test_what_was_sent_while_the_backlog_was_fetched_is_found(node: FakeNode, line: ClockedLine) -> None:
    looker = listening(node, line)
    post(node, b"meanwhile", -30.0)
    line.time += 600.0
    assert looker.look(line).messages == [b"meanwhile"]


def test_a_flood_costs_each_look_only_so_much(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    fill(node, 900, window_of(NOW))
    post(node, b"hello", 30.0)
    heard = looker.look(line)
    assert len(heard.messages) == MOST_FETCHED
    assert node.asked.total() <= MOST_REQUESTS + MOST_FETCHED // line.most_trytes
    rest = looker.look(line)
    assert len(heard.messages + rest.messages) == heard.left + MOST_FETCHED == 901
    assert b"hello" in heard.messages + rest.messages
    assert looker.round_record.repeated == 899


def test_beside_a_place_that_is_too_full_to_be_listed_the_others_are_seen(node: FakeNode, line: NodeApi) -> None:
    fill(node, 3 * MOST_FOUND, window_of(NOW))
    looker = listening(node, line)
    node.asked.clear()
    post(node, b"hello", -15.0)
    catch = looker.look(line)
    assert catch.messages == [b"hello"]
    assert not catch.whole
    assert node.asked["findTransactions"] <= MOST_REQUESTS


def test_litter_is_counted_and_read_once(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    for transaction in islice(litter(PLACES.at(window_of(NOW)), int(NOW * 1000)), 12):
        node.keep(transaction)
    post(node, b"hello")
    assert looker.look(line).messages == [b"hello"]
    assert looker.look(line).messages == []
    assert looker.round_record == looking.PollCounts(messages=1, garbage=12)
    assert node.asked["getTrytes"] == 1


def test_reattachments_are_counted(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    for parent in "ABC":
        node.keep(make(b"hello", PLACES.at(window_of(NOW)), (parent * 81, NOTHING), int(NOW * 1000)))
    assert looker.look(line).messages == [b"hello"] * 3
    assert looker.round_record == looking.PollCounts(messages=3, repeated=2)


def test_what_a_node_has_thrown_away_is_counted_and_not_asked_for_again(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    node.pruned.add(post(node, b"gone"))
    post(node, b"hello")
    assert looker.look(line).messages == [b"hello"]
    assert looker.look(line).messages == []
    assert looker.round_record.gone == 1
    assert node.asked["getTrytes"] == 1


def test_what_the_feed_has_brought_is_not_fetched_again(node: FakeNode, line: NodeApi) -> None:
    looker = listening(node, line)
    transaction = make(b"hello", PLACES.at(window_of(time.time())), (NOTHING, NOTHING), int(time.time() * 1000))
    hash_ = curl.hash_of(transaction)
    assert looker.take(hash_, transaction) == b"hello"
    assert looker.take(hash_, transaction) is None
    assert looker.take("A" * 81, next(litter(PLACES.at(window_of(time.time())), 0))) is None
    assert looker.take("B" * 81, "rubbish") is None


def test_what_one_node_shows_as_old_is_live_where_another_one_shows_it_so(node: FakeNode, line: NodeApi) -> None:
    """The first may lie: what was said before listening began counts for no round."""
    with FakeNode().running() as liar:
        lying = ClockedLine(liar.url, 5.0)
        looker = listening(node, line)
        looker.views[liar.url] = NodeView(left={post(liar, b"hello")})
        post(node, b"hello")
        first, then = looker.look(lying), looker.look(line)
        lying.close()
    assert (first.messages, first.older) == ([], [b"hello"])
    assert (then.messages, then.older) == ([b"hello"], [])


def test_several_channels_are_looked_at_by_the_same_requests(node: FakeNode, line: NodeApi) -> None:
    other = Places.of("other", None)
    looker = Poller([PLACES, other])
    post(node, b"here")
    node.keep(make(b"there", other.at(window_of(NOW)), (NOTHING, NOTHING), int(NOW * 1000)))
    assert sorted(looker.look(line).messages) == [b"here", b"there"]
    assert node.asked == {"findTransactions": 1, "getTrytes": 1}


def test_a_flood_that_begins_and_ends_with_each_look_fills_no_log() -> None:
    lines: list[str] = []
    log: Any = SimpleNamespace(warning=lambda event, **facts: lines.append(event))
    told = Listening(Any, Poller([PLACES]), lambda heard: None, Any, None, log)  # type: ignore[arg-type]  # it asks nobody

    async def look_for_an_hour() -> None:
        for number in range(3600):
            told._tell_of_floods(PollResult([], 0, number % 2, whole=True))
            await trio.sleep(1.0)

    trio.run(look_for_an_hour, clock=trio.testing.MockClock(autojump_threshold=0))
    assert 100 < len(lines) <= 120
    assert lines[:2] == ["iota.flood", "iota.flood_over"]
