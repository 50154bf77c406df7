"""Whether a call comes in the middle of another one of the same thread: from a signal's handler, or from the collector."""

from __future__ import annotations

import sys
import threading


def held(lock: threading.RLock) -> bool:
    """By the thread that asks."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # a Condition asks its lock the same


def within(lock: threading.RLock, file: str) -> bool:
    """Whether a function of that file, further out than the one that asks, is at work under the lock.

    The stack has the last word: an interrupt just before a `with` lets go of its lock leaves it held, and nothing is going on.
    """
    frame = sys._getframe(1).f_back if held(lock) else None
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return frame is not None
