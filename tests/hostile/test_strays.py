"""What other packages would print by themselves goes through our log: it does nothing to a terminal, and there is never much of it."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Any

import pytest

from learnae.logs import STRAY_LINES, libraries_logged, make_logger, strays_logged

EVIL = '\x1b[2J\x1b]0;mine\x07\r\n{"event": "swarm.key_leaked", "level": "error"}'


pytestmark = pytest.mark.filterwarnings("always")


def nobody_listens() -> None:
    """As in a process of ours: pytest's own handlers go, which it takes away by itself."""
    while logging.root.handlers:
        logging.root.removeHandler(logging.root.handlers[0])


class Evil:
    def __repr__(self) -> str:
        return EVIL

    def __del__(self) -> None:
        raise RuntimeError(EVIL)


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no")


def by_a_logger() -> None:
    logging.getLogger("other.package").error("said %s", EVIL)


def by_a_logger_that_is_cut_off() -> None:
    logger = logging.Logger("alone")  # noqa: LOG001  # as libp2p's, which passes nothing on
    logger.error(EVIL)


def by_the_root() -> None:
    logging.warning(EVIL)  # noqa: LOG015  # libp2p does so


def by_a_thread() -> None:
    def fail() -> None:
        raise RuntimeError(EVIL)

    thread = threading.Thread(target=fail, name=EVIL)
    thread.start()
    thread.join()


def by_what_nobody_sees() -> None:
    Evil()


def by_a_warning() -> None:
    warnings.warn(EVIL, UserWarning, stacklevel=1)


WAYS = [by_a_logger, by_a_logger_that_is_cut_off, by_the_root, by_a_thread, by_what_nobody_sees, by_a_warning]


@pytest.mark.parametrize("style", ["pretty", "json"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_printed_past_the_log_comes_through_it(way: Any, style: str, capfd: pytest.CaptureFixture[str]) -> None:
    nobody_listens()
    with strays_logged(make_logger("warning", style)):
        way()
    shown = capfd.readouterr().err
    assert "swarm.key_leaked" in shown, "it is told"
    assert not shown.startswith("{") or style == "json"
    assert "\x1b[2J" not in shown
    assert "\x07" not in shown
    assert not any(line.startswith('{"event": "swarm.key_leaked') for line in shown.splitlines())


def test_of_very_many_lines_few_come_through(capfd: pytest.CaptureFixture[str]) -> None:
    nobody_listens()
    with strays_logged(make_logger("warning", "json")):
        for _ in range(10_000):
            by_a_logger()
        by_a_warning()
    assert len(capfd.readouterr().err.splitlines()) <= STRAY_LINES


def test_what_cannot_be_shown_raises_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    nobody_listens()
    with strays_logged(make_logger("warning", "json")):
        logging.getLogger("other.package").error("said %s", Unshowable())
        logging.getLogger("other.package").error("said %s %s", 1)
    assert "Traceback" not in capfd.readouterr().err


def test_all_is_as_it_was_afterwards() -> None:
    def hooks() -> tuple[Any, ...]:
        return logging.lastResort, threading.excepthook, sys.unraisablehook, warnings.showwarning, list(logging.root.handlers)

    before = hooks()
    with strays_logged(make_logger()):
        assert hooks() != before
    assert hooks() == before


def test_a_library_of_which_a_plugin_knows_logs_at_the_level_debug_and_once(capfd: pytest.CaptureFixture[str]) -> None:
    nobody_listens()
    library = logging.getLogger("other")
    library.propagate = False
    try:
        with strays_logged(make_logger("warning", "json")), libraries_logged(make_logger("debug", "json"), "other"):
            by_a_logger()
        shown = capfd.readouterr().err.splitlines()
    finally:
        library.propagate = True
    assert len(shown) == 1
    assert '"level": "debug"' in shown[0] or '"level":"debug"' in shown[0]
