"""Who may be fetched from, and what becomes of a selector that breaks its word."""

from itertools import repeat

import attrs
import pytest
import structlog
from structlog.testing import capture_logs

from learnae.node.attempts import FetchAttempts, RepeatedUpdate
from learnae.node.inbox import Inbox, InboxEntry
from learnae.node.peers import Peers
from learnae.node.runtime import Outages
from learnae.node.selection import UpdateSelection
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.plugins.selector import LeastRecentlyTried
from learnae.records import Announcement, AnnouncementKind, Candidate, Cid, PeerId, Selected
from learnae.strategies import Selector
from learnae.testing.context import make_context
from tests.support.records import an_update

OURS, THEIRS = b"lineage1", b"lineage2"
SHAPE = b"shapes 1"


class First(Selector):
    def select(self, view):
        return view.candidates[: view.count]


class Raises(Selector):
    def select(self, view):
        raise RuntimeError("no idea")


class Nothing(Selector):
    def select(self, view):
        return None


class TooMany(Selector):
    def select(self, view):
        return view.candidates


class Twice(Selector):
    def select(self, view):
        return [view.candidates[0], view.candidates[0]]


class Strangers(Selector):
    def select(self, view):
        return [Candidate(peer=PeerId("f" * 64), kind=AnnouncementKind.UPDATE, bytes=1, age=0, staleness=0.0)]


class Text(Selector):
    def select(self, view):
        return ["alice"]


class Endless(Selector):
    def select(self, view):
        return repeat(view.candidates[0])


def entry(peer: str, number: int = 1, *, lineage=OURS, architecture=SHAPE, heard_round=1, backlog=False, heard_at=0.0) -> InboxEntry:
    body = an_update(bytes=100, lineage=lineage, architecture=architecture, age=7)
    return InboxEntry(
        Announcement(swarm=b"s" * 16, peer=PeerId(peer), number=number, body=body), b"digest", b"message", heard_at, heard_round, backlog
    )


def selection(tmp_path, *entries: InboxEntry, selector: type[Selector] = First, count: int = 2) -> UpdateSelection:
    inbox, peers = Inbox(100, lambda peer: False), Peers(100)
    for item in entries:
        inbox.put(item)
    named = ConfiguredStrategy("chosen", "some-plugin", selector(None, make_context(tmp_path)))
    attempts = FetchAttempts(inbox, peers)
    return UpdateSelection(inbox, peers, attempts, named, count, 1000, SHAPE, 8, Outages(structlog.get_logger()), lambda: 1e6)


def chosen(selection: UpdateSelection, round_: int = 1) -> list[str]:
    return [item.peer for item in selection.choose(OURS, round_, age=7, now=0.0, round_seconds=None)]


def test_an_update_is_fresh_for_eight_own_rounds(tmp_path):
    of_round_3 = selection(tmp_path, entry("a", heard_round=3))
    assert chosen(of_round_3, round_=11) == ["a"]
    assert chosen(of_round_3, round_=12) == []


def test_backlog_is_for_newcomers_and_never_for_a_round(tmp_path):
    left_behind = selection(tmp_path, entry("a", backlog=True))
    assert chosen(left_behind) == []
    assert [item.peer for item in left_behind.of_lineage(OURS)] == ["a"]


def test_another_lineage_or_architecture_is_no_candidate(tmp_path):
    choosing = selection(tmp_path, entry("a", lineage=THEIRS), entry("b", architecture=b"shapes 2"), entry("c"))
    assert chosen(choosing) == ["c"]
    assert [item.peer for item in choosing.strangers()] == ["b"]


def test_an_update_is_a_candidate_until_it_was_fetched_once_and_never_again(tmp_path):
    choosing = selection(tmp_path, entry("a", number=5))
    choosing.peers.note(PeerId("a")).fetched_number = 4
    assert chosen(choosing) == ["a"]
    choosing.peers.note(PeerId("a")).fetched_number = 5
    assert chosen(choosing) == []


def test_the_selector_sees_what_was_measured_and_remembered(tmp_path):
    views = []

    class Recording(First):
        def select(self, view):
            views.append(view)
            return ()

    choosing = selection(tmp_path, entry("a", heard_at=10.0), selector=Recording)
    record = choosing.peers.note(PeerId("a"))
    record.last_tried, record.failures, record.ever_accepted, record.bytes_per_second = 3, 2, True, 5e6
    record.trust = 0.5
    choosing.choose(OURS, 9, age=40, now=16.0, round_seconds=2.0)
    [view] = views
    assert (view.round, view.age, view.count, view.budget_bytes) == (9, 40, 2, 2000)
    assert view.candidates == [
        Candidate(
            peer=PeerId("a"),
            kind=AnnouncementKind.UPDATE,
            bytes=100,
            age=7,
            staleness=3.0,
            sketch=b"",
            bytes_per_second=5e6,
            last_tried=3,
            failures=2,
            ever_accepted=True,
            trust=0.5,
            root=Cid("root"),
        )
    ]


