"""Whether a peer can live in its home, and for how long."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from learnae import opening
from learnae.config.folder_trial import check_folder
from learnae.config.folders import default_home, existing
from learnae.errors import ConfigError, Problem
from learnae.identity.home_folder import open_home
from learnae.identity.homes import LOCK, Home, claim
from learnae.identity.keys import identity_in
from learnae.node.history import History
from learnae.records import MEGABYTE

if TYPE_CHECKING:
    from learnae.cli.check.findings import Findings
    from learnae.config.tables import Config

LEAST_FREE_BYTES = 64 * MEGABYTE
KEY = "peer.home"


def check_home(config: Config, findings: Findings) -> None:
    """That of a peer that has run is locked for a moment, so that nobody else uses it. Raises ConfigError."""
    home = config.peer.home
    said = check_folder(home or default_home(config.swarm.name), KEY, shared=False)
    if home is None or not os.path.exists(home):
        findings.passed.append(f"{KEY}: {said}")
        return
    with open_home(home):
        pass
    for look in (_check_key, _check_history, _check_lock):
        with findings.problems.collected():
            findings.passed.extend(look(Home(home, lock_fd=-1)))


def check_disk(config: Config, findings: Findings) -> None:
    """Raises ConfigError where next to nothing is free."""
    home = config.peer.home or default_home(config.swarm.name)
    try:
        free = shutil.disk_usage(existing(home)).free
    except OSError:  # what keeps us out keeps the peer out, and is told already
        return
    if free < LEAST_FREE_BYTES:
        raise ConfigError(Problem(KEY, f"only {free // MEGABYTE} MiB are free at {home}", "make room, or move it"))
    quota = config.peer.quota_bytes // MEGABYTE
    findings.passed.append(f"{free // MEGABYTE:,} MiB are free at {home}; own updates take {quota:,} at most")


def _check_key(home: Home) -> Iterator[str]:
    if (identity := identity_in(home.path)) is None:
        yield "the peer's key: made by the first run"
    else:
        yield f"the peer's public key: {identity.peer}"


def _check_history(home: Home) -> Iterator[str]:
    """Raises ConfigError for one that is damaged, or that a newer version has written."""
    if opening.look(home.history_path) is not None:
        with History.read(home.history_path) as history:
            yield f"its history: {history.last_round():,} rounds"


def _check_lock(home: Home) -> Iterator[str]:
    """Where nobody has locked it yet, nothing is made for that."""
    if opening.look(home.path / LOCK) is not None:
        claim(home.path).close()
    yield f"the home {home.path}: nobody else uses it"
