"""How the programs of Learnae log (the library itself only logs): to stderr, readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def make_logger(level: str = "", style: str = "") -> FilteringBoundLogger:
    """A logger of its own, nothing global.

    `level` is a name of LEVELS; without one the variable LEARNAE_LOG names it, else it is "warning". `style` is "pretty", "json" or
    empty: pretty where stderr is a terminal.
    """
    level = level or os.environ.get("LEARNAE_LOG", "warning")
    pretty = style == "pretty" or (not style and sys.stderr.isatty())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
        *([] if pretty else [structlog.processors.dict_tracebacks]),
        structlog.dev.ConsoleRenderer(pad_event_to=22) if pretty else structlog.processors.JSONRenderer(default=str),
    ]
    wrapper = structlog.make_filtering_bound_logger(LEVELS.get(level, logging.WARNING))
    logger: FilteringBoundLogger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=processors, wrapper_class=wrapper)
    return logger
