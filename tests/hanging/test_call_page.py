"""The page of calls: what one side shows is what the other sees, whatever else lies in the memory."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from learnae.link.memory import NO_CALL, PAGE_BYTES, Call, CallPage, shown


def two_sides(memory: bytearray | None = None) -> tuple[CallPage, CallPage]:
    memory = bytearray(PAGE_BYTES) if memory is None else memory
    return CallPage(memory), CallPage(memory)


def test_a_call_is_seen_from_its_beginning_to_its_end():
    node, trainer = two_sides()
    row, number = node.enter("merge mine", "my-plugin", "merging", 0.0, NO_CALL)
    assert trainer.read().calls == {number: Call(number, 0.0, NO_CALL, "merge mine", "my-plugin", "merging")}
    node.leave(row)
    assert trainer.read().calls == {}


def test_beats_rounds_and_steps_are_counted():
    node, trainer = two_sides()
    for _ in range(3):
        node.beat()
    node.begin_round()
    node.step(7)
    seen = trainer.read()
    assert (seen.beats, trainer.rounds, seen.stepping) == (3, 1, 7)
    trainer.clear()
    assert (trainer.read().beats, trainer.rounds) == (0, 0)


def test_more_calls_than_there_is_room_for_are_not_shown_and_break_nothing():
    node, trainer = two_sides()
    rows = [node.enter("storage s", "p", "getting", 1.0, NO_CALL)[0] for _ in range(100)]
    assert len(trainer.read().calls) == 31
    for row in rows:
        node.leave(row)
    assert trainer.read().calls == {}
    node.enter("storage s", "p", "getting", 1.0, NO_CALL)
    assert len(trainer.read().calls) == 1


def test_texts_that_are_too_long_are_cut_and_never_in_the_middle_of_a_letter():
    node, trainer = two_sides()
    node.enter("merge " + "ä" * 100, "p" * 100, "merging", 0.0, NO_CALL)
    [call] = trainer.read().calls.values()
    assert (call.label, call.plugin) == ("merge " + "ä" * 37, "p" * 56)
    assert call.label == shown("merge " + "ä" * 100)


@given(st.binary(min_size=1, max_size=300))
def test_garbage_is_no_call(garbage):
    assert CallPage(bytearray((garbage * PAGE_BYTES)[:PAGE_BYTES])).read().calls == {}


@given(st.integers(0, 211), st.integers(1, 255))
def test_a_torn_row_is_no_call(place, change):
    memory = bytearray(PAGE_BYTES)
    node, trainer = two_sides(memory)
    row, _ = node.enter("merge mine", "my-plugin", "merging", 0.0, NO_CALL)
    memory[row + place] ^= change
    assert trainer.read().calls == {}


def test_threads_that_come_and_go_never_share_a_row():
    node, trainer = two_sides()
    wrong: list[Call] = []

    def work(name: str) -> None:
        for _ in range(500):
            row, number = node.enter(name, name, name, 0.0, NO_CALL)
            seen = trainer.read().calls.get(number)
            if seen != Call(number, 0.0, NO_CALL, name, name, name):
                wrong.append(seen)
            node.leave(row)

    threads = [threading.Thread(target=work, args=(f"thread {index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert trainer.read().calls == {}
