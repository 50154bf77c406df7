"""`learnae run` for a peer that does not train: it keeps a node running until it is interrupted. It needs no PyTorch."""

from __future__ import annotations

import math
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from learnae.cli.entries import ROWS_KEY, find_entry
from learnae.cli.home_state import peers_that_train
from learnae.cli.progress import AddressLine
from learnae.config.folders import default_home
from learnae.config.saved_config import dump
from learnae.config.tables import Config
from learnae.errors import UnavailableError
from learnae.identity.homes import Home, claim, claim_free
from learnae.link import memory
from learnae.link.memory import CallPage, Layout
from learnae.link.messages import GarbledError, Hello, Message, Release, Report, Start, ToNode, TrainerProgress, Want
from learnae.logs import make_logger
from learnae.observations import RoundReport
from learnae.outlets import print_json, print_message, print_result
from learnae.plugins.calls import theirs
from learnae.trainer.status import SwarmSettings
from learnae.trainer.supervisor import Supervisor, fill_standard
from learnae.trainer.watchdog import HangDetector, QuarantineHistory, Watchdog

START_SECONDS = 20.0
PREDECESSOR_SECONDS = 5.0  # the node of a run that has just ended may still be saying goodbye in this home
LOOK_SECONDS = 1.0


class ServingNodeOwner:
    """The other end of the link of a node without a trainer: it hands over no snapshots, and shows what the node reports."""

    def __init__(self, swarm_settings: SwarmSettings) -> None:
        layout = Layout.of(())
        self.fd = memory.create(layout.total_bytes)
        calls = CallPage(layout.calls(memory.view(self.fd, layout.total_bytes)))
        self.watchdog = Watchdog(
            HangDetector(calls, swarm_settings.hang_seconds), QuarantineHistory(swarm_settings.bench_rounds), swarm_settings.logger
        )
        self._swarm_settings, self._run = swarm_settings, uuid.uuid4().hex
        self._report: RoundReport | None = None
        self._lock = threading.Lock()

    def begin(self, send: Callable[[ToNode], None]) -> Start:
        self.watchdog.begin()
        hello = Hello(self._run, uuid.uuid4().hex, TrainerProgress(0, b"", 0, 0, 0, 0.0), ())
        return self._swarm_settings.start(hello, self.fd, self.watchdog.quarantined, self.watchdog.pause)

    def hear(self, message: Message) -> None:
        if isinstance(message, Report):
            with self._lock:
                self._report = message.report
        elif not isinstance(message, Want | Release):
            raise GarbledError(f"nobody here hears a {type(message).__name__}")

    def take_report(self) -> RoundReport | None:
        """The last report that was not taken yet."""
        with self._lock:
            report, self._report = self._report, None
        return report

    def seconds_to_look(self) -> float:
        return math.inf

    def look(self) -> None: ...

    def ended(self) -> None: ...

    def close(self) -> None:
        os.close(self.fd)


@attrs.frozen
class ServedLine:
    """What a report says to a reader. The totals are of this run."""

    role: str
    as_json: bool
    totals: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(("fetched_bytes", "refused", "failed"), 0))

    def show(self, report: RoundReport) -> None:
        for name in self.totals:
            self.totals[name] += getattr(report, name)
        facts: Mapping[str, Any] = {
            "role": self.role,
            "round": report.round,
            "outcome": report.outcome,
            "heard": report.heard,
            "lineage": report.lineage.hex(),
            "age": report.age,
            **self.totals,
        }
        if self.as_json:
            print_json(facts)
        elif report.outcome != "served" or report.refused or report.failed:
            what = f"{self.role}: hears {peers_that_train(report.heard)}"
            kept = f", keeps lineage {report.lineage.hex()} at age {report.age:,}" if report.lineage else ""
            print_result(f"{what}{kept}; fetched {self.totals['fetched_bytes']:,} bytes, refused {self.totals['refused']}")


def serve(
    config: Config,
    prepare: Callable[[Home], None],
    *,
    log: Mapping[str, str],
    as_json: bool,
    seconds: float | None,
    interrupted: Callable[[], bool],
) -> None:
    """Run a node without a trainer until `interrupted`, or for so many seconds. `prepare` gets the home before it starts.

    Raises KeyboardInterrupt where it was interrupted, with the swarm left; ConfigError, PluginError.
    """
    fill_standard()
    with _claim(config) as home:
        prepare(home)
        swarm_settings = SwarmSettings(
            name=config.swarm.name,
            hang_seconds=config.node.hang_seconds,
            bench_rounds=config.node.bench_rounds,
            config=dump(config),
            folder=str(config.folder),
            home=str(home.path),
            home_fd=home.lock_fd,
            log=log,
        )
        owner = ServingNodeOwner(swarm_settings)
        supervisor = Supervisor(owner, (owner.fd, home.lock_fd), owner.watchdog, backoff=swarm_settings.backoff, log=make_logger(**log))
        try:
            supervisor.start(START_SECONDS)
            print_message(f"{config.peer.role} of swarm {config.swarm.name}, in {home.path}: Ctrl-C ends it")
            _show(owner, config, home.path, as_json=as_json, seconds=seconds, interrupted=interrupted)
        finally:
            supervisor.stop()
            owner.close()


def _show(
    owner: ServingNodeOwner, config: Config, home: Path, *, as_json: bool, seconds: float | None, interrupted: Callable[[], bool]
) -> None:
    line, addresses, waiting = ServedLine(config.peer.role, as_json), AddressLine(home), threading.Event()
    left = math.inf if seconds is None else seconds
    while left > 0:
        waiting.wait(min(LOOK_SECONDS, left))
        left -= LOOK_SECONDS
        addresses()
        if (report := owner.take_report()) is not None:
            line.show(report)
        if interrupted():
            raise KeyboardInterrupt


def _claim(config: Config) -> Home:
    named = config.peer.home
    return claim_free(default_home(config.swarm.name)) if named is None else claim(named, wait_seconds=PREDECESSOR_SECONDS)


MORE_ROWS = "To give more, let share_rows or share_fraction allow it"


def give_rows(entry: str, config: Config, home: Home) -> None:
    """Make slices of what the user's function returns, as many as the file consents to."""
    from learnae.data.giving import GivenRows, give
    from learnae.identity.keys import Identity

    function = find_entry(entry, config.folder, ROWS_KEY)
    with theirs(entry, "making the rows"):
        rows = function()
    data = config.data
    rules = GivenRows(most_rows=data.share_rows, fraction=data.share_fraction, licence=data.licence, source=data.source, label=data.label)
    try:
        given = give(rows, home.path, rules, peer=Identity.load_or_create(home.key_path).peer, folder=config.folder)
    except OSError as error:
        raise UnavailableError(f"the rows to give cannot be stored in {home.path}: {error.strerror}") from error
    print_message(f"gives {given.rows:,} rows, under {config.data.licence}")
    if missing := given.allowed - given.rows:
        print_message(f"({missing:,} fewer than the file allows: others were given before that are not among the rows now. {MORE_ROWS})")
