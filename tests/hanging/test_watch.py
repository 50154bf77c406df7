"""Who hung? A fake clock, and a page that the test writes as a node would."""

from __future__ import annotations

import pytest

from learnae.link.memory import NO_CALL, PAGE_BYTES, CallPage
from learnae.trainer.watchdog import START_SECONDS, HangDetector

HANG_SECONDS = 30.0
PAUSE = 3.0


class Node:
    """The page of a node under watch; `pass_time` lets looks follow each other, and the loop beat or not."""

    def __init__(self) -> None:
        self.now, self.page = 1000.0, CallPage(bytearray(PAGE_BYTES))
        self.watch = HangDetector(self.page, HANG_SECONDS, lambda: self.now)
        self.watch.begin()
        self.stopped = False
        self.pass_time(PAUSE)

    def enter(self, label, within=0.0, outer=NO_CALL):
        return self.page.enter(label, "plugin", f"calling {label}", within, outer)

    def pass_time(self, seconds, *, beats=True, between=lambda: None):
        """Looks until one finds a hang: (seconds from now, label), or None."""
        began = self.now
        while self.now < began + seconds:
            self.now += PAUSE
            if beats:
                self.page.beat()
            between()
            if hang := self.watch.look(lambda: self.stopped):
                return self.now - began, hang.call.label if hang.call else None
        return None


@pytest.fixture
def node():
    return Node()


def test_a_node_whose_loop_runs_and_that_calls_nobody_is_left_alone(node):
    assert node.pass_time(10_000) is None


def test_a_call_in_a_thread_that_does_not_return_is_found_after_hang_seconds(node):
    node.enter("merge slow")
    after, who = node.pass_time(1000)
    assert (who, HANG_SECONDS <= after <= HANG_SECONDS + 2 * PAUSE) == ("merge slow", True)


def test_calls_that_come_and_go_are_no_hang_however_many(node):
    rows = [node.enter("codec c")[0]]

    def another():
        node.page.leave(rows.pop())
        rows.append(node.enter("codec c")[0])

    assert node.pass_time(1000, between=another) is None


def test_one_that_may_wait_is_late_only_after_its_own_time_limit_and_hang_seconds(node):
    node.enter("storage s", within=60.0)
    after, who = node.pass_time(1000)
    assert (who, 90 <= after <= 96) == ("storage s", True)


def test_one_that_listens_for_ever_is_never_late(node):
    node.enter("announcer a", within=float("inf"))
    assert node.pass_time(100_000) is None


def test_the_time_of_a_call_starts_anew_when_it_is_given_another_limit(node):
    row, number = node.enter("storage s", within=float("inf"))
    assert node.pass_time(10_000) is None
    [call] = node.page.read().calls.values()
    node.page.show(row, type(call)(number, 2.0, NO_CALL, call.label, call.plugin, call.action))
    after, who = node.pass_time(1000)
    assert (who, 32 <= after <= 39) == ("storage s", True)


def test_a_call_that_blocks_the_loop_is_told_from_those_that_wait(node):
    node.enter("announcer a", within=float("inf"))
    _, selector = node.enter("selector s")
    node.enter("storage s", within=10.0)
    node.page.step(selector)
    after, who = node.pass_time(1000, beats=False)
    assert (who, HANG_SECONDS <= after <= HANG_SECONDS + 2 * PAUSE) == ("selector s", True)


def test_a_loop_that_stands_still_in_our_own_code_is_nobodys_fault(node):
    node.enter("announcer a", within=float("inf"))
    assert node.pass_time(1000, beats=False) == (30.0, None)


def test_a_thread_that_keeps_the_interpreter_to_itself_is_found(node):
    node.enter("announcer a", within=float("inf"))
    _, merge = node.enter("merge m")
    node.enter("codec c", outer=merge)
    assert node.pass_time(1000, beats=False) == (30.0, "codec c")


def test_a_process_that_somebody_stopped_is_nobodys_fault_even_in_the_middle_of_a_call(node):
    node.enter("merge m")
    node.stopped = True
    assert node.pass_time(1000, beats=False) == (30.0, None)


def test_a_call_that_was_stopped_with_its_process_for_a_while_is_not_late_when_both_go_on(node):
    node.enter("merge m")
    assert node.pass_time(9) is None
    assert node.pass_time(27, beats=False) is None
    assert node.pass_time(12) is None


def test_a_machine_that_slept_is_no_hang(node):
    node.enter("merge m")
    node.now += 100_000
    assert node.watch.look(lambda: False) is None
    assert node.pass_time(18) is None
    node.now += 100_000
    assert node.watch.look(lambda: False) is None


def test_looks_that_fall_between_two_beats_do_not_stop_the_time_of_a_call(node):
    node.enter("merge m")
    flip = iter(range(10**6))

    def sometimes():
        if next(flip) % 2:
            node.page.beat()

    after, who = node.pass_time(1000, beats=False, between=sometimes)
    assert (who, after <= HANG_SECONDS + 2 * PAUSE) == ("merge m", True)


def test_who_hangs_inside_a_call_of_another_is_blamed_in_its_place(node):
    _, merge = node.enter("merge m")
    assert node.pass_time(15) is None
    node.enter("codec c", outer=merge)
    after, who = node.pass_time(1000)
    assert (who, after >= HANG_SECONDS) == ("codec c", True)


def test_one_that_hangs_inside_at_the_last_moment_is_still_told_from_the_outer_one(node):
    _, merge = node.enter("merge m")
    assert node.pass_time(30) is None
    node.enter("codec c", outer=merge)
    assert node.pass_time(1000)[1] == "codec c"


def test_one_that_calls_others_without_end_is_blamed_itself(node):
    _, merge = node.enter("merge m")
    rows = [node.enter("codec c", outer=merge)[0]]

    def another():
        node.page.leave(rows.pop())
        rows.append(node.enter("codec c", outer=merge)[0])

    after, who = node.pass_time(1000, between=another)
    assert (who, after <= HANG_SECONDS + 3 * PAUSE) == ("merge m", True)


def test_a_node_that_starts_is_given_more_time():
    node = Node.__new__(Node)
    node.now, node.page, node.stopped = 0.0, CallPage(bytearray(PAGE_BYTES)), False
    node.watch = HangDetector(node.page, HANG_SECONDS, lambda: node.now)
    node.watch.begin()
    assert node.pass_time(10_000, beats=False) == (START_SECONDS, None)
