"""How the programs of Learnae log (the library itself only logs): to stderr, readable on a terminal, JSON elsewhere.

A line that cannot be written is lost, and ends nothing. No text in it, of whomever, does anything to a terminal or passes for another line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import attrs
import structlog

from learnae.outlets import put
from learnae.texts import as_short_json, harmless, harmless_lines

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

CLEARED = "\r\x1b[K"  # on a terminal: a line of progress may stand there, and is drawn again
VALUE_CHARACTERS = 2_000
JSON_CHARACTERS = 100_000
STRAY_LINES = 16  # at once, of what others print
SECONDS_FOR_A_LINE = 60.0
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


@contextlib.contextmanager
def libraries_logged(log: FilteringBoundLogger, *names: str) -> Iterator[None]:
    """While this is open, loggers of other packages with these names log here, at the level debug, and print nothing by themselves.

    What they say may be a stranger's text. Of very many lines some are let through, and the rest counted.
    """
    handler = _Strays(log.debug)
    loggers = [logging.getLogger(name) for name in names]
    if not logging.root.handlers:  # else it makes one of its own that prints, at the first line that comes to it
        loggers.append(logging.root)
    for one in loggers:
        one.addHandler(handler)
    try:
        yield
    finally:
        for one in loggers:
            one.removeHandler(handler)


@contextlib.contextmanager
def strays_logged(log: FilteringBoundLogger) -> Iterator[None]:
    """While this is open, nothing prints past our log: neither warnings, nor other packages, nor what fails where nobody looks.

    For a process of ours: it changes what Python does with them everywhere.
    """
    handler = _Strays(log.warning)
    kept = logging.lastResort, threading.excepthook, sys.unraisablehook, warnings.showwarning
    logging.lastResort = handler
    threading.excepthook = handler.thread_failed
    sys.unraisablehook = handler.failed_unseen
    warnings.showwarning = handler.warned
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
        logging.lastResort, threading.excepthook, sys.unraisablehook, warnings.showwarning = kept


class _Strays(logging.Handler):
    """Tells what others would print. Raises nothing."""

    def __init__(self, tell: Callable[..., Any], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._tell, self._room = tell, _Room(clock)

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "was_told"):  # by the handler of a part of this package, which comes first
            return
        record.was_told = True
        self._say("library.said", lambda: {"library": record.name, "level_there": record.levelname, "text": record.getMessage()})

    def thread_failed(self, failed: threading.ExceptHookArgs) -> None:
        name = failed.thread.name if failed.thread is not None else ""
        self._say("thread.failed", lambda: {"thread": name, **_in_one_line(failed.exc_type, failed.exc_value, failed.exc_traceback)})

    def failed_unseen(self, failed: sys.UnraisableHookArgs) -> None:
        self._say("code.failed_unseen", lambda: _in_one_line(failed.exc_type, failed.exc_value, failed.exc_traceback))

    def warned(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
    ) -> None:
        self._say("library.warned", lambda: {"kind": category.__name__, "text": str(message), "where": f"{filename}:{lineno}"})

    def _say(self, event: str, told: Callable[[], dict[str, Any]]) -> None:
        with contextlib.suppress(Exception):  # whatever a text or an exception raises when it is shown
            if self._room.take():
                unsaid, self._room.unsaid = self._room.unsaid, 0
                self._tell(event, **told(), **({"unsaid": unsaid} if unsaid else {}))


def _in_one_line(kind: type[BaseException], error: BaseException | None, went: TracebackType | None) -> dict[str, str]:
    """An exception and the last places that it came through."""
    places = traceback.extract_tb(went)[-4:]
    return {"error": f"{kind.__name__}: {error}", "where": ", ".join(f"{place.filename}:{place.lineno}" for place in places)}


@attrs.define
class _Room:
    """For some lines at once, and then for one a minute."""

    clock: Callable[[], float]
    unsaid: int = 0
    _left: float = STRAY_LINES
    _at: float | None = None

    def take(self) -> bool:
        now = self.clock()
        if self._at is not None:
            self._left = min(STRAY_LINES, self._left + (now - self._at) / SECONDS_FOR_A_LINE)
        self._at = now
        there = self._left >= 1
        self._left -= there
        self.unsaid += not there
        return there


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
            return _indented(str(value))
        return harmless(value if isinstance(value, str) else repr(value), VALUE_CHARACTERS)


def _json(_: Any, __: str, event: Any) -> str:
    return as_short_json(event, JSON_CHARACTERS)


def _told(stream: Any, exc_info: Any) -> None:
    stream.write(f"\n{_indented(''.join(traceback.format_exception(*exc_info)))}")


def _indented(text: str) -> str:
    """The lines of an exception's own text look like no line of ours."""
    return textwrap.indent(harmless_lines(text), "    ")
