"""Who must act decides the exit code."""

from __future__ import annotations

import errno
from pathlib import Path

import click
import pytest

from learnae.cli.exit_codes import report
from learnae.errors import ConfigError, PluginError, Problem, UnavailableError


def raised(error: BaseException) -> BaseException:
    """With a traceback, as after a real failure."""
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.UsageError("no"), 2),
        (ConfigError(Problem("swarm.name", "is empty")), 2),
        (PluginError("mine", "merging", "no moon"), 3),
        (UnavailableError("no network"), 4),
        (ZeroDivisionError("division by zero"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_the_exit_code_says_who_must_act(error: BaseException, code: int) -> None:
    assert report(raised(error)) == code


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    report(raised(ZeroDivisionError("division by zero")))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" in shown.err and Path(__file__).name in shown.err and "bug" in shown.err


def test_problems_are_counted_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    report(raised(ConfigError([Problem("a", "is wrong", "write b"), Problem("c", "is missing")])))
    assert capsys.readouterr().err == "2 problems to mend:\n  a: is wrong (write b)\n  c: is missing\n"


def test_one_problem_is_one_problem(capsys: pytest.CaptureFixture[str]) -> None:
    report(raised(ConfigError(Problem("a", "is wrong"))))
    assert capsys.readouterr().err == "1 problem to mend:\n  a: is wrong\n"


def test_a_full_disk_elsewhere_is_not_told_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(raised(OSError(errno.ENOSPC, "No space left on device", "peer/key"))) == 4
    shown = capsys.readouterr().err
    assert "peer/key" in shown and "output" not in shown


def test_a_descriptor_of_ours_that_was_closed_is_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(raised(OSError(errno.EBADF, "Bad file descriptor"))) == 1
    assert "Traceback" in capsys.readouterr().err
