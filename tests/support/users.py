"""Several users of one machine, for tests that run as root, as in a container of CI."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from learnae.config.load import load_document
from learnae.config.saved_config import keep
from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from learnae.node.history import History
from learnae.plugins.manager import PluginManager

GROUP, ANNA, BERT, OTHER_GROUP = 53_000, 53_001, 53_002, 53_003

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it can be two users, as in a container of CI")

CONFIG = load_document({"swarm": {"name": "one"}}, folder=Path("/"), options_of=PluginManager.discover(only=()).options_of(Path("/")))
"""Made here: the other users cannot import what is missing then."""


@contextmanager
def folder_for_all(mode: int) -> Iterator[Path]:
    """A new folder of root's that other users can reach, unlike that of pytest."""
    with tempfile.TemporaryDirectory(prefix="learnae-users-") as folder:
        Path(folder).chmod(mode)
        yield Path(folder)


def live(home: Path) -> None:
    """Make all that a peer makes in its home."""
    with claim(home):
        Identity.load_or_create(home / "key")
        keep(CONFIG, home)
        with History.open(home / "history.sqlite") as history:
            history.save_lineage_state(b"lineage1", 1, 1.0)


def as_user(user: int, work: Callable[[], object], *, umask: int = 0o022, group: int | None = None, more: Sequence[int] = ()) -> str:
    """Do it in a process of that user, whose group has the same number unless another is named; what it raises, in words."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = ""
        try:
            os.setgroups(more)
            os.setgid(user if group is None else group)
            os.setuid(user)
            os.umask(umask)
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said
