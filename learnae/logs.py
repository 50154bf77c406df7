"""How the programs of Learnae log (the library itself only logs): to stderr, readable on a terminal, JSON elsewhere.

A line that cannot be written is lost, and ends nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

CLEARED = "\r\x1b[K"  # on a terminal: a line of progress may stand there, and is drawn again
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_logger(level: str = "", style: str = "") -> FilteringBoundLogger:
    """A logger of its own, nothing global.

    `level` is a name of LEVELS; without one the variable LEARNAE_LOG names it, else it is "warning". `style` is "pretty", "json" or
    empty: pretty where stderr is a terminal.
    """
    level = level or os.environ.get("LEARNAE_LOG", "warning")
    pretty = style == "pretty" or (not style and _on_terminal())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
        *([] if pretty else [structlog.processors.dict_tracebacks]),
        _Safely(structlog.dev.ConsoleRenderer(pad_event_to=22) if pretty else structlog.processors.JSONRenderer(default=str)),
    ]
    wrapper = structlog.make_filtering_bound_logger(LEVELS.get(level, logging.WARNING))
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(CLEARED if pretty and _on_terminal() else ""), processors=processors, wrapper_class=wrapper
    )
    return logger


def say(text: str) -> None:
    """A line on stderr, if it can be written at all: closed, a full disk, a reader that has left are no reason to end."""
    stream = sys.stderr
    with contextlib.suppress(Exception):  # a notebook's stream may raise anything
        if stream is sys.__stderr__ and stream is not None:
            _write(stream.fileno(), f"{text}\n".encode(stream.encoding, "backslashreplace"))
        elif stream is not None:
            stream.write(f"{text}\n")
            stream.flush()


def _write(fd: int, line: bytes) -> None:
    """Past Python's buffer: what stays in there is tried again when the process ends, and spoils its exit code."""
    while line:
        line = line[os.write(fd, line) :]


def _on_terminal() -> bool:
    with contextlib.suppress(Exception):
        return sys.stderr.isatty()
    return False


class _Lines:
    """What structlog calls with each line."""

    def __init__(self, start: str) -> None:
        self._start = start

    def msg(self, line: str) -> None:
        say(self._start + line)

    log = debug = info = warn = warning = error = critical = fatal = exception = failure = msg


class _Safely:
    """A value that cannot be shown costs its line, no more."""

    def __init__(self, render: Any) -> None:
        self._render = render

    def __call__(self, logger: Any, name: str, event: Any) -> Any:
        try:
            return self._render(logger, name, event)
        except Exception as error:
            return f"{event.get('event')} (cannot be shown in full: {type(error).__name__})"
