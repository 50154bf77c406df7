"""What the tests of wrong strategies share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from learnae.plugins.storage.memory import MemoryStorage
from learnae.testing.context import Shared, make_context
from learnae.testing.kit import failing
from learnae.testing.storage_kit import OpenStorage, StorageConformance


class Kit(StorageConformance):
    def clock(self) -> trio.abc.Clock:
        return trio.testing.MockClock(autojump_threshold=0)  # what hangs is found at once


@pytest.fixture(scope="session")
def caught_storage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[MemoryStorage]], set[str]]:
    """The tests of the kit that a kind of memory storage fails."""

    def caught(wrong: type[MemoryStorage]) -> set[str]:
        def storage() -> OpenStorage:
            shared, home = Shared(), tmp_path_factory.mktemp("homes")
            return lambda peer: wrong(wrong.Options(), make_context(home / peer, peer=peer, shared=shared))

        return set(failing(Kit(), storage))

    return caught
