"""Signals' handlers run between any two instructions: they may raise, and they may call the swarm in the middle of another call."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from learnae.errors import LearnaeError


def to_the_end(work: Callable[[], None]) -> None:
    """A signal's handler may raise anything anywhere: then what was begun is finished first. What fails for another reason fails again."""
    try:
        work()
    except LearnaeError:
        raise
    except BaseException:
        work()
        raise


def refuse_in_the_middle(call: str, in_the_middle: bool) -> None:
    if in_the_middle:
        remedy = "let the handler only note that the signal came, and act after step()"
        raise RuntimeError(f"{call} was called by a signal's handler in the middle of another call: {remedy}")


def held(lock: threading.RLock) -> bool:
    """Whether the thread that asks is at work under the lock: its call comes from a signal's handler, or from the collector."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # a Condition asks its lock the same


def within(lock: threading.RLock, file: str) -> bool:
    """Whether a function of that file, further out than the one that asks, is at work under the lock.

    The stack has the last word: an interrupt just before a `with` lets go of its lock leaves it held, and nothing is going on.
    """
    frame = sys._getframe(1).f_back if held(lock) else None
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return frame is not None