@pytest.mark.parametrize("selector", [Raises, Nothing, TooMany, Twice, Strangers, Text, Endless])
def test_a_selector_that_breaks_its_word_is_named_and_the_round_goes_on_with_none(tmp_path, selector):
    choosing = selection(tmp_path, entry("a"), entry("b"), entry("c"), selector=selector)
    with capture_logs() as logs:
        assert chosen(choosing) == []
    line, traceback = logs
    assert (line["event"], line["plugin"], line["log_level"]) == ("plugin.failed", "some-plugin", "error")
    assert (traceback["event"], traceback["log_level"]) == ("plugin.traceback", "debug")
    assert "'chosen'" in line["error"]


class BadState(First):
    """No state can be stored that is not a mapping by name."""

    def select(self, view):
        return Selected(view.candidates[:1], [1, 2])


def test_a_selector_whose_state_is_none_is_named_and_the_round_goes_on_with_nobody(tmp_path):
    with capture_logs() as logs:
        assert chosen(selection(tmp_path, entry("a"), selector=BadState)) == []
    assert [line["event"] for line in logs] == ["plugin.failed", "plugin.traceback"]


def test_without_candidates_no_selector_is_asked(tmp_path):
    with capture_logs() as logs:
        assert chosen(selection(tmp_path, selector=Raises)) == []
    assert logs == []


def test_a_selector_that_fails_round_after_round_is_told_of_once(tmp_path):
    failing = selection(tmp_path, entry("a"), selector=Raises)
    with capture_logs() as logs:
        for _ in range(3):
            failing.choose(OURS, 1, 0, 0.0, None)
    assert [line["event"] for line in logs] == ["plugin.failed", "plugin.traceback"]


def heard_again(choosing: UpdateSelection, entry: InboxEntry) -> None:
    choosing.attempts.hear_once_more(entry, entry.medium)


def missed(choosing: UpdateSelection, entry: InboxEntry, *, failures: int = 1, round_: int = 1) -> None:
    """Nothing of it could be had."""
    choosing.attempts.tried(entry, round_, there=False).failures = failures


def numbers(choosing: UpdateSelection, round_: int) -> list[int]:
    """What the selector takes then."""
    return [item.announcement.number for item in choosing.choose(OURS, round_, age=7, now=0.0, round_seconds=None)]


def test_where_nothing_could_be_had_of_the_newest_the_one_that_was_heard_again_is_tried(tmp_path):
    first, second, third = (entry("alice", number) for number in (1, 2, 3))
    choosing = selection(tmp_path, first, second, third)
    heard_again(choosing, second)
    assert numbers(choosing, 1) == [3]
    missed(choosing, third)
    assert numbers(choosing, 2) == [2]


def test_what_was_heard_again_takes_no_turn_of_the_newest_once_nothing_could_be_had_of_it_either(tmp_path):
    second, third = entry("alice", 2, heard_round=5), entry("alice", 3, heard_round=5)
    choosing = selection(tmp_path, second, third)
    heard_again(choosing, second)
    missed(choosing, third, failures=2)
    missed(choosing, RepeatedUpdate.of(second))
    assert [numbers(choosing, round_) for round_ in (1, 2, 3, 4, 5)] == [[2], [2], [2], [2], [3]]


@pytest.mark.parametrize(("waited", "number"), [(63, 2), (64, 3)])
def test_every_64_rounds_the_newest_is_tried_whatever_was_heard_again(tmp_path, waited, number):
    second, third = entry("alice", 2, heard_round=65), entry("alice", 3, heard_round=65)
    choosing = selection(tmp_path, second, third)
    heard_again(choosing, second)
    missed(choosing, third)
    assert numbers(choosing, 1 + waited) == [number]


def test_of_what_was_heard_again_the_newest_counts(tmp_path):
    first, second, third = (entry("alice", number) for number in (1, 2, 3))
    choosing = selection(tmp_path, first, second, third)
    heard_again(choosing, second)
    heard_again(choosing, first)
    missed(choosing, third)
    assert numbers(choosing, 2) == [2]


def test_something_that_came_of_the_newest_shows_that_it_can_be_had(tmp_path):
    first, second = entry("alice", 1), entry("alice", 2)
    choosing = selection(tmp_path, first, second)
    heard_again(choosing, first)
    missed(choosing, second)
    choosing.attempts.tried(second, 1, there=True)
    assert numbers(choosing, 2) == [2]


