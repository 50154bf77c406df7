"""How a command ends when it fails. The exit code and the text depend on who must act."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from learnae.errors import ConfigError, EntryError, LearnaeError, PluginError, Problem, UnavailableError
from learnae.outlets import print_message
from learnae.texts import indented

if TYPE_CHECKING:
    from learnae.config.problems import Problems

SHOWING = ("click", "rich", "outlets")
LISTED = 50  # problems
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
BUG, FILE, PLUGIN, WAIT, INTERRUPTED = 1, 2, 3, 4, 130


class CommandError(PluginError):
    """A plugin's command made a mistake. It is shown with its traceback, as a bug of ours is."""


def mistake_in_command(plugin: str | None, error: Exception) -> LearnaeError | None:
    """The error to raise in place of this error of a plugin's command.

    None if this error already says who must act, or comes from outside.
    """
    if plugin is None or isinstance(error, (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)):
        return None
    if isinstance(error, OSError) and (error.errno in NO_ROOM or _is_of_output(error)):
        return None
    from learnae.plugins.calls import blame

    blamed = blame(plugin, "running its command", error)
    if isinstance(blamed, PluginError) and isinstance(blamed.__cause__, Exception):
        return CommandError(blamed.plugin, blamed.action, blamed.cause)
    return blamed


def run(command: click.Group, name: str, arguments: Sequence[str] | None) -> int:
    """Run a command with these words, or with those of the command line. Returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with command.make_context(name, words) as context:
            command.invoke(context)
    except click.exceptions.Exit as ending:  # --help, and commands that name their own code
        return ending.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return report(error, debug="--debug" in words)
    return 0


def report(error: BaseException, *, debug: bool = False) -> int:
    """Say on stderr what went wrong, and what to do about it. Returns the exit code."""
    match error:
        case KeyboardInterrupt() | click.Abort():
            _say("interrupted")
            return INTERRUPTED
        case click.ClickException():
            _say(_shown(error))
            return error.exit_code
        case ConfigError():
            _say(_listed(error.problems))
            return FILE
        case PluginError():
            traced = debug or isinstance(error, CommandError)
            _trace(error, wanted=traced)
            told = traced or isinstance(error, EntryError)
            _say(f"{indented(str(error))}{'' if told else ' (--debug shows the traceback)'}")
            return PLUGIN
        case UnavailableError():
            _say(f"{indented(str(error))}: try again")
            return WAIT
        case BrokenPipeError():  # `learnae plugins | head`
            _give_up_output()
            return BUG
        case OSError() if _is_of_output(error):  # `learnae plugins > /full/disk`
            _give_up_output()
            _say(f"the output cannot be written: {error.strerror}")
            return WAIT
        case OSError() if error.errno in NO_ROOM:
            _trace(error, wanted=debug)
            _say(f"{indented(str(error))}: make room, and try again")
            return WAIT
    _trace(error, wanted=True)
    _say("This is a bug of Learnae: please report it with the lines above.")
    return BUG


def say_all(problems: Problems) -> int:
    """Write every problem to stderr, those of plugins too. Returns the exit code."""
    _say(_listed(problems.all()))
    return FILE if problems.found else PLUGIN


def _listed(problems: Sequence[Problem]) -> str:
    """The first problems, and how many there are. A file that somebody else wrote may have a hundred thousand."""
    count = len(problems)
    lines = [f"  {indented(str(problem))}" for problem in problems[:LISTED]]  # each begins at the left of what belongs to it
    if count > LISTED:
        lines.append(f"  … and {count - LISTED:,} more")
    return "\n".join([f"{count:,} problem{'s' if count != 1 else ''} to mend:", *lines])


def _trace(error: BaseException, *, wanted: bool) -> None:
    if wanted:
        _say("".join(traceback.format_exception(error)).rstrip("\n"))


def _shown(error: click.ClickException) -> str:
    """As click shows it, with how the command is used."""
    shown = io.StringIO()
    error.show(shown)
    return shown.getvalue().rstrip("\n")


def _say(text: str) -> None:
    """Its lines on stderr, if they can be said at all."""
    print_message(*text.split("\n"))


def _is_of_output(error: OSError) -> bool:
    """Raised where the libraries write that show things; in any other file the same error says something else."""
    calls = traceback.extract_tb(error.__traceback__)
    last = Path(calls[-1].filename) if calls else Path()
    return last.parent.name in SHOWING or last.stem in SHOWING


def _give_up_output() -> None:
    """Else Python tries once more at its end to write what it could not write now."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
