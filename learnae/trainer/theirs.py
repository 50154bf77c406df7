"""What the user's own functions raise is told as theirs, with the lines of their files."""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import learnae
from learnae.errors import EntryError, LearnaeError
from learnae.plugins.calls import described

OURS = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (learnae, importlib))  # and what imports for us
FIRST, LAST = 4, 4  # calls that are shown


@contextmanager
def theirs(function: str, action: str) -> Iterator[None]:
    """Turns what they raise, also to exit, into an EntryError; our own errors and interrupts pass as they are."""
    try:
        yield
    except LearnaeError:
        raise
    except (Exception, SystemExit) as error:
        raise EntryError(function, action, described(error), _lines(error)) from error


def _lines(error: BaseException) -> str:
    """The calls that led to it, from the first that is not ours."""
    calls = list(traceback.extract_tb(error.__traceback__))
    while calls and calls[0].filename.startswith((*OURS, "<frozen ")):
        calls.pop(0)
    if len(calls) > FIRST + LAST:
        calls = [*calls[:FIRST], *calls[-LAST:]]
    lines = traceback.format_list(calls)
    if isinstance(error, SyntaxError):
        lines += traceback.format_exception_only(error)[:-1]
    return "".join(lines).rstrip()
