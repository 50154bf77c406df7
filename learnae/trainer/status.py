"""What a swarm tells its user, and the settings that it starts its nodes with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from learnae.config.tables import DataTable
from learnae.errors import renamed_fields, warn_renamed
from learnae.link.messages import Hello, Quarantined, Start
from learnae.logs import make_logger
from learnae.observations import RoundReport
from learnae.waiting import Backoff


@attrs.frozen(kw_only=True)
class Status:
    """Where this peer stands."""

    node: str  # "starting", "running", "down" or "left"
    node_starts: int
    lineage: bytes = attrs.field(repr=bytes.hex)
    age: int  # optimiser steps in the history of the model
    steps: int  # of this trainer
    samples: int
    adoptions: int
    rounds: int  # the number of the last one, over all runs with this home, as in `learnae status` and `learnae history`
    heard: int  # peers with a fresh update, in the last round
    merged: int  # updates, in all rounds of this trainer
    refused: int
    outages: Mapping[str, str] = attrs.field(repr=False)  # what did not work in the last round, with the cause
    last_error: str = ""  # why the last node ended that was not asked to
    quarantined: Mapping[str, int] = attrs.field(factory=dict)  # strategies that hung: for how many rounds they are not called yet
    lost: int = 0  # updates that a plugin of this peer has spoiled

    if not TYPE_CHECKING:  # the new names are those to be written

        @property
        def facts(self) -> Mapping[str, Any]:
            warn_renamed("Status.facts['outages']", "Status.outages", gone_in="0.2")
            return {"outages": self.outages} if self.outages else {}


renamed_fields(Status, {"benched": "quarantined", "last_words": "last_error"}, gone_in="0.2")


@attrs.define
class RoundCounts:
    """What the rounds of this trainer's nodes have brought. They are numbered over all runs: `rounds` is the last one."""

    rounds: int = 0
    heard: int = 0
    merged: int = 0
    refused: int = 0
    lost: int = 0
    outages: Mapping[str, str] = attrs.field(factory=dict)

    def add(self, report: RoundReport, outages: Mapping[str, str]) -> None:
        self.rounds = report.round
        self.heard = report.heard
        self.merged += report.merged
        self.refused += report.refused
        self.lost += report.lost
        self.outages = outages


def _nothing() -> None:
    return


@attrs.frozen(kw_only=True)
class SwarmSettings:
    """The trainer's own pace, and what each of its nodes is started with."""

    name: str = ""  # of the swarm
    role: str = "trainer"
    local_steps: int = 20
    round_seconds: float = 10.0
    patience: float = 0.1
    hang_seconds: float = 30.0
    bench_rounds: int = 10
    data: DataTable = attrs.field(factory=DataTable)
    config: Mapping[str, Any] = attrs.field(factory=dict)  # as learnae.config.saved_config.dump makes it
    folder: str = attrs.field(factory=os.getcwd)
    home: str = ""
    home_fd: int = -1  # holds the lock on the home; stays with the caller
    log: Mapping[str, str] = attrs.field(factory=dict)  # level and style, for both processes
    logger: Any = attrs.field(default=attrs.Factory(lambda self: make_logger(**self.log), takes_self=True))
    command: Sequence[str] = ()  # empty: our own node
    backoff: Backoff = attrs.field(factory=Backoff)
    on_leave: Callable[[], None] = _nothing  # called when the node has ended, and in a forked child, which has no part in it

    def start(self, hello: Hello, memory_fd: int, quarantined: tuple[Quarantined, ...] = (), beat_seconds: float = 1.0) -> Start:
        """The first line to a node."""
        return Start(
            hello,
            self.config,
            self.folder,
            self.home,
            memory_fd,
            home_fd=self.home_fd,
            log=self.log,
            quarantined=quarantined,
            beat_seconds=beat_seconds,
        )