def test_trying_what_was_heard_again_changes_no_turn_of_the_newest(tmp_path):
    """The selector is told of the one what is known of that one."""
    first, second = entry("alice", 1), entry("alice", 2)
    choosing = selection(tmp_path, first, second, selector=LeastRecentlyTried)
    heard_again(choosing, first)
    missed(choosing, second)
    [again] = choosing.choose(OURS, 1, age=7, now=0.0, round_seconds=None)
    missed(choosing, again, failures=5)
    assert [numbers(choosing, round_) for round_ in (1, 2, 3)] == [[], [], [2]]


@pytest.mark.parametrize(
    ("changes", "fetched"),
    [({"lineage": THEIRS}, 0), ({"architecture": b"shapes 2"}, 0), ({"heard_round": -8}, 0), ({}, 1)],
    ids=["lineage", "shapes", "old", "fetched"],
)
def test_what_was_heard_again_and_is_of_no_use_stands_in_for_nothing(tmp_path, changes, fetched):
    first, second = entry("alice", 1, **changes), entry("alice", 2)
    choosing = selection(tmp_path, first, second)
    heard_again(choosing, first)
    missed(choosing, second)
    choosing.peers.note(first.peer).fetched_number = fetched
    assert numbers(choosing, 2) == [2]


def test_whatever_is_heard_again_a_peer_that_is_heard_is_tried_as_often_as_without_that(tmp_path):
    """Nothing of it could be had once; an old update of it was heard twice."""
    updates = [entry("alice", number, heard_round=number) for number in range(1, 100)]
    choosing = selection(tmp_path, *updates[:6], selector=LeastRecentlyTried)
    heard_again(choosing, updates[1])
    choosing.peers.note(PeerId("alice")).fetched_number = 5
    missed(choosing, updates[5], round_=6)
    tried = []
    for item in updates[6:]:
        choosing.inbox.put(item)
        tried += numbers(choosing, item.heard_round)
    assert tried == list(range(8, 100))


def test_a_selector_sees_those_whom_it_names_in_any_crowd_of_strangers(tmp_path):
    crowd = [entry(f"{number:02}", heard_at=float(number)) for number in range(40)]
    late = crowd[-1]

    class OnlyLate(First):
        named = frozenset({late.peer})

        def select(self, view):
            return [candidate for candidate in view.candidates if candidate.peer == late.peer]

    assert chosen(selection(tmp_path, *crowd, selector=OnlyLate)) == [late.peer]


def test_of_a_crowd_of_strangers_of_whom_none_has_failed_sixteen_are_seen(tmp_path):
    views = []

    class Recording(First):
        def select(self, view):
            views.append(view)
            return ()

    crowd = selection(tmp_path, *[entry(f"{number:02}", heard_at=float(number)) for number in range(40)], selector=Recording)
    chosen(crowd)
    for number in range(20):  # those that are known for longest fail, and their wait is over
        record = crowd.peers.note(PeerId(f"{number:02}"))
        record.failures, record.last_tried = 1, 1
    chosen(crowd, round_=5)
    longest, mixed = ([candidate.peer for candidate in view.candidates] for view in views)
    assert longest == [f"{number:02}" for number in range(16)]
    assert mixed == [f"{number:02}" for number in (*range(8), *range(20, 28))]


def test_the_selector_sees_sketches_and_none_where_a_peer_sends_something_else(tmp_path):
    views = []

    class Recording(First):
        def select(self, view):
            views.append(view)
            return ()

    sound, nonsense = bytes(400), b"\xff" * 400
    sent = [attrs.evolve(entry(peer), announcement=sketching(peer, sketch)) for peer, sketch in (("a", sound), ("b", nonsense))]
    seeing = selection(tmp_path, *sent, selector=Recording)
    seeing.own_sketch = lambda: sound
    chosen(seeing)
    [view] = views
    assert view.sketch == sound
    assert {candidate.peer: candidate.sketch for candidate in view.candidates} == {"a": sound, "b": b""}


def sketching(peer: str, sketch: bytes) -> Announcement:
    body = an_update(bytes=100, lineage=OURS, architecture=SHAPE, age=7, sketch=sketch)
    return Announcement(swarm=b"s" * 16, peer=PeerId(peer), number=1, body=body)


@pytest.mark.parametrize("named", [None, "alice", [1], 7], ids=["none", "a text", "numbers", "a number"])
def test_a_selector_that_names_what_is_nobody_is_named_and_the_round_goes_on(tmp_path, named):
    breaking = type("Breaking", (First,), {"named": named})
    with capture_logs() as logs:
        assert chosen(selection(tmp_path, entry("a"), selector=breaking)) == ["a"]
    assert (logs[0]["event"], logs[0]["plugin"]) == ("plugin.failed", "some-plugin")
