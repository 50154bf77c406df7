"""Real Hornets: loopback only, ended by their own pid."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from learnae_iota.devnet import Tangle, free_ports
from learnae_iota.devnet.keys import Keys

ROOT = Path(__file__).parents[3]
HORNET = os.environ.get("LEARNAE_HORNET")  # read now: tests do not see the variables of Learnae
DEPTH = 9  # 512 milestones


@pytest.fixture(scope="session")
def hornet() -> str:
    """The program."""
    for candidate in (HORNET, str(ROOT / ".nodes" / "hornet"), shutil.which("hornet")):
        if candidate and Path(candidate).exists():
            return candidate
    pytest.skip("needs go: apt-get install golang, then `make nodes`")


@pytest.fixture(scope="session")
def keys(hornet: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: they take seconds."""
    folder = tmp_path_factory.mktemp("keys")
    Keys.at(folder, hornet, DEPTH)
    return folder


@pytest.fixture(scope="session")
def shared_tangle(hornet: str, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tangle]:
    """Two nodes for all tests that leave them as they were."""
    with _tangle(tmp_path_factory.mktemp("shared") / "tangle", hornet, keys, milestone_seconds=5) as tangle:
        yield tangle


@pytest.fixture
def new_tangle(hornet: str, keys: Path, tmp_path: Path) -> Iterator[Callable[..., Tangle]]:
    """Starts tangles that only this test uses: `new_tangle(nodes=3, options={...})`."""
    numbers = itertools.count()
    with ExitStack() as undo:

        def start(nodes: int = 2, **settings: Any) -> Tangle:
            return undo.enter_context(_tangle(tmp_path / f"tangle-{next(numbers)}", hornet, keys, nodes, **settings))

        yield start


def _tangle(folder: Path, hornet: str, keys: Path, nodes: int = 2, **settings: Any) -> AbstractContextManager[Tangle]:
    shutil.copytree(keys, folder / "keys")
    return Tangle.running(folder, hornet, free_ports(nodes), **{"milestone_seconds": 2, **settings})
