"""The built-in storages pass the kit that every storage must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from learnae.plugins.storage.directory import DirectoryStorage
from learnae.plugins.storage.memory import MemoryStorage
from learnae.testing.storage_kit import OpenStorage, StorageConformance

if TYPE_CHECKING:
    from collections.abc import Callable

    from learnae import Context


class TestDirectoryStorage(StorageConformance):
    @pytest.fixture
    def storage(self, learnae_contexts: Callable[[str], Context]) -> OpenStorage:
        return lambda peer: DirectoryStorage(DirectoryStorage.Options(), learnae_contexts(peer))


class TestMemoryStorage(StorageConformance):
    survives_reopen = False  # of its process

    @pytest.fixture
    def storage(self, learnae_contexts: Callable[[str], Context]) -> OpenStorage:
        return lambda peer: MemoryStorage(MemoryStorage.Options(), learnae_contexts(peer))
