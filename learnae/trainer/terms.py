"""What a swarm is told beside the model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from learnae.backoff import Backoff
from learnae.link.contract import Hello
from learnae.link.messages import Benched, Start
from learnae.logs import make_logger


def _nothing() -> None:
    return


@attrs.frozen(kw_only=True)
class Terms:
    """The trainer's own pace, and what each of its nodes is started with."""

    name: str = ""  # of the swarm
    local_steps: int = 20
    round_seconds: float = 10.0
    patience: float = 0.1
    hang_seconds: float = 30.0
    bench_rounds: int = 10
    config: Mapping[str, Any] = attrs.field(factory=dict)  # as learnae.config.wire.dump makes it
    folder: str = attrs.field(factory=os.getcwd)
    home: str = ""
    home_fd: int = -1  # holds the lock on the home; stays with the caller
    log: Mapping[str, str] = attrs.field(factory=dict)  # level and style, for both processes
    logger: Any = attrs.field(default=attrs.Factory(lambda self: make_logger(**self.log), takes_self=True))
    command: Sequence[str] = ()  # empty: our own node
    backoff: Backoff = attrs.field(factory=Backoff)
    on_leave: Callable[[], None] = _nothing  # called when the node has ended, and in a forked child, which has no part in it

    def start(self, hello: Hello, memory_fd: int, benched: tuple[Benched, ...] = (), beat_seconds: float = 1.0) -> Start:
        """The first line to a node."""
        return Start(
            hello,
            self.config,
            self.folder,
            self.home,
            memory_fd,
            home_fd=self.home_fd,
            log=self.log,
            benched=benched,
            beat_seconds=beat_seconds,
        )
