"""Models of several lineages, looked for side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import attrs
import pytest
import trio

from learnae.node.fetching import Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.lineage_search import LANES, MOST_LANES, LineageSearch, SearchLead
from learnae.node.obtaining import Obtained
from learnae.node.reports import RoundRecord
from learnae.records import Announcement, PeerId
from learnae.testing.swarm import run_in_virtual_time
from tests.support.records import an_update

NEVER = 10.0  # when the deadline of a fetch has passed


@attrs.define
class Line:
    """So many seconds the model of each peer takes; of those that take `NEVER`, nothing comes."""

    seconds: Mapping[str, float]
    asked: list[str] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)
    limit: int = 1000

    async def obtain_one(
        self, entry: InboxEntry, round_record: RoundRecord, limit: trio.CancelScope, *, beside: bool, transfer: Transfer
    ) -> Obtained | None:
        self.asked.append(entry.peer)
        if self.seconds[entry.peer] < NEVER:
            transfer.bytes = 1
        await trio.sleep(self.seconds[entry.peer])
        if self.seconds[entry.peer] < NEVER:
            return Obtained(entry, decoder=None)
        self.failed.append(entry.peer)
        return None


def lead(name: str, strength: int, count: int = 1) -> SearchLead:
    body = an_update(lineage=name.encode(), age=7, codec="fp32")
    entries = [
        InboxEntry(Announcement(swarm=b"", peer=PeerId(name), number=number, body=body), b"", b"", 0.0, 1, False) for number in range(count)
    ]
    return SearchLead(name.encode(), entries, strength)


def crowd(names: Sequence[str]) -> SearchLead:
    body = an_update(lineage=b"crowd", age=7, codec="fp32")
    return SearchLead(
        b"crowd",
        [InboxEntry(Announcement(swarm=b"", peer=PeerId(name), number=1, body=body), b"", b"", 0.0, 1, False) for name in names],
        3,
    )


def look(seconds: Mapping[str, float], *leads: SearchLead) -> tuple[Any, ...]:
    """What was found, when, the lineages that were missed, and whose fetch has failed."""
    line = Line(seconds)

    async def main() -> tuple[Any, ...]:
        began, search = trio.current_time(), LineageSearch(line, RoundRecord(1, 0.0), trio.current_time)
        found = await search.run(leads)
        return found.lineage if found else None, round(trio.current_time() - began, 2), search.missed, line

    return run_in_virtual_time(main)


@pytest.mark.parametrize(("first", "chosen", "after"), [(1.2, b"first", 1.2), (2.0, b"second", 1.25), (NEVER, b"second", 1.25)])
def test_what_has_come_waits_as_long_again_for_one_of_as_much_support(first, chosen, after):
    found, seconds, _, line = look({"first": first, "second": 0.5}, lead("first", 1), lead("second", 1))
    assert (found, seconds, line.failed) == (chosen, after, []), "nobody is blamed for what was not waited for"


@pytest.mark.parametrize(("first", "chosen"), [(9.0, b"first"), (NEVER, b"second")])
def test_what_has_come_waits_for_one_of_more_support_until_that_fails(first, chosen):
    found, seconds, missed, _ = look({"first": first, "second": 0.5}, lead("first", 3), lead("second", 1))
    assert (found, seconds) == (chosen, first)
    assert missed == ([b"first"] if first == NEVER else [])


def test_one_of_more_support_that_comes_after_it_since_it_was_missed_before_is_not_waited_for():
    assert look({"first": 0.5, "again": NEVER}, lead("first", 1), lead("again", 5))[:2] == (b"first", 0.5)


def test_of_the_first_three_models_are_fetched_and_of_the_others_one():
    *_, line = look({"first": 0.5, "second": 0.5}, lead("first", 1, count=9), lead("second", 1, count=9))
    assert sorted(line.asked) == ["first"] * 3 + ["second"]


def test_only_so_many_lineages_are_looked_for_at_once_and_none_of_them_more_than_once():
    leads = [lead(str(number), 1) for number in range(LANES + 3)]
    found, seconds, missed, line = look(dict.fromkeys(map(str, range(LANES + 3)), NEVER), *leads)
    assert (found, seconds, len(missed), len(line.asked)) == (None, NEVER, LANES, LANES)


def test_a_lineage_that_is_heard_meanwhile_is_looked_for_too_where_there_is_room():
    line = Line({"fake": NEVER, "late": 0.5})

    async def main() -> tuple[Any, ...]:
        search, found = LineageSearch(line, RoundRecord(1, 0.0), trio.current_time), []

        async def run() -> None:
            found.append(await search.run([lead("fake", 1)]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio.sleep(1)
            search.add([lead("fake", 1), lead("late", 1)])
        return found[0].lineage, trio.current_time()

    began = run_in_virtual_time(_now)
    assert run_in_virtual_time(main) == (b"late", pytest.approx(began + 2.25, abs=0.01))


async def _now() -> float:
    return trio.current_time()


def test_without_leads_nothing_is_found():
    assert look({})[0] is None


@pytest.mark.parametrize(("fakes", "within"), [(0, 0.5), (3, 1.6), (6, 2.6), (9, 3.6)])
def test_models_that_never_come_are_not_waited_for_where_those_of_others_do(fakes, within):
    seconds = {**{f"fake {number}": NEVER for number in range(fakes)}, **{f"honest {number}": 0.5 for number in range(3)}}
    found, after, missed, line = look(seconds, crowd(list(seconds)))
    assert (found, missed, line.failed) == (b"crowd", [], [])
    assert after <= within


@pytest.mark.parametrize(("others", "after"), [({}, 0.5), ({"slow": 0.9}, 0.9), ({"drips": 9.0}, 1.25), ({"fake": NEVER}, 1.0)])
def test_once_one_model_has_come_others_are_waited_for_a_little(others, after):
    """Twice as long as the first took, or a tenth of what a fetch has, whatever they bring."""
    found, seconds, _, line = look({"honest": 0.5, **others}, crowd(["honest", *others]))
    assert (found, line.failed) == (b"crowd", [])
    assert seconds == pytest.approx(after, abs=0.02)


def test_models_of_one_lineage_that_never_come_are_looked_for_only_so_long():
    names = [str(number) for number in range(100)]
    found, seconds, missed, line = look(dict.fromkeys(names, NEVER), crowd(names))
    assert (found, missed) == (None, [b"crowd"])
    assert seconds <= 1.5 * NEVER
    assert len(line.asked) < 25


def test_a_lineage_of_more_support_of_which_nothing_moves_is_waited_for_only_so_long():
    names = [str(number) for number in range(100)]
    found, seconds, _, _ = look({**dict.fromkeys(names, NEVER), "second": 0.5}, crowd(names), lead("second", 1))
    assert (found, round(seconds, 1)) == (b"second", NEVER)


def test_a_search_to_which_lineages_are_added_for_ever_has_an_end():
    async def main() -> float:
        search, ended = (
            LineageSearch(Line({str(number): NEVER for number in range(1000)}), RoundRecord(1, 0.0), trio.current_time),
            trio.Event(),
        )

        async def run() -> None:
            assert await search.run([lead("0", 1)]) is None
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for number in range(1, 1000):
                await trio.sleep(1)
                search.add([lead(str(number), 1)])
                if ended.is_set():
                    break
        assert len(search.lineages) == MOST_LANES
        return trio.current_time()

    assert run_in_virtual_time(main) < run_in_virtual_time(_now) + 100


def look_again(seconds: Mapping[str, float], doubted: Sequence[str]) -> tuple[list[str], float, Line]:
    """Whose models were found, and when, where three are doubted if one of these is among them."""
    line = Line(seconds)

    async def unsure(lineage: bytes, obtained: Sequence[Obtained]) -> bool:
        assert (lineage, len(obtained)) == (b"crowd", 3)
        return any(item.entry.peer in doubted for item in obtained)

    async def main() -> tuple[list[str], float, Line]:
        began, search = trio.current_time(), LineageSearch(line, RoundRecord(1, 0.0), trio.current_time, unsure=unsure)
        found = await search.run([crowd(list(seconds))])
        assert found is not None
        return [item.entry.peer for item in found.obtained], round(trio.current_time() - began, 2), line

    return run_in_virtual_time(main)


def test_where_three_are_in_doubt_two_more_are_fetched_and_else_none():
    names = [str(number) for number in range(20)]
    found, seconds, line = look_again(dict.fromkeys(names, 0.5), doubted=["1"])
    assert (found, seconds, line.failed) == (names[:5], 1.0, [])
    assert len(line.asked) == 6, "as many at once as before"
    assert look_again(dict.fromkeys(names, 0.5), doubted=["7"])[:2] == (names[:3], 0.5)


def test_five_come_in_whatever_order():
    for order in permutations((0.1, 0.2, 0.3, 0.4, 0.5)):
        found, seconds, _ = look_again({str(number): after for number, after in enumerate(order)}, doubted=["0", "1", "2", "3", "4"])
        assert found == ["0", "1", "2", "3", "4"]
        assert seconds <= 1.0


def test_where_there_are_no_more_than_four_the_fourth_is_taken():
    assert look_again(dict.fromkeys("abcd", 0.5), doubted=["a"])[:2] == (["a", "b", "c", "d"], 1.0)
    assert look_again(dict.fromkeys("abc", 0.5), doubted=["a"])[:2] == (["a", "b", "c"], 0.5)


@pytest.mark.parametrize("others", [NEVER, 9.0], ids=["silent", "dripping"])
@pytest.mark.parametrize("count", [1, 2, 20])
def test_two_more_that_are_silent_or_drip_hold_a_doubting_newcomer_up_for_little(others, count):
    """They are begun within half of what a fetch has, as the first three are, and each is waited for as those are."""
    seconds = {**{f"honest {number}": 0.5 for number in range(3)}, **{f"fake {number}": others for number in range(count)}}
    found, after, line = look_again(seconds, doubted=["honest 0"])
    assert len(found) == 3
    assert after <= 0.5 + (0.5 + 0.125) * NEVER + 0.02
    assert (after <= 0.5 + 0.125 * NEVER + 0.02) or count == 20
    assert line.failed == []


def test_behind_two_more_that_are_silent_those_that_come_are_found():
    seconds = {**dict.fromkeys("abc", 0.5), **dict.fromkeys("defg", NEVER), **dict.fromkeys("hijk", 0.5)}
    found, after, line = look_again(seconds, doubted=["a"])
    assert (found, line.failed) == (["a", "b", "c", "h", "i"], [])
    assert after <= 3.6


@pytest.mark.parametrize("others", [0.9, 2.0, 4.0, 0.55 * NEVER])
@pytest.mark.parametrize("fast", [1, 2])
def test_of_liars_that_are_much_faster_than_all_others_none_is_adopted_alone(others, fast):
    liars = [f"liar {number}" for number in range(fast)]
    found, after, _ = look_again({**dict.fromkeys(liars, 0.1), **{str(number): others for number in range(18)}}, doubted=liars)
    assert len(found) == 5
    assert sum(name.startswith("liar") for name in found) == fast
    assert after <= 2 * others + 1.1
