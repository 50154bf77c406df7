"""Every failure of a plugin names the plugin and what it was asked to do; who must act is decided here, and nowhere else."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from learnae.errors import ConfigError, LearnaeError, PluginError, UnavailableError, UpdateRejectedError

GRAVEST_FIRST = (PluginError, ConfigError, UpdateRejectedError, UnavailableError)
MOST_TOLD = 3  # of many outages that a group holds


@contextmanager
def naming(plugin: str, action: str, ours: tuple[type[LearnaeError], ...] = (LearnaeError,)) -> Iterator[None]:
    """Turns what a strategy raises, also to exit, into a PluginError; our own errors, cancellation and interrupts pass as they are.

    `action` is read after "failed while", such as "merging". What passes as `ours`, and what a group counts as, `blame` tells.
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
    """What is raised in place of this error, or None where it passes as it is.

    A process that is `interruptible` gets the user's Ctrl-C as a KeyboardInterrupt; in any other one a plugin has made it up.

    Of a group, however deep, the gravest counts: a mistake of the plugin, then what one of `ours` says. `ours` are those of our errors
    that this call may raise; any other is a mistake too. What is cancelled beside an error is cancelled again at the next checkpoint.
    """
    leaves = [] if error is None else [leaf for leaf in _leaves(error) if not _is_cancellation(leaf)]
    if not leaves or (interruptible and any(map(_interrupts, leaves))):
        return None
    allowed = [leaf for leaf in leaves if isinstance(leaf, (PluginError, *ours))]
    if len(allowed) < len(leaves):
        mistake = next(leaf for leaf in leaves if leaf not in allowed)
        blamed = PluginError(plugin, action, described(mistake))
        blamed.__cause__ = mistake
        return blamed
    return None if allowed[0] is error else _gravest([leaf for leaf in allowed if isinstance(leaf, LearnaeError)])


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raises what a group stands for, as the core would take it; for tests of strategies."""
    try:
        yield
    except BaseExceptionGroup as group:
        if (told := gravest_of(group)) is group:
            raise
        raise told from told.__cause__


def gravest_of(error: BaseException) -> BaseException:
    """What a group stands for, however deep: what is none of our errors, else the gravest of them. Without a group the error itself."""
    errors = [leaf for leaf in _leaves(error) if not _is_cancellation(leaf)]
    ours = [leaf for leaf in errors if isinstance(leaf, LearnaeError)]
    if not errors or errors == [error]:
        return error
    return _gravest(ours) if len(ours) == len(errors) else next(leaf for leaf in errors if leaf not in ours)


def described(error: BaseException) -> str:
    """An exception in one line: its type and its words; of a group, what the first in it says."""
    error = next(_leaves(error))
    try:
        words = str(error)
    except BaseException:  # an exception of a plugin's own, that cannot even be told: whatever it raises, it is not what we ask for
        words = ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """However deep a plugin has put them: without recursion."""
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(one.exceptions))
        else:
            yield one


def _is_cancellation(error: BaseException) -> bool:
    """Without importing trio: whoever lists plugins needs none of it, and where it was never imported nothing was cancelled.

    GeneratorExit is none: no generator of ours is closed in the middle of a call, so a plugin has raised it.
    """
    return isinstance(error, getattr(sys.modules.get("trio"), "Cancelled", ()))


def _interrupts(error: BaseException) -> bool:
    """Whether a user has typed Ctrl-C: that reaches the main thread alone."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def _gravest(errors: Sequence[LearnaeError]) -> LearnaeError:
    """The one that counts; of several outages one that tells of all, and of all that is missing."""
    told = min(errors, key=lambda error: next((rank for rank, kind in enumerate(GRAVEST_FIRST) if isinstance(error, kind)), 0))
    outages = [error for error in errors if isinstance(error, UnavailableError)]
    if not isinstance(told, UnavailableError) or len(outages) == 1:
        return told
    said = list(dict.fromkeys(map(str, outages)))[:MOST_TOLD]
    return UnavailableError("; ".join(said), tuple(dict.fromkeys(cid for outage in outages for cid in outage.missing)))
