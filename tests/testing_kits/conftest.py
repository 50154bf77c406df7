"""What the tests of wrong strategies share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from learnae.plugins.memory import MemoryStorage
from learnae.strategies import Storage
from learnae.testing.context import SharedResources, make_context
from learnae.testing.kit import failing
from learnae.testing.storage_kit import OpenStorage, StorageConformance
from tests.support.breakable_storage import Breakable, Gauge


class Kit(StorageConformance):
    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)  # what hangs is found at once

    @contextmanager
    def out_of_order(self, storage: Storage) -> Iterator[None]:
        """What does not look is never out of order: only the tests about that run with a storage that does."""
        if not isinstance(storage, Breakable):
            pytest.skip("not about this")
        gauge = storage.context.share(Gauge)
        gauge.broken = True
        yield
        gauge.broken = False


@pytest.fixture(scope="session")
def caught_storage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[MemoryStorage]], set[str]]:
    """The tests of the kit that a kind of memory storage fails."""

    return lambda wrong: _caught(Kit(), wrong, tmp_path_factory)


@pytest.fixture(scope="session")
def caught_in_real_time(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[MemoryStorage]], set[str]]:
    """The same where threads take part."""

    class InRealTime(Kit):
        def clock(self) -> None:
            return None

    return lambda wrong: _caught(InRealTime(), wrong, tmp_path_factory)


def _caught(kit: StorageConformance, wrong: type[MemoryStorage], folders: pytest.TempPathFactory) -> set[str]:
    def storage() -> OpenStorage:
        shared, home = SharedResources(), folders.mktemp("homes")
        return lambda peer: wrong(wrong.Options(), make_context(home / peer, peer=peer, shared=shared))

    return set(failing(kit, storage))
