"""Ctrl-C between two steps."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from learnae.cli.run import SIGNALS, Interrupt


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_lets_the_present_step_end(number: int) -> None:
    steps = []

    def train(interrupt: Interrupt) -> None:
        for batch in interrupt.between(lambda: [1, 2, 3])():
            if batch == 2:
                os.kill(os.getpid(), number)
            steps.append(batch)

    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        train(interrupt)
    assert steps == [1, 2]


def test_the_second_signal_ends_at_once() -> None:
    with Interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_before_the_first_step_a_signal_ends_what_runs_at_once() -> None:
    steps = []

    def make() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        steps.append("it went on")

    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.at_once():
        make()
    assert steps == []


def test_a_signal_that_came_while_it_had_to_wait_is_not_forgotten() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            pytest.fail("it began")


def test_an_interrupt_that_a_library_turned_into_another_error_is_still_one() -> None:
    def load() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.at_once():
        load()


def test_an_interrupt_that_a_library_swallowed_is_still_one() -> None:
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.at_once(), contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_error_without_a_signal_is_that_error() -> None:
    with Interrupt() as interrupt, pytest.raises(ZeroDivisionError), interrupt.at_once():
        raise ZeroDivisionError


def test_what_was_there_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_forked_child_has_the_handlers_that_were_there_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupt():
        child = os.fork()
        if child == 0:
            os._exit(0 if [signal.getsignal(number) for number in SIGNALS] == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert signal.getsignal(signal.SIGTERM) != before[1]


def test_a_signal_while_a_batch_is_waited_for_ends_the_wait() -> None:
    def batches() -> Iterator[int]:
        yield 1
        os.kill(os.getpid(), signal.SIGTERM)
        yield 2

    with Interrupt() as interrupt:
        found = interrupt.between(batches)()
        assert next(found) == 1
        with pytest.raises(KeyboardInterrupt):
            next(found)


def test_workers_that_heard_the_signal_too_and_are_gone_are_no_error() -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise RuntimeError("DataLoader worker exited unexpectedly")

    with Interrupt() as interrupt:
        found = interrupt.between(batches)()
        next(found)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            next(found)


def test_a_terminal_that_is_closed_may_say_so_twice() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.asked


def test_under_nohup_a_closed_terminal_is_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.asked
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
