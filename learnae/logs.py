"""How the programs of Learnae log (the library itself only logs): to stderr, readable on a terminal, JSON elsewhere.

A line that cannot be written is lost, and ends nothing. No text in it, of whomever, does anything to a terminal or passes for another line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import structlog

from learnae.outlets import put
from learnae.texts import as_short_json, harmless, harmless_lines

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

CLEARED = "\r\x1b[K"  # on a terminal: a line of progress may stand there, and is drawn again
VALUE_CHARACTERS = 2_000
JSON_CHARACTERS = 100_000
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
        _NeverRaising(_Pretty() if pretty else _json),
    ]
    wrapper = structlog.make_filtering_bound_logger(LEVELS.get(level, logging.WARNING))
    logger: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(CLEARED if pretty and _on_terminal() else ""), processors=processors, wrapper_class=wrapper
    )
    return logger


def _on_terminal() -> bool:
    with contextlib.suppress(Exception):
        return sys.stderr.isatty()
    return False


class _Lines:
    """What structlog calls with each line."""

    def __init__(self, start: str) -> None:
        self._start = start

    def msg(self, line: str) -> None:
        put(self._start + line)

    log = debug = info = warn = warning = error = critical = fatal = exception = failure = msg


class _NeverRaising:
    """A value that cannot be shown costs its line, no more."""

    def __init__(self, render: Any) -> None:
        self._render = render

    def __call__(self, logger: Any, name: str, event: Any) -> Any:
        try:
            return self._render(logger, name, event)
        except Exception as error:
            return harmless(f"{event.get('event')} (cannot be shown in full: {type(error).__name__})")


class _Pretty:
    """Every text is made harmless before the colours come in."""

    def __init__(self) -> None:
        self._render = structlog.dev.ConsoleRenderer(pad_event_to=22, exception_formatter=_told)

    def __call__(self, logger: Any, name: str, event: Any) -> Any:
        return self._render(logger, name, {harmless(str(key)): self._shown(key, value) for key, value in event.items()})

    @staticmethod
    def _shown(key: str, value: Any) -> Any:
        if key == "exc_info" or value is None or isinstance(value, bool | int | float):
            return value
        if key in ("exception", "stack"):
            return harmless_lines(str(value))
        return harmless(value if isinstance(value, str) else repr(value), VALUE_CHARACTERS)


def _json(_: Any, __: str, event: Any) -> str:
    return as_short_json(event, JSON_CHARACTERS)


def _told(stream: Any, exc_info: Any) -> None:
    stream.write(f"\n{harmless_lines(''.join(traceback.format_exception(*exc_info)))}")
