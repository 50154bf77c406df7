"""Ctrl-C between two steps."""

from __future__ import annotations

import os
import signal

import pytest

from learnae.cli.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


def test_what_was_there_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
