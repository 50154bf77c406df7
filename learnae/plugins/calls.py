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
    except LearnaeError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(plugin, action, described(error)) from error


def described(error: BaseException) -> str:
    """An exception in one line: its type and its words; of a group, what the first in it says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
