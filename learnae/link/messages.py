"""Every line that passes between a trainer and its node. An end of file says the rest: the other side has ended, or leaves."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from learnae.errors import ConfigError, LearnaeError, PluginError, Problem
from learnae.link.contract import Hello, Offer, Progress
from learnae.plugins.calls import described, gravest_of
from learnae.records import RoundReport

TRACE = 8000
"""Characters of a traceback that pass between the two."""


@attrs.frozen
class Benched:
    """A strategy that hung: this node does not call it in so many rounds."""

    label: str
    rounds: int
    why: str


@attrs.frozen
class Start:
    """The trainer's first line: the hello, and all that a node needs to begin. Descriptors are inherited."""

    hello: Hello
    config: Mapping[str, Any]  # the peer's file as learnae.config.wire.dump made it
    folder: str  # where that file lies
    home: str
    memory_fd: int
    home_fd: int = -1  # holds the lock on the home
    overrides: tuple[str, ...] = ()  # that `config` does not contain yet
    log: Mapping[str, str] = attrs.field(factory=dict)  # level and format
    benched: tuple[Benched, ...] = ()
    beat_seconds: float = 1.0  # between two signs that the node's loop runs


@attrs.frozen
class Taken:
    """Trainer: this slot holds a snapshot and is yours. A trainer that was interrupted may say it again, with the same number."""

    slot: int
    progress: Progress
    number: int = 0  # of this run's snapshots, from 1; 0: not counted


@attrs.frozen
class Adopted:
    """Trainer: the model contains this offer."""

    number: int


@attrs.frozen
class Want:
    """Node: hand over a snapshot as soon as one is due. The first one says that the node is up."""


@attrs.frozen
class Release:
    """Node: this slot is yours again."""

    slot: int


@attrs.frozen
class Report:
    """Node: a round has ended."""

    report: RoundReport
    facts: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Failed:
    """Node: the reason why I am about to end."""

    text: str
    problems: tuple[Problem, ...] = ()
    plugin: str = ""
    action: str = ""
    cause: str = ""
    trace: str = ""  # the last lines of a bug's traceback

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        match told := gravest_of(error):
            case ConfigError():
                return cls(str(told), problems=told.problems)
            case PluginError():
                return cls(str(told), plugin=told.plugin, action=told.action, cause=told.cause)
        return cls(described(told)[:TRACE], trace="".join(traceback.format_exception(error))[-TRACE:])

    def shorter(self) -> Iterator[Failed]:
        """The same in fewer and fewer words: the traceback goes first, then the ends of what is said; who must act stays to the last."""
        yield self
        for most in (TRACE // 2, TRACE // 8):
            yield attrs.evolve(self, trace=self.trace[-most:])
        for most in (4096, 1024, 256, 64):
            yield Failed(
                self.text[:most],
                problems=tuple(_cut(problem, most) for problem in self.problems[: most // 8]),
                plugin=self.plugin[:most],
                action=self.action[:most],
                cause=self.cause[:most],
            )

    def as_error(self) -> LearnaeError | None:
        """The error that somebody must act on, or None if it was a bug."""
        if self.problems:
            return ConfigError(self.problems)
        return PluginError(self.plugin, self.action, self.cause) if self.plugin else None


def _cut(problem: Problem, most: int) -> Problem:
    return Problem(problem.key[:most], problem.message[:most], None if problem.suggestion is None else problem.suggestion[:most])


ToNode = Start | Taken | Adopted
ToTrainer = Want | Release | Offer | Report | Failed
Message = ToNode | ToTrainer
