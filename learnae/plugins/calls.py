"""Turns what plugins raise into errors that name the plugin and its task. Only this module decides who must act.

A plugin's own exception may lie about its class, compare itself to others, or raise when it is asked for its words. So only Python's own
knowledge of it is used (`is_a`, `described`), never its attributes.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import learnae
from learnae.errors import ConfigError, EntryError, LearnaeError, PluginError, UnavailableError, UpdateRejectedError

GRAVEST_FIRST = (PluginError, ConfigError, UpdateRejectedError, UnavailableError)
MOST_TOLD = 3  # of many outages that a group holds
_EXCEPTIONS: Any = BaseExceptionGroup.__dict__["exceptions"]  # what a group holds, whatever a class derived from it says


@contextmanager
def naming(plugin: str, action: str, ours: tuple[type[LearnaeError], ...] = (LearnaeError,)) -> Iterator[None]:
    """Turns what a strategy raises, also SystemExit, into a PluginError. Our own errors, cancellation and interrupts pass as they are.

    `action` completes "failed while ...", such as "merging". `blame` says what `ours` means, and what an exception group counts as.
    """
    try:
        yield
    except BaseException as error:
        if (blamed := blame(plugin, action, error, ours)) is None:
            raise
        raise blamed from blamed.__cause__


def blame(
    plugin: str,
    action: str,
    error: BaseException | None,
    ours: tuple[type[LearnaeError], ...] = (LearnaeError,),
    *,
    interruptible: bool = True,
) -> LearnaeError | None:
    """The error to raise in place of this one, or None if it passes as it is.

    An `interruptible` process gets the user's Ctrl-C as a KeyboardInterrupt. In any other process a plugin has raised it by itself.

    `ours` are those of our errors that this call may raise. Any other error is a mistake of the plugin. A group, however deep, counts as
    its gravest error: a mistake before one of `ours`. A cancellation in a group is dropped, because it comes again at the next checkpoint.
    """
    if error is None:
        return None
    try:
        return _blame(plugin, action, error, ours, interruptible=interruptible)
    except BaseException:  # where an exception finds a way to raise even here: a mistake without words
        return PluginError(plugin, action, _class_name(error))


def _blame(
    plugin: str, action: str, error: BaseException, ours: tuple[type[LearnaeError], ...], *, interruptible: bool
) -> LearnaeError | None:
    leaves = [leaf for leaf in _leaves(error) if not _is_cancellation(leaf)]
    if not leaves or (interruptible and any(map(_interrupts, leaves))):
        return None
    for leaf in leaves:
        if not is_a(leaf, PluginError, *ours) or not _can_be_told(leaf):
            blamed = PluginError(plugin, action, described(leaf))
            blamed.__cause__ = leaf
            return blamed
    return None if leaves[0] is error else _gravest([leaf for leaf in leaves if isinstance(leaf, LearnaeError)])


def is_a(error: object, *kinds: type[BaseException]) -> bool:
    """As isinstance, without asking for `__class__`, which a class may answer as it likes."""
    return any(issubclass(type(error), kind) for kind in kinds)


def _class_name(error: BaseException) -> str:
    """Also where a metaclass has another answer."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def _can_be_told(error: BaseException) -> bool:
    """Whether one of our errors says what the core will ask of it: a plugin may have derived its own."""
    try:
        return isinstance(str(error), str) and (not is_a(error, UnavailableError) or isinstance(getattr(error, "missing", None), tuple))
    except BaseException:
        return False


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raises the error that a group stands for, as the core sees it. For tests of strategies."""
    try:
        yield
    except BaseExceptionGroup as group:
        if (told := gravest_of(group)) is group:
            raise
        raise told from told.__cause__


def gravest_of(error: BaseException) -> BaseException:
    """The error that a group stands for, however deep: one that is none of ours, or else the gravest.

    Another error is returned as it is.
    """
    errors = [leaf for leaf in _leaves(error) if not _is_cancellation(leaf)]
    if not errors or (len(errors) == 1 and errors[0] is error):
        return error
    strange = next((leaf for leaf in errors if not is_a(leaf, LearnaeError) or not _can_be_told(leaf)), None)
    return strange if strange is not None else _gravest([leaf for leaf in errors if isinstance(leaf, LearnaeError)])


def described(error: BaseException) -> str:
    """An exception in one line: its type and its words. A group is described by its first exception."""
    error = next(_leaves(error), error)
    name = _class_name(error)
    try:
        words = "".join([str(error)])  # plain text, where it gives a kind of its own
    except BaseException:  # an exception of a plugin's own, that cannot even be told: whatever it raises, it is not what we ask for
        words = ""
    return f"{name}: {words}" if words else name


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """However deep a plugin has put them: without recursion."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if is_a(one, BaseExceptionGroup):
            waiting.extend(reversed(_EXCEPTIONS.__get__(one)))
        else:
            yield one


def _is_cancellation(error: BaseException) -> bool:
    """Without importing trio: whoever lists plugins needs none of it, and where it was never imported nothing was cancelled.

    GeneratorExit is none: no generator of ours is closed in the middle of a call, so a plugin has raised it.
    """
    cancelled = getattr(sys.modules.get("trio"), "Cancelled", None)
    return cancelled is not None and is_a(error, cancelled)


def _interrupts(error: BaseException) -> bool:
    """Whether a user has typed Ctrl-C: that reaches the main thread alone."""
    return is_a(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _gravest(errors: Sequence[LearnaeError]) -> LearnaeError:
    """The error that counts. Several outages become one, with the words and the missing blocks of all."""
    told = min(errors, key=lambda error: next((rank for rank, kind in enumerate(GRAVEST_FIRST) if is_a(error, kind)), 0))
    outages = [error for error in errors if isinstance(error, UnavailableError)]
    if not is_a(told, UnavailableError) or len(outages) == 1:
        return told
    said = list(dict.fromkeys(map(str, outages)))[:MOST_TOLD]
    return UnavailableError("; ".join(said), tuple(dict.fromkeys(cid for outage in outages for cid in outage.missing)))


OURS = tuple(str(Path(str(package.__file__)).parent) + os.sep for package in (learnae, importlib))  # and what imports for us
FIRST, LAST = 4, 4  # calls that are shown


@contextmanager
def theirs(function: str, action: str) -> Iterator[None]:
    """Turns what a function of the user raises, also to exit, into an EntryError; our own errors and interrupts pass as they are."""
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
