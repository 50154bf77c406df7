"""Every failure of a plugin names the plugin and what it was asked to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from learnae.errors import LearnaeError, PluginError


@contextmanager
def naming(plugin: str, action: str) -> Iterator[None]:
    """Turns what a strategy raises, also to exit, into a PluginError; our own errors, cancellation and interrupts pass as they are.

    `action` is read after "failed while", such as "merging".
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if (blamed := blame(plugin, action, error)) is None:
            raise
        raise blamed from error


def blame(plugin: str, action: str, error: BaseException | None) -> PluginError | None:
    """What `naming` raises in place of this error, or None where it passes as it is."""
    if isinstance(error, LearnaeError) or not isinstance(error, Exception | SystemExit):
        return None
    return PluginError(plugin, action, described(error))


def described(error: BaseException) -> str:
    """An exception in one line: its type and its words; of a group, what the first in it says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
